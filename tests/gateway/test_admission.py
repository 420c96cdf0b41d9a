"""Load beyond what the hall can do: whoever would begin a call is refused early and by name, calls in progress go on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from actors.local import LocalHall, LocalPeer, local_hall
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.admission import NEWCOMERS_MAX, WAITING_MAX, WINDOW_S, Bound
from gateway.app import Gateway
from gateway.refusals import Refused
from gateway.settings import Settings
from tests.gateway.client import Client, Visitor
from tests.waiting import until

Token = Callable[..., str]
TARGET_S = 0.1
CROWD = 60
PLAN = Plan(
    division_id="main",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none")],
    agents=[AgentPlan(id="a-1", name="Li Na")],
)


def slow(bound: Bound, from_s: float, latency_s: float = 2 * TARGET_S) -> float:
    """One window in which every command took so long; returns its end."""
    number = bound.begin(from_s + WINDOW_S - latency_s)
    bound.end(number, from_s + WINDOW_S)
    return from_s + WINDOW_S


async def test_the_bound_follows_the_latency() -> None:
    """Given windows that are slow, between and quick; then it falls, stays, rises; the least is one, the most as at first."""
    bound, now_s = Bound(TARGET_S, 0.0), 0.0
    for _ in range(30):
        await bound.enter("c", now_s)
        now_s = slow(bound, now_s)
        bound.leave()
    assert int(bound.limit) == 1
    now_s = slow(bound, now_s, 0.75 * TARGET_S)
    assert int(bound.limit) == 1, "between half the target and the target nothing changes"
    now_s = slow(bound, now_s, 0.25 * TARGET_S)
    assert int(bound.limit) == 2
    bound.adapt(now_s + 100 * WINDOW_S)
    assert bound.limit == NEWCOMERS_MAX, "after a quiet time it is whole again"


async def test_one_slow_command_means_nothing() -> None:
    """Given a window with a slow command and a quick one; then the bound stays: no line stands."""
    bound = Bound(TARGET_S, 0.0)
    first, second = bound.begin(0.0), bound.begin(0.19)
    bound.end(first, 0.19)
    bound.end(second, 0.2)
    bound.adapt(WINDOW_S)
    assert bound.limit == NEWCOMERS_MAX


async def test_a_hall_that_answers_nothing() -> None:
    """Given commands in flight and no answer; then the bound falls by their age; and by a hall's own refusals."""
    bound = Bound(TARGET_S, 0.0)
    bound.begin(0.0)
    bound.adapt(WINDOW_S)
    assert bound.limit < NEWCOMERS_MAX
    bound = Bound(TARGET_S, 0.0)
    bound.end(bound.begin(0.0), WINDOW_S, is_refused=True)
    assert bound.limit < NEWCOMERS_MAX


async def test_the_line_is_short_and_fair() -> None:
    """Given a full bound; then clients wait in order, each in one place; one past the last is refused with a time to wait."""
    now_s = asyncio.get_running_loop().time()
    bound = Bound(TARGET_S, now_s)
    bound.limit = 1.0
    await bound.enter("c-0", now_s)
    waiting = [asyncio.create_task(bound.enter(f"c-{number}", now_s)) for number in range(1, WAITING_MAX + 1)]
    await until(lambda: len(bound.waiting) == WAITING_MAX)
    for client in ("c-new", "c-1"):
        with pytest.raises(Refused) as refused:
            await bound.enter(client, now_s)
        assert (refused.value.reason, refused.value.retry_after_ms >= 1_000) == ("overloaded", True)
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    bound.leave()
    await waiting[0]
    assert bound.newcomers_count == 1
    bound.leave()
    await waiting[2]
    assert "c-2" not in bound.waiting, "who went away holds no place"
    ends = await asyncio.gather(*waiting[3:], return_exceptions=True)
    assert {type(one) for one in ends} == {Refused}, "no longer than half a second"
    assert (len(bound.waiting), bound.newcomers_count) == (0, 1)


