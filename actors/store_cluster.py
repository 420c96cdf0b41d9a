"""The way to a cluster: each command goes to the primary that has its key's slot.

Rules
- Keys that belong together carry the same word in braces, so one slot has them: `tellerhall:{division}:head`.
- A request is taken apart by server; its parts travel at once. Each part keeps its order, and each command is done or refused
  by itself; the request as a whole is not one step, unless it `is_atomic`, when all its keys must lie in one slot.
- A command is sent again only where the server has said that it did nothing, since the slot lies elsewhere.
- A command without a key goes to every primary.

Theory: who has which slot is learned from any server (CLUSTER SLOTS) and again after each lost connection and each MOVED.
While a slot is being moved, a key that has gone already is asked for at its new place (ASK), once.

Not here: one server (`store_links`), which keys there are (`journal`, `directory`, `people`).
"""

import asyncio
from typing import Any

from redis import exceptions
from redis.crc import key_slot

from actors.store_address import Node, StoreAddress
from actors.store_links import CONNECT_S, Request, ServerLink, StoreCommand, text_of

REDIRECTS_MAX = 4
"""A request follows this many moves; more in so short a time is a cluster at odds with itself."""
SLOTS_COUNT = 16_384

_KEYLESS = frozenset(
    {"PING", "INFO", "CONFIG GET", "CONFIG SET", "COMMAND INFO", "SCRIPT LOAD", "SCRIPT FLUSH", "KEYS"}
)


class ClusterLink:
    """All primaries of a cluster, each with the keys of its slots."""

    def __init__(self, address: StoreAddress, request_s: float, connections_max: int) -> None:
        self._address = address
        self._request_s = request_s
        self._connections_max = connections_max
        self._lock = asyncio.Lock()
        self._ranges: list[tuple[int, int, Node]] = []
        """(first slot, last slot, primary); empty: to be learned."""
        self._link_by_node: dict[Node, ServerLink] = {}

    async def send(self, request: Request) -> list[Any]:
        replies: list[Any] = [None] * len(request.commands)
        places = list(range(len(request.commands)))
        for _ in range(1 + REDIRECTS_MAX):
            await self._learn()
            await self._send_places(request, places, replies)
            places = [place for place in places if isinstance(replies[place], exceptions.MovedError)]
            if not places:
                break
            self.forget()
        for place, reply in enumerate(replies):
            # MOVED is a kind of ASK in the library, and was followed above.
            if isinstance(reply, exceptions.AskError) and not isinstance(reply, exceptions.MovedError):
                replies[place] = await self._ask(reply, request, place)
        return replies

    async def _send_places(self, request: Request, places: list[int], replies: list[Any]) -> None:
        """Send the commands at `places`, and put each reply into its place."""
        parts: dict[Node, list[int]] = {}
        for place in places:
            replies[place] = None
            for node in self._nodes_for(request.commands[place]):
                parts.setdefault(node, []).append(place)
        outcomes = await asyncio.gather(
            *(self._send_part(node, request, part) for node, part in parts.items()), return_exceptions=True
        )
        for part, outcome in zip(parts.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                self.forget()
                raise outcome
            for place, reply in zip(part, outcome, strict=True):
                # Of a command that all servers got, a refusal counts.
                if replies[place] is None or isinstance(reply, Exception):
                    replies[place] = reply

    async def _send_part(self, node: Node, request: Request, part: list[int]) -> list[Any]:
        commands = [request.commands[place] for place in part]
        return await self._server(node).send(Request(commands, request.is_atomic, request.is_confirmed))

    async def _ask(self, answer: exceptions.AskError, request: Request, place: int) -> Any:
        commands: list[StoreCommand] = [("ASKING",), request.commands[place]]
        server = self._server(Node(answer.host, int(answer.port)))
        return (await server.send(Request(commands, is_confirmed=request.is_confirmed)))[1]

    def _nodes_for(self, command: StoreCommand) -> list[Node]:
        slot = slot_of(command)
        nodes = [node for first, last, node in self._ranges if slot is None or first <= slot <= last]
        if not nodes:
            raise exceptions.ConnectionError(f"no server of the cluster has slot {slot}")
        return list(dict.fromkeys(nodes))

    async def send_each(self, commands: list[StoreCommand]) -> dict[str, list[Any]]:
        await self._learn()
        nodes = sorted({node for _, _, node in self._ranges})
        replies = await asyncio.gather(*(self._server(node).send(Request(commands)) for node in nodes))
        return {str(node): each for node, each in zip(nodes, replies, strict=True)}

    def forget(self) -> None:
        self._ranges = []

    async def _learn(self) -> None:
        """Raises ConnectionError when no server tells."""
        async with self._lock:
            failures = []
            for node in dict.fromkeys((*self._link_by_node, *self._address.nodes)) if not self._ranges else ():
                try:
                    self._ranges = await self._ask_slots(node)
                except (exceptions.RedisError, OSError, TimeoutError) as error:
                    failures.append(f"{node}: {error}")
                    continue
                await self._close_others({primary for _, _, primary in self._ranges})
                return
            if failures:
                raise exceptions.ConnectionError(f"no server of the cluster tells of it: {'; '.join(failures)}")

    async def _ask_slots(self, node: Node) -> list[tuple[int, int, Node]]:
        """A connection of its own: those of the requests may all be waiting for a server that is silent."""
        link = ServerLink(self._address.server_url(node), CONNECT_S, 1)
        try:
            [reply] = await link.send(Request([("CLUSTER", "SLOTS")]))
        finally:
            await link.close()
        if isinstance(reply, Exception):
            raise reply
        # A server that does not know its own name leaves it empty, and means the one that was asked.
        ranges = [
            (int(first), int(last), Node(text_of(primary[0] or "") or node.host, int(primary[1])))
            for first, last, primary, *_ in reply
        ]
        if not ranges:
            raise exceptions.ConnectionError("this server has no slots and knows nobody who has")
        return ranges

    async def _close_others(self, nodes: set[Node]) -> None:
        for node in [one for one in self._link_by_node if one not in nodes]:
            await self._link_by_node.pop(node).close()

    def _server(self, node: Node) -> ServerLink:
        if node not in self._link_by_node:
            self._link_by_node[node] = ServerLink(
                self._address.server_url(node), self._request_s, self._connections_max, self._address.replicas_min
            )
        return self._link_by_node[node]

    async def close(self) -> None:
        for link in self._link_by_node.values():
            await link.close()


def slot_of(command: StoreCommand) -> int | None:
    """Return the slot of the command's first key; None for one without a key."""
    name = str(command[0])
    if name in _KEYLESS:
        return None
    key = command[3] if name == "EVALSHA" else command[1]
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode()))
