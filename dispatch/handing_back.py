"""What becomes of a hand-over at its origin: the answer, no answer, and the end of the call elsewhere."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.ending import end_call, give_up
from dispatch.handing import complete, revoke
from dispatch.handing_facts import number_of
from dispatch.limits import lead_on, open_steps
from dispatch.matching import Decider
from dispatch.model import Call
from dispatch.rooms import forget_if_over


def report_hand_over(engine: Decider, command: cm.ReportHandOver) -> Reply:
    """The target's final answer. One to what was sent before the last changes nothing: that one will be answered too."""
    call = engine.state.calls.get(command.call_id)
    if command.principal.partition(":")[0] != "system":
        return Reply("not_yours")
    if call is None:
        return Reply("unknown_call")
    handing = call.handing
    if handing is None or handing.version != command.version or call.state == lc.HANDED_OVER:
        return Reply()
    if call.state == lc.ENDED:
        engine.emit(ev.OriginTold(engine.now_ms, call.id, command.version))
        forget_if_over(engine, call)
    elif not command.reason:
        complete(engine, call, command.seq)
    else:
        _come_back(engine, call, command.reason)
    return Reply()


def _come_back(engine: Decider, call: Call, reason: str) -> None:
    """Refused: back to the old place, or ended where it was hung up meanwhile; where a limit still holds the next way comes."""
    handing = call.handing
    assert handing is not None, "looked at by the caller"
    engine.emit(
        ev.HandOverRefused(engine.now_ms, call.id, handing.version, handing.to_division, handing.queue_id, reason)
    )
    if handing.reason:
        end_call(engine, call, handing.reason)
        return
    open_steps(engine, call)
    queue = engine.state.queues[call.queue_id]
    # The other limits are met again by themselves: the wait's timer is due, and places are looked through.
    if handing.cause == "queue_full" and queue.counts[lc.WAITING] > queue.plan.waiting_max:
        lead_on(engine, call, "queue_full")


def expire_hand_over(engine: Decider, call: Call) -> None:
    """No answer in time: asked back, then given up; long after a hand-over: it is no longer said where the call went."""
    handing = call.handing
    assert handing is not None, "a timer of this kind stands for it"
    if call.state == lc.HANDED_OVER:
        _end_forwarding(engine, call, "forwarding_expired")
    elif handing.is_revoked:
        revoke(engine, call, "hand_over_unanswered")
        give_up(engine, call, handing.reason or "hand_over_unanswered")
    else:
        revoke(engine, call, "")


def end_handed_call(engine: Decider, command: cm.EndHandedCall) -> Reply:
    """The target says that the call has ended; a repeat, or news about an earlier stay there, changes nothing."""
    if command.principal.partition(":")[0] != "system":
        return Reply("not_yours")
    call = engine.state.calls.get(command.call_id)
    if call is None or call.handing is None or call.state == lc.ENDED:
        return Reply()
    if number_of(call.handing.version) != number_of(command.version):
        return Reply()
    if call.state == lc.HANDING_OVER:
        # The answer that it was admitted is still on its way; asked again, the target repeats it.
        return Reply("wrong_state", {"state": call.state})
    _end_forwarding(engine, call, command.reason)
    return Reply()


def _end_forwarding(engine: Decider, call: Call, reason: str) -> None:
    forget_at_ms = engine.now_ms + engine.state.plan.ended_retention_ms
    engine.emit(ev.HandedCallEnded(engine.now_ms, call.id, call.customer_id, reason, forget_at_ms))


def report_end_told(engine: Decider, command: cm.ReportEndTold) -> Reply:
    """A division that the call came from knows of its end."""
    call = engine.state.calls.get(command.call_id)
    if command.principal.partition(":")[0] != "system":
        return Reply("not_yours")
    if call is None:
        return Reply("unknown_call")
    if call.state == lc.ENDED and any(version == command.version for _, version in call.origins):
        engine.emit(ev.OriginTold(engine.now_ms, call.id, command.version))
        forget_if_over(engine, call)
    return Reply()
