"""Time in a shard: the wall clock at its start, advanced by the monotonic clock.

So a jump of the wall clock moves no timer (DESIGN.md); `not_behind` keeps it from falling behind the journal.
"""

import time


class SteadyClock:
    """The real clock of a process."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; never runs backwards."""
        return (time.monotonic_ns() + self._offset_ns) // 1_000_000

    def not_behind(self, at_ms: int) -> int:
        """Set the clock forward to `at_ms` if it is behind; return by how many ms it was."""
        behind_ms = max(0, at_ms - self.now_ms())
        self._offset_ns += behind_ms * 1_000_000
        return behind_ms
