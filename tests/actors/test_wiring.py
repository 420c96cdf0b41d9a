"""What stands between the parts and Ray, as far as no Ray is needed to see it."""

from pathlib import Path

import pytest

from actors import wiring


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to Ray, in order; the environment is as before afterwards."""
    done: list[str] = []
    monkeypatch.setattr(wiring, "prepare", lambda folder: None)
    monkeypatch.setattr(wiring, "shutdown", lambda: done.append("ended"))
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    return done


@pytest.mark.parametrize("failures", [0, 1, wiring.START_TRIES - 1, wiring.START_TRIES])
def test_a_ray_that_does_not_come_up_in_its_time_is_started_again(
    monkeypatch: pytest.MonkeyPatch, attempts: list[str], failures: int
) -> None:
    """Given a machine on which Ray needs too long some times; then it is ended and started anew, within a bound."""

    def start(folder: Path, media_workers: int) -> None:
        attempts.append("started")
        if attempts.count("started") <= failures:
            raise RuntimeError("the current node timed out during startup")

    monkeypatch.setattr(wiring, "_init_local", start)
    is_in_vain = failures == wiring.START_TRIES
    if is_in_vain:
        with pytest.raises(RuntimeError, match="timed out"):
            wiring.start_local(Path("unused"), 1)
    else:
        wiring.start_local(Path("unused"), 1)
    assert attempts == ["started", *["ended", "started"] * min(failures, wiring.START_TRIES - 1)]
