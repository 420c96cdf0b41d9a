"""Decisions about presence: connections and their grace, an agent's activity, an outage of the shell itself."""

from typing import Final

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.ending import end_call, requeue, wrap_up_of
from dispatch.matching import Decider
from dispatch.model import Agent, Call, Recipient
from dispatch.patience import release_kept
from dispatch.reservations import end_wrap_ups, give_back_reservations

OUTAGE_MS_MAX: Final = 1 << 40
"""34 years: whoever says more has misread a clock, and deadlines must stay numbers of 64 bits."""


def connect(engine: Decider, command: cm.Connect) -> Reply:
    """Take note of a live connection; it replaces an earlier one of the same client."""
    role, _, own_id = command.recipient.partition(":")
    if not own_id or role not in ("customer", "agent", "supervisor", "operator"):
        return Reply("unknown_recipient")
    if not command.connection_id:
        return Reply("bad_value", {"allowed": "a connection_id"})
    if role == "agent" and own_id not in engine.state.agents:
        return Reply("unknown_agent", {"agent_id": own_id})
    known = engine.state.recipients.get(command.recipient)
    if known is None or known.connection_id != command.connection_id:
        engine.emit(ev.Connected(engine.now_ms, command.recipient, command.gateway_id, command.connection_id))
    return Reply()


def disconnect(engine: Decider, command: cm.Disconnect) -> Reply:
    """Start the grace of a client that is gone, unless it is back through another connection already."""
    recipient = engine.state.recipients.get(command.recipient)
    if recipient is None or recipient.connection_id != command.connection_id or not command.connection_id:
        return Reply()
    _start_grace(engine, recipient)
    return Reply()


def lose_gateway(engine: Decider, command: cm.LoseGateway) -> Reply:
    """Start the grace of everybody who was connected through a gateway that is gone."""
    for recipient in list(engine.state.recipients.values()):
        if recipient.gateway_id == command.gateway_id and recipient.connection_id:
            _start_grace(engine, recipient)
    return Reply()


def _start_grace(engine: Decider, recipient: Recipient) -> None:
    until_ms = engine.now_ms + engine.state.plan.reconnect_grace_ms if _is_awaited(engine, recipient.id) else 0
    engine.emit(ev.Disconnected(engine.now_ms, recipient.id, recipient.connection_id, until_ms))


def _is_awaited(engine: Decider, recipient_id: str) -> bool:
    """Does anything wait for this client to come back?"""
    state = engine.state
    role, _, own_id = recipient_id.partition(":")
    if role == "agent":
        agent = state.agents.get(own_id)
        return agent is not None and (agent.activity != lc.OFFLINE or bool(agent.engagements))
    if role == "customer":
        call = state.calls.get(state.call_by_customer.get(own_id, ""))
        return call is not None and call.state not in lc.OVER and not _is_awaiting_callback(call)
    return False


def _is_awaiting_callback(call: Call) -> bool:
    """The customer will be called back, and need not be connected until then."""
    return call.is_callback and call.state != lc.CONNECTED


def end_grace(engine: Decider, recipient_id: str) -> None:
    """Nobody came back: a customer's call ends, an agent is signed out and its calls go back to their old places."""
    engine.emit(ev.Disconnected(engine.now_ms, recipient_id, "", 0))
    state = engine.state
    role, _, own_id = recipient_id.partition(":")
    if role == "customer":
        call = state.calls.get(state.call_by_customer.get(own_id, ""))
        # A call asked for over the API after the connection went is not one that waits for it.
        is_lost = call is not None and call.is_customer_gone and not _is_awaiting_callback(call)
        if call is not None and call.state not in lc.OVER and is_lost:
            end_call(engine, call, "customer_lost")
        return
    agent = state.agents.get(own_id)
    if agent is not None:
        _sign_out_lost(engine, agent)


def _sign_out_lost(engine: Decider, agent: Agent) -> None:
    give_back_reservations(engine, agent, "agent_lost")
    for call_id, engagement in list(agent.engagements.items()):
        if engagement == lc.IN_CALL:
            _leave_lost(engine, engine.state.calls[call_id], agent)
    end_wrap_ups(engine, agent)
    if agent.activity != lc.OFFLINE:
        engine.emit(ev.AgentActivityChanged(engine.now_ms, agent.id, lc.OFFLINE, "connection_lost"))
        release_kept(engine, agent.id)


def _leave_lost(engine: Decider, call: Call, agent: Agent) -> None:
    """The owner's call goes back to its place; a further party is only let out of it."""
    party = call.party_of(agent.id)
    if party is None:
        requeue(engine, call, "agent_lost")
    else:
        wrap_up, until_ms = wrap_up_of(engine, call)
        engine.emit(ev.PartyRemoved(engine.now_ms, call.id, agent.id, party.role, "agent_lost", wrap_up, until_ms))


def set_activity(engine: Decider, command: cm.SetActivity) -> Reply:
    """Change what an agent is ready for. What rings goes back to its place; a call in progress is finished first."""
    agent = engine.state.agents.get(command.agent_id)
    if agent is None or (agent.is_retired and command.activity == lc.READY):
        return Reply("unknown_agent", {"agent_id": command.agent_id})
    role, _, own_id = command.principal.partition(":")
    if role == "customer" or (role == "agent" and own_id != command.agent_id):
        return Reply("not_yours")
    if command.activity not in lc.ACTIVITIES or len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value", {"allowed": list(lc.ACTIVITIES)})
    if (agent.activity, agent.reason) == (command.activity, command.reason):
        return Reply()
    if command.activity != lc.READY:
        give_back_reservations(engine, agent, "agent_left")
    if command.activity == lc.OFFLINE:
        end_wrap_ups(engine, agent)
    engine.emit(ev.AgentActivityChanged(engine.now_ms, agent.id, command.activity, command.reason))
    if command.activity == lc.OFFLINE:
        release_kept(engine, agent.id)
    return Reply()


def resume(engine: Decider, command: cm.Resume) -> Reply:
    """Move what waits for others by the outage in which nobody could be heard (SAFETY.md 8)."""
    if not 0 <= command.outage_ms <= OUTAGE_MS_MAX:
        return Reply("bad_value", {"allowed": f"outage_ms from 0 to {OUTAGE_MS_MAX}"})
    if command.outage_ms:
        engine.emit(ev.Resumed(engine.now_ms, command.outage_ms))
    return Reply()
