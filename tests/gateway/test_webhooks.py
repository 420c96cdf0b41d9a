"""Webhooks: a real receiver, a real archive, a real store; in order per call, nothing lost, bounds held."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from actors.archive_reading import START, Placed
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from actors.webhook_book import Progress
from gateway import webhook_sender
from gateway.webhook_events import FIELDS, TYPES, cloud_event
from gateway.webhook_sender import ATTEMPTS_MIN, FLIGHTS_MAX, EndpointSender, SendingSettings
from gateway.webhook_signing import new_secret
from tests.gateway.receiving import Receiver, is_signed
from tests.gateway.webhook_desk import QUICK, RULES, SECRET, Desk, life
from tests.journal.conftest import client, store
from tests.waiting import until

__all__ = ["client", "store"]


@pytest.fixture
async def desk(tmp_path: Path, client: StoreClient) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "archive", client)
    await desk.receiver.start()
    yield desk
    await desk.stop()
    await desk.receiver.stop()
    await desk.archive.close()


async def test_an_event_arrives_as_the_page_says(desk: Desk) -> None:
    """Given a call; then CloudEvents in structured mode, signed, with the call as subject, and nothing that is personal."""
    await desk.endpoint()
    [call_id] = await desk.calls(1, 1_795_468_663_805)
    await desk.start(SendingSettings(give_up_after_ms=604_800_000))
    await until(lambda: len(desk.receiver.taken) == 4)
    first = desk.receiver.taken[0]
    assert first.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert is_signed(first, SECRET, time.time())
    assert not is_signed(first, new_secret(), time.time())
    assert first.headers["webhook-id"] == first.id == "main.1.0"
    assert first.event == {
        "specversion": "1.0",
        "id": "main.1.0",
        "source": "/divisions/main",
        "type": "tellerhall.call_queued",
        "subject": call_id,
        "time": "2026-11-23T21:17:43.805Z",
        "sequence": "00000000000000000001.000000",
        "datacontenttype": "application/json",
        "data": {
            "call_id": call_id,
            "at_ms": 1_795_468_663_805,
            "customer_id": "c-1",
            "queue_id": "loans",
            "queued_at_ms": 1_795_468_663_805,
            "media": "room",
            "recording": "required",
            "is_callback": False,
            "cause": "",
        },
    }
    assert [one.event["type"] for one in desk.receiver.taken] == [
        "tellerhall.call_queued", "tellerhall.call_reserved", "tellerhall.reservation_accepted", "tellerhall.call_ended",
    ]  # fmt: skip
    assert desk.receiver.taken[3].event["data"]["reason"] == "other"
    sent = b"".join(one.body for one in desk.receiver.asked)
    assert b"Anna" not in sent
    assert b"rude" not in sent


def test_what_leaves_is_named_and_exists() -> None:
    """Given the fields that leave; then every one of them is the event's, and none is a text that people write."""
    for kind, names in FIELDS.items():
        assert set(names) <= set(kind.__struct_fields__), kind
        assert not {"business_reference", "text", "files", "gaps"} & set(names)
    assert len(set(TYPES)) == len(TYPES)


async def test_order_per_call_under_failures(desk: Desk) -> None:
    """Given a receiver that fails every third request; then each call's events are taken in order, one at a time."""
    await desk.endpoint()
    calls = await desk.calls(30)
    count = 0

    def answer(_: object) -> int:
        nonlocal count
        count += 1
        return 500 if count % 3 == 0 else 200

    desk.receiver.answer = answer
    desk.receiver.delay_s = 0.005
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 4 * len(calls))
    taken = desk.receiver.by_call()
    assert set(taken) == set(calls)
    for ids in taken.values():
        batches = [int(one.split(".")[1]) for one in ids]
        assert batches == sorted(batches)
        assert len(batches) == 4
    assert desk.receiver.overlaps == []
    assert desk.receiver.flights_max <= FLIGHTS_MAX
    await desk.settled()
    await desk.stop()
    progress = await desk.progress()
    assert (progress.position[0], progress.waiting_count, progress.given_up_count) == (desk.batch, 0, 0)
    assert progress.delivered_count == len(desk.receiver.taken)


async def test_one_call_that_fails_holds_up_no_other(desk: Desk) -> None:
    """Given a call whose first event is refused again and again; then all others arrive, and its later events wait."""
    await desk.endpoint()
    stuck, *others = await desk.calls(10)
    desk.receiver.answer = lambda one: 422 if one.event["subject"] == stuck else 200
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 4 * len(others))
    assert {one.event["type"] for one in desk.receiver.asked if one.event["subject"] == stuck} == {
        "tellerhall.call_queued"
    }
    await desk.stop()
    assert (await desk.progress()).position == START
    desk.receiver.answer = lambda _: 200
    await desk.start()
    await until(lambda: len(desk.receiver.by_call().get(stuck, [])) == 4)


