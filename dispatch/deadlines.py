"""Which deadlines the records hold: put into the timers, and asked again when one comes up.

Each deadline is a field of a record. A timer entry that no longer agrees with its field means nothing, so nothing needs to be
taken out of the timers, and all of them can be made anew from the records.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.model import Agent, Call
from dispatch.timers import Timer
from dispatch.wishes import NEVER_MS

if TYPE_CHECKING:
    from dispatch.state import State


_WITHOUT_STEPS = (lc.INVITED, lc.HANDING_OVER, *lc.OVER)
"""Before a call is queued, and while another division is asked for it: steps that came due open when it waits again."""


def _is_reservation_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    if call is None or not call.reservations:
        return False
    reservation = call.reservation_of(timer[3])
    return reservation is not None and timer[0] in (reservation.expires_at_ms, reservation.agent_gone_until_ms)


def _is_media_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.media_until_ms == timer[0]


def _is_wrap_up_due(state: "State", timer: Timer) -> bool:
    agent = state.agents.get(timer[2])
    work = agent.wrap_ups.get(timer[3]) if agent is not None else None
    return work is not None and work.until_ms == timer[0]


def _is_grace_due(state: "State", timer: Timer) -> bool:
    recipient = state.recipients.get(timer[2])
    return recipient is not None and recipient.grace_until_ms == timer[0]


def _is_delay_due(state: "State", timer: Timer) -> bool:
    agent = state.agents.get(timer[2])
    return agent is not None and agent.not_before_ms == timer[0]


def _is_refusal_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and (call.refused_until_ms or {}).get(timer[3]) == timer[0]


def _is_forgetting_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and 0 < call.forget_at_ms <= timer[0]


def _is_step_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.state not in _WITHOUT_STEPS and next_step_at_ms(state, call) == timer[0]


def _is_favourite_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    if call is None or call.favourite is None or call.state not in (lc.WAITING, lc.RESERVED):
        return False
    return call.favourite.until_ms == timer[0]


def _is_wait_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.state == lc.WAITING and wait_until_ms(state, call) == timer[0]


def _is_hold_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.on_hold_until_ms == timer[0]


def _is_joint_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and timer[0] in (call.held_until_ms, call.hold_not_before_ms)


def _is_callback_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.not_before_ms == timer[0]


def _is_invitation_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    return call is not None and call.state == lc.INVITED and call.invited_until_ms == timer[0]


def _is_hand_over_due(state: "State", timer: Timer) -> bool:
    call = state.calls.get(timer[2])
    if call is None or call.handing is None or call.state == lc.ENDED:
        return False
    return call.handing.until_ms == timer[0]


def _is_phase_due(state: "State", timer: Timer) -> bool:
    queue = state.queues.get(timer[2])
    return queue is not None and queue.phase_until_ms == timer[0]


IS_DUE: Final[dict[int, Callable[["State", Timer], bool]]] = {
    tm.RESERVATION: _is_reservation_due,
    tm.MEDIA: _is_media_due,
    tm.WRAP_UP: _is_wrap_up_due,
    tm.GRACE: _is_grace_due,
    tm.DELAY: _is_delay_due,
    tm.REFUSED: _is_refusal_due,
    tm.FORGET: _is_forgetting_due,
    tm.RELAX: _is_step_due,
    tm.FAVOURITE: _is_favourite_due,
    tm.WAIT: _is_wait_due,
    tm.HOLD: _is_hold_due,
    tm.JOINT: _is_joint_due,
    tm.CALLBACK: _is_callback_due,
    tm.INVITATION: _is_invitation_due,
    tm.HOURS: _is_phase_due,
    tm.HAND_OVER: _is_hand_over_due,
}
"""By kind: does the entry still mean something? It does while the field that it stands for has this very instant."""


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
        (_window_until_ms(call), tm.FAVOURITE),
        (call.handing.until_ms if call.handing is not None else 0, tm.HAND_OVER),
    ):
        if at_ms:
            state.arm(at_ms, kind, call.id)
    # An invitation has not been queued yet: its steps are counted from the moment at which the customer comes.
    if call.state not in _WITHOUT_STEPS and (at_ms := next_step_at_ms(state, call)):
        state.arm(at_ms, tm.RELAX, call.id)
    for agent_id, until_ms in (call.refused_until_ms or {}).items():
        if until_ms < NEVER_MS:
            state.arm(until_ms, tm.REFUSED, call.id, agent_id)


def _window_until_ms(call: Call) -> int:
    """When a ringing call's window for its favourite ends; 0: it has none. Of one that waits `arm_waiting` knows."""
    favourite = call.favourite
    if favourite is None or call.state != lc.RESERVED or favourite.until_ms >= NEVER_MS:
        return 0
    return favourite.until_ms


def arm_agent(state: "State", agent: Agent) -> None:
    """All deadlines of an agent, from the record."""
    if agent.not_before_ms > state.now_ms:
        state.arm(agent.not_before_ms, tm.DELAY, agent.id)
    for work in agent.wrap_ups.values():
        state.arm(work.until_ms, tm.WRAP_UP, agent.id, work.call_id)
