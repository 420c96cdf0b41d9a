"""Who may answer: redirects to the new owner, and the lease under which anything is answered (SAFETY.md 5, 13)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from actors import lease
from actors.hall import Hall
from actors.items import NOT_OWNER, LetGo, ReadCall, Submit, decode_answer, decode_bodies, encode
from actors.journal import StoreUnavailable
from actors.journal_memory import MemoryJournal
from actors.local import LocalDirectory, LocalHall, local_hall
from actors.mailbox import Mailbox, NotOwner
from actors.shard import Shard, ShardEnded
from dispatch.commands import RequestCall
from dispatch.effects import Reply
from dispatch.events import CallQueued
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.actors.kit import PLAN, Address, ScriptedPeer, history
from tests.waiting import until

EAST = Plan(
    division_id="east",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none")],
    agents=[AgentPlan(id="emma")],
)


@pytest.fixture
async def local(journal: MemoryJournal) -> AsyncIterator[LocalHall]:
    """Two shards: `main` at shard 0, `east` at shard 1."""
    async with local_hall(PLAN, journal, (EAST,), shards_count=2) as local:
        yield local


async def told(shard: Shard, item: object, number: int = 0) -> bytes:
    """Return the shard's answer to one item, as it stands in the batch."""
    [body] = decode_bodies(await shard.receive(f"sender-{number}", 0, encode([item])))
    return bytes(body)


async def read_stale(shard: Shard, item: object, number: int = 0) -> bytes:
    """What a shard that has lost the division says: that, or that it has ended."""
    try:
        return await told(shard, item, number)
    except ShardEnded:
        return NOT_OWNER


# -- redirects


async def test_each_division_lives_in_its_slot(local: LocalHall, hall: Hall) -> None:
    """Given two divisions and two shards; then each hosts one, and callers find both."""
    assert [list(shard.divisions) for shard in local.shards.values()] == [["main"], ["east"]]
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    assert (await hall.call("call-2", "east").request("c-2", "loans")).is_accepted


async def test_what_is_sent_to_the_wrong_shard_is_not_carried_out(local: LocalHall, journal: MemoryJournal) -> None:
    """5: given a batch for two divisions; when the shard owns one; then that item counts, and the other is sent back."""
    batch = [
        Submit("east", RequestCall(call_id="c-east", customer_id="c-1", queue_id="loans")),
        Submit("main", RequestCall(call_id="c-main", customer_id="c-2", queue_id="slow")),
    ]
    bodies = decode_bodies(await local.shards[0].receive("s", 0, encode(batch)))
    assert bytes(bodies[0]) == NOT_OWNER
    reply: Reply = decode_answer(Submit, bodies[1])
    assert reply.is_accepted
    assert not any(isinstance(event, CallQueued) for event in await history(journal, "east"))
    with pytest.raises(NotOwner):
        await local.shards[0].poll("g-1/east", 0, 0.1)


async def test_a_letter_follows_its_division() -> None:
    """5: given a batch of which one letter's division has gone; then that letter alone is sent to the new owner, once."""

    async def lets_go(number: int, items: list[object]) -> bytes:
        address.peer = successor
        return encode([{"refused": "not_owner"} if item == "b" else item for item in items])

    successor = ScriptedPeer("shard-1-e1")
    source = ScriptedPeer("shard-0-e1", lets_go)
    address = Address(None)
    mailbox = Mailbox("m", address.resolve)
    asked = [asyncio.create_task(mailbox.send(item)) for item in ("a", "b", "c")]
    await asyncio.sleep(0.01)
    address.peer = source
    assert [bytes(await one) for one in asked] == [encode(item) for item in ("a", "b", "c")]
    assert [items for _, _, items in source.batches] == [["a", "b", "c"]]
    assert [(number, items) for _, number, items in successor.batches] == [(0, ["b"])]
    await mailbox.close()


async def test_a_peer_met_again_gets_numbers_of_its_own() -> None:
    """5: given a division that goes from one shard to another and back; then no batch looks like a repeat or a straggler."""

    def owner(name: str, letters: set[str], other: str) -> ScriptedPeer:
        async def answer(number: int, items: list[str]) -> bytes:
            if letters.issuperset(items):
                return encode(items)
            address.peer = peers[other]
            return encode([{"refused": "not_owner"} for _ in items])

        return ScriptedPeer(name, answer)

    peers = {"a": owner("a-e1", {"1", "2", "4"}, "b"), "b": owner("b-e1", {"3"}, "a")}
    address = Address(peers["a"])
    mailbox = Mailbox("m", address.resolve)
    for item in ("1", "2", "3", "4"):
        assert bytes(await mailbox.send(item)) == encode(item)
    sent = [(sender, number) for sender, number, _ in peers["a"].batches]
    assert [number for _, number in sent] == [0, 1, 2, 0]
    assert len(set(sent)) == len(sent)
    await mailbox.close()


async def test_a_stale_word_lets_nothing_go(local: LocalHall) -> None:
    """Given the word of a move that was given up, naming an older epoch; then the division stays."""
    shard = local.shards[0]
    reply: Reply = decode_answer(LetGo, await told(shard, LetGo("main", shard.divisions["main"].epoch - 1)))
    assert reply.reason == "owner_changed"
    assert "main" in shard.divisions


# -- the lease


