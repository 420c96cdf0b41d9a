"""A media worker as a part: what it answers and reports, with a real worker and a hall that answers by script."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import media_part
from actors.items import HallUnavailable, encode_array
from actors.items import encode as encoded
from actors.local import LocalNetwork
from actors.media_items import MediaAnswer, OpenRoomOrder, decode_media_answer
from actors.media_part import MediaPart, MediaPartSettings
from actors.parts import HallSettings
from dispatch import commands as cm
from dispatch.effects import Reply
from media import reports as rp
from tests.waiting import until


class ScriptedHall:
    """Takes commands, and cannot be reached for as many of them as it was told."""

    def __init__(self) -> None:
        self.commands: list[Any] = []
        self.refusals: dict[type[Any], int] = {}
        self.failures_count = 0
        self.hellos_count = 0
        self.silent_division_id = ""

    async def submit(self, command: cm.Command, division_id: str) -> Reply:
        await asyncio.sleep(0)
        if self.refusals.get(type(command), 0):
            self.refusals[type(command)] -= 1
            raise HallUnavailable("store_unavailable")
        self.commands.append(command)
        return Reply()

    async def hello(self, item: Any) -> list[tuple[str, int]]:
        if item.division_id == self.silent_division_id:
            await asyncio.Event().wait()
        self.hellos_count += 1
        if self.hellos_count <= self.failures_count:
            raise ValueError("an answer that makes no sense")
        return []


@pytest.fixture
def hall() -> ScriptedHall:
    return ScriptedHall()


@pytest.fixture
async def part(tmp_path: Path, hall: ScriptedHall) -> AsyncIterator[MediaPart]:
    worker = rp.MediaSettings(
        worker_id="1", recordings_folder=str(tmp_path), is_contract_checked=False, rooms_max=1, parties_max=2
    )
    settings = MediaPartSettings(HallSettings(["main"], "unix:///nowhere"), worker)
    part = MediaPart(msgspec.msgpack.encode(settings), LocalNetwork())
    part._hall = hall  # type: ignore[assignment]
    await part._worker.start()
    yield part
    await part._worker.stop()
    for task in part._tasks:
        task.cancel()
    await asyncio.gather(*part._tasks, return_exceptions=True)


async def open_room(part: MediaPart, number: int, call_id: str) -> MediaAnswer:
    order = OpenRoomOrder(call_id, 1, ["customer", "agent"], "off", "", "main", "loans")
    [body] = msgspec.msgpack.decode(
        await part.receive("shard-0", number, encode_array([encoded(order)])), type=list[msgspec.Raw]
    )
    return decode_media_answer(body)


async def test_a_room_that_did_not_open_is_not_answered_as_open(part: MediaPart) -> None:
    """Given a worker with room for one, when a second room is ordered, then its answer says why not, and it holds none."""
    assert await open_room(part, 0, "call-1") == MediaAnswer()
    assert await open_room(part, 1, "call-2") == MediaAnswer("rooms_full")
    assert list(part._rooms) == [("call-1", 1)]


async def test_reports_on_a_room_keep_their_order_over_an_outage(
    part: MediaPart, hall: ScriptedHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a party who left and came back while nobody could be reached, then that is what the division hears, in order."""
    monkeypatch.setattr(media_part, "REPORT_PAUSE_S", 0.02)
    hall.refusals[cm.ReportPartyLeft] = 3
    part._report(rp.PartyLeft("call-1", 1, "agent"))
    part._report(rp.PartyJoined("call-1", 1, "agent"))
    part._report(rp.PartyJoined("call-2", 1, "agent"))
    await until(lambda: len(hall.commands) == 3)
    assert hall.commands[0].call_id == "call-2"
    assert [type(one) for one in hall.commands[1:]] == [cm.ReportPartyLeft, cm.ReportPartyJoined]
    await until(lambda: not part._last_reports)


async def test_a_bug_in_one_hello_does_not_end_them_all(
    part: MediaPart, hall: ScriptedHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a hall whose first answer makes no sense, then the worker goes on to say that it lives."""
    monkeypatch.setattr(media_part, "HELLO_S", 0.02)
    hall.failures_count = 1
    part._begin(part._say_hello("main"))
    await until(lambda: hall.hellos_count >= 3)


async def test_a_division_that_does_not_answer_keeps_no_hello_from_the_others(
    part: MediaPart, hall: ScriptedHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13: given a division whose shard is frozen, then the other one goes on hearing that the worker lives."""
    monkeypatch.setattr(media_part, "HELLO_S", 0.02)
    part._settings = msgspec.structs.replace(part._settings, hall=HallSettings(["main", "east"], "unix:///nowhere"))
    hall.silent_division_id = "main"
    part._begin_hellos()
    await until(lambda: hall.hellos_count >= 5)
