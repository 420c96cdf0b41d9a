"""A customer whose connection breaks a thousand times, over two gateways of one hall, hears exactly what the journal holds."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
import pytest

from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, local_hall
from dispatch import events
from dispatch.folding import apply
from dispatch.plan import AgentPlan, Plan, QueuePlan
from dispatch.state import State
from gateway import translation
from gateway.app import Gateway
from gateway.settings import Settings
from gateway.translation import Known
from tests.actors.kit import history
from tests.gateway.client import JSON, Visitor

Token = Callable[..., str]
PLAN = Plan(
    division_id="main",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none", reservation_timeout_ms=60_000)],
    agents=[AgentPlan(id="a-1", name="Li Na")],
    reconnect_grace_ms=120_000,
)
RECONNECTS = 1_000
REPEATED_LAST = 4
GREETING_S = 20.0
QUIET_S = 0.03
"""Nothing for so long: there is nothing to hear now."""


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
async def local(journal: MemoryJournal) -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, journal) as local:
        yield local


@pytest.fixture
async def bases(local: LocalHall, settings: Settings) -> AsyncIterator[list[str]]:
    """The addresses of two gateways before the same hall."""
    halls = [local.hall(f"g-{number}") for number in (1, 2)]
    often = {"messages_per_s": 100_000, "messages_burst": 100_000, "connects_per_s": 100_000, "connects_burst": 100_000}
    free = msgspec.structs.replace(settings, **often)
    gateways = [Gateway(hall, free) for hall in halls]
    for gateway in gateways:
        await gateway.start()
    yield [f"http://127.0.0.1:{gateway.port}" for gateway in gateways]
    for gateway in gateways:
        await gateway.stop()
    for hall in halls:
        await hall.close()


class Wanderer:
    """A customer's client, written from docs/protocol.md alone: numbers, resume, ids of commands."""

    def __init__(self, http: aiohttp.ClientSession, token: str, chance: random.Random) -> None:
        self._http, self._token, self._chance = http, token, chance
        self._numbers = itertools.count(1)
        self.seq: int | None = None
        self.told: list[dict[str, Any]] = []
        """Every event, in the order in which it came."""
        self.kinds: dict[str, int] = {}
        """Greetings, by type."""
        self.open: dict[str, tuple[str, dict[str, Any]]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.sent: dict[str, tuple[str, dict[str, Any]]] = {}
        self.repeats_count = 0
        self.call_id = ""

    async def visit(self, base: str, heard_max: int, is_quiet: bool = False) -> None:
        """Connect, ask again what was not answered, do something new, hear so many messages, if they come, and be cut off."""
        query = "" if self.seq is None else f"?resume={self.seq}"
        async with self._http.ws_connect(f"{base}/v1/ws{query}", protocols=(JSON, f"bearer.{self._token}")) as socket:
            with suppress(ConnectionError):
                for id_, (type_, data) in self.open.items():
                    await self._send(socket, id_, type_, data)
                if not is_quiet:
                    await self._do_something(socket)
                with suppress(TimeoutError):
                    for number in range(heard_max):
                        async with asyncio.timeout(GREETING_S if number == 0 else QUIET_S):
                            frame = await socket.receive()
                        if frame.type is not aiohttp.WSMsgType.TEXT:
                            break
                        self._hear(json.loads(frame.data))
            if self._chance.random() < 0.7:
                # Not a word of goodbye, and what was on its way is lost.
                socket._writer.transport.abort()

    async def _do_something(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        for id_ in list(self.answers)[-REPEATED_LAST:]:
            if self._chance.random() < 0.3:
                self.repeats_count += 1
                await self._send(socket, id_, *self.sent[id_])
        if self.open or self._chance.random() < 0.4:
            return
        id_ = f"w{next(self._numbers)}"
        if self.call_id:
            self.open[id_] = ("call.hang_up", {"call_id": self.call_id})
        else:
            self.open[id_] = ("call.request", {"queue_id": "loans", "is_consented": True})
        self.sent[id_] = self.open[id_]
        for _ in range(self._chance.choice((1, 1, 2))):
            await self._send(socket, id_, *self.open[id_])

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, id_: str, type_: str, data: Any) -> None:
        await socket.send_str(json.dumps({"v": 1, "id": id_, "type": type_, "data": data}))

    def _hear(self, message: dict[str, Any]) -> None:
        if "re" in message:
            answer = {"type": message["type"], "data": message["data"]}
            id_ = message["re"]
            assert self.answers.setdefault(id_, answer) == answer, "a repeat gets the first answer"
            self.open.pop(id_, None)
            return
        if message["type"] in ("session.welcome", "session.resumed", "session.reset"):
            self.kinds[message["type"]] = self.kinds.get(message["type"], 0) + 1
            if message["type"] != "session.resumed":
                self.seq = message["data"]["seq"]
            return
        if "seq" not in message:
            return
        assert self.seq is not None
        assert message["seq"] == self.seq + 1, "no number twice, none left out"
        self.seq = message["seq"]
        self.told.append({name: message[name] for name in ("seq", "type", "at_ms", "data")})
        if message["type"] == "call.queued":
            self.call_id = message["data"]["call_id"]
        elif message["type"] == "call.ended":
            self.call_id = ""


async def serve(base: str, http: aiohttp.ClientSession, token: str, chance: random.Random) -> None:
    """The agent, for ever: takes or declines what rings, connects it, and sometimes ends it."""
    agent = await Visitor(http, base).greeted(token)
    await agent.ask("agent.state", {"activity": "ready"})
    while True:
        with suppress(TimeoutError):
            message = await agent.next()
            data = message["data"]
            if message["type"] == "reservation.new":
                kind = "reservation.accept" if chance.random() < 0.8 else "reservation.decline"
                await agent.ask(kind, {"reservation_id": data["reservation_id"]})
            elif message["type"] == "reservation.accepted":
                await agent.ask("call.connected", {"call_id": data["call_id"]})
                if chance.random() < 0.5:
                    await agent.ask("call.hang_up", {"call_id": data["call_id"]})


def told_by(journal: list[events.Event], recipient: str) -> list[dict[str, Any]]:
    """What the journal says that this customer was told, as messages: each event that counted the recipient's number up."""
    state, found = State("main"), []
    for event in journal:
        before = state.recipients[recipient].seq if recipient in state.recipients else 0
        apply(state, event)
        now = state.recipients[recipient].seq if recipient in state.recipients else 0
        if now > before:
            data = translation.message_of("customer", event, Known("c-1", "Li Na"))
            found.append({"seq": now, "type": data.TYPE, "at_ms": event.at_ms, "data": msgspec.to_builtins(data)})
    return found


async def test_a_thousand_reconnects_over_two_gateways_give_the_journals_history(
    bases: list[str], journal: MemoryJournal, token: Token
) -> None:
    """Given 1,000 reconnects at random over two gateways, most without a word, while the customer's commands and the agent's
    flow and many are repeated on purpose; then the customer was told exactly what the journal holds for them, every number once
    and in order, and each command was done once."""
    chance = random.Random(20_261_128)
    async with aiohttp.ClientSession() as http:
        customer = Wanderer(http, token("customer", "c-1"), chance)
        agent = asyncio.create_task(serve(bases[1], http, token("agent", "a-1"), random.Random(7)))
        await customer.visit(bases[0], 20, is_quiet=True)
        for _ in range(RECONNECTS):
            await customer.visit(chance.choice(bases), chance.choice((0, 1, 1, 2, 3, 5)))
            assert not agent.done(), agent
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
        expected: list[dict[str, Any]] = []
        for _ in range(50):
            expected = told_by(await history(journal), "customer:c-1")
            if not customer.open and customer.told == expected:
                break
            await customer.visit(bases[0], 20, is_quiet=True)
    assert customer.told == expected
    assert customer.kinds["session.welcome"] == 1
    assert "session.reset" not in customer.kinds
    accepted = [id_ for id_, answer in customer.answers.items() if answer["type"] == "ack"]
    requested = [id_ for id_ in accepted if customer.sent[id_][0] == "call.request"]
    queued = [one for one in await history(journal) if isinstance(one, events.CallQueued)]
    assert len(queued) == len(requested), "a repeated request is the same call"
    assert customer.kinds["session.resumed"] > RECONNECTS / 2
    assert customer.repeats_count > RECONNECTS / 10
    assert {"call.matched", "call.connected", "call.waiting"} <= {one["type"] for one in customer.told}