def age(shard: Shard) -> None:
    """Let the process have slept: every proof is older than a lease, and nothing has run meanwhile."""
    for division in shard.divisions.values():
        division.proved_s -= 30.0


async def test_a_shard_that_slept_through_its_replacement_answers_no_read(local: LocalHall, hall: Hall) -> None:
    """13: given a shard that froze and lost its division; when it goes on; then no read and no poll, and it ends."""
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    frozen = local.shards[0]
    await local.start_shard(0)
    age(frozen)
    answers = await asyncio.gather(*(read_stale(frozen, ReadCall("main", "call-1"), one) for one in range(3)))
    assert answers == [NOT_OWNER] * 3
    with pytest.raises((NotOwner, ShardEnded)):
        await frozen.poll("g-1/main", 0, 0.0)
    await asyncio.wait_for(frozen.ended.wait(), 5.0)
    view = await hall.call("call-1").view()
    assert view is not None
    await frozen.abort()


async def test_a_poll_that_slept_is_not_answered_from_memory(local: LocalHall, hall: Hall) -> None:
    """13: given a poll that waits in a shard while that freezes and is replaced; then it is sent to the new owner."""
    frozen = local.shards[0]
    poll = asyncio.create_task(frozen.poll("g-1/main", 1, 0.3))
    await asyncio.sleep(0.05)
    age(frozen)
    frozen.divisions["main"].proved_s -= 30.0
    await local.directory.write_owner("main", 99, "shard-0-e99")
    with pytest.raises((NotOwner, ShardEnded)):
        await poll


async def test_a_refusal_from_memory_needs_the_lease_too(local: LocalHall, hall: Hall) -> None:
    """13: given a command that decides nothing, at a shard that lost its division; then the new owner answers it."""
    frozen = local.shards[0]
    await local.start_shard(0)
    age(frozen)
    unknown = Submit("main", RequestCall(call_id="call-1", customer_id="c-1", queue_id="no-such-queue"))
    assert await read_stale(frozen, unknown) == NOT_OWNER
    await frozen.abort()


class CountingDirectory(LocalDirectory):
    """Counts proofs, and gives none while `is_silent`."""

    proofs_count = 0
    is_silent = False

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]:
        self.proofs_count += 1
        if self.is_silent:
            raise StoreUnavailable("timeout")
        return await super().note_alive(epochs, at_ms)


async def test_a_fresh_lease_asks_nobody(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """13: given reads within a second of the last proof; then the store is not asked; at the first one later it is."""
    monkeypatch.setattr("actors.shard.ALIVE_EVERY_S", 60.0)
    async with local_hall(PLAN, journal) as local:
        await local.kill_shard()
        local.directory = directory = CountingDirectory()
        shard = await local.start_shard()
        hall = local.hall("g-1")
        for _ in range(20):
            await hall.call("none").view()
        assert directory.proofs_count == 0
        shard.divisions["main"].proved_s -= lease.LEASE_S
        await asyncio.gather(*(hall.call("none").view() for _ in range(20)))
        assert directory.proofs_count == 1
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        assert directory.proofs_count == 1
        await hall.close()


async def test_without_a_store_nothing_is_read_from_memory(journal: MemoryJournal) -> None:
    """13: given a store that is silent for longer than a lease; then reads wait for it, and are answered when it is back."""
    async with local_hall(PLAN, journal) as local:
        await local.kill_shard()
        local.directory = directory = CountingDirectory()
        shard = await local.start_shard()
        hall = local.hall("g-1")
        await hall.call("none").view()
        directory.is_silent = True
        age(shard)
        read = asyncio.create_task(hall.call("none").view())
        await until(lambda: directory.proofs_count >= 2)
        assert not read.done()
        directory.is_silent = False
        assert await read is None
        await hall.close()


async def test_the_bound_of_a_poll_without_a_store(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """13: given a store that does not come back in time; then a poll is sent to look again."""
    monkeypatch.setattr("actors.shard.UNPROVED_S", 0.2)
    async with local_hall(PLAN, journal) as local:
        await local.kill_shard()
        local.directory = directory = CountingDirectory()
        shard = await local.start_shard()
        directory.is_silent = True
        age(shard)
        with pytest.raises(NotOwner, match="does not say"):
            await shard.poll("g-1/main", 0, 0.0)
        assert not shard.ended.is_set()


async def test_a_division_that_was_let_go_is_not_lost_besides(local: LocalHall, hall: Hall) -> None:
    """Given a proof on its way while the last division moves away in good order; then its shard goes on without one."""
    source = local.shards[0]
    note_alive, is_moved = local.directory.note_alive, asyncio.Event()

    async def late(epochs: dict[str, int], at_ms: int) -> set[str]:
        if "main" in epochs:
            await is_moved.wait()
        return await note_alive(epochs, at_ms)

    age(source)
    local.directory.note_alive = late  # type: ignore[method-assign]
    proof = asyncio.create_task(source._leases.hold(list(source.divisions.values())))
    await asyncio.sleep(0)
    source.divisions["main"].proved_s = time.monotonic()
    await hall.move("main", "shard-1")
    assert source.divisions == {}
    is_moved.set()
    await proof
    assert not source.ended.is_set()
    await hall.move("main", "shard-0")
    assert "main" in source.divisions
