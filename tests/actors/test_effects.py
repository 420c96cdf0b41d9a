"""Effects out and reports in: rooms on media workers that die, freeze, refuse and come back. SAFETY.md 16."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import mailbox, performer, shard, workers
from actors.hall import Hall
from actors.inbox import Inbox
from actors.items import WorkerHello, encode
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall
from actors.media_items import CloseRoomOrder, MediaAnswer, OpenRoomOrder, decode_media_items
from actors.performer import Performer, media_actor_name
from actors.workers import Workers
from dispatch.commands import ReportRoomFailed, ReportRoomOpened
from dispatch.effects import RequestRoom
from dispatch.events import RoomAssigned, RoomClosed, RoomLost, RoomOpened
from tests.actors.kit import history, ringing, until_journaled
from tests.waiting import until


class Worker:
    """A media worker as the network shows it: takes orders once each, keeps them, and answers unless it is mute."""

    def __init__(self, worker_id: str, epoch: int) -> None:
        self.worker_id = worker_id
        self.epoch = epoch
        self.orders: list[Any] = []
        self.refusal = ""
        self.can_answer = asyncio.Event()
        self.can_answer.set()
        self._inbox = Inbox()

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._inbox.take(sender, number, lambda: asyncio.ensure_future(self._carry_out(payload)))

    async def _carry_out(self, payload: bytes) -> bytes:
        items = decode_media_items(payload)
        self.orders += items
        await self.can_answer.wait()
        return encode([MediaAnswer(self.refusal) for _ in items])

    def opened(self) -> list[int]:
        """Attempts in the order in which they were to be opened."""
        return [order.attempt for order in self.orders if isinstance(order, OpenRoomOrder)]

    async def say_hello(self, hall: Hall, rooms: list[tuple[str, int]] | None = None) -> list[tuple[str, int]]:
        return await hall.hello(WorkerHello("main", self.worker_id, self.epoch, rooms or [], len(rooms or []), 10))


def put_to_work(local: LocalHall, worker_id: str, epoch: int) -> Worker:
    worker = Worker(worker_id, epoch)
    local.network.parts[media_actor_name(worker_id, epoch)] = worker
    return worker


@pytest.fixture
async def worker(local: LocalHall) -> AsyncIterator[Worker]:
    worker = put_to_work(local, "m-1", 1)
    yield worker
    worker.can_answer.set()


async def accepted(hall: Hall) -> None:
    """Bring a call to connecting: it asks for a room."""
    reservation_id = await ringing(hall, "carl", queue_id="cards")
    assert (await hall.agent("carl").accept(reservation_id)).is_accepted


async def test_the_worker_is_journaled_before_the_room_opens(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal
) -> None:
    """Given a call that asks for a room; then worker and attempt are durable before the order goes out."""
    await worker.say_hello(hall)
    journal_at_order: list[bool] = []
    receive = worker.receive

    async def checked(sender: str, number: int, payload: bytes) -> bytes:
        journal_at_order.append(any(isinstance(event, RoomAssigned) for event in await history(journal)))
        return await receive(sender, number, payload)

    worker.receive = checked  # type: ignore[method-assign]
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    assert journal_at_order == [True]
    assert worker.opened() == [1]


async def test_after_a_recovery_the_effect_comes_again_under_its_attempt(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal
) -> None:
    """Given an order whose answer the shard did not live to hear; then its successor gives it again, as the same attempt."""
    worker.can_answer.clear()
    await worker.say_hello(hall)
    await accepted(hall)
    await until(lambda: worker.opened() == [1])
    await local.kill_shard()
    await local.start_shard()
    worker.can_answer.set()
    await until(lambda: worker.opened() == [1, 1])
    await until_journaled(journal, RoomOpened)
    assert sum(isinstance(event, RoomAssigned | RoomOpened) for event in await history(journal)) == 2


async def test_a_request_without_a_worker_is_repeated_after_a_recovery(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """Given a call that waits for a worker when the shard dies; then its successor finds the one that comes."""
    await accepted(hall)
    await local.kill_shard()
    await local.start_shard()
    worker = put_to_work(local, "m-2", 7)
    await worker.say_hello(hall)
    await until_journaled(journal, RoomOpened)
    assert worker.opened() == [1]


async def test_a_new_epoch_loses_the_rooms_of_the_old_one_once(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal
) -> None:
    """Given a room on a worker that died; when its successor says hello, twice; then the room is lost once."""
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    successor = put_to_work(local, "m-1", 2)
    await successor.say_hello(hall)
    await successor.say_hello(hall)
    await until(lambda: successor.opened() == [2])
    await successor.say_hello(hall, [("call-1", 2)])
    lost = [event for event in await history(journal) if isinstance(event, RoomLost)]
    assert [(event.attempt, event.reason) for event in lost] == [(1, "worker_lost")]


async def test_a_stale_attempt_changes_nothing(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal
) -> None:
    """Given a room's second attempt; when reports on the first arrive late; then they are refused and nothing is journaled."""
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    assert (await hall.submit(ReportRoomFailed(call_id="call-1", attempt=1, reason="broken"))).is_accepted
    await until(lambda: worker.opened() == [1, 2])
    view = await hall.call("call-1").view()
    entries_count = await journal.last_batch("main")
    for late in (
        ReportRoomOpened(call_id="call-1", attempt=1),
        ReportRoomFailed(call_id="call-1", attempt=1, reason="late"),
    ):
        assert (await hall.submit(late)).reason == "stale_attempt"
    assert view is not None
    assert await journal.last_batch("main") - entries_count <= 1  # the second room's own report


