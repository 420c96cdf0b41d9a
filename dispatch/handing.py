"""A call goes to another division: offered, followed by a hang-up, forwarded. The origin's side.

    origin   CallHandingOver -> (HandOver) ............ ReportHandOver -> CallHandedOver, or HandOverRefused: the old place
    target                      AdmitHandOver -> HandOverAdmitted, or HandOverDeclined (a tombstone)

Rules
- The call counts here until the target has journaled its admission, and there from then on: at every cut exactly one has it.
- What is sent carries a version that only grows on a call's whole way. The origin believes only the answer to what it sent
  last; the target answers a repeat, and whatever is older than what it knows, as it did (`handing_in`).
- No answer in time: the call is asked back under a higher version. A hang-up meanwhile follows in the same manner. If that is
  not answered either, the call ends here by name: returning it could double it. The target is still told to end it.
- What is owed to the other side is derived from state (`owed`), so it is sent again after a recovery.

Not here: what the answers do (`handing_back`), when a limit sends a call on (`limits`), transfer (`talking`).
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Effect, HandOver, Reply, TakeBack, TellEnd
from dispatch.handing_facts import FORWARDING_MS, HOPS_MAX, VERSIONS, HandedCall, number_of, split_address
from dispatch.matching import Decider
from dispatch.model import Call, customer_recipient
from dispatch.state import State
from dispatch.wishes import Wishes

HANDING_EVENTS = frozenset({ev.CallHandingOver, ev.HandOverRevoked, ev.CallEnded, ev.HandedCallEnded})
"""Events after which another division is owed something."""
MOVED = "moved"
"""The refusal of a command about a call that another division has: not remembered, since the call may come back."""


def hand_over(engine: Decider, call: Call, address: str, cause: str, credit_ms: int) -> None:
    """Offer a waiting call to another division's queue (`division/queue`). The caller has looked at `may_leave`."""
    now_ms, plan = engine.now_ms, engine.state.plan
    if call.held_agent_id:
        engine.emit(ev.JointReleased(now_ms, call.id, call.held_agent_id, "call_left"))
    to_division, queue_id = split_address(address, engine.state.division_id)
    version = (number_of(call.version) + 1) * VERSIONS
    until_ms = now_ms + plan.hand_over_timeout_ms
    engine.emit(
        ev.CallHandingOver(now_ms, call.id, call.queue_id, to_division, queue_id, version, until_ms, cause, credit_ms)
    )


def may_leave(hops: int, wishes: Wishes | None, rule: str) -> bool:
    """May such a call go to another division at all? Not for ever, and not away from the one person that it is for.

    `rule`: of the call's favourite.
    """
    is_bound = rule in ("required", "invitation") or (wishes is not None and bool(wishes.required_agent_id))
    return hops < HOPS_MAX and not is_bound


def revoke(engine: Decider, call: Call, reason: str) -> None:
    """Ask the target to give the call back or, with a `reason`, to end it. Nothing if that has been asked already."""
    handing = call.handing
    if handing is None or handing.reason or (handing.is_revoked and not reason):
        return
    until_ms = engine.now_ms + engine.state.plan.hand_over_give_up_ms
    engine.emit(ev.HandOverRevoked(engine.now_ms, call.id, handing.version + 1, until_ms, reason))


def complete(engine: Decider, call: Call, seq: int) -> None:
    """The target has the call: from here on this division only says where it is."""
    handing = call.handing
    assert handing is not None, "only a call that is being handed over"
    until_ms = engine.now_ms + FORWARDING_MS
    engine.emit(
        ev.CallHandedOver(
            engine.now_ms,
            call.id,
            call.customer_id,
            call.queue_id,
            handing.to_division,
            handing.queue_id,
            handing.version,
            until_ms,
            seq,
        )
    )


# -- commands about a call that is elsewhere


def redirected(decide: Callable[[Any, Any], Reply]) -> Callable[[Any, Any], Reply]:
    """Decide only where the call is here; else say which division to ask."""

    def decide_or_redirect(engine: Decider, command: Any) -> Reply:
        call = engine.state.calls.get(command.call_id)
        if call is None or call.state != lc.HANDED_OVER:
            return decide(engine, command)
        role = command.principal.partition(":")[0]
        if role == "customer" and command.principal != customer_recipient(call.customer_id):
            return Reply("not_yours")
        return Reply(MOVED, {"division_id": moved_to(call)})

    return decide_or_redirect


def moved_to(call: Call) -> str:
    """The division that a call went on to; empty: it is here, or has ended."""
    return call.handing.to_division if call.handing is not None and call.state == lc.HANDED_OVER else ""


# -- what is owed


def owed(state: State, call: Call) -> list[Effect]:
    """Derive what another division has to be told about this call; receivers know a repeat by its version."""
    handing, effects = call.handing, list[Effect]()
    if handing is not None and handing.is_revoked and call.state != lc.HANDED_OVER:
        to_division, until_ms = handing.to_division, handing.valid_until_ms
        effects.append(TakeBack(to_division, call.id, handing.version, handing.reason, until_ms, state.division_id))
    elif handing is not None and call.state == lc.HANDING_OVER:
        effects.append(HandOver(handing.to_division, facts_of(state, call)))
    if call.state == lc.ENDED:
        effects += [TellEnd(division, call.id, version, call.end_reason) for division, version in call.origins]
    return effects


def facts_of(state: State, call: Call) -> HandedCall:
    """All that goes along."""
    handing = call.handing
    assert handing is not None, "only a call that is being handed over"
    recipient = state.recipients.get(customer_recipient(call.customer_id))
    own = state.division_id
    visited = [one if "/" in one else f"{own}/{one}" for one in (*call.visited, call.queue_id)]
    return HandedCall(
        call_id=call.id,
        customer_id=call.customer_id,
        queue_id=handing.queue_id,
        from_division=own,
        version=handing.version,
        valid_until_ms=handing.valid_until_ms,
        hops=call.hops + 1,
        queued_at_ms=call.queued_at_ms,
        credit_ms=handing.credit_ms,
        is_absolute=call.is_absolute,
        business_reference=call.business_reference,
        is_consented=call.is_consented,
        wishes=wishes_elsewhere(call.wishes),
        visited=tuple(visited),
        cause=handing.cause,
        attempt=call.attempt,
        room_attempt=call.room_attempt,
        requeued_count=call.requeued_count,
        seq=recipient.seq if recipient is not None and (recipient.connection_id or recipient.grace_until_ms) else -1,
        script_count=call.script_count,
    )


def wishes_elsewhere(wishes: Wishes | None) -> Wishes | None:
    """What a call still asks for in another division: skills and places mean the same there, agents' ids do not."""
    if wishes is None:
        return None
    kept = replace(
        wishes, required_agent_id="", preferred_agent_id="", manager_id="", excluded_agent_ids=[], is_callback=False
    )
    return None if kept == Wishes() else kept
