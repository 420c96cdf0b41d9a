"""Divisions on their way between shards while calls are live: nothing lost, nothing twice, and every step's way back."""

import asyncio
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import moving, takeover
from actors.hall import Hall
from actors.hosting import HostedDivision
from actors.journal import StoreUnavailable
from actors.journal_memory import MemoryJournal
from actors.local import LocalDirectory, LocalHall, local_hall
from actors.moving import MoveRefused
from dispatch.commands import ApplyPlan, LoseGateway
from dispatch.events import CallEnded, CallQueued, Connected, RoomAssigned, RoomOpened
from dispatch.model import Recipient
from tests.actors.kit import PLAN, Client, history, ringing, until_journaled
from tests.actors.test_effects import accepted, put_to_work
from tests.actors.test_ownership import EAST
from tests.waiting import until


@pytest.fixture
async def local(journal: MemoryJournal) -> AsyncIterator[LocalHall]:
    """Three shards: `main` at shard 0, `east` at shard 1, nothing at shard 2."""
    async with local_hall(PLAN, journal, (EAST,), shards_count=3) as local:
        yield local


def home(local: LocalHall, division_id: str = "main") -> int:
    """The number of the shard that serves the division."""
    [number] = [number for number, shard in local.shards.items() if division_id in shard.divisions]
    return number


def recipient(local: LocalHall, recipient_id: str) -> Recipient:
    return local.shards[home(local)].divisions["main"].engine.state.recipients[recipient_id]


class Caller:
    """One customer who calls and hangs up again and again, and notes what was acknowledged."""

    def __init__(self, hall: Hall, number: int) -> None:
        self._hall = hall
        self._number = number
        self.queued: list[str] = []
        self.ended: list[str] = []
        self._is_done = False
        self._task = asyncio.create_task(self._call())

    async def _call(self) -> None:
        while not self._is_done:
            call_id = f"call-{self._number}-{len(self.queued)}"
            call = self._hall.call(call_id)
            assert (await call.request(f"c-{self._number}", "slow", command_id=f"r-{call_id}")).is_accepted
            self.queued.append(call_id)
            assert (await call.hang_up(command_id=f"h-{call_id}")).is_accepted
            self.ended.append(call_id)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._is_done = True
        await self._task


def each_once(callers: list[Caller], events: list[Any]) -> None:
    """Assert that every acknowledged call began and ended once, by the callers' own books."""
    queued = Counter(event.call_id for event in events if isinstance(event, CallQueued))
    ended = Counter(event.call_id for event in events if isinstance(event, CallEnded))
    assert queued == Counter(call_id for caller in callers for call_id in caller.queued)
    assert ended == Counter(call_id for caller in callers for call_id in caller.ended)


async def test_a_move_loses_nothing_and_does_nothing_twice(
    local: LocalHall, hall: Hall, other_hall: Hall, journal: MemoryJournal
) -> None:
    """Given callers at work through two gateways; when the division goes round all shards; then each command counts once."""
    callers = [Caller(one, number) for number in range(20) for one in [hall if number % 2 else other_hall]]
    for slot_id in ("shard-1", "shard-2", "shard-0", "shard-1"):
        await asyncio.sleep(0.1)
        done = sum(len(caller.ended) for caller in callers)
        await hall.move("main", slot_id)
        assert home(local) == int(slot_id[-1])
        await until(lambda done=done: sum(len(caller.ended) for caller in callers) > done + 20)  # type: ignore[misc]
    for caller in callers:
        await caller.stop()
    each_once(callers, await history(journal))
    assert (await local.directory.read_placement()).slots == {"main": "shard-1", "east": "shard-1"}


