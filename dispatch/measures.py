"""Counters that add up, per queue and per agent, in total and per interval: a pure fold over a division's events.

    measures = Measures()
    for event in events: measures.apply(event)      # in order, each once; no engine needed
    measures.queue("loans").answered_count

Rules. Whatever becomes of a call in a queue counts in the interval in which the call came to that queue (was queued, moved in
or transferred in), so that each interval adds up and a service level never mixes the calls of two; an interval is final
when its `live_count` is 0. An agent's time counts in the interval in which it passed, an agent's reservations in the one in
which they were made or closed. A refused call and an invitation count when they happen.

Theory. A call's stay in a queue begins with `offered` or `moved_in` and has one outcome: answered, abandoned, ended otherwise
or moved out. Only live calls and agents' work in progress are remembered; the rest is counters. Events of a call whose
beginning this fold has not seen are not counted for a queue.

Not here: what each counter and figure means (`dispatch/counts.py`), which event makes which (`dispatch/measuring.py`), for how
long they are kept (`dispatch/ledger.py`).
"""

import msgspec
from msgspec import Struct

from dispatch import events as ev
from dispatch.books import Books
from dispatch.counts import AgentCounts, QueueCounts, add
from dispatch.ledger import Interval, Ledger, add_time
from dispatch.measuring import ARMS

VERSION = 1
INTERVAL_MS = 900_000
INTERVALS_MAX = 35 * 96
"""35 days of 15 minutes: a month and some days to compare with."""
RECORDS_MAX = 250_000
"""Counters of (interval, queue or agent): about 480 bytes each. 500 agents who work 8 of 24 hours fill it in 15 days."""


class _Snapshot(Struct, array_like=True):
    version: int
    books: Books


_decoder: msgspec.msgpack.Decoder[_Snapshot] = msgspec.msgpack.Decoder(_Snapshot)


class Measures:
    """The counters of one division, from its events."""

    def __init__(
        self, interval_ms: int = INTERVAL_MS, intervals_max: int = INTERVALS_MAX, records_max: int = RECORDS_MAX
    ) -> None:
        """`records_max` holds but for the newest interval, which is never dropped: at most one record an agent and queue."""
        self._books = Books(Ledger(interval_ms, intervals_max, records_max))

    def __repr__(self) -> str:
        ledger = self._books.ledger
        kept = f"intervals={len(ledger.intervals)} records={ledger.records_count}"
        return (
            f"<Measures {kept} queues={len(ledger.queues)} agents={len(ledger.agents)} live={len(self._books.stays)}>"
        )

    def apply(self, event: ev.Event) -> None:
        """Count what happened. O(1) but for a new plan and for time that spans many intervals."""
        arm = ARMS.get(type(event))
        if arm is not None:
            self._books.ledger.advance(event.at_ms)
            arm(self._books, event)

    # -- reading

    @property
    def now_ms(self) -> int:
        """The instant of the latest event that was counted; 0: none."""
        return self._books.ledger.now_ms

    @property
    def floor_ms(self) -> int:
        """Start of the oldest interval that may be kept; what is earlier is in the totals alone."""
        return self._books.ledger.floor_ms

    def queue(self, queue_id: str) -> QueueCounts:
        """The queue's totals; all 0 for one that nothing has happened to. Not to be changed."""
        return self._books.ledger.queues.get(queue_id) or QueueCounts()

    def agent(self, agent_id: str, now_ms: int) -> AgentCounts:
        """The agent's totals until `now_ms` (not before the latest event)."""
        counts = AgentCounts()
        add(counts, self._books.ledger.agents.get(agent_id) or AgentCounts())
        clock = self._books.clocks.get(agent_id)
        if clock is not None:
            add_time(counts, clock.doing, clock.reason, max(0, now_ms - clock.since_ms))
        return counts

    @property
    def first_ms(self) -> int:
        """Start of the earliest kept interval that anything is known of. O(intervals and agents)."""
        ledger = self._books.ledger
        known = [ledger.start_of(clock.known_since_ms) for clock in self._books.clocks.values()]
        return max(ledger.floor_ms, min([*ledger.intervals, *known], default=ledger.start_of(ledger.now_ms)))

    def starts(self) -> list[int]:
        """The starts of the intervals that are kept and in which anything was counted, oldest first."""
        return sorted(self._books.ledger.intervals)

    def queues_in(self, start_ms: int) -> dict[str, QueueCounts]:
        """The counters of the interval by queue; a queue without any is left out. Not to be changed."""
        interval = self._books.ledger.intervals.get(start_ms)
        return interval.queues if interval else {}

    def agents_in(self, start_ms: int, now_ms: int) -> dict[str, AgentCounts]:
        """The counters of a kept interval by agent, until `now_ms` (not before the latest event). O(agents)."""
        found: dict[str, AgentCounts] = {}
        ledger = self._books.ledger
        if start_ms < ledger.floor_ms:
            return found
        for agent_id, kept in ledger.intervals.get(start_ms, Interval()).agents.items():
            found[agent_id] = AgentCounts()
            add(found[agent_id], kept)
        end_ms = min(now_ms, start_ms + ledger.interval_ms)
        for agent_id, clock in self._books.clocks.items():
            running_ms = end_ms - max(clock.since_ms, start_ms)
            if running_ms > 0:
                add_time(found.setdefault(agent_id, AgentCounts()), clock.doing, clock.reason, running_ms)
            elif agent_id not in found and clock.known_since_ms <= start_ms < end_ms:
                # Offline from end to end (`dispatch/ledger.py`).
                found[agent_id] = AgentCounts(offline_ms=end_ms - start_ms)
        return found

    # -- snapshots

    def snapshot(self) -> bytes:
        """Everything as bytes, versioned, for `restore`."""
        return msgspec.msgpack.encode(_Snapshot(VERSION, self._books))

    @classmethod
    def restore(cls, data: bytes) -> "Measures":
        """Go on from a snapshot. Raises ValueError when a newer program wrote it, msgspec's errors for damaged bytes."""
        version = data[1] if len(data) > 1 else 0
        if version > VERSION:
            raise ValueError(f"measures of version {version}; this program reads up to {VERSION}")
        measures = cls()
        measures._books = _decoder.decode(data).books
        return measures
