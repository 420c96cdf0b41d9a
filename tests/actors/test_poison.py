"""Bugs in a step hurt one command, or one division by name, and nobody else: SAFETY.md 4."""

import asyncio
from typing import Any, cast

import pytest

from actors.hall import Hall, HallUnavailable
from actors.hosting import HostedDivision
from actors.items import WorkerHello
from actors.journal import Append
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, local_hall
from dispatch import commands as cm
from dispatch import events as ev
from dispatch.codec import encode_events
from dispatch.effects import Reply
from dispatch.engine import DECISIONS, Engine
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.actors.kit import PLAN, Client, history, ringing
from tests.waiting import until

OTHER = Plan(
    division_id="other",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none", reservation_timeout_ms=1_000)],
    agents=[AgentPlan(id="anna")],
)


def poisonous(engine: Engine, command: Any) -> Any:
    """Changes state, and then breaks."""
    engine.emit(ev.CallQueued(engine.now_ms, "half-done", "half", "loans", engine.now_ms, engine.now_ms))
    raise ZeroDivisionError("a bug")


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[Any, Any]", DECISIONS), cm.FinishWrapUp, poisonous)


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Divisions in the order in which their memory was made anew."""
    seen: list[str] = []
    recover = HostedDivision.recover

    async def counted(self: HostedDivision) -> None:
        seen.append(self.division_id)
        await recover(self)

    monkeypatch.setattr(HostedDivision, "recover", counted)
    return seen


def finish(command_id: str = "f-1") -> cm.Command:
    return cm.FinishWrapUp(principal="agent:anna", id=command_id, agent_id="anna", call_id="call-1")


@pytest.mark.usefixtures("poison")
async def test_a_poisonous_command_is_quarantined_and_its_neighbours_are_not(
    local: LocalHall, hall: Hall, journal: MemoryJournal, replays: list[str]
) -> None:
    """Given a step that changes state and raises, in one turn with others; then it alone is refused, after one repeat."""
    outcomes = await asyncio.gather(
        hall.call("call-1").request("c-1", "slow"),
        hall.submit(finish()),
        hall.call("call-2").request("c-2", "slow"),
        hall.call("call-1").view(),
    )
    assert [outcomes[0].reason, outcomes[1].reason, outcomes[2].reason] == ["", "quarantined", ""]
    assert outcomes[3] is not None
    assert outcomes[3].state == "waiting"
    assert replays == ["main", "main"]
    queued = [event.call_id for event in await history(journal) if isinstance(event, ev.CallQueued)]
    assert queued == ["call-1", "call-2"]
    assert local.shard is not None
    division = local.shard.divisions["main"]
    digest = division.engine.digest()
    await division.recover()
    assert division.engine.digest() == digest


@pytest.mark.usefixtures("poison")
async def test_a_repeat_of_it_is_known_by_name(hall: Hall, other_hall: Hall, replays: list[str]) -> None:
    """Given a quarantined command; when its sender repeats it through any gateway; then no memory is made anew for it."""
    assert (await hall.submit(finish())).reason == "quarantined"
    assert (await other_hall.submit(finish())).reason == "quarantined"
    assert replays == ["main", "main"]
    assert (await hall.submit(finish("f-2"))).reason == "quarantined"
    assert len(replays) == 4


async def test_a_step_that_fails_once_only_is_carried_out(
    hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a step that raises the first time; then its repeat after the replay counts, and is in the journal once."""
    decide = DECISIONS[cm.RequestCall]
    fails = iter([True])

    def fragile(engine: Any, command: Any) -> Any:
        if next(fails, False):
            raise MemoryError
        return decide(engine, command)

    monkeypatch.setitem(cast("dict[Any, Any]", DECISIONS), cm.RequestCall, fragile)
    assert (await hall.call("call-1").request("c", "slow", command_id="r")).is_accepted
    assert sum(isinstance(event, ev.CallQueued) for event in await history(journal)) == 1


@pytest.mark.usefixtures("poison")
async def test_what_a_worker_said_is_not_lost_in_the_repeat(local: LocalHall, hall: Hall) -> None:
    """16: given a worker's new epoch and a poisonous command in one turn; then its earlier rooms are lost all the same."""
    assert local.shard is not None
    engine = local.shard.divisions["main"].engine
    await hall.hello(WorkerHello("main", "m-1", 1, [], 0, 10))
    reservation_id = await ringing(hall, "carl", queue_id="cards")
    assert (await hall.agent("carl").accept(reservation_id)).is_accepted
    await until(lambda: bool(engine.state.calls["call-1"].rooms[0].worker_id))
    await asyncio.gather(hall.submit(finish()), hall.hello(WorkerHello("main", "m-1", 2, [], 0, 10)))
    engine = local.shard.divisions["main"].engine
    assert engine.state.calls["call-1"].room_attempt == 2


