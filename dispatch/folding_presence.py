"""The arms of `apply` that concern connections, and when a customer is forgotten (`dispatch/attendance.py` decides).

Only who is awaited is gone: an agent who signed out, or one who never had a connection, is asked like any other once ready.
"""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.lifecycle import ImpossibleEvent
from dispatch.model import Call, Recipient
from dispatch.state import State


def _connected(state: State, event: ev.Connected) -> None:
    recipient = state.recipients.get(event.recipient)
    if recipient is None:
        recipient = state.recipients[event.recipient] = Recipient(id=event.recipient, seq=state.forgotten_seq_max)
    recipient.gateway_id, recipient.connection_id = event.gateway_id, event.connection_id
    recipient.grace_until_ms = 0
    _set_gone(state, event.recipient, False, 0)


def _disconnected(state: State, event: ev.Disconnected) -> None:
    recipient = state.recipients.get(event.recipient)
    if recipient is None:
        raise ImpossibleEvent(f"no such client: {event!r}")
    recipient.gateway_id = recipient.connection_id = ""
    recipient.grace_until_ms = event.grace_until_ms
    if event.grace_until_ms:
        state.arm(event.grace_until_ms, tm.GRACE, recipient.id)
    if event.grace_until_ms:
        _set_gone(state, event.recipient, True, event.at_ms + state.plan.reservation_grace_ms)
    elif event.recipient.startswith("agent:"):
        # Nobody waits for this agent any more; without a connection (over the API) it may sign in again.
        _set_gone(state, event.recipient, False, 0)
    drop_customer(state, recipient)


def _set_gone(state: State, recipient_id: str, is_gone: bool, reservation_until_ms: int) -> None:
    role, _, own_id = recipient_id.partition(":")
    if role == "agent" and own_id in state.agents:
        agent = state.agents[own_id]
        agent.is_gone = is_gone
        for call_id in agent.engagements:
            call = state.calls.get(call_id)
            reservation = call.reservation_of(own_id) if call is not None else None
            if reservation is not None:
                reservation.agent_gone_until_ms = reservation_until_ms
                if is_gone:
                    state.arm(reservation_until_ms, tm.RESERVATION, call_id, own_id)
        state.refresh(agent)
    elif role == "customer" and own_id in state.call_by_customer:
        _set_customer_gone(state, state.calls[state.call_by_customer[own_id]], is_gone)


def _set_customer_gone(state: State, call: Call, is_gone: bool) -> None:
    if call.is_customer_gone == is_gone:
        return
    call.is_customer_gone = is_gone
    if call.state == lc.WAITING and not state.may_stand(call):
        state.leave_line(call)
    elif call.state == lc.WAITING and call.id not in state.standing:
        state.line_up(call)


def drop_customer(state: State, recipient: Recipient) -> None:
    """A customer who is neither connected nor has a call in memory is forgotten; a later resume gets a snapshot."""
    role, _, own_id = recipient.id.partition(":")
    if role == "customer" and not recipient.connection_id and own_id not in state.call_by_customer:
        state.forgotten_seq_max = max(state.forgotten_seq_max, recipient.seq)
        del state.recipients[recipient.id]
        state.answers.pop(recipient.id, None)
        state.answers_by_id.pop(recipient.id, None)


PRESENCE_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.Connected: _connected,
    ev.Disconnected: _disconnected,
}
