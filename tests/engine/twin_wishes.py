"""What each command wishes, as the dumb twin understands it. Returns the reason of refusal, or '' when carried out."""

from dispatch import commands as cm
from tests.engine.twin import BUSY, Fact, Twin, TwinAgent, TwinCall, TwinParty, TwinRing, TwinWork
from tests.engine.twin_calls import KEPT_FOR_EVER, close_ring, end, end_wrap_up, give_back
from tests.engine.twin_limits import drop_favourite, move, relax, settle
from tests.engine.twin_media import ask_room, lose_worker, report, report_connected
from tests.engine.twin_presence import TEXT_MAX, activity, connection
from tests.engine.twin_requests import accept_invitation, invite, request, request_callback, set_priority
from tests.engine.twin_talking import talking

DAY_MS = 86_400_000
TALKING = (
    cm.TransferCall, cm.InviteParty, cm.RemoveParty, cm.CompleteTransfer, cm.TakeOver, cm.Supervise, cm.SetHold,
    cm.ShowScriptStep, cm.AnswerScriptStep,
)  # fmt: skip


def step(
    twin: Twin, command: cm.Command, now_ms: int, oracle: list[tuple[int, str, str]] | None = None
) -> tuple[str, list[Fact]]:
    """Carry out one command; a repeat gets its first answer, keys are bounded in number and kept for a day."""
    twin.now_ms, twin.oracle = max(twin.now_ms, now_ms), list(oracle or [])
    known = [one for one in twin.answers if one[:2] == (command.principal, command.id)]
    if command.id and known:
        return (known[0][3] if known[0][2] == command else "key_reused"), []
    if command.id.startswith("key:"):
        keys = [one for one in twin.answers if one[1].startswith("key:")]
        old = [one for one in keys if one[4] < twin.now_ms - DAY_MS]
        if len(keys) >= twin.plan.idempotency_keys_max and not old:
            return "idempotency_store_full", []
        twin.answers = [one for one in twin.answers if one not in old]
    reason = carry_out(twin, command)
    settle(twin)
    if command.id:
        _make_room_for(twin, command)
        twin.answers.append((command.principal, command.id, command, reason, twin.now_ms))
        twin.tell("answered", command.principal, command.id, reason)
    facts, twin.facts = twin.facts, []
    return reason, facts


def _make_room_for(twin: Twin, command: cm.Command) -> None:
    """So many principals are remembered; one more drops all answers of the one that spoke first."""
    principals = list(dict.fromkeys(one[0] for one in twin.answers if not one[1].startswith("key:")))
    is_known = command.principal in principals or command.id.startswith("key:")
    if not is_known and len(principals) >= twin.plan.idempotency_keys_max:
        twin.answers = [one for one in twin.answers if one[0] != principals[0] or one[1].startswith("key:")]


def carry_out(twin: Twin, command: cm.Command) -> str:
    match command:
        case cm.ApplyPlan():
            return _apply_plan(twin, command)
        case cm.Connect() | cm.Disconnect() | cm.LoseGateway():
            return connection(twin, command)
        case cm.SetActivity():
            return activity(twin, command)
        case cm.RequestCall():
            return request(twin, command)
        case cm.SetPriority():
            return set_priority(twin, command)
        case cm.RequestCallback():
            return request_callback(twin, command)
        case cm.InviteCustomer():
            return invite(twin, command)
        case cm.AcceptInvitation():
            return accept_invitation(twin, command)
        case cm.AcceptReservation() | cm.DeclineReservation():
            return _answer(twin, command)
        case cm.HangUp():
            return _hang_up(twin, command)
        case cm.FinishWrapUp() | cm.ExtendWrapUp():
            return _wrap_up(twin, command)
        case cm.ReportConnected():
            return report_connected(twin, command)
        case cm.Resume():
            return _resume(twin, command)
        case cm.LoseWorker():
            return lose_worker(twin, command)
        case _:
            return talking(twin, command) if isinstance(command, TALKING) else report(twin, command)


