"""Events to clients: each number once, in order, whatever is lost on the way. SAFETY.md 10."""

import asyncio
import random

import pytest

from actors import feed, mailbox, outbox, subscription
from actors.hall import Hall, HallUnavailable, Notice, Subscribed
from actors.items import Subscribe
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, local_hall
from actors.subscription import Subscription
from dispatch import model
from dispatch.events import AgentActivityChanged, CallEnded, CallQueued, Connected, Disconnected, Event
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.actors.kit import AGENT, PLAN, Client, history, ready, told_to, until_journaled
from tests.waiting import until


async def toggle(hall: Hall, times: int, agent_id: str = "anna") -> None:
    """Two events for the agent a time."""
    for _ in range(times):
        await hall.agent(agent_id).set_not_ready("tea")
        await hall.agent(agent_id).set_ready()


async def changes_of(journal: MemoryJournal, agent_id: str = "anna") -> list[Event]:
    return [
        event
        for event in await history(journal)
        if isinstance(event, AgentActivityChanged) and event.agent_id == agent_id
    ]


async def test_a_client_that_comes_back_gets_what_it_missed(
    hall: Hall, other_hall: Hall, journal: MemoryJournal
) -> None:
    """Given a client that was away while things happened; when it resumes through another gateway; then nothing is missing."""
    agent = Client(AGENT)
    assert (await agent.connect(hall)).kind == "welcome"
    await toggle(hall, 2)
    await until(lambda: agent.seq == 4)
    await agent.leave()
    await toggle(hall, 3)
    assert (await agent.connect(other_hall)).kind == "resumed"
    await toggle(hall, 1)
    await until(lambda: agent.seq == 12)
    assert agent.events == await changes_of(journal)


