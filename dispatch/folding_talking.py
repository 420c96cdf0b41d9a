"""The arms of `apply` that concern who is in a call: further parties, ownership, transfer, hold, supervision, invitations."""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.estimate import after_joining, after_leaving, after_talk
from dispatch.folding_agents import engage, occupy, start_wrap_up
from dispatch.folding_calls import call_of, leave_room, move, refuse, remember_agent
from dispatch.lifecycle import ImpossibleEvent
from dispatch.model import Call, Party, agent_recipient, customer_recipient
from dispatch.state import State


def _party_added(state: State, event: ev.PartyAdded) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    reservation = call.reservation_of(event.agent_id)
    if reservation is None or reservation.id != event.reservation_id:
        raise ImpossibleEvent(f"no such reservation is pending: {event!r}")
    move(state, call, event)
    engage(agent, call.id, event)
    occupy(agent, event.at_ms)
    if not reservation.is_accepted:  # Else the agent answered earlier, and what was missed since counts.
        agent.misses = 0
    agent.answered_count += 1
    call.reservations = tuple(one for one in call.reservations if one is not reservation)
    call.parties = (*call.parties, Party(agent.id, event.role, reservation.cost_units))
    state.refresh(agent)
    state.tell_parties(call, event)


def _drop_party(call: Call, agent_id: str, event: ev.Event) -> Party:
    party = call.party_of(agent_id)
    if party is None:
        raise ImpossibleEvent(f"no such party: {event!r}")
    call.parties = tuple(one for one in call.parties if one is not party)
    return party


def _party_removed(state: State, event: ev.PartyRemoved) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.tell_parties(call, event)
    party = _drop_party(call, event.agent_id, event)
    start_wrap_up(state, call, party.agent_id, party.cost_units, event)


def _ownership_moved(state: State, event: ev.OwnershipMoved) -> None:
    call = call_of(state, event)
    if call.agent_id != event.from_agent_id:
        raise ImpossibleEvent(f"the call belongs to {call.agent_id}: {event!r}")
    move(state, call, event)
    state.tell_parties(call, event)
    agent = state.agents[event.to_agent_id]
    if call.party_of(agent.id) is not None:
        _drop_party(call, agent.id, event)
    else:
        engage(agent, call.id, event)
        occupy(agent, event.at_ms)
        agent.answered_count += 1
        agent.used_units += event.cost_units
        state.tell(agent_recipient(agent.id), event)
    paid_units = call.cost_units
    call.agent_id, call.cost_units = agent.id, event.cost_units
    start_wrap_up(state, call, event.from_agent_id, paid_units, event)
    if event.media_until_ms:
        call.joined = tuple(one for one in call.joined if one != "agent")
        call.recording_parties = tuple(one for one in call.recording_parties if one != "agent")
        call.media_until_ms = event.media_until_ms
        state.arm(event.media_until_ms, tm.MEDIA, call.id)
    state.refresh(agent)


def _call_transferred(state: State, event: ev.CallTransferred) -> None:
    call = call_of(state, event)
    if call.reservations or call.parties:
        raise ImpossibleEvent(f"somebody is still in the call: {event!r}")
    move(state, call, event)
    state.tell_parties(call, event)
    leave_room(call)
    cost_units = call.cost_units
    start_wrap_up(state, call, event.from_agent_id, cost_units, event)
    if state.queues[event.from_queue_id].plan.last_agent_window_ms:
        remember_agent(state, call.customer_id, event.from_agent_id, event.at_ms)
    _wait_anew(state, call, event)
    if event.not_before_ms:
        refuse(state, call, event.from_agent_id, event.not_before_ms)
    state.line_up(call)


def _wait_anew(state: State, call: Call, event: ev.CallTransferred) -> None:
    former = state.queues[call.queue_id]
    former.counts[lc.WAITING] -= 1
    former_pace = state.pace(former)
    waiting_count = former.counts[lc.WAITING]
    after_leaving(former_pace, event.at_ms, has_waited=False, is_asked=False, waiting_count=waiting_count)
    after_talk(former_pace, event.talked_ms)
    state.count_need(call, call.queue_id, -1)
    call.queue_id = event.queue_id
    after_joining(state.pace(state.queues[call.queue_id]), event.at_ms)
    state.count_need(call, call.queue_id, 1)
    state.queues[call.queue_id].counts[lc.WAITING] += 1
    call.agent_id = call.reservation_id = ""
    call.cost_units = call.media_until_ms = call.connected_at_ms = call.on_hold_until_ms = 0
    call.queued_at_ms, call.due_at_ms, call.credit_ms = event.queued_at_ms, event.due_at_ms, event.credit_ms
    call.recording, call.favourite = event.recording, event.favourite
    call.entered_at_ms = call.step = call.requeued_count = call.callback_count = call.not_before_ms = 0
    call.visited, call.is_callback, call.supervisors, call.script_step = (), False, None, None


def _supervision_changed(state: State, event: ev.SupervisionChanged) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.tell("supervisor:" + event.supervisor_id, event)
    supervisors = dict(call.supervisors or {})
    supervisors.pop(event.supervisor_id, None)
    if event.mode:
        supervisors[event.supervisor_id] = event.mode
    call.supervisors = supervisors or None


def _hold_changed(state: State, event: ev.HoldChanged) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.on_hold_until_ms = event.until_ms
    if event.until_ms:
        state.arm(event.until_ms, tm.HOLD, call.id)
    state.tell_parties(call, event)


def _call_invited(state: State, event: ev.CallInvited) -> None:
    if event.call_id in state.calls:
        raise ImpossibleEvent(f"call twice: {event!r}")
    state.calls_admitted_count += 1
    call = Call(
        id=event.call_id,
        customer_id=event.customer_id,
        queue_id=event.queue_id,
        order=state.calls_admitted_count,
        queued_at_ms=0,
        due_at_ms=0,
        business_reference=event.business_reference,
        is_consented=False,
        recording="off",
        media="external",
        state=lc.INVITED,
        agent_id=event.agent_id,
        invited_until_ms=event.until_ms,
    )
    state.calls[call.id] = call
    state.queues[call.queue_id].counts[lc.INVITED] += 1
    state.arm(event.until_ms, tm.INVITATION, call.id)
    state.tell_parties(call, event)


def _invitation_accepted(state: State, event: ev.InvitationAccepted) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.queued_at_ms, call.due_at_ms = event.queued_at_ms, event.due_at_ms
    # Due at once: its credit is the queue's target, so that a change of priority later starts from there.
    call.credit_ms = event.queued_at_ms + state.queues[call.queue_id].plan.target_ms - event.due_at_ms
    call.is_consented, call.recording, call.media = event.is_consented, event.recording, event.media
    call.favourite, call.agent_id, call.invited_until_ms = event.favourite, "", 0
    state.call_by_customer[call.customer_id] = call.id
    state.line_up(call)
    state.tell(customer_recipient(call.customer_id), event)
    if event.favourite is not None:
        state.tell(agent_recipient(event.favourite.agent_id), event)


TALKING_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.PartyAdded: _party_added,
    ev.PartyRemoved: _party_removed,
    ev.OwnershipMoved: _ownership_moved,
    ev.CallTransferred: _call_transferred,
    ev.SupervisionChanged: _supervision_changed,
    ev.HoldChanged: _hold_changed,
    ev.CallInvited: _call_invited,
    ev.InvitationAccepted: _invitation_accepted,
}
