"""Decisions about a call at its agent: accept, decline, expire, and the wrap-up afterwards.

Accept, expire, decline, rescind and the customer's hang-up meet in one order, once: the order in which the
engine steps them. A late accept finds no pending reservation and is refused with what became of it.
"""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.matching import Decider
from dispatch.model import Agent, Call, Reservation, WrapUpWork, agent_recipient
from dispatch.patience import release_favourite


def _pending(engine: Decider, reservation_id: str, agent_id: str, principal: str) -> tuple[Call, Reservation] | Reply:
    call = engine.state.calls.get(reservation_id.rpartition(".")[0])
    if call is None:
        return Reply("unknown_reservation")
    role = principal.partition(":")[0]
    if role == "customer" or (role == "agent" and principal != agent_recipient(agent_id)):
        return Reply("not_yours")
    for reservation in call.reservations:
        if reservation.id == reservation_id:
            if reservation.agent_id != agent_id:
                return Reply("not_yours")
            return call, reservation
    return Reply("not_pending", {"call_state": call.state})


def accept(engine: Decider, command: cm.AcceptReservation) -> Reply:
    """Bridge the call to the agent, or say why it is too late."""
    found = _pending(engine, command.reservation_id, command.agent_id, command.principal)
    if not isinstance(found, tuple):
        return found
    call, reservation = found
    if reservation.is_accepted:
        return Reply("", {"call_id": call.id})
    if call.state in lc.TALKING:
        engine.emit(ev.PartyAdded(engine.now_ms, call.id, reservation.id, reservation.agent_id, reservation.role))
    elif len(call.reservations) == 1:
        _bridge(engine, call, reservation)
    elif any(one.role == "expert" for one in call.reservations):
        _accept_joint(engine, call, reservation)
    else:
        for other in call.reservations:
            if other is not reservation:
                _close(engine, call, other, "rescinded", "accepted_by_other")
        _bridge(engine, call, reservation)
    return Reply("", {"call_id": call.id})


def _bridge(engine: Decider, call: Call, reservation: Reservation) -> None:
    plan = engine.state.queues[call.queue_id].plan
    timeout_ms = plan.callback_answer_ms if call.is_callback else plan.connecting_timeout_ms
    room_attempt = call.room_attempt + 1 if call.media == "room" else 0
    engine.emit(
        ev.ReservationAccepted(
            engine.now_ms, call.id, reservation.id, reservation.agent_id, engine.now_ms + timeout_ms, room_attempt
        )
    )


def _accept_joint(engine: Decider, call: Call, reservation: Reservation) -> None:
    """The first of the two waits for the other; the second brings both into the call."""
    if not all(one.is_accepted for one in call.reservations if one is not reservation):
        engine.emit(ev.JointAccepted(engine.now_ms, call.id, reservation.id, reservation.agent_id))
        return
    both = sorted(call.reservations, key=lambda one: one.role)
    for one in both:
        if one.role == "agent":
            _bridge(engine, call, one)
        else:
            engine.emit(ev.PartyAdded(engine.now_ms, call.id, one.id, one.agent_id, one.role))


def decline(engine: Decider, command: cm.DeclineReservation) -> Reply:
    """Give the call back to its old place; the others are asked first, this agent again after `decline_delay_ms`."""
    found = _pending(engine, command.reservation_id, command.agent_id, command.principal)
    if not isinstance(found, tuple):
        return found
    if len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value")
    _close(engine, *found, "busy" if command.is_busy else "declined", command.reason)
    return Reply()


def _close(engine: Decider, call: Call, reservation: Reservation, outcome: str, reason: str = "") -> None:
    """End one reservation, with the delays that its outcome brings; of a joint pair the other one ends with it."""
    plan, now_ms = engine.state.queues[call.queue_id].plan, engine.now_ms
    for_call_ms = plan.decline_delay_ms if outcome in ("declined", "busy") else 0
    if outcome == "expired":
        for_call_ms = plan.no_answer_delay_ms
    at_all_ms = {
        "declined": plan.reject_delay_ms,
        "busy": plan.busy_delay_ms,
        "agent_lost": plan.disconnect_delay_ms,
    }.get(outcome, 0)
    others = [one for one in call.reservations if one is not reservation]
    engine.emit(
        ev.ReservationClosed(
            now_ms,
            call.id,
            reservation.id,
            reservation.agent_id,
            outcome,
            reason,
            now_ms + for_call_ms if for_call_ms or outcome == "expired" else 0,
            now_ms + at_all_ms if at_all_ms else 0,
        )
    )
    is_joint = call.state == lc.RESERVED and any(one.role == "expert" for one in (reservation, *others))
    for other in others if is_joint and outcome != "rescinded" else ():
        _close(engine, call, other, "rescinded", "partner_" + outcome)
    favourite = call.favourite
    if favourite is not None and favourite.agent_id == reservation.agent_id and outcome != "rescinded":
        release_favourite(engine, call, outcome)


def expire(engine: Decider, call: Call, agent_id: str) -> None:
    """Nobody answered in time, or the agent's connection did not come back: the call returns to its old place."""
    reservation = call.reservation_of(agent_id)
    if reservation is None:
        return
    if reservation.agent_gone_until_ms and reservation.agent_gone_until_ms <= engine.now_ms:
        _close(engine, call, reservation, "agent_lost")
        return
    if reservation.is_accepted:
        # One of a joint pair who has accepted: the other one did not answer, which that one's own deadline says.
        return
    _close(engine, call, reservation, "expired")
    agent = engine.state.agents[agent_id]
    if agent.misses >= engine.state.queues[call.queue_id].plan.misses_max and agent.activity == lc.READY:
        give_back_reservations(engine, agent, "agent_left")
        engine.emit(ev.AgentActivityChanged(engine.now_ms, agent_id, lc.NOT_READY, "no_answer"))


def give_back_reservations(engine: Decider, agent: Agent, outcome: str) -> None:
    """Whatever rings at an agent who is not to be asked any more returns to its old place."""
    for call_id, engagement in list(agent.engagements.items()):
        if engagement == lc.RESERVED:
            call = engine.state.calls[call_id]
            reservation = call.reservation_of(agent.id)
            if reservation is not None:
                _close(engine, call, reservation, outcome)


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