async def test_only_what_was_asked_for(desk: Desk) -> None:
    """Given an endpoint for one type; then it hears of that alone; disabled, of nothing, until it is enabled again."""
    endpoint = await desk.endpoint(["tellerhall.call_ended"])
    await desk.calls(2)
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 2)
    assert {one.event["type"] for one in desk.receiver.asked} == {"tellerhall.call_ended"}
    endpoint.is_enabled = False
    await desk.book.put(endpoint)
    assert desk.webhooks is not None
    await desk.webhooks.look()
    await desk.calls(1)
    await asyncio.sleep(3 * webhook_sender.POLL_S)
    assert len(desk.receiver.asked) == 2
    endpoint.is_enabled = True
    await desk.book.put(endpoint)
    await until(lambda: len(desk.receiver.taken) == 3)


async def test_two_secrets_while_one_is_changed(desk: Desk) -> None:
    """Given a new secret and an old one that is still good; then either fits; one that is over is not used."""
    endpoint = await desk.endpoint()
    now_ms, fresh = time.time_ns() // 1_000_000, new_secret()
    endpoint.secrets = [fresh, type(fresh)(SECRET.key, now_ms + 60_000)]
    await desk.book.put(endpoint)
    await desk.calls(1)
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 4)
    assert is_signed(desk.receiver.taken[0], fresh, time.time())
    assert is_signed(desk.receiver.taken[0], SECRET, time.time())
    endpoint.secrets = [fresh, type(fresh)(SECRET.key, now_ms)]
    await desk.book.put(endpoint)
    assert desk.webhooks is not None
    await desk.webhooks.look()
    await desk.calls(1)
    await until(lambda: len(desk.receiver.taken) == 8)
    assert is_signed(desk.receiver.taken[-1], fresh, time.time())
    assert not is_signed(desk.receiver.taken[-1], SECRET, time.time())


async def test_a_redirect_is_not_followed(desk: Desk) -> None:
    """Given a receiver that sends elsewhere; then nobody goes there, and it counts as a failure."""
    await desk.endpoint()
    await desk.calls(1)
    elsewhere = Receiver()
    await elsewhere.start()
    desk.receiver.headers = {"Location": elsewhere.url}
    desk.receiver.answer = lambda _: 307
    await desk.start()
    await until(lambda: len(desk.receiver.asked) >= 3)
    assert elsewhere.asked == []
    await elsewhere.stop()
    await desk.stop()
    assert (await desk.progress()).last_failure == "status 307"


async def test_a_receiver_that_is_down_is_asked_one_by_one(desk: Desk) -> None:
    """Given a receiver that is away; when it comes back; then all arrives at once, without waiting for each call's pause."""
    await desk.endpoint()
    calls = await desk.calls(40)
    port = desk.receiver.port
    await desk.receiver.stop()
    await desk.start(SendingSettings(timeout_ms=2_000, backoff_first_s=0.2, backoff_max_s=30.0))
    assert desk.webhooks is not None

    await until(lambda: bool(desk.webhooks and desk.webhooks._senders))
    await until(lambda: desk.sender.progress.failed_count > webhook_sender.FAILING_COUNT + FLIGHTS_MAX)
    await desk.receiver.start(port)
    await until(lambda: len(desk.receiver.taken) == 4 * len(calls))