class Slowness:
    """Makes the hall slow: each batch waits for its size, as where a shard has no more to give."""

    def __init__(self, local: LocalHall) -> None:
        self.byte_s = 0.0
        network, inner = local.network, local.network.peer

        async def peer(name: str) -> Any:
            found = await inner(name)
            assert isinstance(found, LocalPeer)
            receive = found.receive

            async def slowly(sender: str, number: int, payload: bytes) -> bytes:
                await asyncio.sleep(self.byte_s * len(payload))
                return await receive(sender, number, payload)

            found.receive = slowly  # type: ignore[method-assign]
            return found

        network.peer = peer  # type: ignore[method-assign]


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN) as local:
        yield local


@pytest.fixture
def slowness(local: LocalHall) -> Slowness:
    return Slowness(local)


@pytest.fixture
async def served(local: LocalHall, slowness: Slowness, settings: Settings) -> AsyncIterator[tuple[Gateway, Visitor]]:
    hall = local.hall("g-1")
    gateway = Gateway(hall, replace(settings, admission_target_ms=round(1000 * TARGET_S), messages_burst=10_000))
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield gateway, Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()
    await hall.close()


class Crowd:
    """Customers who ask, hang up as soon as they have a call, and ask again, until they are told to stop."""

    def __init__(self) -> None:
        self.is_over = False
        self.accepted_count = 0
        self.refused: list[dict[str, Any]] = []
        self.hung_up: set[str] = set()

    async def live(self, client: Client) -> None:
        while not self.is_over:
            answer = await client.ask("call.request", {"queue_id": "loans", "is_consented": True})
            if answer["type"] == "error":
                self.refused.append(answer["data"])
                await asyncio.sleep(0.05)
                continue
            self.accepted_count += 1
            ended = await client.ask("call.hang_up", {"call_id": answer["data"]["value"]["call_id"]})
            self.hung_up.add(ended["data"].get("reason", ended["type"]))


async def test_load_beyond_capacity(served: tuple[Gateway, Visitor], slowness: Slowness, token: Token) -> None:
    """Given a hall that can do less than is asked of it; then the excess is refused early with a time, over both ways.

    Calls that were accepted go on to their end without a refusal; and once it is over everybody is taken again.
    """
    gateway, visitor = served
    clients = [await visitor.greeted(token("customer", f"c-{number}")) for number in range(CROWD)]
    bound = gateway._services.admission.of("")
    slowness.byte_s = 0.00005
    crowd = Crowd()
    living = [asyncio.create_task(crowd.live(client)) for client in clients]
    await until(lambda: bound.limit < CROWD / 2 and len(crowd.refused) > 20 and crowd.accepted_count > 20)
    statuses = set()
    while 503 not in statuses:
        status, body, headers = await visitor.request(
            "POST",
            "/v1/calls",
            token("operator", "o-1"),
            json={"queue_id": "loans", "is_consented": True, "customer_id": "z"},
        )
        statuses.add(status)
    assert (body["reason"], int(headers["Retry-After"]) >= 1) == ("overloaded", True)
    crowd.is_over = True
    await asyncio.wait_for(asyncio.gather(*living), 20)
    assert {one["reason"] for one in crowd.refused} == {"overloaded"}
    assert all(one["retry_after_ms"] >= 1_000 for one in crowd.refused)
    assert crowd.hung_up == {"ack"}, "what is in progress is never refused"
    slowness.byte_s = 0.0
    answers = await asyncio.gather(
        *(one.ask("call.request", {"queue_id": "loans", "is_consented": True}) for one in clients[:1])
    )
    assert [one["type"] for one in answers] == ["ack"]
    await until(lambda: bound.adapt(asyncio.get_running_loop().time()) or bound.limit >= CROWD)
    assert (bound.newcomers_count, len(bound.waiting)) == (0, 0)
    for client in clients:
        await client.socket.close()
