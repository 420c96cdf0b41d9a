"""What must hold of the events of a division (ROUTING.md 5), whatever its state: kept apart from it, event by event.

Numbers in the messages are those of ROUTING.md 5.
"""

from dataclasses import dataclass, field
from typing import Any

from dispatch import events as ev

REASONS = {
    ev.ReservationClosed: {"declined", "busy", "expired", "agent_lost", "agent_left", "rescinded"},
    ev.PartyRemoved: {"left", "removed", "call_ended", "transferred", "requeued", "agent_lost"},
    ev.FavouriteReleased: {"window", "declined", "busy", "expired", "agent_lost", "agent_left", "signed_out"},
    ev.JointReleased: {"time", "reserved", "agent_left", "call_left", "overtaken"},
    ev.CallMoved: {"retired", "waited_too_long", "queue_closed", "no_agents"},
    ev.CallbackArranged: {"asked", "queue_full", "waited_too_long", "queue_closed", "no_agents"},
    ev.WrapUpEnded: {"done", "time", "signed_out"},
}
"""The words that clients and measures rely on."""


@dataclass
class Seen:
    """What the events have said of one call."""

    customer_id: str
    queue_id: str = ""
    queued_at_ms: int = 0
    due_at_ms: int = 0
    step: int = 0
    pending: dict[str, str] = field(default_factory=dict)
    """Reservation id -> agent."""
    over: set[str] = field(default_factory=set)
    owner_id: str = ""
    parties: set[str] = field(default_factory=set)
    held: tuple[str, int] = ("", 0)
    hold_not_before_ms: int = 0
    is_ended: bool = False
    is_away: bool = False
    """Another division has it."""


