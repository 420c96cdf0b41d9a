"""When a part counts as gone, and when its start is given up: a scripted part, real time, short bounds."""

import asyncio
from typing import Any

import pytest

from actors import incarnation as module
from actors.incarnation import Incarnation, NotStarted
from actors.mailbox import PeerGone
from actors.wiring import PeerEnded

ELSEWHERE = {"pid": 1, "ray_node": "elsewhere"}


class ScriptedHandle:
    """A part on another machine: answers pulses as told; its start takes until it is told to end."""

    name = "shard-0-e1"

    def __init__(self) -> None:
        self.answer: Any = (0.0, 0)
        """What a pulse returns; an exception is raised; None: no word."""
        self.is_started = asyncio.Event()

    async def start(self) -> dict[str, Any]:
        await self.is_started.wait()
        return ELSEWHERE

    async def pulse(self, timeout_s: float) -> tuple[float, int]:
        await asyncio.sleep(0)
        if self.answer is None:
            async with asyncio.timeout(timeout_s):
                await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> ScriptedHandle:
    for name, bound_s in (
        ("LOOK_S", 0.01),
        ("PULSE_S", 0.05),
        ("SILENT_S", 0.4),
        ("UNREACHED_S", 0.1),
        ("HUNG_S", 1.0),
        ("START_S", 0.6),
    ):
        monkeypatch.setattr(module, name, bound_s)
    monkeypatch.setattr(module, "ray_node", lambda: "here")
    return ScriptedHandle()


def running(handle: ScriptedHandle) -> Incarnation:
    return Incarnation(handle, ELSEWHERE)  # type: ignore[arg-type]


async def gone(part: Incarnation, *, is_trusted: bool = True) -> str:
    async with asyncio.timeout(10):
        return await part.gone(lambda: is_trusted, lambda: None)


async def assert_lives(part: Incarnation, *, is_trusted: bool = True, for_s: float = 1.0) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(for_s):
            await part.gone(lambda: is_trusted, lambda: None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PeerEnded("it ended"), "ended"),
        (PeerGone("its connection broke"), "silent"),
        (None, "silent"),
        ((1.1, 0), "hung"),
    ],
)
async def test_why_a_part_counts_as_gone(handle: ScriptedHandle, answer: Any, reason: str) -> None:
    """Given a part that lived; when it ends, cannot be reached, says nothing or its main loop hangs; then it is gone."""
    part = running(handle)
    await assert_lives(part, for_s=0.2)
    handle.answer = answer
    assert await gone(part) == reason


async def test_a_process_of_this_machine_is_looked_at(handle: ScriptedHandle) -> None:
    """Given a part of this machine whose process is gone; then nobody waits for Ray to say so."""
    finished = await asyncio.create_subprocess_exec("true")
    await finished.wait()
    part = Incarnation(handle, {"pid": finished.pid, "ray_node": "here"})  # type: ignore[arg-type]
    assert await gone(part) == "ended"


async def test_a_connection_that_breaks_and_comes_back_ends_nothing(handle: ScriptedHandle) -> None:
    """Given a broken connection; when it is there again in time; then the part was never gone."""
    part = running(handle)
    handle.answer = PeerGone("broken")
    asyncio.get_running_loop().call_later(0.05, setattr, handle, "answer", (0.0, 0))
    await assert_lives(part)


async def test_silence_without_the_office_counts_for_nothing(handle: ScriptedHandle) -> None:
    """13: given a supervisor that cannot confirm its office; then nobody's silence makes it act."""
    handle.answer = None
    await assert_lives(running(handle), is_trusted=False)


async def test_a_start_that_gets_on_may_take_long(handle: ScriptedHandle) -> None:
    """Given a replay that takes three times `START_S`; when it gets on all the time; then it comes to its end."""

    async def replay() -> None:
        for number in range(36):
            handle.answer = (0.0, number)
            await asyncio.sleep(0.05)
        handle.is_started.set()

    progress: list[int] = []
    replaying = asyncio.create_task(replay())
    part = await Incarnation.started(handle, lambda: progress.append(1))  # type: ignore[arg-type]
    assert part.facts == ELSEWHERE
    assert progress
    await replaying


async def test_a_start_that_gets_nowhere_is_given_up(handle: ScriptedHandle) -> None:
    """Given a start that lives and does not get on; then it is given up after `START_S`, by name."""
    with pytest.raises(NotStarted, match="has not got on"):
        async with asyncio.timeout(10):
            await Incarnation.started(handle, lambda: None)  # type: ignore[arg-type]


async def test_a_part_that_nobody_waits_for_may_be_silent_longer(
    handle: ScriptedHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given two parts without a word, one of which nobody waits for; then that one is gone later than the other."""
    monkeypatch.setattr(module, "PATIENT_SILENT_S", 1.2)
    handle.answer = None
    patient = Incarnation(handle, ELSEWHERE, is_patient=True)  # type: ignore[arg-type]
    ends = [asyncio.create_task(gone(one)) for one in (running(handle), patient)]
    done, _ = await asyncio.wait(ends, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert done == {ends[0]}
    assert await asyncio.gather(*ends) == ["silent", "silent"]


async def test_a_start_that_falls_silent_is_given_up_earlier(
    handle: ScriptedHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a process that stands still in its start; then it is given up after `SILENT_S`, not `START_S`."""
    monkeypatch.setattr(module, "START_S", 60.0)
    handle.answer = None
    with pytest.raises(NotStarted, match="fell silent"):
        async with asyncio.timeout(10):
            await Incarnation.started(handle, lambda: None)  # type: ignore[arg-type]
