"""Personal records: what is known of a person, apart from the journal and erasable (SAFETY.md 7).

Rules: journal and logs hold a `reference` only, an opaque id; what it stands for is here and nowhere else. Every
record ends by itself after `keep_s`. Nothing of a record is ever logged. Where replicas are to confirm, they confirm these too.

Erased means: no reader finds it from that instant on. The bytes leave the disk when the store next rewrites its
append-only file.

Not here: masking for those who may not see a name (`gateway/people`).
"""

from collections.abc import AsyncIterator

from msgspec import Struct

from actors.store_client import StoreClient, StoreCommand

KEEP_S = 30 * 86_400
"""A month: call-backs and complaints about a call come within weeks; a bank sets its own value."""
FIELDS_MAX = 16
SCAN_COUNT = 500
"""Keys looked at in one request of a backup: about a millisecond in which the store does nothing else."""
TEXT_MAX = 400
"""Characters of a reference, a field's name or its text."""


class PersonRecord(Struct, frozen=True, array_like=True):
    """One record on its way into a backup or out of one."""

    reference: str
    fields: dict[str, str]
    left_ms: int
    """How long it is to be kept from now on; -1: for ever."""


class People:
    """Personal records in the store. Every method may raise StoreUnavailable."""

    def __init__(self, client: StoreClient, *, keep_s: int = KEEP_S) -> None:
        self._client = client
        self._keep_s = keep_s

    async def put(self, reference: str, fields: dict[str, str]) -> None:
        """Set these fields, leave others as they are, and begin the time to keep anew. Raises ValueError past a bound."""
        key = _key(reference)
        if len(fields) > FIELDS_MAX:
            raise ValueError(f"a personal record takes {FIELDS_MAX} fields at once, not {len(fields)}")
        if any(len(text) > TEXT_MAX for pair in fields.items() for text in pair):
            raise ValueError(f"a field of a personal record has at most {TEXT_MAX} characters")
        if not fields:
            return
        values = [text for pair in fields.items() for text in pair]
        commands: list[StoreCommand] = [("HSET", key, *values), ("EXPIRE", key, self._keep_s)]
        await self._client.run(commands, is_atomic=True, is_confirmed=True)

    async def get(self, reference: str) -> dict[str, str]:
        """Return the record; empty when there is none."""
        [fields] = await self._client.run([("HGETALL", _key(reference))])
        return {name.decode(): text.decode() for name, text in fields.items()}

    async def all(self) -> AsyncIterator[list[PersonRecord]]:
        """Yield all records, some hundred at a time, for a backup; one that changes meanwhile may come before or after it."""
        cursor = b"0"
        while True:
            [(cursor, keys)] = await self._client.run([("SCAN", cursor, "MATCH", _key("*"), "COUNT", SCAN_COUNT)])
            commands: list[StoreCommand] = [one for key in keys for one in (("HGETALL", key), ("PTTL", key))]
            replies = await self._client.run(commands) if commands else []
            yield [
                PersonRecord(
                    key.decode().removeprefix(_PREFIX), {k.decode(): v.decode() for k, v in fields.items()}, ttl
                )
                for key, fields, ttl in zip(keys, replies[::2], replies[1::2], strict=True)
                if fields
            ]
            if int(cursor) == 0:
                return

    async def restore(self, records: list[PersonRecord]) -> None:
        """Put records back with the time that they had left."""
        commands: list[StoreCommand] = []
        for one in records:
            values = [text for pair in one.fields.items() for text in pair]
            commands.append(("HSET", _key(one.reference), *values))
            if one.left_ms > 0:
                commands.append(("PEXPIRE", _key(one.reference), one.left_ms))
        if commands:
            await self._client.run(commands, is_confirmed=True)

    async def erase(self, reference: str) -> bool:
        """Forget the person; say whether there was something to forget."""
        [count] = await self._client.run([("DEL", _key(reference))], is_confirmed=True)
        return bool(count)


_PREFIX = "tellerhall:person:"


def _key(reference: str) -> str:
    if not 0 < len(reference) <= TEXT_MAX:
        raise ValueError(f"a reference has 1 to {TEXT_MAX} characters")
    return _PREFIX + reference