async def test_a_frozen_predecessor_is_not_heard(local: LocalHall, hall: Hall, worker: Worker) -> None:
    """Given a worker's successor; when the predecessor wakes up and says hello; then no room goes to it, ever."""
    await worker.say_hello(hall)
    successor = put_to_work(local, "m-1", 2)
    await successor.say_hello(hall)
    await worker.say_hello(hall)
    known = Workers()
    for epoch in (1, 2, 1):
        known.hello(WorkerHello("main", "m-1", epoch, [], 0, 10), 0)
    assert known.choose() == ("m-1", 2)
    assert [one.worker_epoch for one in known.lost(60_000)] == [2]
    known.hello(WorkerHello("main", "m-1", 1, [], 0, 10), 60_000)
    assert known.choose() is None
    await accepted(hall)
    await until(lambda: successor.opened() == [1])
    assert worker.opened() == []


async def test_rooms_that_nobody_knows_are_disowned(hall: Hall, worker: Worker, journal: MemoryJournal) -> None:
    """Given a worker with a room of the hall, an older attempt and an unknown one; then the last two are to be closed."""
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    disowned = await worker.say_hello(hall, [("call-1", 1), ("call-1", 9), ("nobodys", 1)])
    assert disowned == [("call-1", 9), ("nobodys", 1)]


