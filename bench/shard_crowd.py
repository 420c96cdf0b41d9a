"""50,000 live calls for `bench/shard.py`, everybody's page connected: what recovery and the worst latency are measured with.

CAPACITY.md, design point: 24,000 in service, with those who wait 50,000. They stay as they are while another load lives its
lives beside them; each customer and each agent has a subscription.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from actors.hall import Hall
from actors.items import Notice
from dispatch.events import CallReserved
from dispatch.plan import AgentPlan, QueuePlan

TALKING = 24_000
WAITING = 26_000
AT_ONCE = 1_000


def crowd_queues(talking: int, waiting: int) -> list[QueuePlan]:
    """`talk` has agents of its own; for `line` nobody has the skill. Media is carried elsewhere: the shard is measured."""
    common = {"media": "external", "recording": "off", "waiting_max": waiting + 1, "reservation_timeout_ms": 60_000}
    return [
        QueuePlan(id="talk", need={"talk": 1}, **common),
        QueuePlan(id="line", need={"line": 1}, **common),
    ][: 2 if talking + waiting else 0]


def crowd_agents(talking: int) -> list[AgentPlan]:
    return [AgentPlan(id=f"t-{number}", skills={"talk": 1}) for number in range(talking)]


class Crowd:
    """Customers and agents who stay."""

    def __init__(self, hall: Hall, talking: int, waiting: int) -> None:
        self._hall = hall
        self._talking = talking
        self._waiting = waiting
        self._reserved: asyncio.Queue[CallReserved] = asyncio.Queue()

    async def come(self) -> None:
        """Bring everybody in; returns when all are where they stay. Raises what a refusal raises."""
        answering = asyncio.create_task(self._answer())
        for start in range(0, self._talking, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, self._talking))
            await all_of(self._sign_in(f"t-{number}") for number in numbers)
            await all_of(self._request(f"talk-{number}", "talk") for number in numbers)
        for start in range(0, self._waiting, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, self._waiting))
            await all_of(self._request(f"line-{number}", "line") for number in numbers)
        await answering

    async def _sign_in(self, agent_id: str) -> None:
        await self._hall.subscribe(f"agent:{agent_id}", f"desk {agent_id}", None, self._deliver, lambda _: None)
        check(await self._hall.agent(agent_id).set_ready())

    async def _request(self, call_id: str, queue_id: str) -> None:
        customer_id = f"c-{call_id}"
        page = f"page {customer_id}"
        await self._hall.subscribe(f"customer:{customer_id}", page, None, self._deliver, lambda _: None)
        check(await self._hall.call(call_id).request(customer_id, queue_id, command_id=f"request {call_id}"))

    def _deliver(self, notices: list[Notice]) -> None:
        for notice in notices:
            if isinstance(notice.event, CallReserved) and notice.recipient.startswith("agent:"):
                self._reserved.put_nowait(notice.event)

    async def _answer(self) -> None:
        left = self._talking
        while left:
            some = [await self._reserved.get()]
            while not self._reserved.empty() and len(some) < AT_ONCE:
                some.append(self._reserved.get_nowait())
            await all_of(self._accept(one) for one in some)
            left -= len(some)

    async def _accept(self, reserved: CallReserved) -> None:
        agent, call = self._hall.agent(reserved.agent_id), self._hall.call(reserved.call_id)
        check(await agent.accept(reserved.reservation_id, command_id=f"accept {reserved.call_id}"))
        by_agent = f"agent:{reserved.agent_id}"
        check(await call.report_connected(principal=by_agent, command_id=f"connected {reserved.call_id}"))


async def all_of(works: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*works)


def check(reply: object) -> None:
    if getattr(reply, "reason", ""):
        raise SystemExit(f"the crowd was refused: {reply}")