# -- plan and time


def _apply_plan(twin: Twin, command: cm.ApplyPlan) -> str:
    new, ids = command.plan, {queue.id for queue in command.plan.queues}
    if command.principal.split(":")[0] not in ("operator", "system"):
        return "not_yours"
    expected = command.terms.expected_digest if command.terms else ""
    if expected and twin.plan_digest not in (expected, command.digest):
        return "plan_changed"
    if list(new.problems(["by_name"])) or new.division_id != twin.plan.division_id:
        return "bad_value"
    leaving = [call for call in twin.calls if call.state == "waiting" and call.queue_id not in ids]
    if any(call.queue_id not in new.retired for call in leaving):
        return "calls_would_be_stranded"
    if command.digest == twin.plan_digest or (command.terms and command.terms.is_dry_run):
        return ""
    twin.tell("planned", command.digest)
    in_use = {call.queue_id for call in twin.calls} - ids
    twin.queues = list(new.queues) + [queue for queue in twin.queues if queue.id in in_use]
    twin.plan, twin.plan_digest = new, command.digest
    _replan_agents(twin)
    for call in leaving:
        target = next(queue for queue in new.queues if queue.id == new.retired[call.queue_id])
        move(twin, call, target, "retired")
    for call in twin.calls:
        agent = twin.agent(call.favourite.agent_id) if call.favourite else None
        is_kept = call.favourite and call.favourite.until_ms >= twin.now_ms and call.favourite.rule not in KEPT_FOR_EVER
        if is_kept and (agent is None or agent.is_retired) and call.state in ("waiting", "reserved"):
            drop_favourite(twin, call, "signed_out")
        relax(twin, call)
    return ""


def _replan_agents(twin: Twin) -> None:
    old, twin.agents = twin.agents, []
    for plan in twin.plan.agents:
        agent = next((one for one in old if one.plan.id == plan.id), TwinAgent(plan))
        agent.plan, agent.is_retired = plan, False
        twin.agents.append(agent)
    for agent in old:
        if agent not in twin.agents and (twin.is_occupied(agent) or twin.held_by(agent)):
            agent.is_retired = True
            twin.agents.append(agent)


def _resume(twin: Twin, command: cm.Resume) -> str:
    """Nobody could be heard: what waits for somebody is given that time again."""
    moved = command.outage_ms
    if moved <= 0:
        return "bad_value" if moved < 0 else ""
    twin.tell("resumed", moved)
    for call in twin.calls:
        for name in ("media_until_ms", "on_hold_until_ms", "held_until_ms", "invited_until_ms"):
            setattr(call, name, getattr(call, name) and getattr(call, name) + moved)
        for ring in call.rings:
            ring.expires_at_ms += moved
            ring.gone_until_ms = ring.gone_until_ms and ring.gone_until_ms + moved
    for agent in twin.agents:
        for work in agent.wrap_ups:
            work.until_ms += moved
    for client in twin.clients.values():
        client.grace_until_ms = client.grace_until_ms and client.grace_until_ms + moved
    return ""


# -- at the agent


def _pending(twin: Twin, command: cm.AcceptReservation | cm.DeclineReservation) -> tuple[TwinCall, TwinRing] | str:
    call = twin.call(command.reservation_id.rpartition(".")[0])
    role = command.principal.split(":")[0]
    if call is None:
        return "unknown_reservation"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + command.agent_id):
        return "not_yours"
    ring = next((one for one in call.rings if one.id == command.reservation_id), None)
    if ring is None:
        return "not_pending"
    return (call, ring) if ring.agent_id == command.agent_id else "not_yours"


