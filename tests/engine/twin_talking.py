"""Who is in a call, as the dumb twin understands it: transfers, further parties, take-over, supervision, hold, scripts."""

from dispatch import commands as cm
from dispatch.plan import QueuePlan
from dispatch.wishes import Favourite
from tests.engine.twin import BUSY, Twin, TwinAgent, TwinCall, TwinScript
from tests.engine.twin_calls import close_ring, empty_out, leave, leave_room, remember_talk, remove_party, wrap_up_after
from tests.engine.twin_hours import phase
from tests.engine.twin_limits import has_room_for_need, suits
from tests.engine.twin_matching import is_askable, meets, order_of, reserve
from tests.engine.twin_presence import TEXT_MAX

PARTIES_MAX = 8
SUPERVISORS_MAX = 8
STAFF = ("supervisor", "operator", "system")


def talking(twin: Twin, command: cm.Command) -> str:
    call = twin.call(command.call_id)  # type: ignore[union-attr]
    if call is None:
        return "unknown_call"
    match command:
        case cm.TransferCall():
            return _transfer(twin, call, command)
        case cm.InviteParty():
            return _invite_party(twin, call, command)
        case cm.RemoveParty():
            return _remove_party(twin, call, command)
        case cm.CompleteTransfer():
            return _complete(twin, call, command)
        case cm.TakeOver():
            return _take_over(twin, call, command)
        case cm.Supervise():
            return _supervise(twin, call, command)
        case cm.SetHold():
            return _hold(twin, call, command)
        case cm.ShowScriptStep():
            return _show(twin, call, command)
        case cm.AnswerScriptStep():
            return _answer(twin, call, command)
    raise AssertionError(command)


def _may(call: TwinCall, principal: str, *agent_ids: str) -> bool:
    """The owner (or another agent named), a supervisor, an operator."""
    role, _, own_id = principal.partition(":")
    return role in STAFF or (role == "agent" and own_id != "" and own_id in (call.agent_id, *agent_ids))


# -- blind transfer


def _transfer(twin: Twin, call: TwinCall, command: cm.TransferCall) -> str:
    if not _may(call, command.principal):
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if bool(command.to_queue_id) == bool(command.to_agent_id) or len(command.reason) > TEXT_MAX:
        return "bad_value"
    target = twin.queue_of(call)
    if command.to_queue_id:
        offered = twin.offered(command.to_queue_id)
        if offered is None:
            return "unknown_queue"
        target = offered
    if command.credit_ms < -1 or command.credit_ms > target.priority_credit_ms_max:
        return "bad_value"
    wrong = _queue_wrong(twin, call, target) if command.to_queue_id else _agent_wrong(twin, call, command.to_agent_id)
    if wrong:
        return wrong
    _leave_to(twin, call, target, command)
    return ""


def _queue_wrong(twin: Twin, call: TwinCall, target: QueuePlan) -> str:
    if phase(target, twin.now_ms) != "open":
        return "queue_closed"
    if target.recording == "required" and not call.is_consented:
        return "consent_required"
    is_same = target.id == call.queue_id
    return "" if is_same or has_room_for_need(twin, target, call.wishes) else "too_many_needs"


def _agent_wrong(twin: Twin, call: TwinCall, agent_id: str) -> str:
    agent = twin.agent(agent_id)
    if agent is None or agent.is_retired:
        return "unknown_agent"
    queue = twin.queue_of(call)
    is_free = is_free_for(twin, agent, queue) and call.refused.get(agent_id, 0) <= twin.now_ms
    fits = is_free and suits(twin, agent, call, queue) and not is_in(call, agent_id)
    return "" if fits else "agent_unavailable"


def is_free_for(twin: Twin, agent: TwinAgent, queue: QueuePlan) -> bool:
    """Ready, in no delay, held for nobody, with the units of the queue."""
    is_free = is_askable(twin, agent) and twin.held_by(agent) is None
    return is_free and twin.free_units(agent) >= queue.cost_units


