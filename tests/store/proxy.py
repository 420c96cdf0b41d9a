"""A wire with faults between the hall and its store: it can withhold replies, hold requests back, and cut connections.

Killing a server cannot show that something was seen before it was durable: what a killed process wrote is still in the kernel.
A withheld reply can (SAFETY.md 18).
"""

import asyncio
import contextlib
from typing import Self

from tests.store.servers import Server, free_port

CHUNK_BYTES = 65_536


class Proxy:
    """Listens on a port of its own and carries bytes to and from `server`. Use as a context."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = free_port()
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._replies_flow = asyncio.Event()
        self._replies_flow.set()
        self.withheld_bytes = 0
        """Replies that arrived here since `withhold_replies`."""
        self._cuts_count = 0

    @property
    def url(self) -> str:
        return self._server.url_at(self.port)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self._replies_flow.set()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def withhold_replies(self) -> None:
        """The server gets all requests; nobody hears what it says."""
        self.withheld_bytes = 0
        self._replies_flow.clear()

    def let_replies_go(self) -> None:
        """What was withheld arrives, if its connection still stands."""
        self._replies_flow.set()

    def cut(self) -> None:
        """Close all connections as they are; withheld replies on them are lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    def cut_after_replies(self, count: int) -> None:
        """Swallow the next `count` replies, each with its connection."""
        self._cuts_count = count

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._writers |= ends
        tasks = [
            asyncio.create_task(self._pump(reader, server_writer, is_reply=False)),
            asyncio.create_task(self._pump(server_reader, writer, is_reply=True)),
        ]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.transport.abort()
        self._writers -= ends
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if is_reply and not self._replies_flow.is_set():
                    self.withheld_bytes += len(data)
                    await self._replies_flow.wait()
                if is_reply and self._cuts_count > 0:
                    self._cuts_count -= 1
                    return
                writer.write(data)
                await writer.drain()
