"""Queues at work: their waiting calls in lanes, one lane for each distinct need that is open.

A call that waits stands in exactly one line of its queue: in its lane, or among the `kept` (for one agent, or a callback whose
next attempt has not come). A position adds up the lines. Everything here is derived from the records (`dispatch/state.py`
makes it anew after a restore); nothing here decides.
"""

from collections.abc import Iterator

from dispatch import lifecycle as lc
from dispatch.choice import Need, Pool
from dispatch.hours import CLOSED, OPEN, SEARCH_MS, Phase, phase_at
from dispatch.model import Pace
from dispatch.plan import QueuePlan
from dispatch.waiting import Key, WaitingLine

LaneKey = tuple[int, Need, Need]
"""(relaxation step, the call's own need, its joint need)."""


class Lane:
    """Calls of one queue that the very same agents may serve now."""

    __slots__ = ("expert_pool", "key", "line", "pool", "queue")

    def __init__(self, queue: "Queue", key: LaneKey, pool: Pool, expert_pool: Pool | None) -> None:
        self.queue = queue
        self.key = key
        self.pool = pool
        self.expert_pool = expert_pool
        """Joint need: where the second person comes from; None: one person is enough."""
        self.line = WaitingLine()
        pool.lanes.append(self)
        if expert_pool is not None and expert_pool is not pool:
            expert_pool.lanes.append(self)

    def __repr__(self) -> str:
        return f"<Lane {self.queue.plan.id} {self.key} {len(self.line)} calls>"

    def stream(self, done: set[int]) -> Iterator[tuple[Key, "Lane"]]:
        """Yield its calls, the most due first, until the lane's `id` is in `done`; they may leave it meanwhile."""
        key = self.line.head()
        while key is not None and id(self) not in done:
            yield key, self
            # A copy of the line would cost as much as it is long, each step.
            key = self.line.after(key)

    def close(self) -> None:
        """Nobody will stand here again."""
        self.pool.lanes.remove(self)
        if self.expert_pool is not None and self.expert_pool is not self.pool:
            self.expert_pool.lanes.remove(self)


class Queue:
    """A skill queue at work."""

    __slots__ = (
        "callbacks_count",
        "counts",
        "is_retired",
        "kept",
        "lanes",
        "needs",
        "pace",
        "phase",
        "phase_until_ms",
        "plain",
        "plan",
    )

    def __init__(self, plan: QueuePlan) -> None:
        self.plan = plan
        self.lanes: dict[LaneKey, Lane] = {}
        self.plain: Lane | None = None
        """The lane of calls that ask for nothing of their own, once there is one."""
        self.kept = WaitingLine()
        self.counts = dict.fromkeys(lc.CALL_STATES, 0)
        self.callbacks_count = 0
        """Callbacks that wait."""
        self.needs: dict[tuple[Need, Need], int] = {}
        """Needs of their own -> live calls with it; bounded by `needs_max`."""
        self.is_retired = False
        """No longer in the plan: serves the calls it has, takes no new ones."""
        self.pace: Pace | None = None
        """The record in `State.paces`, once there is one."""
        self.phase: Phase = OPEN
        self.phase_until_ms = 0
        """When the phase ends; 0: never."""

    def __repr__(self) -> str:
        counts = " ".join(f"{state}={count}" for state, count in self.counts.items() if count)
        return f"<Queue {self.plan.id} line={self.line_length} {counts}>"

    @property
    def live_count(self) -> int:
        """Calls of this queue that have not ended."""
        return sum(self.counts[state] for state in lc.LIVE_STATES)

    @property
    def line_length(self) -> int:
        """Calls that have a position."""
        return len(self.kept) + sum(len(lane.line) for lane in self.lanes.values())

    @property
    def room(self) -> int:
        """How many more of its calls may ring or talk at once."""
        counts, most = self.counts, self.plan.in_call_max
        return most - counts[lc.RESERVED] - counts[lc.CONNECTING] - counts[lc.CONNECTED] if most else 1 << 30

    @property
    def is_serving(self) -> bool:
        """May its calls be reserved now?"""
        return self.phase != CLOSED and (not self.plan.in_call_max or self.room > 0)

    def lines(self) -> list[WaitingLine]:
        """All lines that are not empty."""
        lines = [lane.line for lane in self.lanes.values() if len(lane.line)]
        return [*lines, self.kept] if len(self.kept) else lines

    def head(self) -> Key | None:
        """The most due key of the queue."""
        return min((line.head() or _LAST for line in self.lines()), default=None)

    def position(self, key: Key) -> int:
        """1 for the most due call. O(lanes x log n)."""
        return 1 + sum(line.count_before(key) for line in self.lines())

    def update_phase(self, now_ms: int) -> None:
        """Look at the clock: is the queue open?"""
        self.phase, self.phase_until_ms = phase_at(self.plan.hours, self.plan.closing_grace_ms, now_ms)
        if not self.phase_until_ms and self.plan.hours is not None and self.plan.hours.special:
            # A holiday farther ahead than is looked for: look again when it may have come into sight.
            self.phase_until_ms = now_ms + SEARCH_MS

    def phase_now(self, now_ms: int) -> Phase:
        """The phase at `now_ms`, also when its timer has not been looked at yet."""
        if self.phase_until_ms and now_ms >= self.phase_until_ms:
            return phase_at(self.plan.hours, self.plan.closing_grace_ms, now_ms)[0]
        return self.phase


_LAST: Key = (1 << 62, 0, "")
