"""Deadlines of a division: one heap, entries never searched for.

Each deadline also stands in the state as a field (a reservation's end, a grace, ...). An entry only says when to look;
`State.is_live` compares it with the field, so a deadline that moved or went needs no removal, and all entries can
be made anew from the state after a restore.
"""

from heapq import heappop, heappush
from typing import Final

RESERVATION: Final = 1
"""call: the reservation ends, or its disconnected agent's grace does."""
MEDIA: Final = 2
"""call: the media do not stand in time."""
WRAP_UP: Final = 3
"""agent, call."""
GRACE: Final = 4
"""recipient: nobody came back."""
DELAY: Final = 5
"""agent: may be asked again after a miss."""
REFUSED: Final = 6
"""call, agent: may be asked for this call again after a decline."""
FORGET: Final = 7
"""call: leaves memory, or its recording is reported missing."""

Timer = tuple[int, int, str, str]
"""(at_ms, kind, id, second id or ''): total order, so equal instants expire in one order everywhere."""


class Timers:
    """What is to be looked at when, earliest first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[Timer] = []

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, at_ms: int, kind: int, first: str, second: str = "") -> None:
        """Look at this then. O(log n); entries are never taken back."""
        heappush(self._heap, (at_ms, kind, first, second))

    def peek(self) -> Timer | None:
        """The earliest entry, or None."""
        return self._heap[0] if self._heap else None

    def pop(self) -> Timer:
        """Take the earliest entry out. Raises IndexError when there is none."""
        return heappop(self._heap)

    def clear(self) -> None:
        """Forget all entries, before they are made anew."""
        self._heap.clear()
