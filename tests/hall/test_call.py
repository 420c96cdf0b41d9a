"""One real video call in two real browsers, and what must be true of it afterwards."""

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import pytest

from tests.hall.conftest import Desk, OpenAgent, OpenCustomer
from tests.hall.pages import Bank
from tests.hall.running import Hall
from tests.hall.talking import HAPPY, connect, finish, history_with, ring, sealed, steps

pytestmark = [pytest.mark.ray, pytest.mark.browser]

TALK_S = 6


async def test_a_call_from_request_to_sealed_recording(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a ready agent, when a customer asks, is answered, talks and hangs up, then both pages and the history say so."""
    customer, agent = await ring(hall, desk, open_customer, open_agent)
    assert int(await agent.text("ring-seconds")) > 0
    assert "W" in await agent.text("ring-customer")
    assert "Xiaoming" not in await agent.text("ring-customer")
    assert await agent.text("ring-queue") == f"Queue {desk.queue_id}"
    assert await agent.text("ring-reference") == "loan-4711"
    assert await agent.text("ring-why")
    call_id = await bank.call_of(desk.customer_id)
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
    for page in (customer, agent):
        await page.sees_and_hears()
        await page.is_recorded()
        assert (await page.stats())["frame_width"] >= 320
    assert await customer.text("other-name") == f"Agent {desk.agent_id}"
    await customer.page.wait_for_timeout(TALK_S * 1000)
    await finish(customer, agent)

    events = await history_with(bank, call_id, "recording_sealed")
    assert steps(events) == HAPPY
    assert [event["at_ms"] for event in events] == sorted(event["at_ms"] for event in events)
    assert_recording(hall, await sealed(bank, call_id), desk, events)


def assert_recording(hall: Hall, manifests: list[dict[str, Any]], desk: Desk, events: list[dict[str, Any]]) -> None:
    """One manifest; its files are there, unchanged, playable, and as long as the call."""
    [manifest] = manifests
    at_ms = {event["type"]: event["at_ms"] for event in reversed(events)}
    assert manifest["gaps"] == []
    assert manifest["business_reference"] == "loan-4711"
    assert manifest["labels"] == {"division": "main", "queue": desk.queue_id}
    talked_s = (at_ms["call_ended"] - at_ms["call_connected"]) / 1000
    folder = hall.data / "recordings"
    playable = [file for file in manifest["files"] if file["kind"] == "webm"]
    assert {file["party"] for file in playable} == {"customer", "agent"}
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    for file in playable:
        pictures, sound_s, picture_s = decode(folder / file["path"])
        # From the first packet, shortly before `connected`, to the last one before the room closed.
        for length_s in (sound_s, picture_s, file["duration_ms"] / 1000):
            assert talked_s - 2 < length_s < talked_s + 20, (length_s, talked_s)
        assert pictures > 5 * talked_s


def decode(path: Path) -> tuple[int, float, float]:
    """Decode all of a file: (number of pictures, seconds of sound, seconds of pictures)."""
    pictures, ends = 0, {"audio": 0.0, "video": 0.0}
    with av.open(str(path)) as container:
        for frame in container.decode():
            kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
            pictures += kind == "video"
            ends[kind] = max(ends[kind], float(frame.time or 0))
    return pictures, ends["audio"], ends["video"]


async def test_declined_goes_back_and_comes_again(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a ringing call, when the only agent declines, then the customer waits on, and may leave the line."""
    customer, agent = await ring(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    await agent.click("decline")
    await customer.becomes("waiting")
    await agent.becomes("ready")
    await customer.click("cancel")
    await customer.becomes("ended")
    events = await history_with(bank, call_id, "call_ended")
    closed = [event["outcome"] for event in events if event["type"] == "reservation_closed"]
    assert closed == ["declined"]
    assert [event["reason"] for event in events if event["type"] == "call_ended"] == ["customer_hung_up"]


async def test_unanswered_goes_back_and_the_agent_is_no_longer_ready(
    hall: Hall, bank: Bank, brief_desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a queue with a short reservation, when nobody answers, then it expires by name and the call keeps its place."""
    customer, agent = await ring(hall, brief_desk, open_customer, open_agent)
    call_id = await bank.call_of(brief_desk.customer_id)
    await agent.becomes("not_ready")
    await customer.becomes("waiting")
    await agent.get_ready()
    await agent.accept()
    await customer.becomes("connected")
    await customer.sees_and_hears()
    await agent.click("hang-up")
    await customer.becomes("ended")
    await agent.becomes("ready")
    events = await history_with(bank, call_id, "recording_sealed")
    assert [event["outcome"] for event in events if event["type"] == "reservation_closed"] == ["expired"]
    assert len([event for event in events if event["type"] == "call_queued"]) == 1


async def test_reload_in_the_call_resumes_it(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the customer's and then the agent's page is loaded anew, then it is the same call with pictures."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    for page in (customer, agent):
        await page.page.reload()
        await page.becomes("connected")
        await customer.sees_and_hears()
        await agent.sees_and_hears()
        await page.is_recorded()
    assert await bank.call_of(desk.customer_id) == call_id
    await finish(customer, agent)
    events = await history_with(bank, call_id, "recording_sealed")
    assert len([event for event in events if event["type"] == "call_connected"]) == 1
    [manifest] = await sealed(bank, call_id)
    segments = {file["party"]: file["segments"] for file in manifest["files"] if file["kind"] == "webm"}
    assert segments == {"customer": 2, "agent": 2}, json.dumps(manifest)
