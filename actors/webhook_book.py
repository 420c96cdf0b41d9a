"""The book of webhooks: who is to be told of what happens to calls, how far each has been told, and what could not be told.

Rules: it lies in the store, durable like everything there, apart from the journal: nothing is decided by it. How far an
endpoint has been told is a position in its division's archive, written after the delivery: a sender that dies repeats some
events, and loses none. Letters that were given up are kept, within a bound.

Not here: sending (`gateway/webhook_sender`), what an event looks like outside (`gateway/webhook_events`), which URLs are
allowed (`gateway/webhook_urls`).
"""

from typing import Any

import msgspec
from msgspec import Struct

from actors.archive_reading import Position
from actors.store_client import StoreClient, StoreCommand

ENDPOINTS_MAX = 32
"""Of a hall: each is a reader of the archive, and a bank joins its systems behind one or two."""
DEAD_MAX = 10_000
"""Letters kept of one endpoint that were given up; the oldest makes room, and is counted."""
SECRETS_MAX = 2
"""The present one, and the one before it while it is still signed with."""

_ENDPOINTS = "tellerhall:webhooks"
_PROGRESS = "tellerhall:webhook-progress"
_BEAT = "tellerhall:webhook-beat"


class Secret(Struct, array_like=True, frozen=True):
    """A key to sign with."""

    key: bytes
    until_ms: int = 0
    """Not signed with any more from then on; 0: the present one."""


class Endpoint(Struct, array_like=True):
    """Where to, what of, and how it is signed."""

    id: str
    division_id: str
    url: str
    types: list[str]
    """CloudEvents types; empty: all."""
    secrets: list[Secret]
    """The present one first."""
    created_at_ms: int
    is_enabled: bool = True
    """Not enabled: nothing is sent, and its place in the archive stays."""
    secret_by: str = ""
    """The idempotency key of the change that made the present secret: a repeat makes no other."""

    def wants(self, type_: str) -> bool:
        return not self.types or type_ in self.types


class Progress(Struct, array_like=True):
    """How far an endpoint has been told, and how that goes."""

    position: Position
    """All up to here is settled: delivered, or kept as a dead letter."""
    delivered_count: int = 0
    failed_count: int = 0
    """Attempts in vain."""
    given_up_count: int = 0
    dropped_count: int = 0
    """Dead letters that made room for later ones: these are lost."""
    failing_since_ms: int = 0
    """0: the latest attempt went well."""
    last_failure: str = ""
    delivered_at_ms: int = 0
    """When something was delivered last."""
    waiting_count: int = 0
    """Read, and not settled."""


class DeadLetter(Struct, array_like=True):
    """An event that was given up; it stays in the archive, and is found there by its position."""

    batch: int
    place: int
    event_id: str
    type: str
    call_id: str
    given_up_at_ms: int
    failure: str
    is_wanted: bool = False
    """To be sent once more."""

    @property
    def key(self) -> str:
        """Sorts like the position."""
        return f"{self.batch:020d}.{self.place:06d}"


_endpoint = msgspec.msgpack.Decoder(Endpoint)
_progress = msgspec.msgpack.Decoder(Progress)
_letter = msgspec.msgpack.Decoder(DeadLetter)


class TooManyEndpoints(Exception):
    """`ENDPOINTS_MAX` are there."""


