"""A whole load test, small: a real hall, real connections, everything accounted for, nothing left behind."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadtest.cli import add_command

RUN_S_MAX = 280


def _run(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


@pytest.mark.ray
def test_a_small_run_from_start_to_verdict(tmp_path: Path) -> None:
    """Given 24 customers and 6 agents for 10 s, when it is over, then all calls are accounted for and the hall is gone."""
    # How late a busy machine makes the generator is not what is tested here.
    done = _run(tmp_path, "--customers", "24", "--agents", "6", "--seconds", "10", "--late-ms-max", "60000")

    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    counts = summary["measures"]["counts"]
    assert summary["failures"] == summary["mismatches"] == []
    assert counts["offered"] == counts["answered"] + counts["abandoned"] + counts["refused"] > 0
    assert counts["answered"] > 0
    for name in (
        "report.html",
        "summary.txt",
        "calls.csv",
        "engagements.csv",
        "schedule.jsonl",
        "locust.html",
        "locust_stats.csv",
    ):
        assert (tmp_path / name).stat().st_size > 0
    assert not [
        one.pid for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])
    ]


def test_a_hall_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Given an address where nobody listens, then the run fails with that address, and leaves no report."""
    done = _run(tmp_path / "out", "--url", "http://127.0.0.1:9", "--data", str(tmp_path))

    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1/agents" in done.stderr
    assert not os.path.exists(tmp_path / "out" / "summary.json")


def test_a_hall_without_its_key_is_refused(tmp_path: Path) -> None:
    """Given --url without --data, then the arguments are wrong, and why is said."""
    done = _run(tmp_path / "out", "--url", "http://127.0.0.1:9")

    assert done.returncode == 2
    assert "--data" in done.stderr


def test_the_console_command_takes_the_same_options() -> None:
    """Given the console command's parser, when loadtest joins it, then `tellerhall loadtest` is `python -m loadtest`."""
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())

    options = parser.parse_args(["loadtest", "--customers", "3", "--url", "http://127.0.0.1:9"])

    assert (options.customers, options.agents, options.seconds) == (3, 60, 60)
    assert options.run(options) == 2
