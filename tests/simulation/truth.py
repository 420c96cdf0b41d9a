"""What is durable, and what follows from it: every batch is replayed at the instant at which the store took it.

Whatever becomes visible anywhere (an answer, a notice, a view, an order to a media worker) is held against this, at that very
instant: nothing may be seen before it is durable, and nothing durable may change. Checked at each batch: one owner an epoch,
epochs that only grow, batches without a hole, events that can happen (replay raises otherwise), every call admitted once
and ended once over all divisions, every reservation one outcome (`tests.engine.history`), no agent over capacity.

Not here: the end of a run (`verdict`).
"""

from typing import Any

from actors.items import Notice
from actors.journal import Append
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.codec import decode_events
from dispatch.effects import Reply
from dispatch.engine import Engine
from dispatch.views import CallView
from tests.engine.history import History
from tests.simulation.clockwork import Violation, at_once

NOT_JOURNALED = frozenset({"bad_value", "quarantined", "clock_behind", "key_reused"})
"""Refusals that change nothing and are not remembered."""


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
        self.events: list[Any] = []
        self.answers: dict[tuple[str, str], set[str]] = {}
        """(principal, command id) -> reasons that were answered; empty text: accepted."""
        self.told: dict[tuple[str, int], Any] = {}
        self.seqs: dict[str, int] = {}
        self.assigned: set[tuple[str, int, str, int]] = set()
        self.views: dict[str, set[tuple[str, str]]] = {}
        """Call -> (state, agent) at the end of each batch, as a read may show them."""

    @property
    def batch(self) -> int:
        return len(self.payloads)

    def add(self, one: Append, writer: str) -> list[Any]:
        """Take the next batch in; returns its events."""
        self._check_writer(one.epoch, writer)
        self.payloads.append(one.payload)
        events = decode_events(one.payload)
        for event in events:
            try:
                self.engine.apply(event)
                self.history.take(event)
            except Exception as error:
                raise Violation(f"{self.division_id}: {event} cannot happen: {error!r}") from error
            self._note(event)
        self.events += events
        self._check_agents()
        for call_id in sorted({call_id for event in events if (call_id := getattr(event, "call_id", ""))}):
            call = self.engine.state.calls.get(call_id)
            if call is not None:
                self.views.setdefault(call_id, set()).add((call.state, call.agent_id))
        return events

    def _check_writer(self, epoch: int, writer: str) -> None:
        if epoch < self.epoch:
            raise Violation(f"{self.division_id}: {writer} wrote under epoch {epoch} after {self.epoch}")
        if self.writers.setdefault(epoch, writer) != writer:
            raise Violation(f"{self.division_id}: epoch {epoch} has two owners, {self.writers[epoch]} and {writer}")
        self.epoch = epoch

    def _note(self, event: Any) -> None:
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


class Truth:
    """All divisions' durable histories."""

    def __init__(self, division_ids: list[str]) -> None:
        self.divisions = {one: DivisionTruth(one) for one in division_ids}
        self.queued: dict[str, str] = {}
        """Call -> division that admitted it."""
        self.ended: dict[str, str] = {}
        """Call -> why it ended."""
        self.snapshots_count = 0
        self.batches_count = 0
        self.on_batch: Any = lambda division_id, batch, writer, events: None
        self.on_violation: Any = None

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
            events = division.add(one, writer)
            self.batches_count += 1
            self._note_calls(one.division_id, events)
            self.on_batch(one.division_id, last, writer, events)

    def _note_calls(self, division_id: str, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, ev.CallQueued):
                if event.call_id in self.queued:
                    raise Violation(f"{event.call_id} was admitted twice: {self.queued[event.call_id]}, {division_id}")
                self.queued[event.call_id] = division_id
            elif isinstance(event, ev.CallEnded):
                if event.call_id in self.ended:
                    raise Violation(f"{event.call_id} ended twice")
                self.ended[event.call_id] = event.reason

    def note_snapshot(self, division_id: str, batch: int, data: bytes) -> None:
        """A snapshot must be what its batches make."""
        division = self.divisions[division_id]
        replayed = Engine(division_id)
        for payload in division.payloads[:batch]:
            replayed.replay(decode_events(payload))
        if Engine.restore(division_id, data).digest() != replayed.digest():
            raise Violation(f"{division_id}: the snapshot of batch {batch} is not what its batches make")
        self.snapshots_count += 1

    # -- at whoever sees something

    def check_reply(self, division_id: str, principal: str, command_id: str, reply: Reply) -> None:
        """An answer that somebody got is durable, or was a refusal that changes nothing."""
        if reply.reason in NOT_JOURNALED:
            return
        if reply.reason not in self.divisions[division_id].answers.get((principal, command_id), ()):
            raise Violation(f"{principal} was answered {reply} to {command_id}, which is not durable")

    def check_notice(self, division_id: str, notice: Notice) -> None:
        """What a client is told is durable, under that number."""
        told = self.divisions[division_id].told.get((notice.recipient, notice.seq))
        if told != notice.event:
            raise Violation(f"{notice.recipient} was told {notice.event} as {notice.seq}; durable is {told}")

    def check_view(self, division_id: str, view: CallView) -> None:
        """A read shows what was durable at the end of some batch."""
        if (view.state, view.agent_id) not in self.divisions[division_id].views.get(view.call_id, ()):
            raise Violation(
                f"a read showed {view.call_id} as {view.state} at {view.agent_id!r}, which was never durable"
            )

    def check_order(self, division_id: str, call_id: str, attempt: int, worker_id: str, epoch: int) -> None:
        """A room is opened only where the journal says so (SAFETY.md 16)."""
        if (call_id, attempt, worker_id, epoch) not in self.divisions[division_id].assigned:
            raise Violation(f"room {call_id}/{attempt} is to open at {worker_id} e{epoch}, which is not durable")
