"""Deadlines of a division: one heap, entries never searched for.

Each deadline also stands in the state as a field (a reservation's end, a grace, ...). An entry only says when to look;
`deadlines.is_due` compares it with the field, so a deadline that moved or went needs no removal, and all entries can
be made anew from the state after a restore.
"""

from heapq import heappush
from typing import Final

RESERVATION: Final = 1
"""call, agent: the reservation ends, or its disconnected agent's grace does."""
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
RELAX: Final = 8
"""call: the next relaxation step opens."""
FAVOURITE: Final = 9
"""call: is kept for its favourite no longer."""
WAIT: Final = 10
"""call: has waited in its queue for `wait_ms_max`."""
HOLD: Final = 11
"""call: the customer has been on hold for `hold_ms_max`."""
JOINT: Final = 12
"""call: one person was held for `joint_hold_ms`, or somebody may be held again."""
CALLBACK: Final = 13
"""call: the next attempt of a callback."""
INVITATION: Final = 14
"""call: nobody accepted the invitation."""
HOURS: Final = 15
"""queue: opens, begins to close or closes."""

Timer = tuple[int, int, str, str]
"""(at_ms, kind, id, second id or ''): total order, so equal instants expire in one order everywhere."""


class Timers:
    """What is to be looked at when, earliest first."""

    __slots__ = ("heap",)

    def __init__(self) -> None:
        self.heap: list[Timer] = []
        """For `heappop` and a look at the first."""

    def __len__(self) -> int:
        return len(self.heap)

    def arm(self, at_ms: int, kind: int, first: str, second: str = "") -> None:
        """Look at this then. O(log n); entries are never taken back."""
        heappush(self.heap, (at_ms, kind, first, second))

    def clear(self) -> None:
        """Forget all entries, before they are made anew."""
        self.heap.clear()
