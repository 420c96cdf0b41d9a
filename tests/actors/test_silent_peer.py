"""Somebody at the other end who is stuck: what it costs those who wait beside, and for how long."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from actors import mailbox as mailbox_module
from actors import media_part
from actors.items import HallUnavailable, encode, encode_array
from actors.local import LocalNetwork
from actors.mailbox import Mailbox
from actors.media_items import CloseRoomOrder, MediaAnswer, SdpOffer, decode_media_answer
from actors.media_part import MediaPart, MediaPartSettings
from actors.parts import HallSettings
from media import reports as rp
from tests.actors.kit import Address, ScriptedPeer
from tests.waiting import until

ORDER_S = 0.2


@pytest.fixture
async def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaPart:
    """A media worker's part whose worker was never started; what it is asked is scripted by the tests."""
    monkeypatch.setattr(media_part, "ORDER_S", ORDER_S)
    worker = rp.MediaSettings(worker_id="1", recordings_folder=str(tmp_path), is_contract_checked=False)
    settings = MediaPartSettings(HallSettings(["main"], "unix:///nowhere"), worker)
    return MediaPart(msgspec.msgpack.encode(settings), LocalNetwork())


async def orders(part: MediaPart, *items: Any) -> list[MediaAnswer]:
    answer = await part.receive("gateway-1", 0, encode_array([encode(item) for item in items]))
    return [decode_media_answer(body) for body in msgspec.msgpack.decode(answer, type=list[Raw])]


async def test_one_stuck_party_costs_the_others_of_its_batch_a_bounded_time(
    part: MediaPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker that never answers one of two parties, then that one is told so by name and the other has its answer."""

    async def open_link(call_id: str, attempt: int, party: str, sdp: str, flow: str) -> tuple[str, str]:
        if call_id == "stuck":
            await asyncio.Event().wait()
        return f"answer to {sdp}", "link-1"

    monkeypatch.setattr(part._worker, "open_link", open_link)
    offers = [SdpOffer(call_id, 1, "customer", "offer") for call_id in ("stuck", "fine")]
    assert await orders(part, *offers) == [MediaAnswer("overloaded"), MediaAnswer("", "answer to offer", "link-1")]


async def test_a_room_that_closes_slowly_is_closed_all_the_same(
    part: MediaPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a slow disk, when a room closes too slowly for its order, then the order is answered and the room closed later."""
    go_on, closed = asyncio.Event(), []

    async def close_room(call_id: str, attempt: int) -> None:
        await go_on.wait()
        closed.append(call_id)

    monkeypatch.setattr(part._worker, "close_room", close_room)
    assert await orders(part, CloseRoomOrder("call-1", 1)) == [MediaAnswer("overloaded")]
    assert not closed
    go_on.set()
    await until(lambda: closed == ["call-1"])


async def test_a_peer_that_is_stuck_for_ever_holds_up_no_later_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a peer that never answers its first batch; when its letters have been given up; then the next batch is sent."""
    monkeypatch.setattr(mailbox_module, "LETTER_S", 0.3)
    monkeypatch.setattr(mailbox_module, "REPLACED_CHECK_S", 0.01)

    async def stuck_once(number: int, items: list[Any]) -> bytes:
        if number == 0:
            await asyncio.Event().wait()
        return encode(items)

    peer = ScriptedPeer("media-1-e1", stuck_once)
    mailbox = Mailbox("m", Address(peer).resolve)
    began_s = time.monotonic()
    with pytest.raises(HallUnavailable, match="not_ready"):
        await mailbox.send("first")
    assert time.monotonic() - began_s >= 0.3, "it was waited for"
    assert msgspec.msgpack.decode(await mailbox.send("second")) == "second"
    assert [number for _, number, _ in peer.batches] == [0, 1]
    await mailbox.close()