def _leave_to(twin: Twin, call: TwinCall, target: QueuePlan, command: cm.TransferCall) -> None:
    credit_ms = min(target.transfer_credit_ms, target.priority_credit_ms_max)
    call.credit_ms = credit_ms if command.credit_ms < 0 else command.credit_ms
    empty_out(twin, call, "transferred")
    owner, work = twin.agent_of(call.agent_id), wrap_up_after(twin, call)
    due_at_ms = twin.now_ms + target.target_ms - call.credit_ms
    not_before_ms = target.decline_delay_ms and twin.now_ms + target.decline_delay_ms
    call.favourite = None
    if command.to_agent_id:
        call.favourite = Favourite(command.to_agent_id, "transfer", twin.now_ms + target.reservation_timeout_ms)
    recording = target.recording if call.is_consented else "off"
    kept_until_ms = call.favourite.until_ms if call.favourite else 0
    twin.tell(
        "transferred", call.id, owner.plan.id, call.queue_id, target.id, due_at_ms, call.credit_ms, recording,
        twin.now_ms - call.connected_at_ms, command.to_agent_id, kept_until_ms, *work, not_before_ms,
    )  # fmt: skip
    leave(twin, call, owner, call.cost, work)
    remember_talk(twin, call, owner)
    leave_room(call)
    if not_before_ms:
        call.refused[owner.plan.id] = not_before_ms
    call.state, call.agent_id, call.reservation_id, call.recording = "waiting", "", "", recording
    call.queue_id, call.queued_at_ms, call.due_at_ms = target.id, twin.now_ms, due_at_ms
    call.step, call.entered_at_ms, call.visited, call.was_requeued = 0, 0, [], False
    call.is_callback, call.callback_count, call.not_before_ms = False, 0, 0
    call.cost = call.media_until_ms = call.connected_at_ms = call.on_hold_until_ms = 0
    call.supervisors, call.script = {}, None


# -- further parties


def _invite_party(twin: Twin, call: TwinCall, command: cm.InviteParty) -> str:
    if not _may(call, command.principal):
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if command.role not in ("consult", "expert", "third") or bool(command.to_agent_id) == bool(command.to_queue_id):
        return "bad_value"
    if len(call.parties) + len(call.rings) >= PARTIES_MAX:
        return "too_many_parties"
    found = _named(twin, call, command) if command.to_agent_id else _chosen(twin, call, command)
    if isinstance(found, str):
        return found
    queue = twin.queue(command.to_queue_id) or twin.queue_of(call)
    reserve(twin, call, found, command.role, queue)
    return ""


def is_in(call: TwinCall, agent_id: str) -> bool:
    is_ringing = call.ring_of(agent_id) is not None
    return call.agent_id == agent_id or is_ringing or call.party_of(agent_id) is not None


def _named(twin: Twin, call: TwinCall, command: cm.InviteParty) -> TwinAgent | str:
    agent = twin.agent(command.to_agent_id)
    if agent is None or agent.is_retired:
        return "unknown_agent"
    is_free = is_free_for(twin, agent, twin.queue_of(call)) and not is_in(call, agent.plan.id)
    return agent if is_free else "agent_unavailable"


def _chosen(twin: Twin, call: TwinCall, command: cm.InviteParty) -> TwinAgent | str:
    queue = twin.offered(command.to_queue_id)
    if queue is None:
        return "unknown_queue"
    free = [
        agent
        for agent in twin.agents
        if is_free_for(twin, agent, queue)
        and meets(agent, queue.need)
        and not is_in(call, agent.plan.id)
        and call.refused.get(agent.plan.id, 0) <= twin.now_ms
    ]
    there, call.queue_id = call.queue_id, queue.id
    free.sort(key=lambda one: order_of(twin, call, one, is_expert=True))
    call.queue_id = there
    return free[0] if free else "no_agent_free"


def _remove_party(twin: Twin, call: TwinCall, command: cm.RemoveParty) -> str:
    if not _may(call, command.principal, command.agent_id):
        return "not_yours"
    ring, party = call.ring_of(command.agent_id), call.party_of(command.agent_id)
    if ring is not None and call.state == "connected":
        close_ring(twin, call, ring, "rescinded")
    elif party is not None:
        by_itself = command.principal == "agent:" + command.agent_id
        remove_party(twin, call, party, "left" if by_itself else "removed")
    elif ring is None and not _may(call, command.principal):
        return "not_yours"
    else:
        return "wrong_state"
    return ""


# -- ownership


def _move_ownership(twin: Twin, call: TwinCall, agent: TwinAgent, cost: int, reason: str) -> None:
    """In one step, with the customer taken off hold; the new owner's media have their time to come."""
    if call.on_hold_until_ms:
        twin.tell("hold", call.id, False, "owner_changed", 0)
    owner, work = twin.agent_of(call.agent_id), wrap_up_after(twin, call)
    until_ms = twin.now_ms + twin.queue_of(call).connecting_timeout_ms if call.media == "room" else 0
    twin.tell("owner", call.id, owner.plan.id, agent.plan.id, reason, cost, *work, until_ms)
    leave(twin, call, owner, call.cost, work)
    agent.answered_count += call.party_of(agent.plan.id) is None
    call.parties = [one for one in call.parties if one.agent_id != agent.plan.id]
    call.agent_id, call.cost, call.on_hold_until_ms = agent.plan.id, cost, 0
    if until_ms:
        call.media_until_ms = until_ms
        call.joined.discard("agent")
        call.recorded.discard("agent")


