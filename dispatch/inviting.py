"""Decisions about invitations: an agent asks a customer to come, and the call that begins belongs to that agent."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.ending import end_call
from dispatch.matching import Decider
from dispatch.model import Call, agent_recipient, customer_recipient
from dispatch.wishes import NEVER_MS, Favourite


def invite_customer(engine: Decider, command: cm.InviteCustomer) -> Reply:
    """Open an invitation; it counts as a live call of the division, but not yet as the customer's."""
    state = engine.state
    agent = state.agents.get(command.agent_id)
    if agent is None or agent.is_retired:
        return Reply("unknown_agent", {"agent_id": command.agent_id})
    role = command.principal.partition(":")[0]
    if role == "customer" or (role == "agent" and command.principal != agent_recipient(command.agent_id)):
        return Reply("not_yours")
    queue = state.queues.get(command.queue_id)
    if queue is None or queue.is_retired:
        return Reply("unknown_queue", {"queue_id": command.queue_id})
    if not command.call_id or not command.customer_id or len(command.business_reference) > cm.MAX_TEXT:
        return Reply("bad_value")
    if not 0 <= command.valid_ms <= state.plan.invitation_ms:
        return Reply("bad_value", {"allowed": f"valid_ms from 0 to {state.plan.invitation_ms}"})
    if command.call_id in state.calls:
        return Reply("call_exists")
    if len(state.calls) - state.ended_count >= state.plan.live_calls_max:
        return Reply("hall_full", {"live_calls_max": state.plan.live_calls_max})
    until_ms = engine.now_ms + (command.valid_ms or state.plan.invitation_ms)
    engine.emit(
        ev.CallInvited(
            engine.now_ms,
            command.call_id,
            command.customer_id,
            command.agent_id,
            command.queue_id,
            until_ms,
            command.business_reference,
        )
    )
    return Reply("", {"call_id": command.call_id, "until_ms": until_ms})


def accept_invitation(engine: Decider, command: cm.AcceptInvitation) -> Reply:
    """The customer comes: the call waits for the agent who invited, due at once."""
    state = engine.state
    call = state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role = command.principal.partition(":")[0]
    is_own = command.customer_id == call.customer_id
    if (
        role == "agent"
        or not is_own
        or (role == "customer" and command.principal != customer_recipient(call.customer_id))
    ):
        return Reply("not_yours")
    if call.state != lc.INVITED:
        return Reply("wrong_state", {"state": call.state})
    live = state.calls.get(state.call_by_customer.get(call.customer_id, ""))
    if live is not None and live.state != lc.ENDED:
        return Reply("already_in_call", {"call_id": live.id})
    plan = state.queues[call.queue_id].plan
    if plan.recording == "required" and not command.is_consented:
        return Reply("consent_required")
    engine.emit(
        ev.InvitationAccepted(
            engine.now_ms,
            call.id,
            engine.now_ms,
            engine.now_ms,
            command.is_consented,
            plan.recording if command.is_consented else "off",
            plan.media,
            Favourite(call.agent_id, "invitation", NEVER_MS),
        )
    )
    return Reply("", {"call_id": call.id})


def expire_invitation(engine: Decider, call: Call) -> None:
    """Nobody came."""
    end_call(engine, call, "invitation_expired")
