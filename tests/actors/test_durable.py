"""Nothing is visible before it is durable, and nothing stepped is ever taken back: SAFETY.md 1 and DESIGN.md."""

import asyncio

import pytest

from actors import answering, intake, mailbox, shard
from actors.hall import Hall, HallUnavailable
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall
from dispatch.commands import LoseGateway
from dispatch.events import CallQueued, Disconnected
from tests.actors.kit import AGENT, PLAN, Client, history, ready, ringing
from tests.waiting import until


async def test_while_the_journal_stalls_nothing_is_visible(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """Given a stalled journal; when a call is asked for; then no answer, notice or read until the entry is durable."""
    customer, agent = Client("customer:c"), Client(AGENT)
    await customer.connect(hall)
    await agent.connect(hall)
    await ready(hall, "anna")
    await until(lambda: agent.seq == 1)
    journal.stall()
    asked = asyncio.create_task(hall.call("call-1").request("c", "loans", command_id="r"))
    await asyncio.sleep(0.05)
    read = asyncio.create_task(hall.call("call-1").view())
    depth = asyncio.create_task(hall.agents())
    await asyncio.sleep(0.1)
    assert local.shard is not None
    assert "call-1" in local.shard.divisions["main"].engine.state.calls
    assert not asked.done()
    assert not read.done()
    assert not depth.done()
    assert (customer.events, len(agent.events)) == ([], 1)
    journal.go_on()
    assert (await asked).is_accepted
    view = await read
    assert view is not None
    assert view.state == "reserved"
    await depth
    await until(lambda: customer.has(CallQueued) and len(agent.events) == 2)


async def test_effects_wait_for_the_journal_too(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """16: given an accepted reservation that is not durable; then no media worker hears of it."""
    reservation_id = await ringing(hall, "carl", queue_id="cards")
    assert local.shard is not None
    performed: list[object] = []
    local.shard._performer.perform = lambda division_id, effects: performed.extend(effects)  # type: ignore[method-assign]
    journal.stall()
    accepted = asyncio.create_task(hall.agent("carl").accept(reservation_id))
    await asyncio.sleep(0.1)
    assert performed == []
    journal.go_on()
    assert (await accepted).is_accepted
    assert len(performed) == 1


async def test_a_lost_reply_is_not_a_lost_append(hall: Hall, journal: MemoryJournal) -> None:
    """1: given appends that took effect without saying so; then the same ones are repeated, and each command is in once."""
    journal.lose_replies(3)
    replies = await asyncio.gather(*(hall.call(f"call-{n}").request(f"c-{n}", "slow") for n in range(5)))
    assert all(reply.is_accepted for reply in replies)
    queued = [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
    assert sorted(queued) == [f"call-{n}" for n in range(5)]


async def test_a_refused_append_is_repeated(hall: Hall, journal: MemoryJournal) -> None:
    """1: given appends that were refused for store trouble; then the stepped command is durable in the end, not refused."""
    journal.refuse_appends(4, "out_of_memory")
    assert (await hall.call("call-1").request("c", "slow")).is_accepted
    assert sum(isinstance(event, CallQueued) for event in await history(journal)) == 1


async def test_only_what_was_not_stepped_is_refused(
    hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: given a store that stays away; then what came later is refused by name, what was stepped is answered in the end."""
    monkeypatch.setattr(intake, "UNSTEPPED_S", 0.2)
    journal.refuse_appends(12)
    stepped = asyncio.create_task(hall.call("stepped").request("c-1", "slow"))
    await asyncio.sleep(0.02)
    other = Hall(hall._network, hall.division_ids, hall._find_owner, gateway_id="g-9")
    with pytest.raises(HallUnavailable, match="store_unavailable"):
        await other.call("unstepped").request("c-2", "slow")
    assert not stepped.done()
    assert (await stepped).is_accepted
    await other.close()
    queued = [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
    assert queued == ["stepped"]


async def test_a_store_that_hangs_refuses_the_unstepped_too(
    hall: Hall, other_hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: given a store that neither answers nor fails; then what waits for it is refused by name all the same."""
    monkeypatch.setattr(intake, "UNSTEPPED_S", 0.2)
    monkeypatch.setattr(shard, "STALL_MS", 100)
    journal.stall()
    stepped = asyncio.create_task(hall.call("stepped").request("c-1", "slow"))
    await asyncio.sleep(0.02)
    with pytest.raises(HallUnavailable, match="store_unavailable"):
        await other_hall.call("unstepped").request("c-2", "slow")
    journal.go_on()
    assert (await stepped).is_accepted


async def test_the_shells_own_commands_are_never_refused(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: given a command of the shell's own, which nobody repeats; when the store stays away for long; then it happens."""
    monkeypatch.setattr(intake, "UNSTEPPED_S", 0.05)
    customer = Client("customer:c")
    await customer.connect(hall)
    assert (await hall.call("call-1").request("c", "slow")).is_accepted
    journal.refuse_appends(12)
    stepped = asyncio.create_task(hall.call("stepped").request("c-1", "slow"))
    await asyncio.sleep(0.02)
    assert local.shard is not None
    local.shard.submit("main", LoseGateway(gateway_id="g-1/main"))
    assert (await stepped).is_accepted
    view = await hall.call("stepped").view()
    assert view is not None
    assert any(isinstance(event, Disconnected) for event in await history(journal))


async def test_a_fenced_shard_ends_and_its_successor_answers(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """1, 13: given a shard that froze and was replaced under a name with a higher epoch; then its next append ends it."""
    assert (await hall.call("before").request("c-1", "slow")).is_accepted
    frozen = local.shard
    assert frozen is not None
    successor = await local.start_shard()
    try:
        assert frozen.settings.name != successor.settings.name
        assert (await hall.call("after").request("c-2", "slow")).is_accepted
        await asyncio.wait_for(frozen.ended.wait(), 5.0)
        view = await hall.call("before").view()
        assert view is not None
        assert view.state == "waiting"
        queued = [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
        assert queued == ["before", "after"]
        with pytest.raises(shard.ShardEnded):
            await frozen.receive("s", 0, b"\x90")
        with pytest.raises(shard.ShardEnded):
            await frozen.poll("g-1/main", 0, 1.0)
    finally:
        await frozen.abort()


async def test_a_shard_asked_to_stop_finishes_what_it_has(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """Given commands on their way into a slow journal; when the shard stops in good order; then they are answered first."""
    journal.stall()
    asked = asyncio.create_task(hall.call("call-1").request("c", "slow"))
    await asyncio.sleep(0.05)
    assert local.shard is not None
    stopping = asyncio.create_task(local.shard.stop())
    await asyncio.sleep(0.05)
    journal.go_on()
    await stopping
    assert (await asked).is_accepted


async def test_a_shard_killed_with_commands_waiting_leaves_them_to_its_successor(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """5: given commands that wait for a stalled store; when the shard is killed; then its successor carries each out once."""
    journal.stall()
    asked = [asyncio.create_task(hall.call(f"call-{n}").request(f"c-{n}", "slow", command_id="r")) for n in range(20)]
    await asyncio.sleep(0.05)
    await local.kill_shard()
    journal.go_on()
    await local.start_shard()
    assert all(reply.is_accepted for reply in await asyncio.gather(*asked))
    queued = [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
    assert sorted(queued) == sorted(f"call-{n}" for n in range(20))


async def test_overload_is_refused_by_name(hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many items waiting as may; then all of them are answered; a batch beyond is refused as overloaded."""
    monkeypatch.setattr(intake, "WAITING_MAX", 10)
    replies = await asyncio.gather(*(hall.call(f"a-{n}").request(f"a-{n}", "slow") for n in range(10)))
    assert all(reply.is_accepted for reply in replies)
    outcomes = await asyncio.gather(*(hall.call(f"b-{n}").view() for n in range(11)), return_exceptions=True)
    assert all(isinstance(one, HallUnavailable) and one.reason == "overloaded" for one in outcomes)


async def test_a_repeat_gets_the_first_answer_through_another_gateway_after_a_failover(
    local: LocalHall, hall: Hall, other_hall: Hall
) -> None:
    """6: given an accepted and a refused command; when both are repeated after a failover elsewhere; then the same answers."""
    first = await hall.call("call-1").request("c", "slow", command_id="r-1")
    refused = await hall.call("call-2").request("c", "slow", command_id="key:r-2")
    assert (first.reason, refused.reason) == ("", "already_in_call")
    await local.kill_shard()
    await local.start_shard()
    assert await other_hall.call("call-1").request("c", "slow", command_id="r-1") == first
    assert (await other_hall.call("call-1").hang_up(principal="customer:c")).is_accepted
    assert await other_hall.call("call-2").request("c", "slow", command_id="key:r-2") == refused
    assert await other_hall.call("call-1").request("c", "slow", command_id="r-1") == first
    reused = await other_hall.call("call-3").request("c", "slow", command_id="r-1")
    assert reused.reason == "key_reused"


async def test_a_read_that_fails_is_its_askers_trouble(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4: given a view with a bug; then its reader hears `internal`, and whoever shares the turn is answered."""

    def broken(state: object, item: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(answering, "read", broken)
    read, asked = await asyncio.gather(
        hall.call("call-1").view(), hall.call("call-1").request("c", "slow"), return_exceptions=True
    )
    assert isinstance(read, HallUnavailable)
    assert read.reason == "internal"
    assert not isinstance(asked, BaseException)
    assert asked.is_accepted
    assert local.shard is not None
    assert not local.shard.ended.is_set()


async def test_an_item_of_a_division_that_lives_elsewhere(local: LocalHall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a directory that stays behind; when an item comes for another shard; then it waits within its bound."""
    monkeypatch.setattr(mailbox, "LETTER_S", 0.2)
    hall = Hall(local.network, ["other"], lambda division_id: local.directory.owner_name(PLAN.division_id))
    with pytest.raises(HallUnavailable, match="not_ready"):
        await hall.queues()
    await hall.close()
