"""Deadlines, leases and outages: SAFETY.md 8 and 9."""

import asyncio
import time

import pytest
from msgspec import structs

from actors import audience, shard, workers
from actors.hall import Hall
from actors.items import WorkerHello
from actors.journal_memory import MemoryJournal
from actors.local import LocalDirectory, LocalHall, local_hall
from actors.store_client import StoreUnavailable
from dispatch.commands import LoseGateway, RequestCall
from dispatch.events import (
    CallEnded,
    CallQueued,
    CallReserved,
    Connected,
    Disconnected,
    ReservationAccepted,
    ReservationClosed,
    Resumed,
)
from tests.actors.kit import AGENT, PLAN, Client, history, ready, ringing, until_journaled
from tests.waiting import until


async def test_timers_fire_without_traffic(hall: Hall, journal: MemoryJournal) -> None:
    """Given a ringing call and nobody who says anything; then its reservation expires at its instant."""
    agent = Client(AGENT)
    await agent.connect(hall)
    await ringing(hall)
    await until(lambda: agent.has(ReservationClosed))
    [reserved] = [event for event in agent.events if isinstance(event, CallReserved)]
    [closed] = [event for event in agent.events if isinstance(event, ReservationClosed)]
    assert (closed.outcome, closed.at_ms) == ("expired", reserved.expires_at_ms)