class History:
    """Every call's way so far, as its events tell it."""

    def __init__(self) -> None:
        self.calls: dict[str, Seen] = {}
        self.now_ms = 0

    def take(self, event: Any) -> None:
        """Check one event against those before it."""
        assert event.at_ms >= self.now_ms, f"29: {event} after {self.now_ms}"
        self.now_ms = event.at_ms
        kind = type(event)
        if kind in REASONS:
            word = getattr(event, "outcome", "") or getattr(event, "reason", "") or getattr(event, "cause", "")
            assert (word or event.how) in REASONS[kind], event
        if kind is ev.Resumed:
            for seen in self.calls.values():
                # A hold waits for others, so it moves by the outage; the pause after it does not.
                seen.held = (seen.held[0], seen.held[1] + event.outage_ms if seen.held[0] else 0)
        if kind in (ev.CallQueued, ev.CallInvited, ev.HandOverAdmitted):
            self._begin(event)
        call = self.calls.get(getattr(event, "call_id", ""))
        if call is None:
            return
        if kind in (ev.CallReserved, ev.ReservationAccepted, ev.PartyAdded, ev.ReservationClosed, ev.JointAccepted):
            self._reservation(call, event)
        elif kind in (ev.PartyRemoved, ev.OwnershipMoved, ev.CallRequeued, ev.CallTransferred, ev.CallEnded):
            self._leave(call, event)
        self._place(call, event)
        self._hold(call, event)

    def settle(self, state: Any) -> None:
        """At the end of a step: what the events told is what the records say."""
        for call_id, seen in self.calls.items():
            call = state.calls[call_id]
            assert {one.id: one.agent_id for one in call.reservations} == seen.pending, f"4: {call}"
            assert {one.agent_id for one in call.parties} == seen.parties, f"2: {call}"
            assert (call.queued_at_ms, call.due_at_ms) == (seen.queued_at_ms, seen.due_at_ms), f"14, 28: {call}"
            assert (call.queue_id, call.step) == (seen.queue_id, seen.step), f"20: {call}"
            if seen.owner_id:
                assert call.agent_id == seen.owner_id, f"2: {call}"
        assert set(state.calls) == set(self.calls), "5"

    def _begin(self, event: Any) -> None:
        before = self.calls.get(event.call_id)
        assert before is None or (before.is_away and isinstance(event, ev.HandOverAdmitted)), f"11: {event}"
        seen = self.calls[event.call_id] = Seen(event.customer_id, event.queue_id)
        if isinstance(event, ev.CallQueued | ev.HandOverAdmitted):
            seen.queued_at_ms, seen.due_at_ms = event.queued_at_ms, event.due_at_ms

    @staticmethod
    def _reservation(call: Seen, event: Any) -> None:
        """4: one terminal state each. 2: one owner."""
        assert not call.is_ended, f"5: {event}"
        if isinstance(event, ev.CallReserved):
            assert event.reservation_id not in call.pending.keys() | call.over, f"4: {event}"
            assert event.agent_id not in call.parties | {call.owner_id, *call.pending.values()}, f"3: {event}"
            call.pending[event.reservation_id] = event.agent_id
            return
        assert call.pending.get(event.reservation_id) == event.agent_id, f"4: {event}"
        if isinstance(event, ev.JointAccepted):
            return
        del call.pending[event.reservation_id]
        call.over.add(event.reservation_id)
        if isinstance(event, ev.PartyAdded):
            call.parties.add(event.agent_id)
        elif isinstance(event, ev.ReservationAccepted):
            assert not call.owner_id, f"2: {event}"
            call.owner_id = event.agent_id

    @staticmethod
    def _leave(call: Seen, event: Any) -> None:
        """24: whoever is in a call that ends or waits again is let go before."""
        if isinstance(event, ev.PartyRemoved):
            call.parties.remove(event.agent_id)
        elif isinstance(event, ev.OwnershipMoved):
            assert call.owner_id == event.from_agent_id, f"2: {event}"
            call.parties.discard(event.to_agent_id)
            call.owner_id = event.to_agent_id
        else:
            assert not call.pending, f"24: {event}"
            assert not call.parties, f"24: {event}"
            assert not call.held[0], f"19: {event}"
            owner_id = event.from_agent_id if isinstance(event, ev.CallTransferred) else event.agent_id
            assert call.owner_id == owner_id, f"2: {event}"
            call.owner_id = ""
            assert not call.is_ended, f"5: {event}"
            call.is_ended = isinstance(event, ev.CallEnded)

    def _place(self, call: Seen, event: Any) -> None:
        """14, 28, 32: a key changes for these causes alone. 20, 21: steps open on time and only go up."""
        if isinstance(event, ev.InvitationAccepted | ev.CallTransferred):
            call.queued_at_ms, call.due_at_ms, call.step = event.queued_at_ms, event.due_at_ms, 0
            call.queue_id = getattr(event, "queue_id", call.queue_id)
            assert event.queued_at_ms == event.at_ms, f"14: {event}"
        elif isinstance(event, ev.CallMoved):
            assert event.from_queue_id == call.queue_id != event.queue_id, event
            call.queue_id, call.due_at_ms, call.step = event.queue_id, event.due_at_ms, 0
        elif isinstance(event, ev.CallPrioritised):
            call.due_at_ms = event.due_at_ms
        elif isinstance(event, ev.NeedRelaxed):
            assert event.step > call.step, f"21: {event}"
            call.step = event.step
        elif isinstance(event, ev.CallHandedOver):
            call.is_away = True
        elif isinstance(event, ev.HandedCallEnded):
            assert call.is_away, f"5: {event}"
            assert not call.is_ended, f"5: {event}"
            call.is_ended = True
        elif isinstance(event, ev.CallForgotten):
            assert call.is_ended, f"5: {event}"
            del self.calls[event.call_id]

    @staticmethod
    def _hold(call: Seen, event: Any) -> None:
        """19: a joint call holds one person, and after the time is up nobody for as long."""
        if isinstance(event, ev.JointHeld):
            assert not call.held[0], f"19: {event}"
            assert event.at_ms >= call.hold_not_before_ms, f"19: {event}"
            call.held = (event.agent_id, event.until_ms)
        elif isinstance(event, ev.JointReleased):
            assert call.held[0] == event.agent_id, f"19: {event}"
            assert event.at_ms <= call.held[1] or event.reason == "time", f"19: {event}"
            assert bool(event.not_before_ms) == (event.reason == "time"), f"19: {event}"
            call.held, call.hold_not_before_ms = ("", 0), event.not_before_ms
