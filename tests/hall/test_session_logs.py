"""Ray's own session logs have a bound: what a worker prints without end fills a known number of files."""

import subprocess
import sys

import pytest

from tests.hall.running import REPOSITORY, clean_environment

pytestmark = pytest.mark.ray

BYTES_MAX = 20_000
FILES = 3
"""The present one and two that were set aside."""
LASTS_S = 180.0
PROGRAM = """
import shutil, sys, time
from actors import wiring

folder = wiring.make_tmp_folder()
wiring.start_local(folder, 0)
import ray

@ray.remote(num_cpus=0)
class Talker:
    def talk(self):
        for number in range(5_000):
            print("x" * 100, number, flush=True)
            print("x" * 100, number, file=sys.stderr, flush=True)

ray.get(Talker.remote().talk.remote())
time.sleep(2)
for path in folder.glob("session_*/logs/worker-*"):
    if "latest" not in str(path):
        print(path.name.rpartition("-")[2].partition(".")[2], path.stat().st_size)
ray.shutdown()
shutil.rmtree(folder, ignore_errors=True)
"""


def test_a_worker_that_prints_without_end_fills_a_bounded_number_of_files() -> None:
    """SAFETY.md 21. Given Ray as a hall starts it, when a worker prints 1 MB, then its files are as small as was set."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env={
            **clean_environment(),
            "RAY_ROTATION_MAX_BYTES": str(BYTES_MAX),
            "RAY_ROTATION_BACKUP_COUNT": str(FILES - 1),
        },
        capture_output=True,
        text=True,
        timeout=LASTS_S,
        check=True,
    )
    sizes = [line.split() for line in done.stdout.splitlines()]
    files = {kind: int(size) for kind, size in sizes if int(size) > BYTES_MAX // 2}
    assert {"out.1", "out.2", "err.1", "err.2"} <= set(files), done.stdout
    assert len(files) <= 2 * FILES
    assert max(files.values()) <= BYTES_MAX


def test_a_hall_sets_bounds_for_rays_logs() -> None:
    """Given what a hall tells Ray, then there are bounds, and an operator's own settings win."""
    names = ("RAY_ROTATION_MAX_BYTES", "RAY_ROTATION_BACKUP_COUNT")
    program = f"from actors import wiring; import os; wiring.prepare(); print(*map(os.environ.get, {names}))"
    for own, said in (({}, "16777216 3"), ({"RAY_ROTATION_MAX_BYTES": "5"}, "5 3")):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, env={**clean_environment(), **own},
            capture_output=True, text=True, timeout=LASTS_S, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == said
