"""One run of the generator: what it is told, and the locust process that does it.

Rules: locust lives in a process of its own, since it replaces the waiting of every module when it is imported. It is told
everything by one file that only its owner may read, because the file holds tokens.

Not here: what locust does then (`loadtest/locustfile.py`).
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

RUN_VARIABLE = "TELLERHALL_LOADTEST_RUN"
RUN_S_EXTRA = 300.0
"""Beyond the schedule itself: connecting, drain and stop, all bounded in `loadtest/floor.py`, on a slow machine."""


class Run(Struct):
    """What one generator is to do."""

    url: str
    schedule_path: str
    records_path: str
    customers: dict[str, str]
    """Id -> token."""
    agents: dict[str, str]


class GeneratorFailed(Exception):
    """The generator did not come to its end; the text says what is known."""


def generate(run: Run, folder: Path, private_folder: Path, seconds: int) -> None:
    """Play the schedule; locust's own CSV and HTML files land in `folder`. Raises GeneratorFailed."""
    run_path = private_folder / "run.json"
    descriptor = os.open(run_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(run))
    log_path = folder / "locust.log"
    try:
        with log_path.open("wb") as log:
            status = subprocess.run(
                _command(run, folder),
                env={**os.environ, RUN_VARIABLE: str(run_path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds + RUN_S_EXTRA,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise GeneratorFailed(f"locust did not end within {error.timeout:.0f} s: see {log_path}") from error
    finally:
        run_path.unlink()
    if status or not Path(run.records_path).exists():
        raise GeneratorFailed(f"locust ended with {status}: see {log_path}")


def _command(run: Run, folder: Path) -> list[str]:
    locustfile = Path(__file__).with_name("locustfile.py")
    return [
        *(sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--only-summary"),
        *("--host", run.url, "--csv", str(folder / "locust"), "--html", str(folder / "locust.html")),
        # Failures are judged by the accounts, with names; locust's status says only whether it worked itself.
        *("--exit-code-on-error", "0", "--loglevel", "WARNING"),
    ]