class WebhookBook:
    """In the store. Every method may raise StoreUnavailable."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    # -- endpoints

    async def endpoints(self) -> list[Endpoint]:
        """All of the hall, by id."""
        [found] = await self._client.run([("HGETALL", _ENDPOINTS)])
        return sorted((_endpoint.decode(value) for value in found.values()), key=lambda one: one.id)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        [found] = await self._client.run([("HGET", _ENDPOINTS, endpoint_id)])
        return _endpoint.decode(found) if found else None

    async def put(self, endpoint: Endpoint, begin: Position | None = None) -> None:
        """Keep an endpoint, new or changed. `begin`: where a new one's events begin. Raises TooManyEndpoints.

        Two who add the last one at the same time may both; the bound is against forgetting, not against haste.
        """
        if begin is not None:
            [count, known] = await self._client.run([("HLEN", _ENDPOINTS), ("HEXISTS", _ENDPOINTS, endpoint.id)])
            if count >= ENDPOINTS_MAX and not known:
                raise TooManyEndpoints
            if not known:
                # Its place first: an endpoint without one would begin somewhere else.
                await self.save(endpoint.id, Progress(begin))
        value = msgspec.msgpack.encode(endpoint)
        await self._client.run([("HSET", _ENDPOINTS, endpoint.id, value)], is_confirmed=True)

    async def remove(self, endpoint_id: str) -> bool:
        """Forget an endpoint with its place and its dead letters; say whether it was there."""
        [count] = await self._client.run([("HDEL", _ENDPOINTS, endpoint_id)])
        await self._client.run([("HDEL", _PROGRESS, endpoint_id)])
        await self._client.run([("DEL", _dead(endpoint_id))])
        return bool(count)

    # -- how far they are

    async def progress(self) -> dict[str, Progress]:
        """By endpoint id."""
        [found] = await self._client.run([("HGETALL", _PROGRESS)])
        return {key.decode(): _progress.decode(value) for key, value in found.items()}

    async def save(self, endpoint_id: str, progress: Progress) -> None:
        await self._client.run([("HSET", _PROGRESS, endpoint_id, msgspec.msgpack.encode(progress))])

    async def beat(self, now_ms: int) -> None:
        """The sender lives."""
        await self._client.run([("SET", _BEAT, str(now_ms))])

    async def last_beat_ms(self) -> int:
        [found] = await self._client.run([("GET", _BEAT)])
        return int(found or 0)

    async def summary(self) -> dict[str, Any]:
        """What operators are told; empty where there is no endpoint."""
        endpoints = await self.endpoints()
        if not endpoints:
            return {}
        progress, counts = await self.progress(), await self.dead_counts([one.id for one in endpoints])
        rows = []
        for endpoint, dead_count in zip(endpoints, counts, strict=True):
            own = progress.get(endpoint.id, Progress((0, -1)))
            rows.append(
                {
                    "id": endpoint.id,
                    "division_id": endpoint.division_id,
                    "is_enabled": endpoint.is_enabled,
                    "failing_since_ms": own.failing_since_ms,
                    "last_failure": own.last_failure,
                    "waiting_count": own.waiting_count,
                    "delivered_count": own.delivered_count,
                    "failed_count": own.failed_count,
                    "dropped_count": own.dropped_count,
                    "dead_letters_count": dead_count,
                }
            )
        return {"beat_at_ms": await self.last_beat_ms(), "endpoints": rows}

    # -- dead letters

    async def bury(self, endpoint_id: str, letter: DeadLetter) -> int:
        """Keep a letter that was given up; return how many made room for it."""
        value = msgspec.msgpack.encode(letter)
        commands: list[StoreCommand] = [
            ("HSET", _dead(endpoint_id), letter.key, value),
            ("HLEN", _dead(endpoint_id)),
        ]
        [_, count] = await self._client.run(commands)
        if count <= DEAD_MAX:
            return 0
        [keys] = await self._client.run([("HKEYS", _dead(endpoint_id))])
        oldest = sorted(keys)[: count - DEAD_MAX]
        await self._client.run([("HDEL", _dead(endpoint_id), *oldest)])
        return len(oldest)

    async def dead_letters(self, endpoint_id: str) -> list[DeadLetter]:
        """All that are kept, in the order of their events."""
        [found] = await self._client.run([("HGETALL", _dead(endpoint_id))])
        return sorted((_letter.decode(value) for value in found.values()), key=lambda one: one.key)

    async def dead_counts(self, endpoint_ids: list[str]) -> list[int]:
        commands: list[StoreCommand] = [("HLEN", _dead(one)) for one in endpoint_ids]
        return [int(count) for count in await self._client.run(commands)] if commands else []

    async def want_again(self, endpoint_id: str, letters: list[DeadLetter], is_wanted: bool = True) -> None:
        """Let these be sent once more, or no more."""
        commands: list[StoreCommand] = []
        for one in letters:
            again = msgspec.structs.replace(one, is_wanted=is_wanted)
            commands.append(("HSET", _dead(endpoint_id), one.key, msgspec.msgpack.encode(again)))
        if commands:
            await self._client.run(commands)

    async def unbury(self, endpoint_id: str, letters: list[DeadLetter]) -> None:
        """These are delivered, or not wanted any more."""
        if letters:
            await self._client.run([("HDEL", _dead(endpoint_id), *(one.key for one in letters))])


def _dead(endpoint_id: str) -> str:
    return f"tellerhall:webhook-dead:{endpoint_id}"
