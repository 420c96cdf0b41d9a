"""How calls begin, as the dumb twin understands it: requests, priority, callbacks, invitations."""

from dispatch import commands as cm
from dispatch.plan import QueuePlan
from dispatch.wishes import NEVER_MS, Favourite, Wishes
from tests.engine.twin import Twin, TwinCall
from tests.engine.twin_hours import phase
from tests.engine.twin_limits import (
    become_callback,
    callbacks_waiting,
    favourite_for,
    first_way,
    has_room_for_need,
    is_full,
    lacks_agents,
    relax,
    suits,
)
from tests.engine.twin_presence import TEXT_MAX

# -- requests


def request(twin: Twin, command: cm.RequestCall) -> str:
    queue, wishes = twin.offered(command.queue_id), command.wishes or Wishes()
    role = command.principal.split(":")[0]
    if queue is None:
        return "unknown_queue"
    if role == "customer" and command.principal != "customer:" + command.customer_id:
        return "not_yours"
    if not command.call_id or not command.customer_id or len(command.business_reference) > TEXT_MAX:
        return "bad_value"
    if role in ("customer", "agent") and (wishes.credit_ms or wishes.is_absolute or wishes.required_agent_id):
        return "not_yours"
    if not 0 <= wishes.credit_ms <= queue.priority_credit_ms_max:
        return "bad_value"
    if twin.call(command.call_id):
        return "call_exists"
    if twin.live_call_of(command.customer_id):
        return "already_in_call"
    if queue.recording == "required" and not command.is_consented:
        return "consent_required"
    return _wrong_wish(twin, queue, wishes) or _admit(twin, command, queue, wishes)


def _wrong_wish(twin: Twin, queue: QueuePlan, wishes: Wishes) -> str:
    if not has_room_for_need(twin, queue, wishes):
        return "too_many_needs"
    if wishes.is_callback and callbacks_waiting(twin, queue) >= queue.callbacks_max:
        return "callbacks_full"
    required = wishes.required_agent_id
    agent = twin.agent(required)
    if required and (agent is None or agent.is_retired):
        return "unknown_agent"
    probe = new_call(twin, "", "", queue, wishes, False)
    if agent is not None and (required in wishes.excluded_agent_ids or not suits(twin, agent, probe, queue)):
        return "not_qualified"
    return ""


def new_call(
    twin: Twin, call_id: str, customer_id: str, queue: QueuePlan, wishes: Wishes, is_consented: bool
) -> TwinCall:
    return TwinCall(
        call_id,
        customer_id,
        queue.id,
        twin.admitted + 1,
        twin.now_ms,
        twin.now_ms + queue.target_ms - min(wishes.credit_ms, queue.priority_credit_ms_max),
        queue.media,
        queue.recording if is_consented else "off",
        is_consented,
        wishes,
        credit_ms=min(wishes.credit_ms, queue.priority_credit_ms_max),
        is_absolute=wishes.is_absolute,
        refused=dict.fromkeys(wishes.excluded_agent_ids, NEVER_MS),
    )


def _admit(twin: Twin, command: cm.RequestCall, queue: QueuePlan, wishes: Wishes) -> str:
    """The division's limit, then the queue's: closed, no agents, full. Who asks to be called back meets none of these."""
    new = new_call(twin, command.call_id, command.customer_id, queue, wishes, command.is_consented)
    if sum(call.state != "ended" for call in twin.calls) >= twin.plan.live_calls_max:
        return _refuse(twin, new, "hall_full", "refuse")
    limit, what, target = "" if wishes.is_callback else _limit(twin, new, queue), "", queue
    if limit:
        what, target = first_way(twin, new, queue, getattr(queue, WAYS[limit]))
    if limit and what not in ("overflow", "callback"):
        return _refuse(twin, new, limit, what)
    if what == "overflow":
        new = new_call(twin, new.id, new.customer_id, target, wishes, command.is_consented)
        new.visited = [queue.id]
    new.favourite = favourite_for(twin, new, target)
    new.is_callback = wishes.is_callback or what == "callback"
    _take_in(twin, new, queue.id if what == "overflow" else "", limit)
    return ""


WAYS = {"queue_closed": "on_closed", "no_agents": "on_no_agents", "queue_full": "on_full"}


def _limit(twin: Twin, new: TwinCall, queue: QueuePlan) -> str:
    if phase(queue, twin.now_ms) != "open":
        return "queue_closed"
    if queue.on_no_agents and lacks_agents(twin, new, queue):
        return "no_agents"
    return "queue_full" if is_full(twin, new, queue) else ""


def _refuse(twin: Twin, new: TwinCall, reason: str, then: str) -> str:
    twin.tell("refused", new.id, new.customer_id, new.queue_id, reason, then)
    return reason


