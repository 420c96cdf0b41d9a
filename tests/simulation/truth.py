"""What is durable, and what follows from it: every batch is replayed at the instant at which the store took it.

Whatever becomes visible anywhere (an answer, a notice, a view, an order to a media worker) is held against this, at that very
instant: nothing may be seen before it is durable, and nothing durable may change. Checked at each batch: one owner an epoch,
epochs that only grow, batches without a hole, events that can happen (replay raises otherwise), every call admitted once,
in exactly one division's books or ended once over all of them (ROUTING.md 5.5), every reservation one outcome
(`tests.engine.history`), no agent over capacity, whoever waits longest first, and every few batches all that
`tests.engine.invariants` knows.

Not here: the end of a run (`verdict`).
"""

from dataclasses import dataclass, field
from typing import Any

from actors.items import Notice
from actors.journal import Append
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.codec import decode_events
from dispatch.effects import Reply
from dispatch.engine import Engine
from dispatch.handing import MOVED
from dispatch.handing_facts import number_of
from dispatch.views import CallView
from tests.engine.history import History
from tests.engine.invariants import check, is_in_line
from tests.simulation.clockwork import Violation, at_once

NOT_JOURNALED = frozenset({"bad_value", "quarantined", "clock_behind", "key_reused", "disk_low", MOVED})
"""Refusals that change nothing and are not remembered."""
CHECKED_EVERY = 5
"""Batches between two recounts of everything."""


@dataclass
class Book:
    """What the journals of all divisions say of one call."""

    admitted: set[tuple[str, int]] = field(default_factory=set)
    """(division, hand-over) that were admitted."""
    ended: list[str] = field(default_factory=list)
    """Reasons, in order."""
    given_up_count: int = 0
    """Divisions that ended it because they were not answered at all: the other may have it, and end it for itself."""