async def test_the_end_of_patience(desk: Desk) -> None:
    """Given events older than the bound, refused `ATTEMPTS_MIN` times; then they are dead letters, and newer ones go on."""
    await desk.endpoint()
    [old] = await desk.calls(1, time.time_ns() // 1_000_000 - 3_600_000)
    desk.receiver.answer = lambda one: 500 if one.event["subject"] == old else 200
    await desk.start(SendingSettings(2_000, give_up_after_ms=1_800_000, backoff_first_s=0.01, backoff_max_s=0.02))
    await until(lambda: len(desk.receiver.asked) == 4 * ATTEMPTS_MIN)
    [young] = await desk.calls(1)
    await until(lambda: len(desk.receiver.by_call().get(young, [])) == 4)
    await desk.settled()
    await desk.stop()
    letters = await desk.book.dead_letters("e-1")
    assert [one.event_id for one in letters] == ["main.1.0", "main.2.0", "main.3.0", "main.5.0"]
    assert {one.failure for one in letters} == {"status 500"}
    progress = await desk.progress()
    assert (progress.given_up_count, progress.position[0]) == (4, desk.batch)
    assert await desk.book.dead_counts(["e-1"]) == [4]
    # Once more, at an operator's word: delivered in order, and gone from the book.
    desk.receiver.answer = lambda _: 200
    await desk.book.want_again("e-1", letters)
    await desk.start()
    await until(lambda: len(desk.receiver.by_call().get(old, [])) == 4)
    async with asyncio.timeout(20):
        while await desk.book.dead_counts(["e-1"]) != [0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert desk.receiver.by_call()[old] == ["main.1.0", "main.2.0", "main.3.0", "main.5.0"]


async def test_no_more_than_so_many_dead_letters(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many dead letters as are kept; then one more makes the oldest go, and that is counted."""
    monkeypatch.setattr("actors.webhook_book.DEAD_MAX", 4)
    await desk.endpoint()
    desk.receiver.answer = lambda _: 500
    at_ms = time.time_ns() // 1_000_000 - 3_600_000
    await desk.calls(1, at_ms)
    await desk.start(SendingSettings(2_000, give_up_after_ms=60_000, backoff_first_s=0.01, backoff_max_s=0.02))
    await desk.settled()
    await desk.stop()
    assert (await desk.progress()).dropped_count == 0
    desk.batch += 1
    await desk.archive.add([(desk.batch, [life("late", at_ms)[0]])])
    await desk.start(SendingSettings(2_000, give_up_after_ms=60_000, backoff_first_s=0.01, backoff_max_s=0.02))
    await desk.settled()
    await desk.stop()
    assert len(desk.receiver.asked) == 5 * ATTEMPTS_MIN
    assert (await desk.progress()).dropped_count == 1
    assert next(one.event_id for one in await desk.book.dead_letters("e-1")) == "main.2.0"


async def test_what_is_in_memory_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a receiver that takes nothing; then so many events are read and no more, and none is lost for that."""
    monkeypatch.setattr(webhook_sender, "OUTSTANDING_MAX", 20)
    monkeypatch.setattr(webhook_sender, "PAGE", 10)
    endpoint = await desk.endpoint()
    await desk.calls(20)
    async with aiohttp.ClientSession() as http:
        sender = EndpointSender(endpoint, Progress(START), desk.read_of("main"), desk.book, http, RULES, QUICK)
        for _ in range(5):
            sender._read_at_s = -1.0
            await sender._maybe_fill()
        assert len(sender._outstanding) == 20
        assert sender._head == (20, 0)


async def test_a_restart_repeats_so_much_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one call that is stuck; then nothing is read further from it than the bound: a restart is cheap."""
    monkeypatch.setattr(webhook_sender, "SPAN_MAX", 40)
    monkeypatch.setattr(webhook_sender, "PAGE", 10)
    await desk.endpoint()
    stuck, *_ = await desk.calls(20)
    desk.receiver.answer = lambda one: 500 if one.event["subject"] == stuck else 200
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 38)
    await asyncio.sleep(2 * webhook_sender.POLL_S)
    assert max(int(one.id.split(".")[1]) for one in desk.receiver.taken) == 40


async def test_a_killed_sender_loses_nothing(desk: Desk, store: EmbeddedStore, tmp_path: Path) -> None:
    """Given a sender process that is killed (kill -9) three times in the middle; then every event arrives, in order."""
    await desk.endpoint()
    calls = await desk.calls(60)
    desk.receiver.delay_s = 0.01
    for _ in range(3):
        count = len(desk.receiver.taken)
        process = start_sender(store.url, tmp_path / "archive")
        try:
            await until(lambda count=count: len(desk.receiver.taken) >= count + 30)  # type: ignore[misc]
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    process = start_sender(store.url, tmp_path / "archive")
    try:
        await until(lambda: sum(map(len, desk.receiver.by_call().values())) == 4 * len(calls))
    finally:
        process.kill()
        process.wait()
    for ids in desk.receiver.by_call().values():
        batches = [int(one.split(".")[1]) for one in ids]
        assert batches == sorted(batches)
        assert len(batches) == 4
    bodies: dict[str, set[bytes]] = {}
    for one in desk.receiver.asked:
        bodies.setdefault(one.id, set()).add(one.body)
    assert all(len(found) == 1 for found in bodies.values()), "a repeat is the same event under the same id"


def start_sender(url: str, archive: Path) -> "subprocess.Popen[bytes]":
    """A process that sends what the book says, out of the archive, until it is killed."""
    return subprocess.Popen([sys.executable, "-m", "tests.gateway.webhook_process", url, str(archive)])


async def test_trouble_of_the_store_is_waited_out(desk: Desk, store: EmbeddedStore) -> None:
    """Given a store that is away for a while; then sending goes on, and the place is kept once it is back."""
    await desk.endpoint()
    await desk.calls(5)
    await desk.start()
    await until(lambda: len(desk.receiver.taken) == 20)
    await store.stop()
    await desk.calls(5)
    await asyncio.sleep(1.0)
    await store.start()
    await until(lambda: len(desk.receiver.by_call()) == 10 and sum(map(len, desk.receiver.by_call().values())) == 40)
    await desk.settled()
    await desk.stop()
    assert (await desk.progress()).position[0] == desk.batch


async def test_placed_events_have_stable_ids() -> None:
    """Given an event's position; then its id and sequence follow from it and the division alone."""
    placed = Placed(7, 2, life("k", 1)[0])
    first, again = cloud_event("main", placed), cloud_event("main", placed)
    assert first == again
    assert first is not None
    assert first.sequence < cloud_event("main", Placed(10, 0, life("k", 1)[0])).sequence  # type: ignore[union-attr]
