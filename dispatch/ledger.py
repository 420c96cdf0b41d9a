"""Where counters are kept: totals by queue and agent, and the same by interval, bounded.

Rules. What is booked to an interval is booked to the total too. An interval that is too old (`intervals_max`), or that makes
the records too many (`records_max`), is dropped whole, the oldest first; the totals keep what was in it. Queues and
agents that left the plan are added up in one record each, so that totals do not grow with the years.

An interval that an agent spent offline from end to end has no record: most people are offline for most of the day.
"""

from collections.abc import Iterator

from msgspec import Struct, field

from dispatch import lifecycle as lc
from dispatch.counts import AgentCounts, QueueCounts, add, add_named


class Interval(Struct, array_like=True):
    """The counters of one interval, by id."""

    queues: dict[str, QueueCounts] = field(default_factory=dict)
    agents: dict[str, AgentCounts] = field(default_factory=dict)


class Ledger(Struct, array_like=True):
    """All counters of one division."""

    interval_ms: int
    intervals_max: int
    records_max: int
    now_ms: int = 0
    floor_ms: int = 0
    """Start of the oldest interval that may be kept; what is earlier is in the totals alone."""
    records_count: int = 0
    """Counters in `intervals`."""
    intervals: dict[int, Interval] = field(default_factory=dict)
    """Start -> counters; in the order in which the first of them was booked."""
    queues: dict[str, QueueCounts] = field(default_factory=dict)
    agents: dict[str, AgentCounts] = field(default_factory=dict)
    former_queues: QueueCounts = field(default_factory=QueueCounts)
    """The totals of queues that left the plan, together."""
    former_agents: AgentCounts = field(default_factory=AgentCounts)

    def start_of(self, at_ms: int) -> int:
        """The start of the interval that the instant is in. Intervals begin at multiples of their length since 1970."""
        return at_ms - at_ms % self.interval_ms

    def advance(self, at_ms: int) -> None:
        """Time passes; it never runs backwards here. O(intervals) at a border."""
        if at_ms <= self.now_ms:
            return
        newest_ms = self.start_of(at_ms)
        if newest_ms != self.start_of(self.now_ms):
            self._raise_floor(newest_ms - (self.intervals_max - 1) * self.interval_ms)
        self.now_ms = at_ms

    def of_queue(self, queue_id: str, start_ms: int) -> tuple[QueueCounts, ...]:
        """What to count in for this queue: the total and, where it is still kept, the interval."""
        total = self.queues.get(queue_id)
        if total is None:
            total = self.queues[queue_id] = QueueCounts()
        if start_ms < self.floor_ms:
            return (total,)
        records = self.intervals.setdefault(start_ms, Interval()).queues
        counts = records.get(queue_id)
        if counts is None:
            counts = records[queue_id] = QueueCounts()
            self._make_room()
        return (total, counts)

    def of_agent(self, agent_id: str, start_ms: int) -> tuple[AgentCounts, ...]:
        """The same for an agent."""
        total = self._total_of_agent(agent_id)
        return (total,) if start_ms < self.floor_ms else (total, self._agent_in(agent_id, start_ms))

    def book_time(self, agent_id: str, doing: str, reason: str, since_ms: int, until_ms: int) -> None:
        """Book what the agent did in [since, until), cut at the borders of intervals."""
        add_time(self._total_of_agent(agent_id), doing, reason, until_ms - since_ms)
        for start_ms, ms in self.pieces(since_ms, until_ms):
            interval = self.intervals.get(start_ms)
            is_known = interval is not None and agent_id in interval.agents
            is_worth_a_record = is_known or doing != lc.OFFLINE or ms < self.interval_ms
            if is_worth_a_record and start_ms >= self.floor_ms:
                add_time(self._agent_in(agent_id, start_ms), doing, reason, ms)

    def pieces(self, since_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Yield (start, ms) for each kept interval that [since, until) touches, in order."""
        since_ms = max(since_ms, self.floor_ms)
        while since_ms < until_ms:
            start_ms = self.start_of(since_ms)
            border_ms = min(until_ms, start_ms + self.interval_ms)
            yield start_ms, border_ms - since_ms
            since_ms = border_ms

    def retire_queue(self, queue_id: str) -> None:
        """The queue left the plan and has no live call."""
        add(self.former_queues, self.queues.pop(queue_id))

    def retire_agent(self, agent_id: str) -> None:
        """The agent left the plan and has no work."""
        counts = self.agents.pop(agent_id, None)
        if counts is not None:
            add(self.former_agents, counts)

    def _total_of_agent(self, agent_id: str) -> AgentCounts:
        total = self.agents.get(agent_id)
        if total is None:
            total = self.agents[agent_id] = AgentCounts()
        return total

    def _agent_in(self, agent_id: str, start_ms: int) -> AgentCounts:
        records = self.intervals.setdefault(start_ms, Interval()).agents
        counts = records.get(agent_id)
        if counts is None:
            counts = records[agent_id] = AgentCounts()
            self._make_room()
        return counts

    def _make_room(self) -> None:
        self.records_count += 1
        newest_ms = self.start_of(self.now_ms)
        while self.records_count > self.records_max and (oldest_ms := min(self.intervals)) < newest_ms:
            self._raise_floor(oldest_ms + self.interval_ms)

    def _raise_floor(self, floor_ms: int) -> None:
        self.floor_ms = max(self.floor_ms, floor_ms)
        for start_ms in [one for one in self.intervals if one < self.floor_ms]:
            gone = self.intervals.pop(start_ms)
            self.records_count -= len(gone.queues) + len(gone.agents)


def add_time(counts: AgentCounts, doing: str, reason: str, ms: int) -> None:
    """Add `ms` of what the agent was doing."""
    if doing == lc.NOT_READY:
        add_named(counts.not_ready_ms, reason, ms)
    else:
        name = doing + "_ms"
        setattr(counts, name, getattr(counts, name) + ms)
