"""Decisions at both ends of a call's life: admitting it, ending it, forgetting it."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.matching import Decider
from dispatch.model import Call, customer_recipient
from dispatch.timers import FORGET


def request_call(engine: Decider, command: cm.RequestCall) -> Reply:
    """Admit a call, or say by name why not."""
    state = engine.state
    queue = state.queues.get(command.queue_id)
    if queue is None or queue.is_retired:
        return Reply("unknown_queue", {"queue_id": command.queue_id})
    if command.principal.startswith("customer:") and command.principal != customer_recipient(command.customer_id):
        return Reply("not_yours")
    if not command.call_id or not command.customer_id or len(command.business_reference) > cm.MAX_TEXT:
        return Reply("bad_value")
    if command.call_id in state.calls:
        return Reply("call_exists")
    live = state.calls.get(state.call_by_customer.get(command.customer_id, ""))
    if live is not None and live.state != lc.ENDED:
        return Reply("already_in_call", {"call_id": live.id})
    if queue.plan.recording == "required" and not command.is_consented:
        return Reply("consent_required")
    if queue.counts[lc.WAITING] >= queue.plan.waiting_max and queue.pool.first(None, engine.now_ms) is None:
        return Reply("queue_full", {"waiting_max": queue.plan.waiting_max})
    if len(state.calls) - state.ended_count >= state.plan.live_calls_max:
        return Reply("hall_full", {"live_calls_max": state.plan.live_calls_max})
    engine.emit(
        ev.CallQueued(
            engine.now_ms,
            command.call_id,
            command.customer_id,
            command.queue_id,
            engine.now_ms,
            engine.now_ms + queue.plan.target_ms,
            command.business_reference,
            command.is_consented,
            queue.plan.recording if command.is_consented else "off",
            queue.plan.media,
        )
    )
    return Reply("", {"call_id": command.call_id})


def hang_up(engine: Decider, command: cm.HangUp) -> Reply:
    """End a call for one who may: its customer, its agent (not while it only rings), supervisors, operators, the shell."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role == "customer" and own_id != call.customer_id:
        return Reply("not_yours")
    if role == "agent" and (not own_id or own_id != call.agent_id or call.state == lc.RESERVED):
        return Reply("not_yours")
    if call.state == lc.ENDED:
        return Reply("wrong_state", {"state": call.state, "reason": call.end_reason})
    if len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value")
    end_call(engine, call, command.reason or f"{role}_hung_up")
    return Reply()


def end_call(engine: Decider, call: Call, reason: str) -> None:
    """End a live call in whatever state it is; what rings is rescinded in the same step (ROUTING.md 5.24)."""
    if call.state == lc.RESERVED:
        engine.emit(
            ev.ReservationClosed(engine.now_ms, call.id, call.reservation_id, call.agent_id, "rescinded", reason)
        )
    state = engine.state
    plan = state.queues[call.queue_id].plan
    was_connected = call.state == lc.CONNECTED
    wrap_up = plan.wrap_up if was_connected else "none"
    wrap_up_ms = plan.wrap_up_ms if wrap_up == "timed" else plan.wrap_up_ms_max
    engine.emit(
        ev.CallEnded(
            engine.now_ms,
            call.id,
            call.customer_id,
            call.queue_id,
            reason,
            call.agent_id if call.state in (lc.CONNECTING, lc.CONNECTED) else "",
            (call.connected_at_ms or engine.now_ms) - call.queued_at_ms,
            engine.now_ms - call.connected_at_ms if was_connected else 0,
            wrap_up,
            engine.now_ms + wrap_up_ms if wrap_up != "none" else 0,
            engine.now_ms + state.plan.ended_retention_ms,
        )
    )


def forget(engine: Decider, call: Call) -> None:
    """The ended call's time in memory is over, unless a recording is still owed and may yet come."""
    state = engine.state
    if call.rooms or call.unsealed:
        given_up_at_ms = call.ended_at_ms + max(state.plan.recording_timeout_ms, state.plan.ended_retention_ms)
        if engine.now_ms < given_up_at_ms:
            state.timers.arm(given_up_at_ms, FORGET, call.id)
            return
        for attempt in list(call.unsealed):
            engine.emit(ev.RecordingMissing(engine.now_ms, call.id, attempt))
    engine.emit(ev.CallForgotten(engine.now_ms, call.id, call.customer_id))


def requeue(engine: Decider, call: Call, reason: str) -> None:
    """Give a call that has an agent back to its old place once; the second time it ends."""
    if call.requeued_count or call.is_customer_gone:
        end_call(engine, call, reason)
        return
    not_before_ms = engine.now_ms + engine.state.queues[call.queue_id].plan.decline_delay_ms
    engine.emit(ev.CallRequeued(engine.now_ms, call.id, call.agent_id, reason, not_before_ms))
