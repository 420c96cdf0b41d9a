"""What the tests of the shell share: a plan, a client that keeps what it was told, a part that answers by script."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from typing import Any

import msgspec

from actors.hall import Hall, Notice, Subscribed
from actors.items import encode
from actors.journal import Journal
from actors.local import LocalHall
from actors.mailbox import Peer, PeerGone
from dispatch.codec import decode_events
from dispatch.events import Event
from dispatch.model import agent_recipient
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.waiting import PATIENCE_S

PLAN = Plan(
    division_id="main",
    queues=[
        QueuePlan(id="loans", media="external", recording="off", wrap_up="none", reservation_timeout_ms=1_000),
        QueuePlan(id="cards", media="room", recording="off", wrap_up="none", need={"cards": 1}),
        QueuePlan(id="slow", media="external", recording="off", wrap_up="none", need={"slow": 1}),
    ],
    agents=[AgentPlan(id="anna"), AgentPlan(id="carl", skills={"cards": 1}), AgentPlan(id="sven", skills={"slow": 1})],
    reconnect_grace_ms=1_000,
)
connection_numbers = count(1)


class Client:
    """A customer's or an agent's page: keeps what it was told, and holds every number against the one before."""

    def __init__(self, recipient: str, division_id: str = "") -> None:
        self.recipient = recipient
        self.division_id = division_id
        self.connection_id = ""
        self.hall: Hall | None = None
        self.seq: int | None = None
        self.events: list[Event] = []
        self.resets: list[Subscribed] = []
        self.is_replaced = False

    async def connect(self, hall: Hall) -> Subscribed:
        """Come through `hall`; from then on only this connection counts."""
        connection_id = f"k-{next(connection_numbers)}"
        early: list[Notice] | None = []

        def deliver(notices: list[Notice]) -> None:
            if early is not None:
                early.extend(notices)
            elif connection_id == self.connection_id:
                self._take(notices)

        def on_reset(subscribed: Subscribed) -> None:
            if connection_id == self.connection_id:
                self._reset(subscribed)

        self.connection_id, self.hall, self.is_replaced = connection_id, hall, False
        subscribed = await hall.subscribe(self.recipient, connection_id, self.seq, deliver, on_reset, self.division_id)
        if subscribed.kind == "resumed":
            self._take(subscribed.missed)
        else:
            self._reset(subscribed)
        assert self.seq == subscribed.seq
        overtaken, early = early or [], None
        self._take(overtaken)
        return subscribed

    async def leave(self) -> None:
        """The socket closes."""
        assert self.hall is not None
        connection_id, self.connection_id = self.connection_id, ""
        await self.hall.unsubscribe(self.recipient, connection_id, self.division_id)

    def _reset(self, subscribed: Subscribed) -> None:
        self.resets.append(subscribed)
        self.seq = subscribed.seq

    def _take(self, notices: list[Notice]) -> None:
        for notice in notices:
            assert notice.recipient == self.recipient
            if notice.seq == 0:
                self.is_replaced = True
                continue
            assert self.seq is not None
            assert notice.seq == self.seq + 1, f"{self.recipient}: number {notice.seq} after {self.seq}"
            self.seq = notice.seq
            self.events.append(notice.event)

    def has(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)


class ScriptedPeer:
    """A part that answers each batch as `answer` says, and keeps what it received."""

    def __init__(self, name: str, answer: Callable[[int, list[Any]], Awaitable[bytes]] | None = None) -> None:
        self.name = name
        self.batches: list[tuple[str, int, list[Any]]] = []
        self._answer = answer or echo

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        items = msgspec.msgpack.decode(payload)
        self.batches.append((sender, number, items))
        return await self._answer(number, items)


async def echo(number: int, items: list[Any]) -> bytes:
    """Answer each item with itself."""
    await asyncio.sleep(0)
    return encode(items)


class Address:
    """Where a mailbox finds its peer now; None: nobody is there."""

    def __init__(self, peer: Peer | None) -> None:
        self.peer = peer

    async def resolve(self) -> Peer:
        if self.peer is None:
            raise PeerGone("nobody is there")
        return self.peer


async def history(journal: Journal, division_id: str = "main") -> list[Event]:
    """Every event that is durable, in order."""
    entries = await journal.read(division_id, 0, 1_000_000)
    for (earlier, _), (later, _) in pairwise(entries):
        assert later == earlier + 1
    return [event for _, payload in entries for event in decode_events(payload)]


async def until_journaled(journal: Journal, kind: type[Event]) -> None:
    """Return once an event of that kind is durable; fail after PATIENCE_S."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not any(isinstance(event, kind) for event in await history(journal)):
        assert time.monotonic() < deadline_s, f"no {kind.__name__}"
        await asyncio.sleep(0.02)


async def ready(hall: Hall, *agent_ids: str) -> None:
    for agent_id in agent_ids:
        assert (await hall.agent(agent_id).set_ready()).is_accepted


async def ringing(hall: Hall, agent_id: str = "anna", call_id: str = "call-1", queue_id: str = "loans") -> str:
    """Bring a call to ring at the agent; return the reservation's id."""
    await ready(hall, agent_id)
    assert (await hall.call(call_id).request("of-" + call_id, queue_id)).is_accepted
    view = await hall.call(call_id).view()
    assert view is not None
    assert (view.state, view.agent_id) == ("reserved", agent_id)
    return view.reservation_id


def told_to(local: LocalHall, recipient: str) -> int:
    """The client's newest number as the engine has it."""
    assert local.shard is not None
    return local.shard.divisions["main"].engine.state.recipients[recipient].seq


AGENT = agent_recipient("anna")
