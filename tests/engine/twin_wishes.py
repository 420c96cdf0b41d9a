"""What each command wishes, as the dumb twin understands it. Returns the reason of refusal, or '' when carried out."""

from dispatch import commands as cm
from tests.engine.twin import BUSY, Fact, Twin, TwinAgent, TwinCall, TwinClient, TwinWork
from tests.engine.twin_media import ask_room, lose_worker, report, report_connected

DAY_MS = 86_400_000
TEXT_MAX = 200


def step(twin: Twin, command: cm.Command, now_ms: int) -> tuple[str, list[Fact]]:
    """Carry out one command; a repeat gets its first answer, keys are bounded in number and kept for a day."""
    twin.now_ms = max(twin.now_ms, now_ms)
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
    twin.match()
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
            return _connection(twin, command)
        case cm.SetActivity():
            return _set_activity(twin, command)
        case cm.RequestCall():
            return _request(twin, command)
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
            return report(twin, command)


# -- plan and time


def _apply_plan(twin: Twin, command: cm.ApplyPlan) -> str:
    new, ids = command.plan, {queue.id for queue in command.plan.queues}
    if command.principal.split(":")[0] not in ("operator", "system"):
        return "not_yours"
    if list(new.problems()) or new.division_id != twin.plan.division_id:
        return "bad_value"
    leaving = [call for call in twin.calls if call.state == "waiting" and call.queue_id not in ids]
    if any(call.queue_id not in new.retired for call in leaving):
        return "calls_would_be_stranded"
    if command.digest == twin.plan_digest:
        return ""
    twin.tell("planned", command.digest)
    in_use = {call.queue_id for call in twin.calls} - ids
    twin.queues = list(new.queues) + [queue for queue in twin.queues if queue.id in in_use]
    twin.plan, twin.plan_digest = new, command.digest
    old, twin.agents = twin.agents, []
    for plan in new.agents:
        agent = next((one for one in old if one.plan.id == plan.id), TwinAgent(plan))
        agent.plan, agent.is_retired = plan, False
        twin.agents.append(agent)
    for agent in old:
        if agent not in twin.agents and (agent.wrap_ups or twin.calls_of(agent, "reserved", *BUSY)):
            agent.is_retired = True
            twin.agents.append(agent)
    for call in leaving:
        target = next(queue for queue in new.queues if queue.id == new.retired[call.queue_id])
        due_at_ms = call.queued_at_ms + target.target_ms
        twin.tell("moved", call.id, call.queue_id, target.id, due_at_ms)
        call.queue_id, call.due_at_ms = target.id, due_at_ms
    return ""


def _resume(twin: Twin, command: cm.Resume) -> str:
    if command.outage_ms <= 0:
        return "bad_value" if command.outage_ms < 0 else ""
    twin.tell("resumed", command.outage_ms)
    for call in twin.calls:
        for name in ("expires_at_ms", "agent_gone_until_ms", "media_until_ms"):
            setattr(call, name, getattr(call, name) and getattr(call, name) + command.outage_ms)
    for agent in twin.agents:
        for work in agent.wrap_ups:
            work.until_ms += command.outage_ms
    for client in twin.clients.values():
        client.grace_until_ms = client.grace_until_ms and client.grace_until_ms + command.outage_ms
    return ""


# -- presence


def _connection(twin: Twin, command: cm.Connect | cm.Disconnect | cm.LoseGateway) -> str:
    if isinstance(command, cm.Connect):
        return _connect(twin, command)
    for recipient, client in list(twin.clients.items()):
        if isinstance(command, cm.Disconnect):
            is_meant = recipient == command.recipient and client.connection_id == command.connection_id
        else:
            is_meant = client.gateway_id == command.gateway_id
        if is_meant and client.connection_id:
            _lose_connection(twin, recipient, client)
    return ""


def _connect(twin: Twin, command: cm.Connect) -> str:
    role, _, own_id = command.recipient.partition(":")
    agent, call = twin.agent(own_id), twin.live_call_of(own_id)
    if not own_id or role not in ("customer", "agent", "supervisor", "operator"):
        return "unknown_recipient"
    if not command.connection_id:
        return "bad_value"
    if role == "agent" and agent is None:
        return "unknown_agent"
    client = twin.clients.setdefault(command.recipient, TwinClient())
    if client.connection_id == command.connection_id:
        return ""
    client.gateway_id, client.connection_id, client.grace_until_ms = command.gateway_id, command.connection_id, 0
    twin.tell("connected", command.recipient, command.connection_id)
    if role == "agent" and agent is not None:
        agent.is_gone = False
        for ringing in twin.calls_of(agent, "reserved"):
            ringing.agent_gone_until_ms = 0
    elif role == "customer" and call is not None:
        call.is_gone = False
    return ""


