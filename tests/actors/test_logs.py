"""Logs: what a part says goes to its own file, holds nothing personal, and never costs the part its life."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from actors.logs import configure_logging


@pytest.fixture(autouse=True)
def set_back() -> Iterator[None]:
    """The configuration is the process's."""
    yield
    structlog.reset_defaults()


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


def test_a_log_beyond_the_bound_is_set_aside_and_not_readable_by_others(tmp_path: Path) -> None:
    """Given a log of the greatest size and one byte, when its part starts, then a new one begins beside it."""
    path = tmp_path / "part.log"
    path.write_bytes(b" " * (16 * 1024 * 1024 + 1))
    configure_logging(path)
    structlog.get_logger().info("started")
    assert json.loads(path.read_text())["event"] == "started"
    assert path.with_name("part.log.1").stat().st_size == 16 * 1024 * 1024 + 1
    assert path.stat().st_mode & 0o007 == 0