class DivisionTruth:
    """One division's durable history, and the state that follows from it."""

    def __init__(self, division_id: str) -> None:
        self.division_id = division_id
        self.engine = Engine(division_id)
        self.payloads: list[bytes] = []
        self.epoch = 0
        self.writers: dict[int, str] = {}
        """Epoch -> who appended under it."""
        self.history = History()
        self.answers: dict[tuple[str, str], set[str]] = {}
        """(principal, command id) -> reasons that were answered; empty text: accepted."""
        self.told: dict[tuple[str, int], Any] = {}
        self.seqs: dict[str, int] = {}
        self.assigned: set[tuple[str, int, str, int]] = set()
        self.views: dict[str, set[tuple[str, str]]] = {}
        """Call -> (state, agent) at the end of each batch, as a read may show them."""
        self.call_events: dict[str, list[Any]] = {}

    @property
    def batch(self) -> int:
        return len(self.payloads)

    def add(self, one: Append, writer: str) -> list[Any]:
        """Take the next batch in; returns its events."""
        self._check_writer(one.epoch, writer)
        self.payloads.append(one.payload)
        events = decode_events(one.payload)
        for event in events:
            self._check_turn(event)
            try:
                self.engine.apply(event)
                self.history.take(event)
            except Exception as error:
                raise Violation(f"{self.division_id}: {event} cannot happen: {error!r}") from error
            self._note(event)
        self._check_agents()
        self._check_rings()
        if self.batch % CHECKED_EVERY == 0:
            self.check()
        for call_id in sorted({call_id for event in events if (call_id := getattr(event, "call_id", ""))}):
            call = self.engine.state.calls.get(call_id)
            if call is not None:
                is_asked = call.state == lc.RESERVED and bool(call.reservations)
                agent_id = call.reservations[0].agent_id if is_asked else call.agent_id
                self.views.setdefault(call_id, set()).add((call.state, agent_id))
        return events

    def check(self) -> None:
        """Recount everything that must hold of a settled state."""
        # A copy, which wakes and finds nothing to do: nobody was idle beside a call that waits.
        copy = Engine.restore(self.division_id, self.engine.snapshot())
        events, _ = copy.expire(copy.now_ms)
        if events and isinstance(events[0], ev.CallReserved):
            raise Violation(f"18: {self.division_id} at batch {self.batch} had this left to do: {events}")
        try:
            check(copy)
            self.history.settle(self.engine.state)
        except AssertionError as error:
            raise Violation(f"{self.division_id} at batch {self.batch}: {error}") from error

    def _check_turn(self, event: Any) -> None:
        """13: of two calls of one queue, priority and need whoever came first is asked first."""
        calls = self.engine.state.calls
        if not isinstance(event, ev.CallReserved) or event.role != "agent" or calls[event.call_id].state != lc.WAITING:
            return
        chosen = calls[event.call_id]
        for call in calls.values():
            is_before = call.queue_id == chosen.queue_id and call.step == chosen.step and is_in_line(call)
            is_before = is_before and (call.due_at_ms, call.order) < (chosen.due_at_ms, chosen.order)
            is_free = (
                call.not_before_ms <= event.at_ms
                and (call.refused_until_ms or {}).get(event.agent_id, 0) <= event.at_ms
            )
            if is_before and is_free and call.favourite is None and chosen.favourite is None:
                raise Violation(f"13: {event.agent_id} was given {chosen.id} before {call.id}, which is due earlier")

    def _check_writer(self, epoch: int, writer: str) -> None:
        if epoch < self.epoch:
            raise Violation(f"{self.division_id}: {writer} wrote under epoch {epoch} after {self.epoch}")
        if self.writers.setdefault(epoch, writer) != writer:
            raise Violation(f"{self.division_id}: epoch {epoch} has two owners, {self.writers[epoch]} and {writer}")
        self.epoch = epoch

    def _note(self, event: Any) -> None:
        if call_id := getattr(event, "call_id", ""):
            self.call_events.setdefault(call_id, []).append(event)
        if isinstance(event, ev.Answered):
            self.answers.setdefault((event.principal, event.id), set()).add(event.reason)
        elif isinstance(event, ev.RoomAssigned):
            self.assigned.add((event.call_id, event.attempt, event.worker_id, event.worker_epoch))
        for recipient in self.engine.state.recipients.values():
            before = self.seqs.get(recipient.id, 0)
            if recipient.seq != before:
                self.seqs[recipient.id] = recipient.seq
                self.told |= {(recipient.id, seq): told for seq, told in recipient.kept if seq > before}

    def _check_agents(self) -> None:
        state = self.engine.state
        used = dict.fromkeys(state.agents, 0)
        for call in state.calls.values():
            for ring in call.reservations:
                used[ring.agent_id] += ring.cost_units
            for party in call.parties:
                used[party.agent_id] += party.cost_units
            if call.state in lc.TALKING:
                used[call.agent_id] += call.cost_units
        for agent in state.agents.values():
            used[agent.id] += sum(work.cost_units for work in agent.wrap_ups.values())
            if used[agent.id] > agent.capacity_units:
                raise Violation(f"{agent.id} of {self.division_id} is over capacity: {used[agent.id]} units")

    def _check_rings(self) -> None:
        """What was due comes before what happened later: nothing rings past its deadline, but who waits for a partner."""
        now_ms = self.engine.now_ms
        for call in self.engine.state.calls.values():
            for ring in call.reservations:
                if ring.expires_at_ms < now_ms and not ring.is_accepted:
                    raise Violation(f"{ring.id} of {self.division_id} rings past {ring.expires_at_ms}, at {now_ms}")