async def test_a_shard_failover_is_a_pause(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """Given a connected client; when the shard is killed and replaced; then it goes on with its numbers and is told all."""
    agent = Client(AGENT)
    await agent.connect(hall)
    for _ in range(3):
        await toggle(hall, 2)
        await local.kill_shard()
        await local.start_shard()
    await toggle(hall, 1)
    await until(lambda: agent.seq == told_to(local, AGENT))
    assert agent.events == await changes_of(journal)
    assert len(agent.resets) == 1
    assert not agent.is_replaced


async def test_a_renewal_that_a_predecessor_answers_does_not_count(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a shard that was followed and answers under its lease still; when it answers the renewal of a client whose events
    come from the successor by then; then the client is subscribed there all the same, and is told what happens."""

    async def nothing() -> None:
        """It does not ask who owns the division, and does not hear."""

    monkeypatch.setattr(feed, "POLL_S", (0.01, 0.02))
    agent = Client(AGENT)
    await agent.connect(hall)
    before = local.shards[0]
    before.divisions["main"].proved_s += 3_600.0
    monkeypatch.setattr(before._leases, "renew", nothing)
    await local.start_shard()
    before_count = before.items_count
    hall._feeds["main"]._peer = None
    await until(lambda: before.items_count > before_count)
    await before.abort()
    await toggle(hall, 1)
    await until(lambda: agent.seq == told_to(local, AGENT) > 0)


async def test_what_is_no_longer_kept_comes_as_a_reset(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more missed events than are kept; then at the bound all of them come, one past it a snapshot."""
    monkeypatch.setattr(model, "KEPT_EVENTS_MAX", 4)
    monkeypatch.setattr("dispatch.state.KEPT_EVENTS_MAX", 4)
    agent = Client(AGENT)
    await agent.connect(hall)
    await agent.leave()
    await toggle(hall, 2)
    assert (await agent.connect(hall)).kind == "resumed"
    assert len(agent.events) == 4
    await agent.leave()
    await toggle(hall, 2)
    await hall.agent("anna").set_not_ready("lunch")
    reset = await agent.connect(hall)
    assert (reset.kind, reset.seq) == ("reset", 9)
    assert reset.session is not None
    assert reset.session.agent is not None
    assert reset.session.agent.reason == "lunch"


async def test_a_reset_in_a_failover(local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given events that are no longer kept after a failover; then the client is reset, once, and goes on from there."""
    monkeypatch.setattr("dispatch.state.KEPT_EVENTS_MAX", 2)
    agent = Client(AGENT)
    await agent.connect(hall)
    assert local.shard is not None
    local.shard.audience.lost(local.shard._clock.now_ms() + 60_000)
    await toggle(hall, 3)
    await local.kill_shard()
    await local.start_shard()
    await until(lambda: len(agent.resets) == 2)
    await toggle(hall, 1)
    await until(lambda: agent.seq == told_to(local, AGENT))
    assert len(agent.resets) == 2


async def test_a_gateway_that_lost_notices_subscribes_again(
    hall: Hall, local: LocalHall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more notices than an outbox holds; then the gateway's clients miss nothing and see nothing twice."""
    monkeypatch.setattr(outbox, "NOTICES_MAX", 3)
    agents = [Client(f"agent:{agent_id}") for agent_id in ("anna", "carl", "sven")]
    for agent in agents:
        await agent.connect(hall)
    await asyncio.gather(*(toggle(hall, 10, agent_id) for agent_id in ("anna", "carl", "sven")))
    for agent in agents:
        await until(lambda agent=agent: agent.seq == 20)  # type: ignore[misc]
        assert agent.events == await changes_of(journal, agent.recipient.removeprefix("agent:"))


async def test_a_newer_connection_replaces_the_older_one(hall: Hall, other_hall: Hall) -> None:
    """Given a client with two connections through two gateways; then the older one is told so, and only the newer is served."""
    older, newer = Client(AGENT), Client(AGENT)
    await older.connect(hall)
    await newer.connect(other_hall)
    await until(lambda: older.is_replaced)
    await toggle(hall, 1)
    await until(lambda: newer.seq == 2)
    assert (older.events, newer.is_replaced) == ([], False)
    await older.leave()
    await toggle(hall, 1)
    await until(lambda: newer.seq == 4)
    third = Client(AGENT)
    await third.connect(other_hall)
    assert newer.is_replaced


async def test_a_renewal_never_throws_out_a_newer_connection(local: LocalHall, hall: Hall, other_hall: Hall) -> None:
    """Given a client that moved to another gateway, which the shard did not live to tell; then the older one is refused."""
    older, newer = Client(AGENT), Client(AGENT)
    await older.connect(hall)
    assert local.shard is not None
    local.shard.audience._gateway_by_client.clear()
    await newer.connect(other_hall)
    late = Subscribe("main", AGENT, older.connection_id, "g-1/main", 0, True)
    refused = await hall.ask(late)
    assert (refused.kind, refused.reason) == ("refused", "replaced")
    await local.kill_shard()
    await local.start_shard()
    await until(lambda: older.is_replaced)
    await toggle(hall, 1)
    await until(lambda: newer.seq == 2)
    assert not newer.is_replaced


async def test_the_end_of_a_connection_is_repeated_until_it_is_heard(
    local: LocalHall, hall: Hall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a shard that is away when a customer leaves; then its grace begins once there is one, though the caller gave up."""
    customer = Client("customer:c")
    await customer.connect(hall)
    assert (await hall.call("call-1").request("c", "slow")).is_accepted
    await local.kill_shard()
    monkeypatch.setattr(mailbox, "LETTER_S", 0.05)
    with pytest.raises(HallUnavailable):
        await customer.leave()
    monkeypatch.setattr(mailbox, "LETTER_S", 15.0)
    await local.start_shard()

    await until_journaled(journal, CallEnded)
    assert sum(isinstance(event, Disconnected) and event.connection_id != "" for event in await history(journal)) == 1


async def test_subscribing_fails_by_name_and_leaves_nothing(
    local: LocalHall, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no shard; when a client subscribes; then it is refused by name, and its gateway keeps nothing of it."""
    monkeypatch.setattr(mailbox, "LETTER_S", 0.05)
    await local.kill_shard()
    with pytest.raises(HallUnavailable, match="not_ready"):
        await Client(AGENT).connect(hall)
    assert "subscriptions=0" in repr(hall._feeds["main"])


async def test_an_unknown_agent_is_refused(hall: Hall) -> None:
    """Given an agent that is in no plan; when it connects; then it is refused, and nothing is kept of it."""
    subscribed = await hall.subscribe("agent:nobody", "k", None, lambda notices: None, lambda reset: None)
    assert (subscribed.kind, subscribed.reason) == ("refused", "unknown_agent")
    assert "subscriptions=0" in repr(hall._feeds["main"])


async def test_a_client_that_fails_does_not_silence_the_others(hall: Hall) -> None:
    """Given a client whose code raises at each event; then the others of its gateway are told on."""

    def broken(notices: list[Notice]) -> None:
        raise KeyError("a bug")

    await hall.subscribe("agent:carl", "k", None, broken, lambda reset: None)
    agent = Client(AGENT)
    await agent.connect(hall)
    await toggle(hall, 1, "carl")
    await toggle(hall, 1)
    await until(lambda: agent.seq == 2)


async def test_who_comes_and_goes_in_one_turn(
    hall: Hall, other_hall: Hall, local: LocalHall, journal: MemoryJournal
) -> None:
    """Given a customer without a call who connects and leaves in the same turn; then both are answered."""
    await ready(hall, "anna")
    journal.stall()
    stalled = asyncio.create_task(hall.agent("anna").set_not_ready("tea"))
    await asyncio.sleep(0.02)
    item = Subscribe("main", "customer:c", "k-1", "g-2/main", 7)
    subscribed = asyncio.create_task(other_hall.ask(item))
    left = asyncio.create_task(other_hall.unsubscribe("customer:c", "k-1"))
    await asyncio.sleep(0.02)
    journal.go_on()
    assert (await stalled).is_accepted
    assert ((await subscribed).kind, (await subscribed).seq) == ("reset", 0)
    await left
    assert local.shard is not None
    assert not local.shard.ended.is_set()


def notice(seq: int) -> Notice:
    return Notice(AGENT, seq, AgentActivityChanged(seq, "anna", "ready"))


def listening() -> tuple[Subscription, list[int], list[Subscribed]]:
    told: list[int] = []
    resets: list[Subscribed] = []
    client = Subscription(AGENT, "k", lambda notices: told.extend(one.seq for one in notices), resets.append)
    return client, told, resets


async def test_what_overtakes_the_answer_comes_after_it() -> None:
    """Given notices before the answer to the subscription; then those that it holds already are dropped, the others follow."""
    client, told, _ = listening()
    assert all(client.take(notice(seq)) for seq in (4, 5, 6, 7))
    assert told == []
    assert client.settle(5)
    assert told == [6, 7]
    assert client.take(notice(7))
    assert client.take(notice(8))
    assert told == [6, 7, 8]


async def test_a_gap_is_said_and_nothing_is_told_beyond_it() -> None:
    """Given a number that is missing; then the client must subscribe again, and hears nothing out of order."""
    client, told, _ = listening()
    assert client.settle(3)
    assert not client.take(notice(5))
    assert not client.take(notice(6))
    assert told == []
    client.early = []
    assert client.renewed(Subscribed("resumed", 6, None, [notice(4), notice(5), notice(6)]))
    assert client.take(notice(7))
    assert told == [4, 5, 6, 7]


async def test_the_bound_of_early_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many early notices as may wait, and one more; then at the bound all come, one past it is a gap."""
    monkeypatch.setattr(subscription, "EARLY_MAX", 3)
    client, told, _ = listening()
    assert all(client.take(notice(seq)) for seq in (1, 2, 3))
    assert client.settle(0)
    assert told == [1, 2, 3]
    client, told, _ = listening()
    assert all(client.take(notice(seq)) for seq in (1, 2, 3, 4))
    assert not client.settle(0)
    assert told == [1, 2, 3]


async def test_divisions_of_one_shard_do_not_take_each_others_notices(journal: MemoryJournal) -> None:
    """Given two divisions in a shard with agents of the same id, in one gateway; then each hears its own, and all of it."""
    other = Plan(
        division_id="other",
        queues=[QueuePlan(id="loans", media="external", recording="off")],
        agents=[AgentPlan(id="anna")],
    )
    async with local_hall(PLAN, journal, (other,)) as local:
        hall = local.hall("g-1")
        here, there = Client(AGENT, "main"), Client(AGENT, "other")
        await here.connect(hall)
        await there.connect(hall)
        for round_number in range(20):
            await hall.agent("anna", "main").set_not_ready(f"here {round_number}")
            await hall.agent("anna", "other").set_not_ready(f"there {round_number}")
        await until(lambda: here.seq == there.seq == 20)
        assert [event.reason for event in here.events] == [f"here {n}" for n in range(20)]  # type: ignore[union-attr]
        assert [event.reason for event in there.events] == [f"there {n}" for n in range(20)]  # type: ignore[union-attr]
        await local.kill_shard()
        await local.start_shard()
        await hall.agent("anna", "other").set_ready()
        await until(lambda: there.seq == 21)
        assert not here.is_replaced
        assert not there.is_replaced
        await hall.close()


async def test_a_thousand_reconnects_give_exactly_the_journals_history(
    local: LocalHall, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given 1,000 reconnects at random through two gateways while commands flow, shards die and notices are dropped at the
    bound; then the client was told exactly the journal's history, nothing twice and nothing missing."""
    monkeypatch.setattr(outbox, "NOTICES_MAX", 5)
    monkeypatch.setattr(feed, "POLL_S", (0.005, 0.01))
    chance = random.Random(20_261_123)
    halls = [local.hall("g-1"), local.hall("g-2")]
    agent = Client(AGENT)
    is_over = False

    async def talk() -> None:
        driver = local.hall("g-driver")
        while not is_over:
            await toggle(driver, 1)
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.005)))
        await driver.close()

    async def die() -> None:
        while not is_over:
            await asyncio.sleep(0.5)
            await local.kill_shard()
            await asyncio.sleep(0.02)
            await local.start_shard()

    others = [asyncio.create_task(talk()), asyncio.create_task(die())]
    await agent.connect(halls[0])
    for _ in range(1_000):
        if chance.random() < 0.5:
            await agent.leave()
        await agent.connect(chance.choice(halls))
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01)))
    is_over = True
    await asyncio.gather(*others)
    await until(lambda: agent.seq == told_to(local, AGENT))
    changes = await changes_of(journal)
    assert len(changes) > 1_000
    assert len(agent.resets) == 1
    assert agent.events == changes[len(changes) - len(agent.events) :]
    assert len(changes) - len(agent.events) == agent.resets[0].seq
    connected = [event for event in await history(journal) if isinstance(event, Connected)]
    assert len(connected) >= 1_000
    assert not agent.has(CallQueued)
    for hall in halls:
        await hall.close()
