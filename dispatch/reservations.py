"""Decisions about a call at its agent: accept, decline, expire, and the wrap-up afterwards.

Accept, expire, decline, rescind and the customer's hang-up meet in one order, once: the order in which the
engine steps them. A late accept finds no pending reservation and is refused with what became of it.
"""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.matching import Decider
from dispatch.model import Agent, Call, WrapUpWork, agent_recipient


def _pending(engine: Decider, reservation_id: str, agent_id: str, principal: str) -> Call | Reply:
    call = engine.state.calls.get(reservation_id.rpartition(".")[0])
    if call is None:
        return Reply("unknown_reservation")
    role = principal.partition(":")[0]
    if role == "customer" or (role == "agent" and principal != agent_recipient(agent_id)):
        return Reply("not_yours")
    if call.reservation_id != reservation_id:
        return Reply("not_pending", {"call_state": call.state})
    if call.agent_id != agent_id:
        return Reply("not_yours")
    if call.state != lc.RESERVED:
        return Reply("not_pending", {"call_state": call.state})
    return call


def accept(engine: Decider, command: cm.AcceptReservation) -> Reply:
    """Bridge the call to the agent, or say why it is too late."""
    call = _pending(engine, command.reservation_id, command.agent_id, command.principal)
    if isinstance(call, Reply):
        return call
    plan = engine.state.queues[call.queue_id].plan
    until_ms = engine.now_ms + plan.connecting_timeout_ms
    room_attempt = call.room_attempt + 1 if call.media == "room" else 0
    engine.emit(
        ev.ReservationAccepted(engine.now_ms, call.id, command.reservation_id, command.agent_id, until_ms, room_attempt)
    )
    return Reply("", {"call_id": call.id})


def decline(engine: Decider, command: cm.DeclineReservation) -> Reply:
    """Give the call back to its old place; the others are asked first, this agent again after `decline_delay_ms`."""
    call = _pending(engine, command.reservation_id, command.agent_id, command.principal)
    if isinstance(call, Reply):
        return call
    if len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value")
    delay_ms = engine.state.queues[call.queue_id].plan.decline_delay_ms
    engine.emit(
        ev.ReservationClosed(
            engine.now_ms,
            call.id,
            call.reservation_id,
            call.agent_id,
            "declined",
            command.reason,
            engine.now_ms + delay_ms if delay_ms else 0,
        )
    )
    return Reply()


def expire(engine: Decider, call: Call) -> None:
    """Nobody answered in time, or the agent's connection did not come back: the call returns to its old place."""
    is_lost = call.agent_gone_until_ms and call.agent_gone_until_ms <= engine.now_ms
    plan = engine.state.queues[call.queue_id].plan
    agent_id = call.agent_id
    not_before_ms = 0 if is_lost else engine.now_ms + plan.no_answer_delay_ms
    outcome = "agent_lost" if is_lost else "expired"
    engine.emit(ev.ReservationClosed(engine.now_ms, call.id, call.reservation_id, agent_id, outcome, "", not_before_ms))
    if not is_lost and engine.state.agents[agent_id].misses >= plan.misses_max:
        give_back_reservations(engine, engine.state.agents[agent_id], "agent_left")
        engine.emit(ev.AgentActivityChanged(engine.now_ms, agent_id, lc.NOT_READY, "no_answer"))


def give_back_reservations(engine: Decider, agent: Agent, outcome: str) -> None:
    """Whatever rings at an agent who is not to be asked any more returns to its old place."""
    for call_id, engagement in list(agent.engagements.items()):
        if engagement == lc.RESERVED:
            call = engine.state.calls[call_id]
            engine.emit(ev.ReservationClosed(engine.now_ms, call.id, call.reservation_id, call.agent_id, outcome))


def end_wrap_ups(engine: Decider, agent: Agent) -> None:
    """Who signs out has no work left."""
    for call_id in list(agent.wrap_ups):
        engine.emit(ev.WrapUpEnded(engine.now_ms, call_id, agent.id, "signed_out"))


def report_connected(engine: Decider, command: cm.ReportConnected) -> Reply:
    """Another system carries the media: its word that the two see each other."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role == "customer" or (role == "agent" and own_id != call.agent_id):
        return Reply("not_yours")
    if call.media != "external":
        return Reply("not_external")
    if call.state == lc.CONNECTED:
        return Reply()
    if call.state != lc.CONNECTING:
        return Reply("wrong_state", {"state": call.state})
    engine.emit(ev.CallConnected(engine.now_ms, call.id, call.agent_id, call.customer_id))
    return Reply()


def _wrap_up_of(engine: Decider, agent_id: str, call_id: str, principal: str) -> WrapUpWork | Reply:
    agent = engine.state.agents.get(agent_id)
    if agent is None:
        return Reply("unknown_agent", {"agent_id": agent_id})
    role, _, own_id = principal.partition(":")
    if role == "customer" or (role == "agent" and own_id != agent_id):
        return Reply("not_yours")
    return agent.wrap_ups.get(call_id) or Reply("not_in_wrap_up")


def finish_wrap_up(engine: Decider, command: cm.FinishWrapUp) -> Reply:
    """The work after the call is done; the agent is free again."""
    work = _wrap_up_of(engine, command.agent_id, command.call_id, command.principal)
    if isinstance(work, Reply):
        return work
    engine.emit(ev.WrapUpEnded(engine.now_ms, command.call_id, command.agent_id, "done"))
    return Reply()


def extend_wrap_up(engine: Decider, command: cm.ExtendWrapUp) -> Reply:
    """Give the agent more time, never beyond `wrap_up_ms_max` since the wrap-up began."""
    work = _wrap_up_of(engine, command.agent_id, command.call_id, command.principal)
    if isinstance(work, Reply):
        return work
    if command.extra_ms <= 0:
        return Reply("bad_value", {"allowed": "extra_ms > 0"})
    queue = engine.state.queues.get(work.queue_id)
    latest_ms = work.started_at_ms + (queue.plan.wrap_up_ms_max if queue else 0)
    until_ms = min(work.until_ms + command.extra_ms, max(latest_ms, work.until_ms))
    if until_ms == work.until_ms:
        return Reply("bad_value", {"allowed": "no more: wrap_up_ms_max is reached"})
    engine.emit(ev.WrapUpExtended(engine.now_ms, command.call_id, command.agent_id, until_ms))
    return Reply("", {"until_ms": until_ms})
