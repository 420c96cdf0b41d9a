"""Deadlines of a division: lines and a heap, entries never searched for.

Each deadline also stands in the state as a field (a reservation's end, a grace, ...). An entry only says when to look;
`deadlines.IS_DUE` compares it with the field, so a deadline that moved or went needs no removal, and all entries can
be made anew from the state after a restore.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

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
HAND_OVER: Final = 16
"""call: another division has not answered; or nobody asks any more where it went."""

Timer = tuple[int, int, str, str]
"""(at_ms, kind, id, second id or ''): total order, so equal instants expire in one order everywhere."""


NEVER: Final = 1 << 62
"""`next_ms` when nothing is to be looked at."""


IsDue = dict[int, Callable[[Any, Timer], bool]]
"""By kind: does the entry still mean something in this state?"""


class Timers:
    """What is to be looked at when.

    Most deadlines of a kind lie equally far ahead (a reservation's timeout, a retention), so they come in order: each kind has
    a line that is only appended to, and the few that come earlier than the line's last go into a heap.
    """

    __slots__ = ("_first", "_heap", "_lines", "next_ms")

    def __init__(self) -> None:
        self._lines: defaultdict[int, deque[Timer]] = defaultdict(deque)
        """By kind, for the kinds that there have been."""
        self._heap: list[Timer] = []
        self._first: Timer | None = None
        """What `first_ms` found last, while it is still in."""
        self.next_ms = NEVER
        """No entry is earlier; the earliest may have become meaningless."""

    def __len__(self) -> int:
        return len(self._heap) + sum(map(len, self._lines.values()))

    def arm(self, at_ms: int, kind: int, first: str, second: str = "") -> None:
        """Look at this then. O(1), or O(log n) out of order; entries are never taken back."""
        line = self._lines[kind]
        if line and line[-1][0] > at_ms:
            heappush(self._heap, (at_ms, kind, first, second))
        else:
            line.append((at_ms, kind, first, second))
        if at_ms < self.next_ms:
            self.next_ms = at_ms

    def take(self, now_ms: int, due: list[Timer], is_due: IsDue, state: Any) -> None:
        """Move what means something and lies at or before `now_ms` into the heap `due`; forget what means nothing."""
        next_ms, self._first = NEVER, None
        for kind, line in self._lines.items():
            while line:
                at_ms = line[0][0]
                if at_ms > now_ms:
                    if at_ms < next_ms:
                        next_ms = at_ms
                    break
                timer = line.popleft()
                if is_due[kind](state, timer):
                    heappush(due, timer)
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            timer = heappop(heap)
            if is_due[timer[1]](state, timer):
                heappush(due, timer)
        self.next_ms = min(next_ms, heap[0][0]) if heap else next_ms

    def first_ms(self, is_due: IsDue, state: Any) -> int | None:
        """The earliest instant that means something; what means nothing and is earlier is forgotten."""
        first = self._first
        if first is not None and first[0] <= self.next_ms and is_due[first[1]](state, first):
            return first[0]
        heap = self._heap
        while True:
            first, first_line = (heap[0] if heap else None), None
            for line in self._lines.values():
                if line and (first is None or line[0][0] < first[0]):
                    first, first_line = line[0], line
            if first is None:
                self._first, self.next_ms = None, NEVER
                return None
            if is_due[first[1]](state, first):
                self._first, self.next_ms = first, first[0]
                return first[0]
            if first_line is None:
                heappop(heap)
            else:
                first_line.popleft()

    def clear(self) -> None:
        """Forget all entries, before they are made anew."""
        self._lines.clear()
        self._heap.clear()
        self._first, self.next_ms = None, NEVER