async def test_event_numbers_go_on(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """10: given clients with live calls; when the division moves there and back; then each sees each number once, in order."""
    clients = [Client(f"customer:c-{number}") for number in range(30)]
    for number, client in enumerate(clients):
        await client.connect(hall)
        assert (await hall.call(f"call-{number}").request(f"c-{number}", "slow")).is_accepted
    for slot_id in ("shard-1", "shard-0"):
        await hall.move("main", slot_id)
        for number in range(30):
            assert (await hall.call(f"call-{number}").set_priority(1_000 * number)).is_accepted
    for number in range(30):
        assert (await hall.call(f"call-{number}").hang_up()).is_accepted
    for client in clients:
        await until(lambda client=client: client.has(CallEnded))  # type: ignore[misc]
        assert len(client.resets) == 1
        assert (client.seq, len(client.events)) == (recipient(local, client.recipient).seq, client.seq)
    connected = Counter(event.recipient for event in await history(journal) if isinstance(event, Connected))
    assert connected == {client.recipient: 1 for client in clients}


async def test_room_orders_come_again_under_their_attempts(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """16: given an order whose answer the source did not live to hear; then the new owner gives it, as the same attempt."""
    worker = put_to_work(local, "m-1", 1)
    worker.can_answer.clear()
    await worker.say_hello(hall)
    await accepted(hall)
    await until(lambda: worker.opened() == [1])
    await hall.move("main", "shard-1")
    await until(lambda: worker.opened() == [1, 1])
    worker.can_answer.set()
    await until_journaled(journal, RoomOpened)
    assert sum(isinstance(event, RoomAssigned | RoomOpened) for event in await history(journal)) == 2


async def test_a_reservation_rings_on(local: LocalHall, hall: Hall) -> None:
    """8: given a call that rings; when its division moves; then it rings on, and is accepted at the new owner."""
    reservation_id = await ringing(hall)
    await hall.move("main", "shard-2")
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted


async def test_the_source_forgets_the_division(local: LocalHall, hall: Hall) -> None:
    """Given a division that moved away; then nothing of it is left: no memory, no waiting item, no client, no command."""
    source = local.shards[0]
    division = weakref.ref(source.divisions["main"])
    client = Client("customer:c-1")
    await client.connect(hall)
    await hall.move("main", "shard-1")
    await until(lambda: division() is None)
    source.submit("main", LoseGateway(gateway_id="g-1/main"))
    assert (source.divisions, source.waiting_count) == ({}, 0)
    assert repr(source.audience) == "<Audience gateways=0 clients=0>"
    assert not source.ended.is_set()


# -- what is refused


async def test_what_is_not_there_is_refused_by_name(local: LocalHall, hall: Hall) -> None:
    """Given a division, a slot or a part that is none; then the move is refused by name, and nothing has changed."""
    before = await local.directory.read_placement()
    for division_id, slot_id, reason in (
        ("north", "shard-1", "unknown_division"),
        ("main", "shard-9", "unknown_slot"),
        ("main", "gateway-1", "unknown_slot"),
    ):
        with pytest.raises(MoveRefused) as refused:
            await hall.move(division_id, slot_id)
        assert refused.value.reason == reason
    assert await local.directory.read_placement() == before
    await hall.move("main", "shard-0")
    assert home(local) == 0


class BusyDirectory(LocalDirectory):
    """Somebody else changes the placement at the same instant, each time."""

    writes_count = 0

    async def write_placement(self, division_id: str, slot_id: str, expected: int) -> bool:
        self.writes_count += 1
        return False


async def test_the_bound_of_a_contested_placement(local: LocalHall, hall: Hall) -> None:
    """Given a placement that others keep changing; then the move is refused by name after WRITE_TRIES."""
    busy = BusyDirectory()
    busy.parts = local.directory.parts
    assert await busy.write_owner("main", 1, "shard-0-e1")
    with pytest.raises(MoveRefused, match="placement_changed"):
        await moving.move(local.network, busy, "main", "shard-1")
    assert busy.writes_count == moving.WRITE_TRIES


# -- ways back


async def test_a_target_that_is_gone_leaves_the_source_at_work(local: LocalHall, hall: Hall) -> None:
    """Given a target that was killed; then the move is refused, and the division goes on and stays placed where it was."""
    await local.kill_shard(1)
    with pytest.raises(MoveRefused, match="not_ready"):
        await hall.move("main", "shard-1")
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    assert (await local.directory.read_placement()).slots["main"] == "shard-0"


async def test_a_move_that_failed_undoes_no_other(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a target that does not answer, and another move that came through meanwhile; then that one's word stands."""
    monkeypatch.setattr(moving, "MOVE_S", 1.0)

    is_asked = asyncio.Event()

    async def mute(sender: str, number: int, payload: bytes) -> bytes:
        is_asked.set()
        await asyncio.Event().wait()
        return b""

    await local.kill_shard(1)
    local.network.parts["shard-1-e1"] = type("Mute", (), {"receive": staticmethod(mute)})
    first = asyncio.create_task(hall.move("main", "shard-1"))
    await is_asked.wait()
    await hall.move("main", "shard-2")
    with pytest.raises(MoveRefused, match="not_ready"):
        await first
    assert (await local.directory.read_placement()).slots["main"] == "shard-2"
    assert home(local) == 2


async def test_the_bound_of_a_move(local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a target that never answers; then the move is refused after MOVE_S, and its wish is taken back."""
    monkeypatch.setattr(moving, "MOVE_S", 0.1)

    async def mute(sender: str, number: int, payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    frozen = local.shards[1]
    frozen.ended.set()
    frozen.receive = mute  # type: ignore[method-assign]
    with pytest.raises(MoveRefused, match="not_ready"):
        await hall.move("main", "shard-1")
    assert home(local) == 0
    assert (await local.directory.read_placement()).slots["main"] == "shard-0"


async def test_a_target_that_cannot_replay_leaves_the_source_at_work(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4: given a target with a bug in its replay; then the source is never asked to let go."""

    async def broken(division: HostedDivision) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(HostedDivision, "warm_up", broken)
    with pytest.raises(MoveRefused, match="cannot_replay"):
        await hall.move("main", "shard-1")
    assert home(local) == 0
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    assert (await local.directory.read_placement()).slots["main"] == "shard-0"


async def test_the_bound_of_warming_up(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a journal that grows as fast as it is read; then the move is refused in time, and the source goes on."""
    monkeypatch.setattr(takeover, "WARM_UP_S", 0.1)
    read, is_warming = journal.read, True

    async def never_ends(division_id: str, after_batch: int, count_max: int) -> Any:
        if division_id == "main" and is_warming:
            await asyncio.sleep(0.01)
            return []
        return await read(division_id, after_batch, count_max)

    monkeypatch.setattr("actors.hosting.READ_BATCHES", 0)
    monkeypatch.setattr(journal, "read", never_ends)
    with pytest.raises(MoveRefused, match="cannot_catch_up"):
        await hall.move("main", "shard-1")
    is_warming = False
    assert home(local) == 0
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted


async def test_a_target_that_dies_after_the_source_let_go(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a target killed while nobody owns the division; then the next incarnation of its slot starts with it."""
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    open_division = HostedDivision.open
    is_reached = asyncio.Event()

    async def hangs(division: HostedDivision) -> None:
        is_reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(HostedDivision, "open", hangs)
    moved = asyncio.create_task(hall.move("main", "shard-1"))
    await is_reached.wait()
    asked = asyncio.create_task(hall.call("call-2").request("c-2", "slow"))
    await local.kill_shard(1)
    moved.cancel()  # As its gateway would die with the same machine: nobody puts the placement back.
    await asyncio.gather(moved, return_exceptions=True)
    monkeypatch.setattr(HostedDivision, "open", open_division)
    await local.start_shard(1)
    assert (await asked).is_accepted
    view = await hall.call("call-1").view()
    assert view is not None
    assert view.state == "waiting"
    assert home(local) == 1


async def test_a_source_that_does_not_answer_is_fenced(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13: given a source that lives and cannot be reached; then the target takes the next epoch, the source decides nothing."""
    monkeypatch.setattr(takeover, "LET_GO_S", 0.1)
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    source = local.shards[0]
    receive = source.receive

    async def mute(sender: str, number: int, payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    source.receive = mute  # type: ignore[method-assign]
    await hall.move("main", "shard-1")
    assert (await hall.call("call-2").request("c-2", "slow")).is_accepted
    source.receive = receive  # type: ignore[method-assign]
    source.submit("main", ApplyPlan(plan=PLAN, digest="a stale wish"))
    await asyncio.wait_for(source.ended.wait(), 5.0)
    assert "main" not in source.divisions
    queued = [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
    assert queued == ["call-1", "call-2"]


class ForgetfulDirectory(LocalDirectory):
    """Fails a number of writes, the last of them after it was done."""

    faults_count = 0

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool:
        if self.faults_count:
            self.faults_count -= 1
            if not self.faults_count:
                await super().write_owner(division_id, epoch, actor_name)
            raise StoreUnavailable("timeout")
        return await super().write_owner(division_id, epoch, actor_name)


async def test_a_store_in_trouble_between_two_owners_is_asked_again(journal: MemoryJournal) -> None:
    """1: given a store that fails while nobody owns the division; then the target insists, and what was acknowledged is in."""
    async with local_hall(PLAN, journal, shards_count=2) as local:
        await local.kill_shard(0)
        await local.kill_shard(1)
        local.directory = directory = ForgetfulDirectory()
        for number in range(2):
            await local.start_shard(number)
        hall = local.hall("g-1")
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        directory.faults_count = 3
        await hall.move("main", "shard-1")
        assert directory.faults_count == 0
        assert await hall.call("call-1").view() is not None
        await hall.close()


async def test_the_bound_of_insisting(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a store that does not come back in time; then the move is refused, and the former slot takes it once it can."""
    monkeypatch.setattr(takeover, "OPEN_S", 0.3)
    is_away = True
    open_epoch = journal.open

    async def away(division_id: str) -> Any:
        if is_away:
            raise StoreUnavailable("timeout")
        return await open_epoch(division_id)

    monkeypatch.setattr(journal, "open", away)
    with pytest.raises(MoveRefused, match="store_unavailable"):
        await hall.move("main", "shard-1")
    is_away = False
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    assert home(local) == 0


async def test_the_bound_of_takeovers_at_a_time(local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many takeovers under way as may; then one more is refused by name."""
    monkeypatch.setattr(takeover, "TAKES_MAX", 0)
    with pytest.raises(MoveRefused, match="overloaded"):
        await hall.move("main", "shard-1")
    assert home(local) == 0