async def test_a_silent_worker_is_lost_with_its_rooms(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an open room on a worker that falls silent; then after its lease the room is lost, and opened on another one."""
    monkeypatch.setattr(shard, "ALIVE_EVERY_S", 0.05)
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    monkeypatch.setattr(workers, "WORKER_LEASE_MS", 100)
    await until_journaled(journal, RoomLost)
    other = put_to_work(local, "m-2", 1)
    monkeypatch.setattr(workers, "WORKER_LEASE_MS", 60_000)
    await other.say_hello(hall)
    await until(lambda: other.opened() == [2])


async def test_a_worker_that_ended_with_the_shard_is_lost_too(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a call whose shard and worker died together, when no worker of that name comes again; then the room is lost."""
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    monkeypatch.setattr(shard, "ALIVE_EVERY_S", 0.05)
    monkeypatch.setattr(workers, "WORKER_LEASE_MS", 100)
    monkeypatch.setattr(workers, "EXPECTED_MS", 100)
    await local.kill_shard()
    await local.start_shard()
    await until_journaled(journal, RoomLost)


async def test_a_worker_that_outlived_the_shard_keeps_its_rooms() -> None:
    """Given a worker that is expected, when it says hello, then only its silence from then on counts."""
    known = Workers()
    known.expect("m-1", 3, 0)
    assert known.choose() is None
    assert known.lost(workers.EXPECTED_MS + workers.WORKER_LEASE_MS) == []
    lost = known.hello(WorkerHello("main", "m-1", 3, [("call-1", 1)], 1, 10), 1_000)
    assert lost is not None
    assert lost.worker_epoch == 2
    assert known.choose() == ("m-1", 3)
    known.expect("m-2", 1, 0)
    assert [one.worker_id for one in known.lost(workers.EXPECTED_MS + workers.WORKER_LEASE_MS + 1)] == ["m-1", "m-2"]


async def test_a_worker_that_cannot_be_reached_costs_an_attempt(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker whose process is gone while its lease lasts; then the order ends by itself and a new attempt begins."""
    monkeypatch.setattr(mailbox, "LETTER_S", 0.1)
    ghost = Worker("m-1", 1)
    await ghost.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomLost)
    [lost, *_] = [event for event in await history(journal) if isinstance(event, RoomLost)]
    assert (lost.attempt, lost.reason) == (1, "worker_not_ready")


async def test_a_worker_that_refuses_costs_an_attempt(hall: Hall, worker: Worker, journal: MemoryJournal) -> None:
    """Given a worker that refuses a room; then that attempt is lost with the worker's reason."""
    worker.refusal = "disk_full"
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomLost)
    [lost, *_] = [event for event in await history(journal) if isinstance(event, RoomLost)]
    assert lost.reason == "disk_full"


async def test_a_room_closes_even_where_nobody_answers(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker that is gone when the call ends; then its room counts as closed after a bounded time."""
    await worker.say_hello(hall)
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    monkeypatch.setattr(mailbox, "LETTER_S", 0.1)
    worker.can_answer.clear()
    assert (await hall.call("call-1").hang_up()).is_accepted
    await until_journaled(journal, RoomClosed)
    assert [order.attempt for order in worker.orders if isinstance(order, CloseRoomOrder)] == [1]


async def test_no_worker_at_all_is_said_by_name(
    hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no worker for as long as one is looked for; then the attempt is lost as `no_media_worker`."""
    monkeypatch.setattr(performer, "CHOOSE_TRIES", 2)
    monkeypatch.setattr(performer, "CHOOSE_PAUSE_S", 0.01)
    await accepted(hall)
    await until_journaled(journal, RoomLost)
    [lost, *_] = [event for event in await history(journal) if isinstance(event, RoomLost)]
    assert lost.reason == "no_media_worker"


async def test_a_performer_that_is_closed_leaves_nothing_running(local: LocalHall, worker: Worker) -> None:
    """Given effects under way, some waiting for a worker and some for its answer; when it is closed; then all of them end."""
    worker.can_answer.clear()
    one = Performer(local.network)
    one.perform("main", [RequestRoom("call-1", 1), RequestRoom("call-2", 2)])
    mailbox_task = asyncio.create_task(one._send("m-1", 1, CloseRoomOrder("call-3", 1)))
    await until(lambda: bool(worker.orders))
    await one.close()
    assert (await mailbox_task).reason == "worker_not_ready"
    assert not one._tasks


async def test_a_burst_is_spread_and_a_full_worker_is_left_out() -> None:
    """Given workers with 2 and 1 free rooms; when four rooms are asked for between two words of theirs; then 2, 1 and none."""
    known = Workers()
    known.hello(WorkerHello("main", "m-1", 1, [], 8, 10), 0)
    known.hello(WorkerHello("main", "m-2", 1, [], 9, 10), 0)
    chosen = [known.choose() for _ in range(4)]
    assert sorted(one[0] for one in chosen if one) == ["m-1", "m-1", "m-2"]
    assert chosen[-1] is None


async def test_a_worker_that_cannot_open_rooms_attracts_no_more_calls(
    local: LocalHall, hall: Hall, worker: Worker, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an empty worker that refuses and a loaded one that does not, then the second attempt goes to the loaded one."""
    other = put_to_work(local, "m-2", 1)
    worker.refusal = "disk_low"
    await worker.say_hello(hall)
    await hall.hello(WorkerHello("main", "m-2", 1, [], 8, 10))
    await accepted(hall)
    await until_journaled(journal, RoomOpened)
    assert (worker.opened(), other.opened()) == ([1], [2])


async def test_a_worker_that_failed_is_trusted_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given two workers of which the emptier failed; then it is asked last, until it has lived on for so many words."""
    monkeypatch.setattr(workers, "SHUNNED_WORDS", 2)
    known = Workers()
    known.hello(WorkerHello("main", "m-2", 1, [], 8, 10), 0)
    known.hello(WorkerHello("main", "m-1", 1, [], 0, 10), 0)
    known.shun("m-1", 1)
    assert [known.choose() for _ in range(3)] == [("m-2", 1), ("m-2", 1), ("m-1", 1)]
    known.hello(WorkerHello("main", "m-2", 1, [], 8, 10), 0)
    known.hello(WorkerHello("main", "m-1", 1, [], 0, 10), 0)
    assert known.choose() == ("m-2", 1)
    known.hello(WorkerHello("main", "m-1", 1, [], 0, 10), 0)
    assert known.choose() == ("m-1", 1)


async def test_what_is_known_of_workers_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more workers over months than are remembered; then the oldest go, and are told anew should they return."""
    monkeypatch.setattr(workers, "TOLD_MAX", 3)
    known = Workers()
    for number in range(4):
        assert known.hello(WorkerHello("main", f"m-{number}", 1, [], 0, 10), 0) is not None
    known.lost(60_000)
    assert known.hello(WorkerHello("main", "m-3", 1, [], 0, 10), 60_000) is None
    assert known.hello(WorkerHello("main", "m-0", 1, [], 0, 10), 60_000) is not None
    assert len(known._told) == 3
