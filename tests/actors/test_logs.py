"""Logs: what a part says goes to its own file, holds nothing personal, and never costs the part its life."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from actors.logs import BYTES_MAX, LEVEL_VARIABLE, configure_logging, prune_session_logs, silence, write_lines
from actors.tracing import derived_traceparent, trace_id_of


@pytest.fixture(autouse=True)
def set_back() -> Iterator[None]:
    """The configuration is the process's."""
    yield
    structlog.reset_defaults()
    silence()


def test_an_exception_is_logged_without_what_it_handled(tmp_path: Path) -> None:
    """Given a failure among a person's data, when it is logged, then the places stand there and no value of a variable."""
    configure_logging(tmp_path / "part.log")

    def fail(display_name: str) -> None:
        raise ValueError("malformed")

    try:
        fail("Ann Smith")
    except ValueError:
        structlog.get_logger().exception("message_failed")
    text = (tmp_path / "part.log").read_text()
    [exception] = json.loads(text)["exception"]
    assert [frame["name"] for frame in exception["frames"]][-1] == "fail"
    assert "Ann" not in text


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    """Given a disk that takes nothing, when something is logged, then nobody who logs fails."""
    configure_logging(Path("/dev/full"))
    structlog.get_logger().warning("store.unavailable")
    structlog.get_logger().warning("store.unavailable")


def test_logs_rotate_within_a_bound_and_are_not_readable_by_others(tmp_path: Path) -> None:
    """Given files of 1,000 bytes of which three are kept, when much is logged, then what is kept is whole and newest."""
    path = tmp_path / "part.log"
    configure_logging(path, bytes_max=1_000, files_max=3)
    for number in range(100):
        structlog.get_logger().info("said", number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["part.log", "part.log.1", "part.log.2"]
    assert all(0 < file.stat().st_size <= 1_000 for file in files)
    assert all(file.stat().st_mode & 0o007 == 0 for file in files)
    kept = [json.loads(line)["number"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert kept == list(range(kept[0], 100))


def test_a_log_that_was_long_already_is_set_aside_at_the_first_line(tmp_path: Path) -> None:
    """Given a log of the greatest size from an earlier run, when its part says something, then a new one begins beside it."""
    path = tmp_path / "part.log"
    path.write_bytes(b" " * BYTES_MAX)
    configure_logging(path)
    structlog.get_logger().info("started")
    assert json.loads(path.read_text())["event"] == "started"
    assert path.with_name("part.log.1").stat().st_size == BYTES_MAX


def test_two_processes_on_one_log_rotate_it_once(tmp_path: Path) -> None:
    """Given a predecessor that froze with the same file open, when both go on, then no line of either is lost for the other."""
    path = tmp_path / "part.log"
    configure_logging(path, bytes_max=300, files_max=5)
    frozen = structlog.get_logger().bind()
    frozen.info("frozen", number=0)
    configure_logging(path, bytes_max=300, files_max=5)
    successor = structlog.get_logger().bind()
    for number in range(6):
        successor.info("successor", number=number)
    frozen.info("frozen", number=1)
    frozen.info("frozen", number=2)
    said = [json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert sorted(one["number"] for one in said if one["event"] == "successor") == list(range(6))
    assert sorted(one["number"] for one in said if one["event"] == "frozen") == [0, 1, 2]


def test_many_lines_are_written_like_single_ones(tmp_path: Path) -> None:
    """Given lines of a turn, then each is a line of its own with level, instant and trace."""
    configure_logging(tmp_path / "part.log")
    write_lines([{"event": "call.queued", "call_id": "call-1"}, {"event": "call.ended", "call_id": "call-1"}])
    lines = [json.loads(line) for line in (tmp_path / "part.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["call.queued", "call.ended"]
    assert {line["level"] for line in lines} == {"info"}
    assert {line["trace_id"] for line in lines} == {trace_id_of(derived_traceparent("call-1"))}
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_a_quieter_level_leaves_the_many_lines_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the level `warning`, when a turn has lines, then none is written."""
    monkeypatch.setenv(LEVEL_VARIABLE, "warning")
    configure_logging(tmp_path / "part.log")
    write_lines([{"event": "call.queued", "call_id": "call-1"}])
    assert (tmp_path / "part.log").read_text() == ""


def test_logs_of_rays_ended_workers_go_beyond_the_bound(tmp_path: Path) -> None:
    """Given logs of ended workers and of one that runs, then the oldest of the ended go, and nothing else does."""
    logs = tmp_path / "session_1" / "logs"
    logs.mkdir(parents=True)
    ended = 4_000_000  # Beyond the greatest process id that Linux gives (2^22 - 1 at the most, seldom so far).
    while Path(f"/proc/{ended}").exists():
        ended += 1
    names = [
        f"worker-ab12-ffffffff-{ended}.out",
        f"worker-ab12-ffffffff-{ended}.err",
        f"worker-cd34-01000000-{ended}.out.1",
    ]
    running = [f"worker-ef56-ffffffff-{os.getpid()}.err", "raylet.out", "gcs_server.out"]
    for age, name in enumerate([*reversed(names), *running]):
        (logs / name).write_text("said")
        os.utime(logs / name, (1_000 + age, 1_000 + age))
    assert prune_session_logs(tmp_path, 2) == 1
    assert {path.name for path in logs.iterdir()} == {*names[:2], *running}
    assert prune_session_logs(tmp_path, 2) == 0
