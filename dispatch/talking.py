"""Decisions about a call that talks: who is in it, who owns it, who listens, and transfer in both ways.

Exactly one agent owns a call that is connecting or connected, at every instant: ownership moves in one event. Whoever else is
in it is a party; whoever is asked for it rings like for any other call (`dispatch/reservations.py` answers for both).
"""

import msgspec
from msgspec.structs import replace

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.choice import Candidate
from dispatch.effects import Reply
from dispatch.ending import let_all_go, wrap_up_of
from dispatch.handing import hand_over
from dispatch.handing_facts import HOPS_MAX, split_address
from dispatch.hours import OPEN
from dispatch.lanes import Queue
from dispatch.matching import Decider
from dispatch.model import Call
from dispatch.needs import need_at, own_needs
from dispatch.plan import DAY_MS, Address, meets
from dispatch.wishes import Favourite

PARTIES_MAX = 8
"""Further agents of one call, those who ring included; as many supervisors. A room is planned for ten people."""
PARTY_ROLES = ("consult", "expert", "third")
MODES = ("monitor", "whisper", "barge", "")


def find_connected(engine: Decider, call_id: str, principal: str, *, is_for_agent: bool = True) -> Call | Reply:
    """The connected call, for its owner (`is_for_agent`), supervisors, operators and the shell; else why not."""
    call = engine.state.calls.get(call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = principal.partition(":")
    if role == "customer" or (role == "agent" and (not is_for_agent or own_id != call.agent_id or not own_id)):
        return Reply("not_yours")
    if call.state != lc.CONNECTED:
        return Reply("wrong_state", {"state": call.state})
    return call


# -- transfer


def transfer(engine: Decider, command: cm.TransferCall) -> Reply:
    """Blind transfer: the owner is out of the call at once, and it waits for a queue or for one agent."""
    call = find_connected(engine, command.call_id, command.principal)
    if isinstance(call, Reply):
        return call
    if bool(command.to_queue_id) == bool(command.to_agent_id) or len(command.reason) > cm.MAX_TEXT:
        return Reply("bad_value", {"allowed": "either to_queue_id or to_agent_id"})
    if split_address(command.to_queue_id, engine.state.division_id)[0]:
        return _transfer_elsewhere(engine, call, command)
    queue = engine.state.queues.get(command.to_queue_id.rpartition("/")[2] or call.queue_id)
    if queue is None or (command.to_queue_id and queue.is_retired):
        return Reply("unknown_queue", {"queue_id": command.to_queue_id})
    if command.credit_ms < -1 or command.credit_ms > queue.plan.priority_credit_ms_max:
        return Reply("bad_value", {"allowed": f"credit_ms from 0 to {queue.plan.priority_credit_ms_max}, or -1"})
    refusal = (
        _refuse_agent(engine, call, command.to_agent_id) if command.to_agent_id else _refuse_queue(engine, call, queue)
    )
    if refusal is not None:
        return refusal
    _transfer(engine, call, queue, command)
    return Reply("", {"queue_id": queue.plan.id})


def _transfer_elsewhere(engine: Decider, call: Call, command: cm.TransferCall) -> Reply:
    """Out of the call at once, as ever; it waits in its own queue, out of the line, until the other division has answered."""
    try:
        msgspec.convert(command.to_queue_id, Address)
    except msgspec.ValidationError:
        return Reply("bad_value", {"allowed": "division/queue"})
    if call.hops >= HOPS_MAX:
        return Reply("too_many_hops", {"hops_max": HOPS_MAX})
    if not -1 <= command.credit_ms <= DAY_MS:
        return Reply("bad_value", {"allowed": f"credit_ms from 0 to {DAY_MS}, or -1"})
    queue = engine.state.queues[call.queue_id]
    own_credit_ms = min(command.credit_ms, queue.plan.priority_credit_ms_max)
    _transfer(engine, call, queue, replace(command, to_queue_id=call.queue_id, credit_ms=own_credit_ms))
    hand_over(engine, call, command.to_queue_id, "transferred", command.credit_ms)
    return Reply("", {"to": command.to_queue_id})


def _refuse_queue(engine: Decider, call: Call, queue: Queue) -> Reply | None:
    if queue.phase_now(engine.now_ms) != OPEN:
        return Reply("queue_closed")
    if queue.plan.recording == "required" and not call.is_consented:
        return Reply("consent_required")
    own = own_needs(call)
    is_new = queue.plan.id != call.queue_id and own != ((), ()) and own not in queue.needs
    if is_new and len(queue.needs) >= queue.plan.needs_max:
        return Reply("too_many_needs", {"needs_max": queue.plan.needs_max})
    return None


def _refuse_agent(engine: Decider, call: Call, agent_id: str) -> Reply | None:
    state, plan = engine.state, engine.state.queues[call.queue_id].plan
    candidate = state.candidates.get(agent_id)
    if candidate is None or candidate.agent.is_retired:
        return Reply("unknown_agent", {"agent_id": agent_id})
    need = need_at(plan, len(plan.relaxation), own_needs(call)[0])
    is_refused = (call.refused_until_ms or {}).get(agent_id, 0) > engine.now_ms
    is_fit = candidate.free_units >= plan.cost_units and meets(candidate.agent.skills, need) and not is_refused
    if not is_fit or _is_in(call, agent_id):
        return Reply("agent_unavailable", {"agent_id": agent_id})
    return None


def _transfer(engine: Decider, call: Call, queue: Queue, command: cm.TransferCall) -> None:
    plan, now_ms = queue.plan, engine.now_ms
    let_all_go(engine, call, "transferred", "transferred")
    credit_ms = (
        min(plan.transfer_credit_ms, plan.priority_credit_ms_max) if command.credit_ms < 0 else command.credit_ms
    )
    favourite = None
    if command.to_agent_id:
        favourite = Favourite(command.to_agent_id, "transfer", now_ms + plan.reservation_timeout_ms)
    wrap_up, until_ms = wrap_up_of(engine, call)
    engine.emit(
        ev.CallTransferred(
            now_ms,
            call.id,
            call.agent_id,
            call.queue_id,
            plan.id,
            now_ms,
            now_ms + plan.target_ms - credit_ms,
            credit_ms,
            plan.recording if call.is_consented else "off",
            now_ms - call.connected_at_ms,
            favourite,
            wrap_up,
            until_ms,
            now_ms + plan.decline_delay_ms if plan.decline_delay_ms else 0,
            command.reason,
        )
    )


def complete_transfer(engine: Decider, command: cm.CompleteTransfer) -> Reply:
    """Consulted transfer: a party becomes the owner."""
    call = find_connected(engine, command.call_id, command.principal)
    if isinstance(call, Reply):
        return call
    party = call.party_of(command.to_agent_id)
    if party is None:
        return Reply("agent_unavailable", {"agent_id": command.to_agent_id, "allowed": "a party of the call"})
    _move_ownership(engine, call, party.agent_id, party.cost_units, "consulted")
    return Reply()


def take_over(engine: Decider, command: cm.TakeOver) -> Reply:
    """A supervisor puts an agent in the owner's place."""
    call = find_connected(engine, command.call_id, command.principal, is_for_agent=False)
    if isinstance(call, Reply):
        return call
    agent = engine.state.agents.get(command.agent_id)
    if agent is None or agent.is_retired:
        return Reply("unknown_agent", {"agent_id": command.agent_id})
    party = call.party_of(agent.id)
    cost_units = party.cost_units if party is not None else engine.state.queues[call.queue_id].plan.cost_units
    has_units = party is not None or agent.capacity_units - agent.used_units >= cost_units
    is_asked = call.reservation_of(agent.id) is not None or agent.id == call.agent_id or agent.held_for_call_id
    if agent.activity == lc.OFFLINE or agent.is_gone or not has_units or is_asked or call.id in agent.wrap_ups:
        return Reply("agent_unavailable", {"agent_id": agent.id})
    _move_ownership(engine, call, agent.id, cost_units, "taken_over")
    return Reply()


def _move_ownership(engine: Decider, call: Call, agent_id: str, cost_units: int, reason: str) -> None:
    if call.on_hold_until_ms:
        engine.emit(ev.HoldChanged(engine.now_ms, call.id, False, "owner_changed"))
    plan = engine.state.queues[call.queue_id].plan
    wrap_up, until_ms = wrap_up_of(engine, call)
    media_until_ms = engine.now_ms + plan.connecting_timeout_ms if call.media == "room" else 0
    engine.emit(
        ev.OwnershipMoved(
            engine.now_ms, call.id, call.agent_id, agent_id, reason, cost_units, wrap_up, until_ms, media_until_ms
        )
    )


# -- further parties


def invite_party(engine: Decider, command: cm.InviteParty) -> Reply:
    """Let the call ring at one more agent: a named one, or the first of a queue who is free."""
    call = find_connected(engine, command.call_id, command.principal)
    if isinstance(call, Reply):
        return call
    if command.role not in PARTY_ROLES or bool(command.to_queue_id) == bool(command.to_agent_id):
        return Reply("bad_value", {"allowed": f"role {', '.join(PARTY_ROLES)}; either to_queue_id or to_agent_id"})
    if len(call.parties) + len(call.reservations) >= PARTIES_MAX:
        return Reply("too_many_parties", {"parties_max": PARTIES_MAX})
    found = (
        _named(engine, call, command.to_agent_id)
        if command.to_agent_id
        else _of_queue(engine, call, command.to_queue_id)
    )
    if not isinstance(found, tuple):
        return found
    candidate, queue, rule, key = found
    attempt = call.attempt + 1
    engine.emit(
        ev.CallReserved(
            engine.now_ms,
            call.id,
            f"{call.id}.{attempt}",
            candidate.agent.id,
            call.customer_id,
            call.queue_id,
            attempt,
            engine.now_ms + queue.plan.reservation_timeout_ms,
            0,
            rule,
            call.business_reference,
            call.media,
            command.role,
            call.step,
            key,
            "",
            queue.plan.cost_units,
        )
    )
    return Reply("", {"agent_id": candidate.agent.id})


def _is_in(call: Call, agent_id: str) -> bool:
    return agent_id == call.agent_id or call.party_of(agent_id) is not None or call.reservation_of(agent_id) is not None


def _named(engine: Decider, call: Call, agent_id: str) -> tuple[Candidate, Queue, str, int] | Reply:
    queue = engine.state.queues[call.queue_id]
    candidate = engine.state.candidates.get(agent_id)
    if candidate is None or candidate.agent.is_retired:
        return Reply("unknown_agent", {"agent_id": agent_id})
    if candidate.free_units < queue.plan.cost_units or _is_in(call, agent_id):
        return Reply("agent_unavailable", {"agent_id": agent_id})
    return candidate, queue, "named", candidate.agent.idle_since_ms


def _of_queue(engine: Decider, call: Call, queue_id: str) -> tuple[Candidate, Queue, str, int] | Reply:
    state = engine.state
    queue = state.queues.get(queue_id)
    if queue is None or queue.is_retired:
        return Reply("unknown_queue", {"queue_id": queue_id})
    # For its need alone: what the call itself asks for, and whom it refused, concerns the agent it waits for.
    pool = state.pool(queue.plan.need, queue.plan)
    inside = [call.agent_id, *[one.agent_id for one in call.parties], *[one.agent_id for one in call.reservations]]
    entry = pool.first(call, engine.now_ms, [state.candidates[one] for one in inside if one in state.candidates])
    if entry is None:
        return Reply("no_agent_free", {"queue_id": queue_id})
    return entry[4], queue, queue.plan.strategy, entry[0]


def remove_party(engine: Decider, command: cm.RemoveParty) -> Reply:
    """A party leaves, or is asked to; one who still rings is rescinded."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role == "customer" or (role == "agent" and (not own_id or own_id not in (command.agent_id, call.agent_id))):
        return Reply("not_yours")
    party = call.party_of(command.agent_id)
    reservation = call.reservation_of(command.agent_id)
    if party is not None:
        wrap_up, until_ms = wrap_up_of(engine, call)
        reason = "left" if own_id == command.agent_id else "removed"
        engine.emit(ev.PartyRemoved(engine.now_ms, call.id, party.agent_id, party.role, reason, wrap_up, until_ms))
    elif reservation is not None and call.state == lc.CONNECTED:
        engine.emit(
            ev.ReservationClosed(engine.now_ms, call.id, reservation.id, reservation.agent_id, "rescinded", "removed")
        )
    elif role == "agent" and own_id != call.agent_id and reservation is None:
        return Reply("not_yours")  # Nobody in this call: whoever asks learns nothing of its state.
    else:
        return Reply("wrong_state", {"state": call.state})
    return Reply()


# -- supervision and hold


def supervise(engine: Decider, command: cm.Supervise) -> Reply:
    """A supervisor listens, whispers, barges in or leaves."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role in ("customer", "agent") or (role == "supervisor" and own_id != command.supervisor_id):
        return Reply("not_yours")
    if command.mode not in MODES or not command.supervisor_id:
        return Reply("bad_value", {"allowed": list(MODES)})
    if call.state not in lc.TALKING:
        return Reply("wrong_state", {"state": call.state})
    supervisors = call.supervisors or {}
    if supervisors.get(command.supervisor_id, "") == command.mode:
        return Reply()
    if command.supervisor_id not in supervisors and len(supervisors) >= PARTIES_MAX:
        return Reply("too_many_parties", {"supervisors_max": PARTIES_MAX})
    engine.emit(ev.SupervisionChanged(engine.now_ms, call.id, command.supervisor_id, command.mode))
    return Reply()


def set_hold(engine: Decider, command: cm.SetHold) -> Reply:
    """The owner puts the customer on hold, or takes the customer back."""
    call = find_connected(engine, command.call_id, command.principal)
    if isinstance(call, Reply):
        return call
    if command.is_held != bool(call.on_hold_until_ms):
        until_ms = engine.now_ms + engine.state.queues[call.queue_id].plan.hold_ms_max if command.is_held else 0
        engine.emit(ev.HoldChanged(engine.now_ms, call.id, command.is_held, "asked", until_ms))
    return Reply()


def end_hold(engine: Decider, call: Call) -> None:
    """The customer has been on hold for `hold_ms_max`."""
    engine.emit(ev.HoldChanged(engine.now_ms, call.id, False, "time"))
