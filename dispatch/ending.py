"""Decisions at the end of a call: hanging up, ending it with everybody who is in it, giving it back, forgetting it."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.handing import revoke
from dispatch.handing_facts import UNTOLD_MS
from dispatch.matching import Decider
from dispatch.model import Call
from dispatch.timers import FORGET


def hang_up(engine: Decider, command: cm.HangUp) -> Reply:
    """End a call for one who may: its customer, its agent (not while it only rings), supervisors, operators, the shell."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role == "customer" and own_id != call.customer_id:
        return Reply("not_yours")
    if role == "agent" and (not own_id or own_id != call.agent_id):
        return Reply("not_yours")
    if call.state == lc.ENDED:
        return Reply("wrong_state", {"state": call.state, "reason": call.end_reason})
    if len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value")
    end_call(engine, call, command.reason or f"{role}_hung_up")
    return Reply()


def end_call(engine: Decider, call: Call, reason: str, then: str = "") -> None:
    """End a live call in whatever state it is; what rings is rescinded in the same step (ROUTING.md 5.24).

    One that is being handed over may be elsewhere already: its end follows it there, and comes with the answer.
    """
    if call.state == lc.HANDING_OVER:
        revoke(engine, call, reason)
        return
    _end(engine, call, reason, then)


def give_up(engine: Decider, call: Call, reason: str) -> None:
    """End a call that is being handed over: the target cannot be asked whether it has it. It is still told to end it."""
    _end(engine, call, reason)


def _end(engine: Decider, call: Call, reason: str, then: str = "") -> None:
    now_ms = engine.now_ms
    if call.reservations or call.parties:
        let_all_go(engine, call, reason, "call_ended")
    if call.held_agent_id:
        engine.emit(ev.JointReleased(now_ms, call.id, call.held_agent_id, "call_left"))
    wrap_up, until_ms = wrap_up_of(engine, call)
    engine.emit(
        ev.CallEnded(
            now_ms,
            call.id,
            call.customer_id,
            call.queue_id,
            reason,
            call.agent_id if call.state in lc.TALKING else "",
            (call.connected_at_ms or now_ms) - (call.queued_at_ms or now_ms),
            now_ms - call.connected_at_ms if call.state == lc.CONNECTED else 0,
            wrap_up,
            until_ms,
            now_ms + engine.state.plan.ended_retention_ms,
            "message" if then == "message" else "",
        )
    )


def wrap_up_of(engine: Decider, call: Call) -> tuple[str, int]:
    """(kind, until when) of the work that follows for everybody who is in the call now; only a connected call has any."""
    plan = engine.state.queues[call.queue_id].plan
    if call.state != lc.CONNECTED or plan.wrap_up == "none":
        return "none", 0
    return plan.wrap_up, engine.now_ms + (plan.wrap_up_ms if plan.wrap_up == "timed" else plan.wrap_up_ms_max)


def let_all_go(engine: Decider, call: Call, reason: str, party_reason: str) -> None:
    """Rescind whatever rings for the call, and let everybody out of it but the owner."""
    for reservation in call.reservations:
        engine.emit(
            ev.ReservationClosed(engine.now_ms, call.id, reservation.id, reservation.agent_id, "rescinded", reason)
        )
    for party in call.parties:
        wrap_up, until_ms = wrap_up_of(engine, call)
        engine.emit(
            ev.PartyRemoved(engine.now_ms, call.id, party.agent_id, party.role, party_reason, wrap_up, until_ms)
        )


def forget(engine: Decider, call: Call) -> None:
    """The ended call's time in memory is over, unless a recording is still owed, or news of its end, and may yet come."""
    state = engine.state
    if call.rooms or call.unsealed or call.origins or call.handing is not None:
        untold_ms = UNTOLD_MS if call.origins else 0
        kept_ms = max(state.plan.recording_timeout_ms, state.plan.ended_retention_ms, untold_ms)
        given_up_at_ms = call.ended_at_ms + kept_ms
        if engine.now_ms < given_up_at_ms:
            state.timers.arm(given_up_at_ms, FORGET, call.id)
            return
        for attempt in call.unsealed:
            engine.emit(ev.RecordingMissing(engine.now_ms, call.id, attempt))
    engine.emit(ev.CallForgotten(engine.now_ms, call.id, call.customer_id))


def requeue(engine: Decider, call: Call, reason: str) -> None:
    """Give a call that has an agent back to its old place once; the second time it ends."""
    # Who is to be called back may be away until then.
    is_gone = call.is_customer_gone and not (call.is_callback and call.state != lc.CONNECTED)
    if call.requeued_count or is_gone:
        end_call(engine, call, reason)
        return
    let_all_go(engine, call, reason, "requeued")
    not_before_ms = engine.now_ms + engine.state.queues[call.queue_id].plan.decline_delay_ms
    engine.emit(ev.CallRequeued(engine.now_ms, call.id, call.agent_id, reason, not_before_ms))


def miss_callback(engine: Decider, call: Call) -> None:
    """The customer did not come when called back: tried again later at the old place, or given up."""
    plan = engine.state.queues[call.queue_id].plan
    if call.callback_count + 1 >= plan.callback_attempts_max:
        end_call(engine, call, "callback_unanswered")
        return
    let_all_go(engine, call, "callback_unanswered", "requeued")
    # At least a millisecond: an attempt that is due at once is told from no attempt at all by its instant.
    retry_at_ms = engine.now_ms + max(1, plan.callback_retry_ms)
    engine.emit(ev.CallRequeued(engine.now_ms, call.id, call.agent_id, "callback_unanswered", 0, retry_at_ms))
