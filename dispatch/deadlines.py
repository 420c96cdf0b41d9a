"""Which deadlines the records hold: put into the timers, and asked again when one comes up.

Each deadline is a field of a record. A timer entry that no longer agrees with its field means nothing, so nothing needs to be
taken out of the timers, and all of them can be made anew from the records.
"""

from typing import TYPE_CHECKING

from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.model import Agent, Call
from dispatch.timers import Timer
from dispatch.wishes import NEVER_MS

if TYPE_CHECKING:
    from dispatch.state import State


def is_due(state: "State", timer: Timer) -> bool:
    """Say whether the entry still means something: the field it stands for has this very instant."""
    at_ms, kind, first, second = timer
    if kind == tm.WRAP_UP:
        agent = state.agents.get(first)
        work = agent.wrap_ups.get(second) if agent else None
        return work is not None and work.until_ms == at_ms
    if kind == tm.GRACE:
        recipient = state.recipients.get(first)
        return recipient is not None and recipient.grace_until_ms == at_ms
    if kind == tm.DELAY:
        agent = state.agents.get(first)
        return agent is not None and agent.not_before_ms == at_ms
    if kind == tm.HOURS:
        queue = state.queues.get(first)
        return queue is not None and queue.phase_until_ms == at_ms
    call = state.calls.get(first)
    return call is not None and _is_call_due(state, call, at_ms, kind, second)


def _is_call_due(state: "State", call: Call, at_ms: int, kind: int, agent_id: str) -> bool:
    if kind == tm.RESERVATION:
        reservation = call.reservation_of(agent_id)
        return reservation is not None and at_ms in (reservation.expires_at_ms, reservation.agent_gone_until_ms)
    if kind == tm.FORGET:
        return 0 < call.forget_at_ms <= at_ms
    if kind == tm.MEDIA:
        return call.media_until_ms == at_ms
    if kind == tm.REFUSED:
        return (call.refused_until_ms or {}).get(agent_id) == at_ms
    if kind == tm.HOLD:
        return call.on_hold_until_ms == at_ms
    if kind == tm.INVITATION:
        return call.state == lc.INVITED and call.invited_until_ms == at_ms
    return _is_waiting_due(state, call, at_ms, kind)


def _is_waiting_due(state: "State", call: Call, at_ms: int, kind: int) -> bool:
    if kind == tm.RELAX:
        return call.state != lc.ENDED and next_step_at_ms(state, call) == at_ms
    if kind == tm.JOINT:
        return at_ms in (call.held_until_ms, call.hold_not_before_ms)
    if kind == tm.CALLBACK:
        return call.not_before_ms == at_ms
    if kind == tm.FAVOURITE:
        is_open = call.state in (lc.WAITING, lc.RESERVED)
        return is_open and call.favourite is not None and call.favourite.until_ms == at_ms
    return kind == tm.WAIT and call.state == lc.WAITING and wait_until_ms(state, call) == at_ms


def next_step_at_ms(state: "State", call: Call) -> int:
    """When the next relaxation step opens; 0: there is none."""
    steps = state.queues[call.queue_id].plan.relaxation
    return call.queued_at_ms + steps[call.step].after_ms if call.step < len(steps) else 0


def wait_until_ms(state: "State", call: Call) -> int:
    """When the call has waited in its queue for too long; 0: never."""
    wait_ms_max = state.queues[call.queue_id].plan.wait_ms_max
    return (call.entered_at_ms or call.queued_at_ms) + wait_ms_max if wait_ms_max and not call.is_callback else 0


def arm_waiting(state: "State", call: Call) -> None:
    """Deadlines of a call that begins to wait, or waits again, or elsewhere."""
    plan = state.queues[call.queue_id].plan
    if plan.wait_ms_max and not call.is_callback:
        state.timers.arm(wait_until_ms(state, call), tm.WAIT, call.id)
    if plan.relaxation and (at_ms := next_step_at_ms(state, call)):
        state.timers.arm(at_ms, tm.RELAX, call.id)
    if call.favourite is not None and call.favourite.until_ms < NEVER_MS:
        state.timers.arm(call.favourite.until_ms, tm.FAVOURITE, call.id)
    if call.not_before_ms:
        state.timers.arm(call.not_before_ms, tm.CALLBACK, call.id)


def arm_call(state: "State", call: Call) -> None:
    """All deadlines of a call, from its record."""
    for reservation in call.reservations:
        state.arm(reservation.expires_at_ms, tm.RESERVATION, call.id, reservation.agent_id)
        if reservation.agent_gone_until_ms:
            state.arm(reservation.agent_gone_until_ms, tm.RESERVATION, call.id, reservation.agent_id)
    for at_ms, kind in (
        (call.media_until_ms, tm.MEDIA),
        (call.forget_at_ms, tm.FORGET),
        (call.on_hold_until_ms, tm.HOLD),
        (call.held_until_ms, tm.JOINT),
        (call.hold_not_before_ms, tm.JOINT),
        (call.invited_until_ms if call.state == lc.INVITED else 0, tm.INVITATION),
    ):
        if at_ms:
            state.arm(at_ms, kind, call.id)
    # An invitation has not been queued yet: its steps are counted from the moment at which the customer comes.
    if call.state not in (lc.INVITED, lc.ENDED) and (at_ms := next_step_at_ms(state, call)):
        state.arm(at_ms, tm.RELAX, call.id)
    for agent_id, until_ms in (call.refused_until_ms or {}).items():
        if until_ms < NEVER_MS:
            state.arm(until_ms, tm.REFUSED, call.id, agent_id)


def arm_agent(state: "State", agent: Agent) -> None:
    """All deadlines of an agent, from the record."""
    if agent.not_before_ms > state.now_ms:
        state.arm(agent.not_before_ms, tm.DELAY, agent.id)
    for work in agent.wrap_ups.values():
        state.arm(work.until_ms, tm.WRAP_UP, agent.id, work.call_id)
