"""A call that another division hands over: admitted or refused once, and the same answer ever after. The target's side.

A final answer is durable: an admission, or a refusal with a tombstone (`HandOverDeclined`) that stands until the call could not
be admitted any more. Answers that are not final (`hand_overs_full`) say nothing, so the origin asks again. Where `is_final`
is missing in a refusal, it may have been anything.
"""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.ending import end_call
from dispatch.handing import MOVED, complete, moved_to
from dispatch.handing_facts import (
    ARRIVAL_MS_MIN,
    COUNT_MAX,
    HANDED_IN_MAX,
    HOPS_MAX,
    UNTOLD_MS,
    VALID_MS_MAX,
    VERSIONS,
    VISITED_MAX,
    HandedCall,
    HandedIn,
    number_of,
)
from dispatch.lanes import Queue
from dispatch.limits import Entrant, met_limit, open_steps, takes_needs
from dispatch.matching import Decider
from dispatch.model import Call, customer_recipient
from dispatch.state import State


def admit_hand_over(engine: Decider, command: cm.AdmitHandOver) -> Reply:
    """Let the call wait here under its id and queued-at time, or say by name why not."""
    state, came = engine.state, command.call
    if (refusal := _refuse(engine, command.principal, came.call_id, came.valid_until_ms)) is not None:
        return refusal
    if not _is_sane(came, engine.now_ms):
        return Reply("bad_value")
    known = state.handed_in.get(came.call_id)
    if known is not None and known.version >= came.version:
        return _answer_again(known, came.version)
    call = state.calls.get(came.call_id)
    if call is not None and _came_by(call, came.version):
        return Reply("", {"seq": 0})
    if engine.now_ms > came.valid_until_ms:
        return _expired(engine, came.valid_until_ms)
    if _is_full(engine):
        return Reply("hand_overs_full")
    is_back = call is not None and _is_back(call, came)
    queue = state.queues.get(came.queue_id)
    reason = "call_exists" if call is not None and not is_back else _why_not(engine, came, queue)
    if reason or queue is None:
        return _decline(engine, came.call_id, came.version, came.from_division, reason, came.valid_until_ms)
    ends_with = ""
    if call is not None and call.state == lc.HANDING_OVER and call.handing is not None:
        # That the call comes back says that it arrived, whatever became of the answer.
        ends_with = call.handing.reason
        complete(engine, call, max(0, came.seq))
    seq = _admit(engine, came, queue)
    if ends_with:
        end_call(engine, state.calls[came.call_id], ends_with)
    return Reply("", {"seq": seq})


def brings_call(state: State, came: HandedCall) -> bool:
    """Is it a call that is not here, and about which nothing was answered yet? A shell short of disk keeps such out."""
    known = state.handed_in.get(came.call_id)
    return came.call_id not in state.calls and (known is None or known.version < came.version)


def _refuse(engine: Decider, principal: str, call_id: str, valid_until_ms: int) -> Reply | None:
    """What is no hand-over at all."""
    if principal.partition(":")[0] != "system":
        return Reply("not_yours")
    if not call_id or valid_until_ms > engine.now_ms + VALID_MS_MAX:
        return Reply("bad_value", {"allowed": f"a call_id, and at most {VALID_MS_MAX} ms of validity"})
    return None


def _is_sane(came: HandedCall, now_ms: int) -> bool:
    """Could any division have sent this? Its numbers are added to others here, and must stay numbers of 64 bits."""
    counts = (
        *(came.hops, came.attempt, came.room_attempt, came.requeued_count, came.script_count),
        *(came.credit_ms + 1, came.seq + 1),
    )
    return (
        bool(came.customer_id and came.from_division)
        and VERSIONS <= came.version < COUNT_MAX
        and 0 < came.queued_at_ms <= now_ms + VALID_MS_MAX
        and all(0 <= count <= COUNT_MAX for count in counts)
        and len(came.business_reference) <= cm.MAX_TEXT
        and len(came.visited) <= VISITED_MAX
    )


def _answer_again(known: HandedIn, version: int) -> Reply:
    """The first answer. What is older than a later hand-over of the call was admitted, or there would be no later one."""
    if known.reason and number_of(known.version) == number_of(version):
        return Reply(known.reason, {"is_final": True})
    return Reply("", {"seq": known.seq})


def _came_by(call: Call, version: int) -> bool:
    """Was the call admitted by this very hand-over, also when the answer is no longer remembered?"""
    return any(number_of(one) == number_of(version) for _, one in call.origins)


def _expired(engine: Decider, valid_until_ms: int) -> Reply:
    """It cannot be admitted any more. That it never was is known only while an admission would be remembered for sure."""
    is_final = engine.now_ms <= valid_until_ms + UNTOLD_MS
    return Reply("hand_over_expired", {"is_final": True} if is_final else None)


