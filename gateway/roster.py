"""Who is connected to this gateway: one session per principal, and the slots in which they are looked after.

Rules: memory only, no truth: the engine decides which connection counts. Every change is O(1); nothing here waits.

Theory: checking all connections at once would stop the loop for a second at 16,600 of them (measured), so each belongs
to one of `SLOTS` groups, and one group is looked after each `SLOT_MS`.

Not here: the checks (`gateway/session.py`), the clock (`gateway/rounds.py`).
"""

from collections import Counter
from collections.abc import Iterator

from gateway.identity import Identity
from gateway.session import Session

SLOT_MS = 100
SLOTS = 10


class Roster:
    """All sessions of one gateway process."""

    def __init__(self) -> None:
        self._by_principal: dict[tuple[str, str], Session] = {}
        self._slots: list[dict[str, Session]] = [{} for _ in range(SLOTS)]
        self._slot_of: dict[str, int] = {}
        self._next_slot = 0
        self._count_of: dict[tuple[str, str], int] = {}
        """Connections of each principal, also those that are being closed."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def __iter__(self) -> Iterator[Session]:
        """All sessions, also those that are being closed; a copy, safe against changes."""
        return iter([session for slot in self._slots for session in slot.values()])

    def count_of(self, identity: Identity) -> int:
        """How many connections somebody has here, with those that are being closed."""
        return self._count_of.get((identity.division_id, identity.principal), 0)

    def add(self, session: Session) -> Session | None:
        """Enter `session` and return the one that it replaces, if any."""
        key = (session.identity.division_id, session.identity.principal)
        replaced = self._by_principal.get(key)
        self._by_principal[key] = session
        self._count_of[key] = self._count_of.get(key, 0) + 1
        self._slots[self._next_slot][session.connection_id] = session
        self._slot_of[session.connection_id] = self._next_slot
        self._next_slot = (self._next_slot + 1) % SLOTS
        return replaced

    def remove(self, session: Session) -> None:
        """Forget `session`; harmless when it was replaced or removed before."""
        slot = self._slot_of.pop(session.connection_id, None)
        key = (session.identity.division_id, session.identity.principal)
        if slot is not None:
            del self._slots[slot][session.connection_id]
            self._count_of[key] -= 1
            if not self._count_of[key]:
                del self._count_of[key]
        if self._by_principal.get(key) is session:
            del self._by_principal[key]

    def connections(self) -> dict[str, int]:
        """Role -> how many connections it has here, those that are being closed among them."""
        return dict(Counter(session.identity.role for session in self))

    def slot(self, number: int) -> list[Session]:
        """Return the sessions of one slot, a copy."""
        return list(self._slots[number % SLOTS].values())

    def waiting_by_division(self) -> dict[str, list[Session]]:
        """Return the customers' sessions whose call waits in a line."""
        waiting: dict[str, list[Session]] = {}
        for session in self._by_principal.values():
            if session.waiting_call_id:
                waiting.setdefault(session.division_id, []).append(session)
        return waiting

    def __repr__(self) -> str:
        return f"<Roster connections={len(self)} principals={len(self._by_principal)}>"