async def test_a_turn_has_a_bound_and_timers_keep_their_place(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more items than a turn takes, a deadline among them; then several turns, and all in the order of instants."""
    monkeypatch.setattr(shard, "TURN_MAX", 2)
    await ringing(hall)
    assert local.shard is not None
    turns_count = local.shard.turns_count
    clock, [call] = local.shard._clock, list(local.shard.divisions["main"].engine.state.calls.values())
    for number in range(10):
        local.shard.submit("main", RequestCall(call_id=f"late-{number}", customer_id=f"l-{number}", queue_id="slow"))
        if number == 4:
            clock.not_behind(call.reservations[0].expires_at_ms)
    await until(lambda: len(local.shard._intake) == 0)  # type: ignore[union-attr]
    await hall.queues()
    assert local.shard.turns_count - turns_count >= 5
    events = [event for event in await history(journal) if isinstance(event, CallQueued | ReservationClosed)]
    names = [getattr(event, "outcome", "") or event.call_id for event in events]
    assert names == ["call-1", *[f"late-{n}" for n in range(5)], "expired", *[f"late-{n}" for n in range(5, 10)]]
    assert [event.at_ms for event in events] == sorted(event.at_ms for event in events)


async def test_after_a_recovery_resume_comes_before_what_is_due(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """8: given a ringing call and an outage longer than it may ring; then after the recovery it rings on."""
    reservation_id = await ringing(hall)
    assert local.shard is not None
    await local.directory.note_alive({"main": 1}, local.shard._clock.now_ms())
    await local.kill_shard()
    await asyncio.sleep(1.2)
    await local.start_shard()
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted
    events = await history(journal)
    assert [event.outage_ms >= 1_200 for event in events if isinstance(event, Resumed)] == [True]
    kinds = [type(event) for event in events if isinstance(event, Resumed | ReservationClosed | ReservationAccepted)]
    assert kinds == [Resumed, ReservationAccepted]


async def test_after_a_stall_what_waited_comes_before_what_is_due(
    hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given an accept that waits for a stalled store beyond the reservation's end; then it counts."""
    reservation_id = await ringing(hall)
    journal.stall()
    stalled = asyncio.create_task(hall.call("call-2").request("c-2", "slow"))
    await asyncio.sleep(0.05)
    other = Hall(hall._network, hall.division_ids, hall._find_owner, gateway_id="g-9")
    accepted = asyncio.create_task(other.agent("anna").accept(reservation_id))
    await asyncio.sleep(1.5)
    journal.go_on()
    assert (await stalled).is_accepted
    assert (await accepted).is_accepted
    assert sum(isinstance(event, Resumed) for event in await history(journal)) == 1
    await other.close()


async def test_after_a_stall_what_waited_comes_before_what_does_not_move(journal: MemoryJournal) -> None:
    """8: given a call whose wait ends in a stall, which gives no wait back; when its customer hung up in the stall, after that
    instant; then that is how the call ended: who was heard comes before what became due unheard."""
    queue = structs.replace(PLAN.queues[2], wait_ms_max=1_000)
    async with local_hall(structs.replace(PLAN, queues=[*PLAN.queues[:2], queue]), journal) as local:
        hall, other = local.hall("g-1"), local.hall("g-2")
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        await other.queues()
        journal.stall()
        stalled = asyncio.create_task(hall.call("call-2").request("c-2", "loans"))
        await asyncio.sleep(1.2)
        hung_up = asyncio.create_task(other.call("call-1").hang_up(principal="customer:c-1"))
        await asyncio.sleep(0.3)
        journal.go_on()
        assert (await stalled).is_accepted
        assert (await hung_up).is_accepted
        ended = {event.call_id: event.reason for event in await history(journal) if isinstance(event, CallEnded)}
        assert ended == {"call-1": "customer_hung_up"}
        await hall.close()
        await other.close()


async def test_after_a_stall_nobody_answers_what_is_due_moves(hall: Hall, journal: MemoryJournal) -> None:
    """8: given a ringing call and a stall longer than it may ring; then it expires by the stall later, and queued-at stays."""
    await ringing(hall)
    journal.stall()
    stalled = asyncio.create_task(hall.call("call-2").request("c-2", "slow"))
    await asyncio.sleep(1.5)
    journal.go_on()
    assert (await stalled).is_accepted
    view = await hall.call("call-1").view()
    assert view is not None
    assert view.state == "reserved"
    events = await history(journal)
    [queued] = [event for event in events if isinstance(event, CallQueued) and event.call_id == "call-1"]
    assert view.queued_at_ms == queued.queued_at_ms


async def test_a_journal_ahead_of_the_wall_clock_takes_no_new_calls(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given a wall clock far behind the journal; then new calls are refused by name; the others, and repeats, are served."""
    reservation_id = await ringing(hall)
    assert (await hall.call("call-2").request("c-2", "slow", command_id="r-2")).is_accepted
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - 60_000_000_000)
    assert (await hall.call("call-3").request("c-3", "slow")).reason == "clock_behind"
    assert (await hall.agent("anna").invite("call-4", "c-4", "slow")).reason == "clock_behind"
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted
    assert (await hall.call("call-2").request("c-2", "slow", command_id="r-2")).is_accepted


async def test_a_successor_whose_clock_is_behind_keeps_the_journals_time(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given a node whose clock is behind; when the shard starts there; then no event is earlier than the one before."""
    await ready(hall, "anna")
    await local.kill_shard()
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - 4_000_000_000)
    await local.start_shard()
    assert (await hall.call("call-1").request("c-1", "loans")).is_accepted
    instants = [event.at_ms for event in await history(journal)]
    assert instants == sorted(instants)


async def test_a_silent_gateway_is_lost_with_its_clients(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9: given a gateway that dies without a word; then its clients' grace begins after the lease, and ends their calls."""
    monkeypatch.setattr(audience, "GATEWAY_LEASE_MS", 100)
    monkeypatch.setattr(shard, "ALIVE_EVERY_S", 0.05)
    dying = local.hall("g-dying")
    await Client("customer:c").connect(dying)
    assert (await hall.call("call-1").request("c", "slow")).is_accepted
    await dying.close()

    await until_journaled(journal, CallEnded)
    reasons = [event.reason for event in await history(journal) if isinstance(event, CallEnded)]
    assert reasons == ["customer_lost"]


async def test_a_gateway_taken_for_lost_gets_its_clients_back(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """9: given a gateway that froze beyond its lease, with clients that were never told anything; then they are back."""
    customer, agent = Client("customer:c"), Client(AGENT)
    await customer.connect(hall)
    assert local.shard is not None
    recipients = local.shard.divisions["main"].engine.state.recipients
    await until(lambda: "customer:c" in recipients)
    for gateway_id in local.shard.audience.lost(local.shard._clock.now_ms() + 60_000):
        local.shard.submit("main", LoseGateway(gateway_id=gateway_id))
    await agent.connect(hall)
    await until(lambda: bool(recipients.get("customer:c") and recipients["customer:c"].connection_id))
    assert (await hall.call("call-1").request("c", "slow")).is_accepted
    await until(lambda: customer.has(CallQueued))
    assert not customer.is_replaced


class SilentDirectory(LocalDirectory):
    """Does not answer while `is_silent`."""

    is_silent = False

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]:
        if self.is_silent:
            raise StoreUnavailable("timeout")
        return await super().note_alive(epochs, at_ms)


async def test_a_store_that_is_silent_ends_no_lease(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """9: given gateways and workers that cannot be heard while the store is away; then nobody is lost, until it is back."""
    monkeypatch.setattr(audience, "GATEWAY_LEASE_MS", 300)
    monkeypatch.setattr(shard, "ALIVE_EVERY_S", 0.05)
    monkeypatch.setattr(shard, "STALL_MS", 100)
    async with local_hall(PLAN, journal) as local:
        await local.kill_shard()
        local.directory = directory = SilentDirectory()
        await local.start_shard()
        gone = local.hall("g-gone")
        await Client("customer:c").connect(gone)
        await gone.close()
        directory.is_silent = True
        await asyncio.sleep(1.0)
        assert not any(isinstance(event, Disconnected) for event in await history(journal))
        directory.is_silent = False
        await until_journaled(journal, Disconnected)


async def test_an_append_that_stalls_ends_no_lease(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9: given a stall longer than every lease; then no gateway and no worker is lost in it."""
    monkeypatch.setattr(audience, "GATEWAY_LEASE_MS", 1_000)
    monkeypatch.setattr(shard, "ALIVE_EVERY_S", 0.05)
    monkeypatch.setattr(shard, "STALL_MS", 100)
    customer = Client("customer:c")
    gone = local.hall("g-gone")
    await customer.connect(gone)
    await gone.close()
    await hall.hello(WorkerHello("main", "m-1", 1, [], 0, 10))
    journal.stall()
    stalled = asyncio.create_task(hall.call("call-1").request("c-1", "slow"))
    await asyncio.sleep(2.0)
    journal.go_on()
    assert (await stalled).is_accepted
    assert not any(isinstance(event, Disconnected) for event in await history(journal))
    assert "m-1" in (await hall.status())["divisions"]["main"]["media_rooms"]


async def test_a_stall_in_which_nothing_was_decided_is_one_too(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given a ringing call, and a store that is silent beyond its end while only a read waits for it; then it rings on."""
    monkeypatch.setattr(shard, "STALL_MS", 500)
    async with local_hall(PLAN, journal) as local:
        hall = local.hall("g-1")
        reservation_id = await ringing(hall)
        silent, note_alive = True, local.directory.note_alive

        async def refuse(epochs: dict[str, int], at_ms: int) -> set[str]:
            if silent:
                raise StoreUnavailable("timeout")
            return await note_alive(epochs, at_ms)

        local.directory.note_alive = refuse  # type: ignore[method-assign]
        assert local.shard is not None
        local.shard.divisions["main"].proved_s -= 30.0
        read = asyncio.create_task(hall.call("call-1").view())
        await asyncio.sleep(1.5)
        assert not read.done()
        silent = False
        await read
        assert (await hall.agent("anna").accept(reservation_id)).is_accepted
        kinds = [type(event) for event in await history(journal) if isinstance(event, Resumed | ReservationClosed)]
        assert kinds == [Resumed]
        await hall.close()


async def test_a_frozen_shard_gives_the_time_back(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given a shard whose process is frozen beyond a reservation's end; then it is an outage, not a missed call."""
    monkeypatch.setattr(shard, "STALL_MS", 100)
    reservation_id = await ringing(hall)
    await asyncio.sleep(0.05)
    time.sleep(1.5)  # noqa: ASYNC251 - this is the freeze
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted
    kinds = [type(event) for event in await history(journal) if isinstance(event, Resumed | ReservationClosed)]
    assert kinds == [Resumed]


async def test_a_frozen_shard_gives_all_of_the_time_back(
    hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: given a shard frozen at the beginning of a reservation; then the agent has nearly as long as before."""
    monkeypatch.setattr(shard, "STALL_MS", 100)
    reservation_id = await ringing(hall)
    await asyncio.sleep(0.05)
    time.sleep(1.5)  # noqa: ASYNC251 - this is the freeze
    await until_journaled(journal, Resumed)
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted
    events = await history(journal)
    assert not any(isinstance(event, ReservationClosed) for event in events)
    [resumed] = [event for event in events if isinstance(event, Resumed)]
    assert resumed.outage_ms >= 1_500 - shard.AWAKE_MS


def test_an_outage_takes_no_time_from_who_is_expected() -> None:
    """9: given a worker that a recovered shard still waits for, and an outage meanwhile; then it has its time all the same."""
    known = workers.Workers()
    known.expect("m-1", 1, 0)
    known.forgive(1_500, 2_000)
    allowed_ms = workers.EXPECTED_MS + workers.WORKER_LEASE_MS
    assert known.lost(allowed_ms) == []
    assert [one.worker_id for one in known.lost(allowed_ms + 1)] == ["m-1"]


async def test_connections_are_journaled_once(hall: Hall, journal: MemoryJournal) -> None:
    """11: given a client that stays; then the journal holds its connect and its disconnect, and no heartbeats."""
    customer = Client("customer:c")
    await customer.connect(hall)
    await asyncio.sleep(0.3)
    await customer.leave()
    kinds = [type(event) for event in await history(journal) if isinstance(event, Connected | Disconnected)]
    assert kinds == [Connected, Disconnected]