def _take_in(twin: Twin, new: TwinCall, asked_queue_id: str, cause: str) -> None:
    twin.calls.append(new)
    twin.admitted += 1
    twin.last_order[new.customer_id] = twin.admitted
    twin.tell(
        "queued", new.id, new.customer_id, new.queue_id, new.due_at_ms, new.recording, _kept(new.favourite),
        asked_queue_id, cause, new.is_callback,
    )  # fmt: skip


def _kept(favourite: Favourite | None) -> tuple[object, ...]:
    return (favourite.agent_id, favourite.rule, favourite.until_ms) if favourite else ()


# -- priority and callbacks


def set_priority(twin: Twin, command: cm.SetPriority) -> str:
    call, role = twin.call(command.call_id), command.principal.split(":")[0]
    if call is None:
        return "unknown_call"
    if role in ("customer", "agent"):
        return "not_yours"
    if call.state not in ("waiting", "reserved"):
        return "wrong_state"
    queue = twin.queue_of(call)
    if not 0 <= command.credit_ms <= queue.priority_credit_ms_max:
        return "bad_value"
    if (call.credit_ms, call.is_absolute) == (command.credit_ms, command.is_absolute):
        return ""
    call.due_at_ms += call.credit_ms - command.credit_ms
    call.credit_ms, call.is_absolute = command.credit_ms, command.is_absolute
    twin.tell("prioritised", call.id, call.credit_ms, call.is_absolute, call.due_at_ms)
    return ""


def request_callback(twin: Twin, command: cm.RequestCallback) -> str:
    call = twin.call(command.call_id)
    role, _, own_id = command.principal.partition(":")
    if call is None:
        return "unknown_call"
    if role == "agent" or (role == "customer" and own_id != call.customer_id):
        return "not_yours"
    if call.state != "waiting":
        return "wrong_state"
    if call.is_callback:
        return ""
    queue = twin.queue_of(call)
    if callbacks_waiting(twin, queue) >= queue.callbacks_max:
        return "callbacks_full"
    become_callback(twin, call, "asked")
    return ""


# -- invitations


def invite(twin: Twin, command: cm.InviteCustomer) -> str:
    queue, agent = twin.offered(command.queue_id), twin.agent(command.agent_id)
    role, _, own_id = command.principal.partition(":")
    if agent is None or agent.is_retired:
        return "unknown_agent"
    if role == "customer" or (role == "agent" and own_id != command.agent_id):
        return "not_yours"
    if queue is None:
        return "unknown_queue"
    if not command.call_id or not command.customer_id or len(command.business_reference) > TEXT_MAX:
        return "bad_value"
    if not 0 <= command.valid_ms <= twin.plan.invitation_ms:
        return "bad_value"
    if twin.call(command.call_id):
        return "call_exists"
    if sum(call.state != "ended" for call in twin.calls) >= twin.plan.live_calls_max:
        return "hall_full"
    new = new_call(twin, command.call_id, command.customer_id, queue, Wishes(), False)
    new.state, new.agent_id, new.media = "invited", agent.plan.id, "external"
    new.queued_at_ms = new.due_at_ms = 0
    new.invited_until_ms = twin.now_ms + (command.valid_ms or twin.plan.invitation_ms)
    twin.calls.append(new)
    twin.admitted += 1
    twin.tell("invited", new.id, new.customer_id, agent.plan.id, queue.id, new.invited_until_ms)
    return ""


def accept_invitation(twin: Twin, command: cm.AcceptInvitation) -> str:
    call = twin.call(command.call_id)
    role, _, own_id = command.principal.partition(":")
    if call is None:
        return "unknown_call"
    if (
        call.customer_id != command.customer_id
        or role == "agent"
        or (role == "customer" and own_id != call.customer_id)
    ):
        return "not_yours"
    if call.state != "invited":
        return "wrong_state"
    if twin.live_call_of(call.customer_id):
        return "already_in_call"
    queue = twin.queue_of(call)
    if queue.recording == "required" and not command.is_consented:
        return "consent_required"
    call.is_consented, call.recording = command.is_consented, queue.recording if command.is_consented else "off"
    call.favourite = Favourite(call.agent_id, "invitation", NEVER_MS)
    call.state, call.agent_id, call.media, call.invited_until_ms = "waiting", "", queue.media, 0
    call.queued_at_ms = call.due_at_ms = twin.now_ms
    call.credit_ms = queue.target_ms
    twin.last_order[call.customer_id] = call.order
    twin.tell("came", call.id, call.queued_at_ms, call.due_at_ms, call.recording, call.media, _kept(call.favourite))
    relax(twin, call)
    return ""