class Truth:
    """All divisions' durable histories."""

    def __init__(self, division_ids: list[str]) -> None:
        self.divisions = {one: DivisionTruth(one) for one in division_ids}
        self.queued: dict[str, str] = {}
        """Call -> division that admitted it first."""
        self.books: dict[str, Book] = {}
        self.snapshots_count = 0
        self.batches_count = 0
        self.on_batch: Any = lambda division_id, batch, writer, events: None

    def unrest(self) -> list[str]:
        """What is not over yet: live calls, and agents who are engaged."""
        found = []
        for division_id, division in self.divisions.items():
            state = division.engine.state
            found += [
                f"{one.id} is {one.state} in {division_id}" for one in state.calls.values() if one.state not in lc.OVER
            ]
            found += [
                f"{one.id} of {division_id} is engaged: {one.engagements}"
                for one in state.agents.values()
                if one.engagements
            ]
        return found

    # -- at the store

    def note_appends(self, journal: Any, appends: list[Append], writer: str) -> None:
        """Take in what of these appends the store has now."""
        for one in appends:
            division = self.divisions[one.division_id]
            last = at_once(journal.last_batch(one.division_id))
            if last == division.batch:
                continue
            if last != division.batch + 1 or one.batch != last:
                raise Violation(f"{one.division_id}: the store is at batch {last} after {division.batch}")
            self._add(division, one, writer)

    def _add(self, division: DivisionTruth, one: Append, writer: str) -> None:
        calls = division.engine.state.calls
        handing = {call.id for call in calls.values() if call.state == lc.HANDING_OVER}
        events = division.add(one, writer)
        self.batches_count += 1
        for event in events:
            self._note_call(one.division_id, event, handing)
        for call_id in dict.fromkeys(getattr(event, "call_id", "") for event in events):
            if call_id in self.books:
                self._check_conserved(call_id)
        self.on_batch(one.division_id, one.batch, writer, events)

    def _note_call(self, division_id: str, event: Any, handing: set[str]) -> None:
        if isinstance(event, ev.CallQueued):
            if event.call_id in self.queued:
                raise Violation(f"{event.call_id} was admitted twice: {self.queued[event.call_id]}, {division_id}")
            self.queued[event.call_id] = division_id
            self.books[event.call_id] = Book()
        elif isinstance(event, ev.HandOverAdmitted):
            one = (division_id, number_of(event.call.version))
            if any(number == one[1] for _, number in self.books[event.call_id].admitted):
                raise Violation(f"one hand-over of {event.call_id} was admitted twice: {event}")
            self.books[event.call_id].admitted.add(one)
        elif isinstance(event, ev.CallEnded):
            self.books[event.call_id].ended.append(event.reason)
            self.books[event.call_id].given_up_count += event.call_id in handing

    def _check_conserved(self, call_id: str) -> None:
        """5: in exactly one division's books, or ended once."""
        book, owners = self.books[call_id], self.owners(call_id)
        if not len(owners) <= 1 <= len(owners) + len(book.ended) <= 1 + book.given_up_count:
            raise Violation(f"5: {call_id} is live in {owners}; {book}")

    def owners(self, call_id: str) -> list[str]:
        """The divisions that have the call in their books as live."""
        owners = []
        for division_id, division in self.divisions.items():
            call = division.engine.state.calls.get(call_id)
            if call is None or call.state in lc.OVER:
                continue
            handing = call.handing if call.state == lc.HANDING_OVER else None
            there = (handing.to_division, number_of(handing.version)) if handing is not None else None
            if there not in self.books[call_id].admitted:
                owners.append(division_id)
        return owners

    def note_snapshot(self, division_id: str, batch: int, data: bytes) -> None:
        """A snapshot must be what its batches make."""
        division = self.divisions[division_id]
        replayed = Engine(division_id)
        for payload in division.payloads[:batch]:
            replayed.replay(decode_events(payload))
        if batch > division.batch or Engine.restore(division_id, data).digest() != replayed.digest():
            raise Violation(f"{division_id}: the snapshot of batch {batch} is not what its batches make")
        self.snapshots_count += 1

    # -- at whoever sees something

    def check_reply(self, principal: str, command_id: str, reply: Reply) -> None:
        """An answer that somebody got is durable, or was a refusal that changes nothing. A call's new division may answer."""
        if reply.reason in NOT_JOURNALED:
            return
        key = (principal, command_id)
        if not any(reply.reason in division.answers.get(key, ()) for division in self.divisions.values()):
            raise Violation(f"{principal} was answered {reply} to {command_id}, which is not durable")

    def check_notice(self, division_id: str, notice: Notice) -> None:
        """What a client is told is durable, under that number."""
        told = self.divisions[division_id].told.get((notice.recipient, notice.seq))
        if told != notice.event:
            raise Violation(f"{notice.recipient} was told {notice.event} as {notice.seq}; durable is {told}")

    def check_view(self, view: CallView) -> None:
        """A read shows what was durable at the end of some batch, where the call was then."""
        shown = (view.state, view.agent_id)
        if not any(shown in division.views.get(view.call_id, ()) for division in self.divisions.values()):
            raise Violation(
                f"a read showed {view.call_id} as {view.state} at {view.agent_id!r}, which was never durable"
            )

    def check_history(self, division_id: str, call_id: str, events: list[Any], count_min: int) -> None:
        """A history shows the call's durable events, in order; all that were durable when it was asked for."""
        durable = self.divisions[division_id].call_events.get(call_id, [])
        if events != durable[: len(events)] or len(events) < count_min:
            raise Violation(f"the history of {call_id} has {len(events)} events of {len(durable)}: {events}")

    def check_order(self, division_id: str, call_id: str, attempt: int, worker_id: str, epoch: int) -> None:
        """A room is opened only where the journal says so (SAFETY.md 16)."""
        if (call_id, attempt, worker_id, epoch) not in self.divisions[division_id].assigned:
            raise Violation(f"room {call_id}/{attempt} is to open at {worker_id} e{epoch}, which is not durable")
