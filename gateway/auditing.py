"""What a gateway records in the audit log: who came in, what staff did, what was opened, who was refused.

Rules: what changes something is recorded twice, as `asked` before it is done and with its outcome before it is answered; both
are durable then. What only shows something is recorded once, before it is shown.
So nothing that was done is without an entry, and nothing that was answered without its outcome; an
`asked` that stays alone belongs to a gateway that died meanwhile. Where nothing can be recorded, nothing is done.
References are taken by name from a list; whatever a person wrote stays outside.

Refused logins have no name that could be believed: they are counted by reason and recorded once in `REFUSED_EVERY_S`, so
that nobody can fill the log from outside. They are the only thing that a killed gateway takes along.

Not here: the chain (`actors/audit.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec
import structlog

from actors.audit import Audit, AuditFull, Entry, shown
from actors.store_client import StoreUnavailable
from gateway.identity import Identity
from gateway.refusals import EXPECTED, Refused, refused_by

REFUSED_EVERY_S = 10.0
REFERENCES = frozenset(
    {
        "activity",
        "after",
        "agent_id",
        "attempt",
        "before",
        "board",
        "call_id",
        "credit_ms",
        "customer_id",
        "day",
        "division_id",
        "file",
        "id",
        "is_absolute",
        "manager_id",
        "mode",
        "preferred_agent_id",
        "queue_id",
        "required_agent_id",
        "reservation_id",
        "role",
        "slot_id",
        "supervisor_id",
        "to_agent_id",
        "to_queue_id",
        "valid_ms",
        "webhook_id",
    }
)
"""Fields of paths, queries, bodies and messages that hold ids, numbers or words from lists."""
MAYBE_DONE = frozenset({"overloaded", "not_ready", "store_unavailable", "internal"})
"""Refusals after which nobody knows: the outcome says so by the same name."""

T = TypeVar("T")
log = structlog.get_logger("gateway.auditing")


class Auditor:
    """The audit log as one gateway writes it."""

    def __init__(self, audit: Audit, gateway_id: str) -> None:
        self.audit = audit
        self._gateway_id = gateway_id
        self._refused: Counter[str] = Counter()
        self._flushing: asyncio.Task[None] | None = None

    async def note(
        self, what: str, identity: Identity, about: dict[str, Any], ref: str = "", outcome: str = "done"
    ) -> None:
        """Return when it is durable. Raises StoreUnavailable, Refused (`audit_full`)."""
        entry = Entry(
            at_ms=time.time_ns() // 1_000_000,
            what=what,
            who=identity.principal,
            division=identity.division_id,
            about=shown(about),
            outcome=outcome,
            ref=next(iter(shown({"ref": ref}).values()), ""),
            by=self._gateway_id,
        )
        try:
            await self.audit.record(entry)
        except AuditFull as error:
            raise Refused("audit_full", str(error)) from None

    async def carried_out(
        self, what: str, identity: Identity, about: dict[str, Any], ref: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do `work` between the two entries; return or raise what it does. Also raises as `note`."""
        await self.note(what, identity, about, ref, "asked")
        try:
            value = await work()
        except (Refused, *EXPECTED) as error:
            await self.note(what, identity, about, ref, refused_by(error).reason)
            raise
        except Exception:
            await self.note(what, identity, about, ref, "internal")
            raise
        await self.note(what, identity, about, ref)
        return value

    def count_refused(self, reason: str) -> None:
        """Somebody was not let in."""
        self._refused[reason] += 1
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(REFUSED_EVERY_S)
        self._flushing = None
        await self._flush()

    async def _flush(self) -> None:
        counts, self._refused = self._refused, Counter()
        if not counts:
            return
        about = {reason: str(count) for reason, count in sorted(counts.items())}
        at_ms = time.time_ns() // 1_000_000
        entry = Entry(at_ms=at_ms, what="logins.refused", who="gateway", about=about, by=self._gateway_id)
        try:
            await self.audit.record(entry)
        except (StoreUnavailable, AuditFull) as error:
            log.warning("audit.refused_not_recorded", reason=type(error).__name__)
            self._refused += counts

    async def stop(self) -> None:
        """Record what is counted, and end. Bounded by the store's own bound."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
            self._flushing = None
        await self._flush()
        await self.audit.close()


def references(*holders: Any, names: Iterable[str] = REFERENCES) -> dict[str, Any]:
    """Return the fields of mappings and structs that may be recorded; later holders win."""
    found: dict[str, Any] = {}
    for holder in holders:
        pairs = msgspec.structs.asdict(holder) if isinstance(holder, msgspec.Struct) else holder
        if isinstance(pairs, dict):
            found |= {name: value for name, value in pairs.items() if name in names}
    return found
