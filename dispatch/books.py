"""What counting needs to remember of live calls and of agents at work, and how it is booked.

One `Stay` a live call, one `Clock` an agent of the plan, one `Work` a call that occupies an agent: no more than the engine
itself remembers. All else is in the ledger. Which event changes what: `dispatch/measuring.py`.
"""

from msgspec import Struct, field

from dispatch import lifecycle as lc
from dispatch.counts import AgentCounts, QueueCounts
from dispatch.ledger import Ledger


class Stay(Struct, array_like=True):
    """A live call's time in one queue."""

    queue_id: str
    start_ms: int
    """Of the interval in which it came."""
    queued_at_ms: int
    target_ms: int
    is_invited: bool = False
    """Not accepted by the customer yet: not in the queue's sum."""
    is_answered: bool = False
    is_callback: bool = False
    is_absolute: bool = False
    connected_at_ms: int = 0
    """0 while nobody talks."""
    held_at_ms: int = 0
    """0 while the customer is not on hold."""


class Work(Struct, array_like=True):
    """What one call does to an agent."""

    doing: str
    since_ms: int
    queue_id: str
    start_ms: int


class Clock(Struct, array_like=True):
    """What an agent does now, and since when."""

    known_since_ms: int
    since_ms: int
    activity: str = lc.OFFLINE
    reason: str = ""
    is_retired: bool = False
    """No longer in the plan, and still at work."""
    works: dict[str, Work] = field(default_factory=dict)
    """Call id -> reserved, in_call or wrap_up."""

    @property
    def doing(self) -> str:
        """The one thing that counts (`AgentCounts`)."""
        for one in (lc.IN_CALL, lc.WRAP_UP, lc.RESERVED):
            if any(work.doing == one for work in self.works.values()):
                return one
        return lc.OFFLINE if self.is_retired else self.activity


class Books(Struct, array_like=True):
    """Counters and what is in progress. Its encoding is the snapshot."""

    ledger: Ledger
    stays: dict[str, Stay] = field(default_factory=dict)
    """Call id -> live call."""
    clocks: dict[str, Clock] = field(default_factory=dict)
    """Agent id -> agent of the plan, or at work."""
    targets: dict[str, int] = field(default_factory=dict)
    """Queue of the plan -> `target_ms`."""

    def of(self, stay: Stay) -> tuple[QueueCounts, ...]:
        """What to count in for this call: its queue's total and, while it is kept, the interval in which it came."""
        return self.ledger.of_queue(stay.queue_id, stay.start_ms)

    def of_queue_now(self, queue_id: str) -> tuple[QueueCounts, ...]:
        """The same for what belongs to no live call."""
        return self.ledger.of_queue(queue_id, self.ledger.start_of(self.ledger.now_ms))

    def of_agent_now(self, agent_id: str) -> tuple[AgentCounts, ...]:
        """What to count in for something that happens to an agent now."""
        return self.ledger.of_agent(agent_id, self.ledger.start_of(self.ledger.now_ms))

    def settled(self, agent_id: str, at_ms: int) -> Clock:
        """The agent's clock, with everything until `at_ms` booked: what it says may change now."""
        clock = self.clocks.get(agent_id)
        if clock is None:
            clock = self.clocks[agent_id] = Clock(at_ms, at_ms)
        if at_ms > clock.since_ms:
            self.ledger.book_time(agent_id, clock.doing, clock.reason, clock.since_ms, at_ms)
            clock.since_ms = at_ms
        return clock

    def occupy(self, agent_id: str, call_id: str, doing: str, at_ms: int) -> None:
        """The call does this to the agent from now on."""
        clock, stay = self.settled(agent_id, at_ms), self.stays.get(call_id)
        work = clock.works.get(call_id)
        if work is not None:
            work.doing, work.since_ms = doing, at_ms
        elif stay is not None:
            clock.works[call_id] = Work(doing, at_ms, stay.queue_id, stay.start_ms)

    def release(self, agent_id: str, call_id: str, wrap_up: str, at_ms: int) -> None:
        """The agent is out of the call: in wrap-up, or free of it."""
        if wrap_up == "none":
            self.settled(agent_id, at_ms).works.pop(call_id, None)
        else:
            self.occupy(agent_id, call_id, lc.WRAP_UP, at_ms)

    def enter(self, stay: Stay, call_id: str, *, is_offered: bool) -> None:
        """The call comes to a queue."""
        self.stays[call_id] = stay
        for counts in self.of(stay):
            counts.offered_count += is_offered
            counts.moved_in_count += not is_offered
            counts.live_count += 1
            counts.absolute_count += stay.is_absolute

    def leave(self, stay: Stay) -> None:
        """The call goes to another queue, or begins anew in this one."""
        for counts in self.of(stay):
            if stay.is_answered:
                counts.moved_on_count += 1
            else:
                counts.moved_out_count += 1
                counts.live_count -= 1

    def stop_talking(self, stay: Stay, at_ms: int) -> None:
        """The two are no longer connected; nothing if they were not."""
        self.stop_holding(stay, at_ms)
        if stay.connected_at_ms:
            for counts in self.of(stay):
                counts.talk_ms += at_ms - stay.connected_at_ms
            stay.connected_at_ms = 0

    def stop_holding(self, stay: Stay, at_ms: int) -> None:
        """The customer is no longer on hold; nothing if that was not so."""
        if stay.held_at_ms:
            for counts in self.of(stay):
                counts.hold_ms += at_ms - stay.held_at_ms
            stay.held_at_ms = 0
