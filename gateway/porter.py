"""All doors of one listening socket: how many there may be, who makes room for whom, and the clock.

Rules: one task for all, whatever their number; it looks once a second at every connection that is no WebSocket. Whatever a
door asks for is O(1).

Theory: what waits longest without a request is the least loss, so it goes first where a place is needed: who opens many
connections to say nothing displaces others of that kind, and nobody who is being served.

Not here: one connection (`gateway/door.py`).
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from gateway.door import Door
from gateway.limits import PLAIN_SOCKETS_MAX, TLS_HANDSHAKE_S_MAX

ROUND_S = 1.0

log = structlog.get_logger("gateway.porter")


class Porter:
    """All doors of one listening socket, and the task that looks after them.

    `refusal`: what a new connection of this peer is answered instead of being served, empty for nothing; it is told of
    each that leaves. `is_trusted`: a proxy of ours, whose connections carry many clients.
    """

    def __init__(
        self,
        sockets_max: int,
        refusal: Callable[[str], bytes],
        left: Callable[[str], None],
        is_trusted: Callable[[str], bool],
        count: Callable[[str], None],
    ) -> None:
        self._sockets_max = sockets_max
        self._refusal = refusal
        self._left = left
        self.is_trusted = is_trusted
        self.count = count
        """Called with the name of the bound for each connection that is cut off."""
        self.make_inner: Callable[[], asyncio.Protocol] = asyncio.Protocol
        self._doors: set[Door] = set()
        self._plain: dict[Door, None] = {}
        """No WebSockets: looked at by the clock."""
        self._waiting: dict[Door, None] = {}
        """Of these, those without a request, the one that waits longest first."""
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._doors)

    def now_s(self) -> float:
        return self._loop.time()

    def start(self) -> None:
        self._task = self._loop.create_task(self._look_after())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def door(self) -> Door:
        """The protocol of one more connection."""
        return Door(self)

    def make_room(self) -> bool:
        """Say whether one more socket can be held, after the one that waits longest was let go where needed."""
        if len(self._doors) < self._sockets_max:
            return True
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            self.count("full")
            return False
        self._drop(oldest)
        oldest.make_way()
        return True

    def enter(self, door: Door, now_s: float) -> bytes:
        """Hold `door` from now on; return what it is to be answered instead of being served."""
        self._doors.add(door)
        self._plain[door] = None
        answer = self._refusal(door.peer)
        door.is_held = not answer
        return answer

    def leave(self, door: Door) -> None:
        """The connection is gone."""
        self._drop(door)

    def forget(self, door: Door) -> None:
        """It is a WebSocket now: its session looks after it."""
        self._plain.pop(door, None)
        self._waiting.pop(door, None)

    def recall(self, door: Door) -> None:
        """It is no WebSocket."""
        if door in self._doors:
            self._plain[door] = None

    def note(self, door: Door, is_waiting: bool) -> None:
        """The door's state changed."""
        self._waiting.pop(door, None)
        if is_waiting and door in self._plain:
            self._waiting[door] = None

    def _drop(self, door: Door) -> None:
        self.forget(door)
        self._doors.discard(door)
        if door.is_held:
            door.is_held = False
            self._left(door.peer)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            now_s = self.now_s()
            for door in list(self._plain):
                try:
                    door.check(now_s)
                except Exception:
                    log.exception("check_failed")

    def __repr__(self) -> str:
        return f"<Porter sockets={len(self._doors)} plain={len(self._plain)} waiting={len(self._waiting)}>"


class GuardedSite(web.BaseSite):
    """A listening socket of an aiohttp runner whose connections come through doors."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        porter: Porter,
        make_handler: Callable[[Any], asyncio.Protocol],
        **options: Any,
    ) -> None:
        """`make_handler`: aiohttp's side of a connection, of its server."""
        super().__init__(runner, **options)
        self._make_handler = make_handler
        self._listener = listener
        self._porter = porter

    @property
    def name(self) -> str:
        return str(self._listener.getsockname())

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None
        self._porter.make_inner = partial(self._make_handler, server)
        self._server = await asyncio.get_running_loop().create_server(
            self._porter.door,
            sock=self._listener,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=TLS_HANDSHAKE_S_MAX if self._ssl_context is not None else None,
        )
        self._porter.start()


def sockets_max(connections_max: int) -> int:
    """How many sockets a process holds that has room for so many WebSockets."""
    return connections_max + PLAIN_SOCKETS_MAX