def failing_timers(monkeypatch: pytest.MonkeyPatch, division_id: str) -> None:
    expire = Engine.expire

    def broken(self: Engine, now_ms: int) -> Any:
        if self.state.division_id == division_id:
            raise ZeroDivisionError("a bug in a timer")
        return expire(self, now_ms)

    monkeypatch.setattr(Engine, "expire", broken)


async def test_timers_that_raise_stop_their_division_by_name(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch, replays: list[str]
) -> None:
    """Given a division whose timers raise; then it stops, by name, and no command is blamed; the other one goes on."""
    failing_timers(monkeypatch, "main")
    async with local_hall(PLAN, journal, (OTHER,)) as local:
        hall = local.hall("g-1")
        await ringing(hall)
        assert local.shard is not None
        division = local.shard.divisions["main"]
        await until(lambda: bool(division.stopped_reason))
        assert len(replays) == 4  # two at the start
        for item in (hall.call("call-2").request("c-2", "slow"), hall.call("call-1").view()):
            with pytest.raises(HallUnavailable, match="division_stopped"):
                await item
        status = (await hall.status())["divisions"]
        assert (status["main"]["stopped_reason"], status["other"]["stopped_reason"]) == ("division_stopped", "")
        assert (await hall.agent("anna", "other").set_ready()).is_accepted
        assert (await hall.call("call-9", "other").request("c-9", "loans")).is_accepted
        assert not local.shard.ended.is_set()
        await hall.close()


async def test_an_entry_that_no_journal_takes_stops_its_division_only(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a turn in which one division decides more than an entry may hold; then that one stops by name and nothing of it
    is shown; its neighbours' entries of that very turn are durable."""
    async with local_hall(PLAN, journal, (OTHER,)) as local:
        hall = local.hall("g-1")
        assert (await hall.agent("anna", "other").set_ready()).is_accepted
        monkeypatch.setattr("actors.journal.PAYLOAD_BYTES_MAX", 400)
        too_much = [hall.call(f"call-{number}").request(f"c-{number}", "slow") for number in range(20)]
        *refused, accepted = await asyncio.gather(
            *too_much, hall.agent("anna", "other").set_not_ready("break"), return_exceptions=True
        )
        assert {str(one) for one in refused} == {"division_stopped"}
        assert isinstance(accepted, Reply)
        assert accepted.is_accepted
        assert not any(isinstance(event, ev.CallQueued) for event in await history(journal))
        assert local.shard is not None
        assert not local.shard.ended.is_set()
        await hall.close()


async def test_a_stopped_division_disowns_no_room(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """16: given a stopped division; when a worker asks for its rooms; then none is disowned: an absent shard closes no room."""
    failing_timers(monkeypatch, "main")
    async with local_hall(PLAN, journal) as local:
        hall = local.hall("g-1")
        await ringing(hall)
        assert local.shard is not None
        division = local.shard.divisions["main"]
        await until(lambda: bool(division.stopped_reason))
        with pytest.raises(HallUnavailable, match="division_stopped"):
            await hall.hello(WorkerHello("main", "m-1", 1, [("call-1", 1)], 1, 10))
        await hall.close()


async def test_an_event_that_cannot_be_replayed_stops_its_division_only(journal: MemoryJournal) -> None:
    """Given a journal with an impossible event; when a shard starts on it; then that division is stopped, the other serves."""
    opened = await journal.open("main")
    impossible = ev.CallConnected(1, "no-such-call", "anna", "c")
    await journal.append([Append("main", opened.epoch, 1, encode_events([impossible]))])
    async with local_hall(PLAN, journal, (OTHER,)) as local:
        hall = local.hall("g-1")
        with pytest.raises(HallUnavailable, match="division_stopped"):
            await hall.queues("main")
        with pytest.raises(HallUnavailable, match="division_stopped"):
            await Client("customer:c", "main").connect(hall)
        assert (await hall.agent("anna", "other").set_ready()).is_accepted
        await hall.close()
    assert await journal.last_batch("main") == 1
