"""Back-pressure: twice what a shard can do leaves what it accepts in bounded time, and does not make it do less (issue 4, 7).

No clock decides here: a gate lets one batch through at a time, so a shard does `BATCH` letters a round by definition, and
time is counted in rounds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import intake, mailbox
from actors.clock import SteadyClock
from actors.hall import Hall, HallUnavailable
from actors.intake import Intake
from actors.items import Submit, decode_bodies, encode_refusal
from actors.local import LocalHall, local_hall
from dispatch.commands import HangUp, RequestCall
from dispatch.plan import Plan, QueuePlan

BATCH = 10
NEWCOMERS = 20
ROUNDS = 60
PLAN = Plan(
    division_id="main",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none", need={"nobody": 1})],
)


class Gate:
    """A part in front of a shard that lets one batch through a round."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._open = asyncio.Semaphore(0)
        self.batches_count = 0

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        await self._open.acquire()
        answer: bytes = await self._part.receive(sender, number, payload)
        self.batches_count += 1
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        answer: bytes = await self._part.poll(gateway_id, cursor, wait_s)
        return answer

    def let_one_through(self) -> None:
        self._open.release()


class Customers:
    """They come whatever the hall does; each hangs up as soon as the call was taken, and repeats that until it is heard."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self.round = 0
        self.rounds_waited: list[int] = []
        """Of calls that were taken: rounds from the wish to the answer."""
        self.refusals: Counter[str] = Counter()
        self.ended: list[int] = []
        """Rounds in which calls came to their end."""
        self._tasks: list[asyncio.Task[None]] = []

    def come(self, count: int) -> None:
        for _ in range(count):
            self._tasks.append(asyncio.create_task(self._live(f"call-{len(self._tasks)}")))

    async def _live(self, call_id: str) -> None:
        began, call = self.round, self._hall.call(call_id)
        try:
            reply = await call.request("of-" + call_id, "loans", command_id="1")
        except HallUnavailable as error:
            self.refusals[error.reason] += 1
            return
        assert reply.is_accepted
        self.rounds_waited.append(self.round - began)
        reply = await call.hang_up(principal="customer:of-" + call_id, command_id="2")
        assert reply.is_accepted
        self.ended.append(self.round)

    async def leave(self, gate: Gate) -> None:
        """Nobody comes any more; those who are here live on to their end."""
        while not all(task.done() for task in self._tasks):
            await rounds(self, gate, 0, 1)
        await asyncio.gather(*self._tasks)


async def rounds(customers: Customers, gate: Gate, arrivals: int, count: int) -> None:
    """In each round `arrivals` customers come, and one batch goes through."""
    for _ in range(count):
        customers.round += 1
        customers.come(arrivals)
        for _ in range(3):
            await asyncio.sleep(0)
        before = gate.batches_count
        gate.let_one_through()
        async with asyncio.timeout(20):
            while gate.batches_count == before:  # noqa: ASYNC110 - the batch tells its sender alone
                await asyncio.sleep(0.001)
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def local(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalHall]:
    monkeypatch.setattr(mailbox, "BATCH_MAX", BATCH)
    monkeypatch.setattr(mailbox, "NEWCOMERS_MAX", NEWCOMERS)
    async with local_hall(PLAN) as local:
        await asyncio.sleep(0.05)
        yield local


async def pressed(local: LocalHall, arrivals: int) -> Customers:
    """Let that many come each round."""
    assert local.shard is not None
    name = local.shard.settings.name
    gate = Gate(local.shard)
    local.network.parts[name] = gate
    hall = local.hall("g")
    customers = Customers(hall)
    await rounds(customers, gate, arrivals, ROUNDS)
    measured = customers.round
    await customers.leave(gate)
    customers.ended = [at for at in customers.ended if at <= measured]
    await hall.close()
    local.network.parts[name] = local.shard
    return customers


async def test_twice_the_load_is_refused_by_name_and_slows_nobody_beyond_a_bound(local: LocalHall) -> None:
    """Given a shard that lives 5 calls a round; when 10 come each; then as many live, in bounded time, the others hear why.

    A call costs two letters, so half a batch is what can be held.
    """
    held = await pressed(local, BATCH // 2)
    assert not held.refusals
    too_much = await pressed(local, BATCH)
    assert set(too_much.refusals) == {"overloaded"}
    assert len(too_much.ended) >= len(held.ended) * 0.9
    # At most the bound waits in front of a newcomer, with what calls in progress put between; and one batch is on its way.
    assert max(too_much.rounds_waited) <= 2 * NEWCOMERS // BATCH + 2
    assert len(too_much.rounds_waited) + too_much.refusals.total() == BATCH * ROUNDS


async def test_a_call_in_progress_finds_room_where_a_new_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a mailbox at the bound for new calls; then one more is refused, at one below it is not, a hang-up is not at all."""
    monkeypatch.setattr(mailbox, "NEWCOMERS_MAX", 2)

    async def nobody() -> mailbox.Peer:
        raise mailbox.PeerGone("nobody")

    box = mailbox.Mailbox("m", nobody)
    in_flight = asyncio.create_task(box.send(request(0)))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(box.send(request(number))) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(HallUnavailable, match="overloaded"):
        await box.send(request(3))
    waiting.append(asyncio.create_task(box.send(Submit("main", HangUp(call_id="call-0")))))
    await asyncio.sleep(0)
    assert not any(task.done() for task in (in_flight, *waiting))
    await box.close()
    for task in (in_flight, *waiting):
        with pytest.raises(HallUnavailable, match="not_ready"):
            await task


async def test_the_bound_of_new_calls_at_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many items as a turn takes; then what would begin a call is refused, its neighbours in the batch wait."""
    monkeypatch.setattr(intake, "NEWCOMERS_MAX", 2)
    own = Intake(SteadyClock())
    below = own.begin([request(1), request(2)])
    mixed = own.begin([request(3), Submit("main", HangUp(call_id="call-1")), request(4)])
    assert len(own) == 3
    assert not below.done()
    for work in own.take(10):
        work.answer(None)
    assert below.done()
    bodies = [bytes(body) for body in decode_bodies(mixed.result())]
    assert bodies == [encode_refusal("overloaded"), b"\xc0", encode_refusal("overloaded")]


def request(number: int) -> Submit:
    return Submit("main", RequestCall(call_id=f"call-{number}", customer_id=f"c-{number}", queue_id="loans"))