def _is_full(engine: Decider) -> bool:
    known = engine.state.handed_in
    return len(known) >= HANDED_IN_MAX and next(iter(known.values())).until_ms >= engine.now_ms


def _is_back(call: Call, came: HandedCall) -> bool:
    """Did this division hand the call over before, and does it now come back from there?"""
    is_away = call.state in (lc.HANDING_OVER, lc.HANDED_OVER)
    return is_away and number_of(came.version) > number_of(call.version)


def _why_not(engine: Decider, came: HandedCall, queue: Queue | None) -> str:
    """The first reason against it, or ''."""
    state = engine.state
    if queue is None or queue.is_retired:
        return "unknown_queue"
    if came.hops > HOPS_MAX:
        return "too_many_hops"
    live = state.calls.get(state.call_by_customer.get(came.customer_id, ""))
    if live is not None and live.id != came.call_id and live.state != lc.ENDED:
        return "already_in_call"
    if queue.plan.recording == "required" and not came.is_consented:
        return "consent_required"
    # One that comes back is in memory already.
    others_count = len(state.calls) - state.ended_count - (came.call_id in state.calls)
    if others_count >= state.plan.live_calls_max:
        return "hall_full"
    entrant = Entrant(came.customer_id, came.is_consented, came.wishes)
    if not takes_needs(queue, entrant):
        return "too_many_needs"
    return met_limit(engine, queue, entrant)


def _decline(
    engine: Decider, call_id: str, version: int, from_division: str, reason: str, valid_until_ms: int
) -> Reply:
    engine.emit(ev.HandOverDeclined(engine.now_ms, call_id, version, from_division, reason, valid_until_ms))
    return Reply(reason, {"is_final": True})


def _admit(engine: Decider, came: HandedCall, queue: Queue) -> int:
    """Journal the admission; returns after which number the customer's events go on."""
    state, plan, now_ms = engine.state, queue.plan, engine.now_ms
    credit_ms = plan.transfer_credit_ms if came.credit_ms < 0 else came.credit_ms
    credit_ms = min(credit_ms, plan.priority_credit_ms_max)
    seq, grace_until_ms = _numbers(state, came, now_ms)
    engine.emit(
        ev.HandOverAdmitted(
            now_ms,
            came.call_id,
            came.customer_id,
            plan.id,
            came.queued_at_ms,
            came.queued_at_ms + plan.target_ms - credit_ms,
            credit_ms,
            plan.recording if came.is_consented else "off",
            plan.media,
            came,
            seq,
            grace_until_ms,
        )
    )
    open_steps(engine, state.calls[came.call_id])
    return seq


def _numbers(state: State, came: HandedCall, now_ms: int) -> tuple[int, int]:
    """(number after which the customer's events go on, by when the customer has to come).

    Higher than any number that the customer, or anybody who was forgotten, was ever given here or there, so that no number
    means two things; and by one higher than the last there, since the hand-over itself is told there.
    """
    recipient = state.recipients.get(customer_recipient(came.customer_id))
    if came.seq < 0:
        return 0, 0
    seq = max(came.seq + 1, state.forgotten_seq_max, recipient.seq + 1 if recipient is not None else 0)
    if recipient is not None and recipient.connection_id:
        return seq, 0
    return seq, now_ms + max(state.plan.reconnect_grace_ms, ARRIVAL_MS_MIN)


def revoke_hand_over(engine: Decider, command: cm.RevokeHandOver) -> Reply:
    """Never admit the call any more; or, where it was admitted: say so, and end it if there is a reason."""
    state = engine.state
    refusal = _refuse(engine, command.principal, command.call_id, command.valid_until_ms)
    if refusal is not None or len(command.reason) > cm.MAX_TEXT:
        return refusal or Reply("bad_value")
    known = state.handed_in.get(command.call_id)
    if known is None or number_of(known.version) < number_of(command.version):
        call = state.calls.get(command.call_id)
        if call is not None and _came_by(call, command.version):
            return _end_admitted(engine, command, 0)
        if engine.now_ms > command.valid_until_ms:
            return _expired(engine, command.valid_until_ms)
        if _is_full(engine):
            return Reply("hand_overs_full")
        return _decline(
            engine, command.call_id, command.version, command.from_division, "revoked", command.valid_until_ms
        )
    if known.reason and number_of(known.version) == number_of(command.version):
        return Reply(known.reason, {"is_final": True})
    return _end_admitted(engine, command, known.seq)


def _end_admitted(engine: Decider, command: cm.RevokeHandOver, seq: int) -> Reply:
    call = engine.state.calls.get(command.call_id)
    if call is None or not command.reason or call.state == lc.ENDED:
        return Reply("", {"seq": seq})
    if call.state == lc.HANDED_OVER:
        # Went on from here: whoever carries the wish has to follow.
        return Reply(MOVED, {"division_id": moved_to(call), "seq": seq})
    end_call(engine, call, command.reason)
    return Reply("", {"seq": seq})