def _lose_connection(twin: Twin, recipient: str, client: TwinClient) -> None:
    role, _, own_id = recipient.partition(":")
    agent, call = twin.agent(own_id), twin.live_call_of(own_id)
    client.gateway_id = client.connection_id = ""
    until_ms = twin.now_ms + twin.plan.reconnect_grace_ms
    if role == "agent" and agent is not None:
        ringing = twin.calls_of(agent, "reserved")
        if agent.activity != "offline" or ringing or agent.wrap_ups or twin.calls_of(agent, *BUSY):
            agent.is_gone, client.grace_until_ms = True, until_ms
            for one in ringing:
                one.agent_gone_until_ms = twin.now_ms + twin.plan.reservation_grace_ms
    elif role == "customer" and call is not None:
        call.is_gone, client.grace_until_ms = True, until_ms
    twin.tell("disconnected", recipient, client.grace_until_ms)
    twin.drop_client(recipient)


def _set_activity(twin: Twin, command: cm.SetActivity) -> str:
    agent, role = twin.agent(command.agent_id), command.principal.split(":")[0]
    if agent is None or (agent.is_retired and command.activity == "ready"):
        return "unknown_agent"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + command.agent_id):
        return "not_yours"
    if command.activity not in ("offline", "ready", "not_ready") or len(command.reason) > TEXT_MAX:
        return "bad_value"
    if (agent.activity, agent.reason) == (command.activity, command.reason):
        return ""
    if command.activity != "ready":
        twin.give_back_all(agent, "agent_left")
    if command.activity == "offline":
        for work in list(agent.wrap_ups):
            twin.end_wrap_up(agent, work, "signed_out")
    twin.set_activity(agent, command.activity, command.reason)
    return ""


# -- calls


def _request(twin: Twin, command: cm.RequestCall) -> str:
    queue = next((one for one in twin.plan.queues if one.id == command.queue_id), None)
    if queue is None:
        return "unknown_queue"
    if command.principal.startswith("customer:") and command.principal != "customer:" + command.customer_id:
        return "not_yours"
    if not command.call_id or not command.customer_id or len(command.business_reference) > TEXT_MAX:
        return "bad_value"
    if twin.call(command.call_id):
        return "call_exists"
    if twin.live_call_of(command.customer_id):
        return "already_in_call"
    if queue.recording == "required" and not command.is_consented:
        return "consent_required"
    recording = queue.recording if command.is_consented else "off"
    due_at_ms = twin.now_ms + queue.target_ms
    new = TwinCall(
        command.call_id,
        command.customer_id,
        queue.id,
        twin.admitted + 1,
        twin.now_ms,
        due_at_ms,
        queue.media,
        recording,
    )
    in_queue = [call for call in twin.calls if call.queue_id == queue.id and call.state == "waiting"]
    if len(in_queue) >= queue.waiting_max and not any(twin.may_take(agent, new) for agent in twin.agents):
        return "queue_full"
    if sum(call.state != "ended" for call in twin.calls) >= twin.plan.live_calls_max:
        return "hall_full"
    twin.calls.append(new)
    twin.admitted += 1
    twin.last_order[command.customer_id] = twin.admitted
    twin.clients.setdefault("customer:" + command.customer_id, TwinClient())
    twin.tell("queued", new.id, new.customer_id, queue.id, due_at_ms, recording)
    return ""


def _answer(twin: Twin, command: cm.AcceptReservation | cm.DeclineReservation) -> str:
    call = twin.call(command.reservation_id.rpartition(".")[0])
    role = command.principal.split(":")[0]
    if call is None:
        return "unknown_reservation"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + command.agent_id):
        return "not_yours"
    if call.agent_id == "" or call.reservation_id != command.reservation_id:
        return "not_pending"
    if call.agent_id != command.agent_id:
        return "not_yours"
    if call.state != "reserved":
        return "not_pending"
    queue, agent = twin.queue_of(call), twin.agent(call.agent_id)
    assert agent is not None
    if isinstance(command, cm.DeclineReservation):
        if len(command.reason) > TEXT_MAX:
            return "bad_value"
        twin.give_back(call, "declined", queue.decline_delay_ms and twin.now_ms + queue.decline_delay_ms)
        return ""
    agent.misses = 0
    call.state, call.expires_at_ms, call.agent_gone_until_ms = "connecting", 0, 0
    call.media_until_ms = twin.now_ms + queue.connecting_timeout_ms
    if call.media == "room":
        ask_room(call, call.room_attempt + 1)
    attempt = call.room_attempt if call.media == "room" else 0
    twin.tell("accepted", call.id, call.reservation_id, agent.plan.id, call.media_until_ms, attempt)
    return ""


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
    twin.end(call, command.reason or role + "_hung_up")
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
        twin.end_wrap_up(agent, work, "done")
        return ""
    queue = twin.queue(work.queue_id)
    latest_ms = work.started_at_ms + (queue.wrap_up_ms_max if queue else 0)
    if command.extra_ms <= 0 or latest_ms <= work.until_ms:
        return "bad_value"
    work.until_ms = min(latest_ms, work.until_ms + command.extra_ms)
    twin.tell("extended", work.call_id, agent.plan.id, work.until_ms)
    return ""
