"""A waiting line: calls in the order of their keys, with positions.

A sorted list cut into buckets of at most 2 * `BUCKET` keys. Insert and remove cost O(log n) comparisons and one short
move; a position adds up the bucket lengths before it, 100 integers for 50,000 waiting calls. Plain Python has nothing
faster below a million entries, and a heap knows no positions.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dispatch.model import Call

Key = tuple[int, int, str]
"""(due_at_ms, order, call id)."""

BUCKET: Final = 512
ABSOLUTE_MS: Final = 1 << 52
"""How much earlier an absolute call is due: before any call that is not, and among themselves as ever."""


def key_of(call: "Call") -> Key:
    """The one order of waiting lines (ROUTING.md 3): absolute first, then who is due first, then who came first."""
    return (call.due_at_ms - ABSOLUTE_MS if call.is_absolute else call.due_at_ms, call.order, call.id)


class WaitingLine:
    """Calls of one lane, most due first."""

    __slots__ = ("_buckets", "_count", "_lasts")

    def __init__(self) -> None:
        self._buckets: list[list[Key]] = []
        self._lasts: list[Key] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Key]:
        for bucket in self._buckets:
            yield from bucket

    def __repr__(self) -> str:
        return f"<WaitingLine {self._count} calls>"

    def head(self) -> Key | None:
        """Return the most due key, or None when nobody waits."""
        return self._buckets[0][0] if self._count else None

    def after(self, key: Key) -> Key | None:
        """Return the first key after this one, whether this one is in the line or not. O(log n)."""
        at = bisect_right(self._lasts, key)
        if at == len(self._lasts):
            return None
        bucket = self._buckets[at]
        return bucket[bisect_right(bucket, key)]

    def add(self, key: Key) -> None:
        """Take a call in at its place. The caller makes sure that it is not in the line."""
        self._count += 1
        if not self._buckets:
            self._buckets.append([key])
            self._lasts.append(key)
            return
        at = bisect_left(self._lasts, key)
        if at == len(self._lasts):
            at -= 1
        bucket = self._buckets[at]
        insort(bucket, key)
        self._lasts[at] = bucket[-1]
        if len(bucket) > 2 * BUCKET:
            self._buckets.insert(at + 1, bucket[BUCKET:])
            del bucket[BUCKET:]
            self._lasts[at : at + 1] = [bucket[-1], self._buckets[at + 1][-1]]

    def remove(self, key: Key) -> None:
        """Let a call go. Raises KeyError when it is not in the line: state would be wrong."""
        at, index = self._find(key)
        bucket = self._buckets[at]
        del bucket[index]
        self._count -= 1
        if bucket:
            self._lasts[at] = bucket[-1]
        else:
            del self._buckets[at]
            del self._lasts[at]

    def count_before(self, key: Key) -> int:
        """Return how many calls of the line are more due than `key`, in the line or not. O(log n + n / BUCKET)."""
        at = bisect_left(self._lasts, key)
        if at == len(self._lasts):
            return self._count
        return sum(map(len, self._buckets[:at])) + bisect_left(self._buckets[at], key)

    def _find(self, key: Key) -> tuple[int, int]:
        at = bisect_left(self._lasts, key)
        if at < len(self._lasts):
            bucket = self._buckets[at]
            index = bisect_left(bucket, key)
            if index < len(bucket) and bucket[index] == key:
                return at, index
        raise KeyError(key)
