"""Customers and agents who keep their own books: what each asked, what was answered, what it was told, when.

Rules: a command that was not answered is repeated under its own id, as a page does, for `REPEAT_S` at most. Nothing in the
books is read from the hall; `books` judges by them alone. Media are somebody else's (external), so a call costs no worker.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from actors.hall import Hall, HallUnavailable
from actors.items import Notice, Subscribed
from dispatch import events as ev
from dispatch.effects import Reply
from tests.faults.books import AgentCall, Books, Call

TALK_S = 0.5
REPEAT_S = 90.0
AGAIN_S = 0.2
END_S = 90.0
"""From the last request on: whatever was killed, by then every call has ended."""


class Client:
    """Somebody who is told events: notes numbers that are missing, doubled or out of order."""

    def __init__(self, floor: "Floor", division_id: str, recipient: str) -> None:
        self.floor = floor
        self.division_id = division_id
        self.recipient = recipient
        self.seq = 0

    async def connect(self) -> None:
        subscribed = await self.floor.repeated(
            lambda: self.floor.hall.subscribe(
                self.recipient,
                f"{self.recipient} of {self.floor.run}",
                None,
                self._deliver,
                self._reset,
                self.division_id,
            )
        )
        self.seq = subscribed.seq

    def _deliver(self, notices: list[Notice]) -> None:
        for notice in notices:
            if notice.seq != self.seq + 1:
                self.floor.books.disorder.append(f"{self.recipient}: {notice.seq} came after {self.seq}")
            self.seq = notice.seq
            self.told(notice.event)

    def _reset(self, subscribed: Subscribed) -> None:
        self.floor.books.resets.append(self.recipient)
        self.seq = subscribed.seq

    def told(self, event: ev.Event) -> None:
        raise NotImplementedError


class Customer(Client):
    """Asks, waits to hear that the call is over, and may then ask again."""

    def __init__(self, floor: "Floor", division_id: str, customer_id: str) -> None:
        super().__init__(floor, division_id, f"customer:{customer_id}")
        self.customer_id = customer_id
        self.call: Call | None = None

    def told(self, event: ev.Event) -> None:
        if isinstance(event, ev.CallEnded):
            self.floor.books.note_end(event.call_id, event.reason, time.time())
            if self.call is not None and self.call.call_id == event.call_id:
                self.call = None

    async def ask(self, call_id: str) -> None:
        call = self.call = self.floor.books.begin(call_id, self.division_id, time.time())
        hall = self.floor.hall.call(call_id, self.division_id)
        reply = await self.floor.do(
            self.division_id, lambda: hall.request(self.customer_id, "q", command_id=f"ask {call_id}")
        )
        call.answered_s, call.answer = time.time(), reply.reason or "accepted"
        if not reply.is_accepted:
            self.call = None


class Agent(Client):
    """Takes what rings, talks for a while, hangs up."""

    def __init__(self, floor: "Floor", division_id: str, agent_id: str) -> None:
        super().__init__(floor, division_id, f"agent:{agent_id}")
        self.agent_id = agent_id
        self.open: AgentCall | None = None

    def told(self, event: ev.Event) -> None:
        if isinstance(event, ev.CallReserved) and event.agent_id == self.agent_id:
            if self.open is not None:
                self.floor.books.doubles.append(
                    f"{self.agent_id} was given {event.call_id} while in {self.open.call_id}"
                )
            self.open = self.floor.books.ring(self.agent_id, event.call_id, time.time())
            self.floor.begin(self._serve(event, self.open))
        elif isinstance(event, ev.ReservationClosed | ev.CallEnded | ev.CallRequeued):
            self._over(event.call_id)

    def _over(self, call_id: str) -> None:
        if self.open is not None and self.open.call_id == call_id:
            self.open.over_s, self.open = time.time(), None

    async def _serve(self, reserved: ev.CallReserved, own: AgentCall) -> None:
        agent = self.floor.hall.agent(self.agent_id, self.division_id)
        call = self.floor.hall.call(reserved.call_id, self.division_id)
        by, tag = f"agent:{self.agent_id}", reserved.reservation_id
        division_id = self.division_id
        reply = await self.floor.do(division_id, lambda: agent.accept(tag, command_id=f"accept {tag}"))
        own.is_accepted = reply.is_accepted
        if not reply.is_accepted:
            self.floor.books.refusals.append(f"accept: {reply.reason}")
            return
        await self.floor.do(division_id, lambda: call.report_connected(principal=by, command_id=f"connected {tag}"))
        await asyncio.sleep(TALK_S)
        own.hung_up_s = time.time()
        await self.floor.do(division_id, lambda: call.hang_up(principal=by, command_id=f"end {tag}"))


class Floor:
    """Everybody, and the instants at which customers ask."""

    def __init__(self, hall: Hall, division_ids: list[str], agents_each: int, customers_each: int) -> None:
        self.hall = hall
        self.books = Books()
        self.run = uuid4().hex[:8]
        """The hall knows the calls of earlier runs: the same id would be the same call."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._agents = [
            Agent(self, division, f"{division}-{number}") for division in division_ids for number in range(agents_each)
        ]
        self._customers = {
            division: [Customer(self, division, f"{division}-c{number}") for number in range(customers_each)]
            for division in division_ids
        }

    def begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.books.failures.append(repr(task.exception()))

    async def repeated(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        deadline_s = time.monotonic() + REPEAT_S
        while True:
            try:
                return await ask()
            except HallUnavailable as error:
                self.books.repeats[error.reason] = self.books.repeats.get(error.reason, 0) + 1
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def do(self, division_id: str, command: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the answer to a command, asked as often as it takes. Raises HallUnavailable after `REPEAT_S`."""
        reply: Reply = await self.repeated(command)
        self.books.note_answer(division_id, time.time())
        return reply

    async def open(self) -> None:
        everybody = [*self._agents, *itertools.chain(*self._customers.values())]
        await asyncio.gather(*(one.connect() for one in everybody))
        for agent in self._agents:
            handle = self.hall.agent(agent.agent_id, agent.division_id)
            reply = await self.do(agent.division_id, handle.set_ready)
            assert reply.is_accepted, reply

    async def press(self, rate: float, stopping: asyncio.Event) -> None:
        """Open load until told to stop: whoever is free asks; the instants do not wait for answers."""
        chance = random.Random(20_261_124)
        due_s = time.monotonic()
        for number in itertools.count():
            due_s += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if stopping.is_set():
                return
            division_id = list(self._customers)[number % len(self._customers)]
            customer = next((one for one in self._customers[division_id] if one.call is None), None)
            if customer is None:
                self.books.turned_away += 1
            else:
                self.begin(customer.ask(f"{self.run} {number}"))

    async def finish(self) -> None:
        """Wait until nobody is in a call any more, within `END_S`."""
        deadline_s = time.monotonic() + END_S
        everybody = list(itertools.chain(*self._customers.values()))
        while any(one.call is not None for one in everybody) or self._tasks:
            if time.monotonic() > deadline_s:
                return
            await asyncio.sleep(0.1)