def _complete(twin: Twin, call: TwinCall, command: cm.CompleteTransfer) -> str:
    if not _may(call, command.principal):
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    party = call.party_of(command.to_agent_id)
    if party is None:
        return "agent_unavailable"
    _move_ownership(twin, call, twin.agent_of(party.agent_id), party.cost, "consulted")
    return ""


def _take_over(twin: Twin, call: TwinCall, command: cm.TakeOver) -> str:
    agent = twin.agent(command.agent_id)
    if command.principal.split(":")[0] not in STAFF:
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if agent is None or agent.is_retired:
        return "unknown_agent"
    party, cost = call.party_of(command.agent_id), twin.queue_of(call).cost_units
    is_busy = twin.held_by(agent) is not None or any(work.call_id == call.id for work in agent.wrap_ups)
    has_units = party is not None or (twin.free_units(agent) >= cost and not is_in(call, command.agent_id))
    if agent.activity == "offline" or agent.is_gone or is_busy or not has_units:
        return "agent_unavailable"
    _move_ownership(twin, call, agent, party.cost if party else cost, "taken_over")
    return ""


# -- beside the call


def _supervise(twin: Twin, call: TwinCall, command: cm.Supervise) -> str:
    role, _, own_id = command.principal.partition(":")
    if role not in STAFF or (role == "supervisor" and own_id != command.supervisor_id):
        return "not_yours"
    if command.mode not in ("monitor", "whisper", "barge", "") or not command.supervisor_id:
        return "bad_value"
    if call.state not in BUSY:
        return "wrong_state"
    if call.supervisors.get(command.supervisor_id, "") == command.mode:
        return ""
    if command.supervisor_id not in call.supervisors and len(call.supervisors) >= SUPERVISORS_MAX:
        return "too_many_parties"
    call.supervisors[command.supervisor_id] = command.mode
    if not command.mode:
        del call.supervisors[command.supervisor_id]
    twin.tell("supervised", call.id, command.supervisor_id, command.mode)
    return ""


def _hold(twin: Twin, call: TwinCall, command: cm.SetHold) -> str:
    if not _may(call, command.principal):
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if command.is_held == bool(call.on_hold_until_ms):
        return ""
    call.on_hold_until_ms = twin.now_ms + twin.queue_of(call).hold_ms_max if command.is_held else 0
    twin.tell("hold", call.id, command.is_held, "asked", call.on_hold_until_ms)
    return ""


def _show(twin: Twin, call: TwinCall, command: cm.ShowScriptStep) -> str:
    """By the owner alone, one step at a time, and a bounded number of them; each answer is there once and is not empty."""
    if not _may(call, command.principal):
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if command.principal != f"agent:{call.agent_id}":
        return "not_yours"
    answers = list(command.answers)
    is_long = len(command.step_id) > 64 or len(command.text) > 1_000 or any(len(one) > 64 for one in answers)
    is_empty = "" in (command.step_id, command.text, *answers)
    if is_long or is_empty or len(answers) > 8 or sorted(set(answers)) != sorted(answers):
        return "bad_value"
    if call.scripts_count == 100:
        return "too_many_steps"
    call.scripts_count += 1
    call.script = TwinScript(call.scripts_count, command.step_id, command.text, answers)
    twin.tell("shown", call.id, call.agent_id, call.scripts_count, command.step_id, command.text, answers)
    return ""


def _answer(twin: Twin, call: TwinCall, command: cm.AnswerScriptStep) -> str:
    """By the customer alone, to what is shown, one of the answers, once."""
    if command.principal != f"customer:{call.customer_id}":
        return "not_yours"
    if call.state != "connected":
        return "wrong_state"
    if call.script is None or call.script.number != command.number:
        return "step_replaced"
    if command.answer not in call.script.answers:
        return "bad_value"
    if call.script.answer:
        return "" if call.script.answer == command.answer else "already_answered"
    call.script.answer = command.answer
    twin.tell("answer", call.id, command.number, call.script.step_id, command.answer)
    return ""
