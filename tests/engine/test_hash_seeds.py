"""Same commands, same seed: byte-equal decisions, whatever order Python gives to its sets (ROUTING.md 5.17)."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
from tests.engine.test_walk import EngineAndTwin, walk
import hashlib
halls = {}
EngineAndTwin.conservation = lambda hall: halls.setdefault(id(hall), hall)
for seed in (1, 3, 5):
    walk(seed)
for hall in halls.values():
    print(hall.scene.engine.digest(), hashlib.sha256(b"".join(hall.scene.journal)).hexdigest())
"""


def _digests_under(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_equal_digests_under_two_hash_seeds() -> None:
    """Given walks of 800 steps through three halls, when run under two hash seeds, then state and journal bytes are equal."""
    first = _digests_under("1")
    assert [len(line) for line in first.splitlines()] == [129] * 3
    assert len(set(first.splitlines())) == 3
    assert first == _digests_under("2")
