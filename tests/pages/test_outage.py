"""A customer's page whose network is gone for five seconds in a call: a real Chromium, a real cut, a real call.

The customer's page reaches its gateway through a wire of the test's own, and the worker through coturn alone. Pulling the
network resets every connection of the wire, lets no new one through, and freezes coturn: TCP and media are gone at once, as
when a phone leaves its Wi-Fi. The agent's page has another gateway and the straight way to the worker.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Browser, WebSocket

from actors.hall import Hall
from actors.local import local_hall
from dispatch import events
from gateway.app import Gateway
from gateway.settings import Settings
from tests.gateway.real_media import PLAN, media_part
from tests.hall.pages import AgentPage, CustomerPage, HallPage, new_page
from tests.turn import TurnServer, turn_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

Token = Callable[..., str]
OUTAGE_S = 5.0
SECRET = "known to the gateway and to coturn alone"


class Wire:
    """Carries TCP connections to one port, until it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused_count = 0

    async def __aenter__(self) -> "Wire":
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset what there is, and whatever comes from now on."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self.refused_count += 1
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._copy(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


class Address:
    """What the pages need to know of a hall."""

    def __init__(self, port: int, token: Token) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token


class Told:
    """Every numbered message of a page's WebSockets, in the order in which they arrived."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []
        self.greetings: list[str] = []

    def listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self._take(json.loads(frame)))

    def _take(self, message: dict[str, Any]) -> None:
        if "seq" in message:
            self.events.append((message["seq"], message["type"]))
        elif message["type"] in ("session.welcome", "session.resumed", "session.reset"):
            self.greetings.append(message["type"])


class Stage:
    """Both pages, the hall between them, and the network that can be pulled."""

    def __init__(
        self, hall: Hall, customer: CustomerPage, agent: AgentPage, told: Told, wire: Wire, turn: TurnServer
    ) -> None:
        self.hall, self.customer, self.agent, self.told = hall, customer, agent, told
        self._wire, self._turn = wire, turn

    def pull(self) -> None:
        self._wire.cut()
        self._turn.freeze()

    def plug(self) -> None:
        self._turn.thaw()
        self._wire.mend()

    async def history(self) -> list[events.Event]:
        [view] = await self.hall.calls(["connected", "ended"], 2)
        return await self.hall.call(view.call_id).history()


@pytest.fixture
async def stage(tmp_path: Path, browser: Browser, token: Token) -> AsyncIterator[Stage]:
    straight = Settings(keys_folder=tmp_path / "keys", stop_ms=200, gateway_id="g-straight")
    with turn_server(tmp_path / "turn", SECRET) as turn:
        relayed = msgspec.structs.replace(
            straight,
            gateway_id="g-relayed",
            turn_urls=(turn.url,),
            turn_secret=SECRET,
            ice_transport_policy="relay",
        )
        async with contextlib.AsyncExitStack() as stack:
            local = await stack.enter_async_context(local_hall(PLAN))
            await stack.enter_async_context(media_part(local, tmp_path / "recordings"))
            ports = []
            halls = [local.hall(name) for name in ("g-straight", "g-relayed")]
            for hall, settings in zip(halls, (straight, relayed), strict=True):
                stack.push_async_callback(hall.close)
                gateway = Gateway(hall, settings)
                await gateway.start()
                stack.push_async_callback(gateway.stop)
                ports.append(gateway.port)
            wire = await stack.enter_async_context(Wire(ports[1]))
            pages: list[HallPage] = []
            told = Told()
            for kind, port, name in ((CustomerPage, wire.port, "c-1"), (AgentPage, ports[0], "a-1")):
                page = await new_page(await browser.new_context())
                if kind is CustomerPage:
                    page.on("websocket", told.listen)
                pages.append(kind(page, Address(port, token), name))  # type: ignore[arg-type]
                await pages[-1].open()
            customer, agent = pages
            assert isinstance(customer, CustomerPage)
            assert isinstance(agent, AgentPage)
            yield Stage(halls[0], customer, agent, told, wire, turn)
            turn.thaw()
            for one in pages:
                assert one.errors == []
                await one.page.context.close()


async def test_a_call_outlives_five_seconds_without_any_network(stage: Stage) -> None:
    """Given a call in which both see and hear each other, when the customer's network is gone for five seconds in which the
    agent holds the call and takes it back, then the page shows that it is away and comes back by itself, has missed nothing and
    heard nothing twice, and both see and hear each other again in the same call."""
    customer, agent = stage.customer, stage.agent
    await agent.get_ready()
    await customer.request("loans")
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
        await page.sees_and_hears()
    [view] = await stage.hall.calls(["connected"], 1)
    stage.pull()
    began_s = asyncio.get_running_loop().time()
    await customer.loses_link()
    for is_held in (True, False):
        assert (await stage.hall.call(view.call_id).set_hold(is_held, principal="agent:a-1")).is_accepted
    await asyncio.sleep(max(0.0, began_s + OUTAGE_S - asyncio.get_running_loop().time()))
    assert await customer.state() == "connected", "the call is shown on, as one whose link is lost"
    stage.plug()
    await customer.is_online()
    for page in (customer, agent):
        await page.sees_and_hears()
        assert await page.state() == "connected"
    history = await stage.history()
    kinds = [type(event) for event in history]
    assert kinds.count(events.CallConnected) == 1
    assert not any(isinstance(event, events.CallEnded | events.CallRequeued) for event in history)
    numbers = [seq for seq, _ in stage.told.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "none missed, none twice, in order"
    assert [type_ for _, type_ in stage.told.events].count("call.hold") == 2
    assert stage.told.greetings[0] == "session.welcome"
    assert set(stage.told.greetings[1:]) == {"session.resumed"}
    await customer.click("hang-up")
    await customer.becomes("ended")