def _answer(twin: Twin, command: cm.AcceptReservation | cm.DeclineReservation) -> str:
    found = _pending(twin, command)
    if isinstance(found, str):
        return found
    call, ring = found
    if isinstance(command, cm.AcceptReservation):
        _accept(twin, call, ring)
        return ""
    if len(command.reason) > TEXT_MAX:
        return "bad_value"
    give_back(twin, call, ring, "busy" if command.is_busy else "declined")
    return ""


def _accept(twin: Twin, call: TwinCall, ring: TwinRing) -> None:
    if ring.is_accepted:
        # Said once more while the other one of the pair is waited for: nothing new.
        return
    agent = twin.agent_of(ring.agent_id)
    agent.misses = 0
    if call.state != "reserved":
        _join(twin, call, ring)
        return
    expert = next((one for one in call.rings if one.role == "expert"), None)
    if expert is not None and any(one is not ring and not one.is_accepted for one in call.rings):
        if not ring.is_accepted:
            ring.is_accepted = True
            twin.tell("joint_accepted", call.id, ring.id, agent.plan.id)
        return
    first = next(one for one in call.rings if one.role == "agent") if expert is not None else ring
    _own(twin, call, first)
    for other in list(call.rings):
        if other is expert:
            _join(twin, call, other)
        else:
            close_ring(twin, call, other, "rescinded")


def _own(twin: Twin, call: TwinCall, ring: TwinRing) -> None:
    """The two must see each other by then; a customer who is called back has longer."""
    queue, agent = twin.queue_of(call), twin.agent_of(ring.agent_id)
    call.rings.remove(ring)
    agent.answered_count += 1
    call.state, call.agent_id, call.cost, call.reservation_id = "connecting", agent.plan.id, ring.cost, ring.id
    call.media_until_ms = twin.now_ms + (queue.callback_answer_ms if call.is_callback else queue.connecting_timeout_ms)
    if call.media == "room":
        ask_room(call, call.room_attempt + 1)
    attempt = call.room_attempt if call.media == "room" else 0
    twin.tell("accepted", call.id, ring.id, agent.plan.id, call.media_until_ms, attempt)


def _join(twin: Twin, call: TwinCall, ring: TwinRing) -> None:
    twin.agent_of(ring.agent_id).answered_count += 1
    call.rings.remove(ring)
    call.parties.append(TwinParty(ring.agent_id, ring.role, ring.cost))
    twin.tell("party_in", call.id, ring.id, ring.agent_id, ring.role)


def _hang_up(twin: Twin, command: cm.HangUp) -> str:
    call = twin.call(command.call_id)
    role, _, own_id = command.principal.partition(":")
    if call is None:
        return "unknown_call"
    if role == "customer" and own_id != call.customer_id:
        return "not_yours"
    if role == "agent" and (own_id != call.agent_id or not own_id or call.state == "reserved"):
        return "not_yours"
    if call.state == "ended":
        return "wrong_state"
    if len(command.reason) > TEXT_MAX:
        return "bad_value"
    end(twin, call, command.reason or role + "_hung_up")
    return ""


def _wrap_up(twin: Twin, command: cm.FinishWrapUp | cm.ExtendWrapUp) -> str:
    agent, role = twin.agent(command.agent_id), command.principal.split(":")[0]
    if agent is None:
        return "unknown_agent"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + command.agent_id):
        return "not_yours"
    work: TwinWork | None = next((one for one in agent.wrap_ups if one.call_id == command.call_id), None)
    if work is None:
        return "not_in_wrap_up"
    if isinstance(command, cm.FinishWrapUp):
        end_wrap_up(twin, agent, work, "done")
        return ""
    queue = twin.queue(work.queue_id)
    latest_ms = work.started_at_ms + (queue.wrap_up_ms_max if queue else 0)
    if command.extra_ms <= 0 or latest_ms <= work.until_ms:
        return "bad_value"
    work.until_ms = min(latest_ms, work.until_ms + command.extra_ms)
    twin.tell("extended", work.call_id, agent.plan.id, work.until_ms)
    return ""


__all__ = ["BUSY", "carry_out", "step"]
