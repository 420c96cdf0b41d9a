"""Gateways as message ends: the product's `Hall`, feeds and mailboxes in a process, and sockets between it and people.

A socket keeps order while it lives. When it breaks, what was on its way is lost, and the two ends learn of it at different
times; until then the gateway's end is a connection to nobody.
"""

import asyncio
from typing import Any, Protocol

import structlog

from actors.hall import Hall, HallUnavailable, MediaRefused
from actors.items import Notice, Subscribed
from dispatch.commands import Command
from tests.simulation.clockwork import PROCESS, Process
from tests.simulation.wire import Wire

HALF_OPEN_S = 4.0
"""How long the gateway may hold a connection whose client is gone."""
SOCKETS_MAX = 10_000

log = structlog.get_logger("simulation.gateways")


class Listener(Protocol):
    """A person's end of a socket."""

    def hear(self, socket: "Socket", kind: str, body: Any) -> None: ...

    def lose(self, socket: "Socket") -> None: ...


class Socket:
    """One connection between a person and a gateway."""

    def __init__(self, wire: Wire, gateway: "Gateway", process: Process, person: Listener) -> None:
        self.is_cut = False
        self.recipient = self.connection_id = self.division_id = ""
        """Set by the gateway, when the person has said who it is."""
        self._wire = wire
        self._gateway = gateway
        self._process = process
        self._person = person
        self._up_s = self._down_s = 0.0

    def send(self, kind: str, *body: Any) -> None:
        """From the person to the gateway."""
        loop = self._wire.loop
        self._up_s = max(self._up_s, loop.time() + self._wire.delay_s())
        loop.call_at(self._up_s, self._gateway.take, self, kind, body, context=self._process.context)

    def tell(self, kind: str, body: Any) -> None:
        """From the gateway to the person."""
        loop = self._wire.loop
        self._down_s = max(self._down_s, loop.time() + self._wire.delay_s())
        loop.call_at(self._down_s, self._deliver, kind, body, context=self._wire.world.context)

    def _deliver(self, kind: str, body: Any) -> None:
        if not self.is_cut:
            self._person.hear(self, kind, body)

    def cut(self, half_open_s: float) -> None:
        """Break it. The person sees it at once, the gateway after `half_open_s`."""
        if not self.is_cut:
            self.is_cut = True
            self._wire.later(0, self._person.lose, self)
            self._wire.loop.call_later(half_open_s, self._gateway.lose, self, context=self._process.context)


class Gateway:
    """A part: holds people's connections, and no truth."""

    def __init__(self, name: str, hall: Hall, wire: Wire) -> None:
        self.name = name
        self.hall = hall
        self.ended = asyncio.Event()
        self.sockets: dict[Socket, None] = {}
        self._process = PROCESS.get()
        self._wire = wire
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """There is nothing to come back to."""

    def connect(self, person: Listener) -> Socket:
        """A person's connection is accepted; the kernel does that even for a frozen process."""
        assert self._process is not None
        socket = Socket(self._wire, self, self._process, person)
        self.sockets[socket] = None
        return socket

    def bury(self) -> None:
        """The process died: the kernel closes its sockets."""
        for socket in list(self.sockets):
            socket.cut(0.0)

    # -- as the gateway's process

    def take(self, socket: Socket, kind: str, body: tuple[Any, ...]) -> None:
        """Something arrived from a person."""
        if kind == "hello":
            self._begin(self._hello(socket, *body))
        elif not socket.is_cut:
            self._begin(self._answer(socket, kind, *body))

    def lose(self, socket: Socket) -> None:
        """The kernel says that the connection is gone."""
        if self.sockets.pop(socket, 0) is None and socket.connection_id:
            self._begin(self._leave(socket))

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hello(
        self, socket: Socket, recipient: str, connection_id: str, after: int | None, division: str
    ) -> None:
        socket.recipient, socket.connection_id, socket.division_id = recipient, connection_id, division
        early: list[Notice] | None = []

        def deliver(notices: list[Notice]) -> None:
            if early is not None:
                early.extend(notices)
            else:
                socket.tell("notices", notices)

        def reset(subscribed: Subscribed) -> None:
            socket.tell("subscribed", subscribed)

        try:
            subscribed = await self.hall.subscribe(recipient, connection_id, after, deliver, reset, division)
        except HallUnavailable as error:
            socket.tell("unavailable", error.reason)
            return
        if socket not in self.sockets:
            # It was lost while the hall was asked; the hall heard of its end before it heard of its beginning.
            await self._leave(socket)
            return
        socket.tell("subscribed", subscribed)
        overtaken, early = early, None
        socket.tell("notices", overtaken)

    async def _leave(self, socket: Socket) -> None:
        try:
            await self.hall.unsubscribe(socket.recipient, socket.connection_id, socket.division_id)
        except HallUnavailable as error:
            log.info("unsubscribe_failed", reason=error.reason)

    async def _answer(self, socket: Socket, kind: str, number: int, body: Any, division: str) -> None:
        try:
            answer = await self._ask(kind, body, division)
        except HallUnavailable as error:
            socket.tell("refused", (number, error.reason))
        except MediaRefused as error:
            socket.tell("answer", (number, error.reason))
        else:
            socket.tell("answer", (number, answer))

    async def _ask(self, kind: str, body: Any, division: str) -> Any:
        if kind == "command":
            command: Command = body
            return await self.hall.submit(command, division)
        if kind == "view":
            return await self.hall.call(body, division).view()
        if kind == "history":
            return await self.hall.history(body, division)
        call_id, party = body
        view = await self.hall.call(call_id, division).view()
        if view is None or view.room is None or not view.room.is_open:
            return "no_room"
        room = view.room
        await self.hall.rtc_answer(room.worker_id, room.worker_epoch, call_id, room.attempt, party, "v=0")
        return ""
