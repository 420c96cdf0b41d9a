"""The decision to admit a call: who may ask for what, which limits it meets, for whom it is kept."""

from typing import Final

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.choice import need_of
from dispatch.effects import Reply
from dispatch.handing import hand_over, may_leave, moved_to
from dispatch.lanes import Queue
from dispatch.limits import Entrant, Outcome, admit, is_wide_open
from dispatch.matching import Decider
from dispatch.model import customer_recipient
from dispatch.needs import need_at
from dispatch.plan import meets
from dispatch.state import State
from dispatch.wishes import NEVER_MS, Favourite, Wishes

_NO_WISHES: Final = Wishes()


def request_call(engine: Decider, command: cm.RequestCall) -> Reply:
    """Admit a call, or say by name why not."""
    state = engine.state
    queue = state.queues.get(command.queue_id)
    if queue is None or queue.is_retired:
        return Reply("unknown_queue", {"queue_id": command.queue_id})
    refusal = _refuse(engine, command, queue)
    if refusal is not None:
        return refusal
    if len(state.calls) - state.ended_count >= state.plan.live_calls_max:
        engine.emit(ev.CallRefused(engine.now_ms, command.call_id, command.customer_id, command.queue_id, "hall_full"))
        return Reply("hall_full", {"live_calls_max": state.plan.live_calls_max})
    if is_wide_open(queue):
        return _queue_call(engine, command, queue, Outcome(queue))
    may_go = may_leave(0, command.wishes, "")
    outcome = admit(engine, queue, Entrant(command.customer_id, command.is_consented, command.wishes, may_leave=may_go))
    if outcome.address:
        return _queue_elsewhere(engine, command, queue, outcome)
    if outcome.refused:
        engine.emit(
            ev.CallRefused(
                engine.now_ms, command.call_id, command.customer_id, queue.plan.id, outcome.refused, outcome.then
            )
        )
        return Reply(outcome.refused, {"then": outcome.then, "text": outcome.text})
    return _queue_call(engine, command, queue, outcome)


def _queue_elsewhere(engine: Decider, command: cm.RequestCall, asked: Queue, outcome: Outcome) -> Reply:
    """Let the call wait where it was asked for, out of the line, until another division has answered."""
    _queue_call(engine, command, asked, Outcome(asked))
    call = engine.state.calls[command.call_id]
    hand_over(engine, call, outcome.address, outcome.cause, call.credit_ms)
    value = {"call_id": call.id, "queue_id": asked.plan.id, "to": outcome.address, "cause": outcome.cause}
    return Reply("", value)


def _queue_call(engine: Decider, command: cm.RequestCall, asked: Queue, outcome: Outcome) -> Reply:
    queue, now_ms, wishes = outcome.queue, engine.now_ms, command.wishes
    plan = queue.plan
    credit_ms = min(wishes.credit_ms, plan.priority_credit_ms_max) if wishes is not None else 0
    favourite = None
    if wishes is not None or (plan.last_agent_window_ms and command.customer_id in engine.state.last_agents):
        favourite = find_favourite(engine.state, queue, command.customer_id, wishes or _NO_WISHES, now_ms)
    engine.emit(
        ev.CallQueued(
            now_ms,
            command.call_id,
            command.customer_id,
            plan.id,
            now_ms,
            now_ms + plan.target_ms - credit_ms,
            command.business_reference,
            command.is_consented,
            plan.recording if command.is_consented else "off",
            plan.media,
            wishes,
            favourite,
            asked.plan.id if queue is not asked else "",
            outcome.cause,
            outcome.is_callback or (wishes is not None and wishes.is_callback),
        )
    )
    value: dict[str, object] = {"call_id": command.call_id}
    if outcome.cause:
        value |= {"queue_id": plan.id, "is_callback": outcome.is_callback, "cause": outcome.cause}
    return Reply("", value)


def _refuse(engine: Decider, command: cm.RequestCall, queue: Queue) -> Reply | None:
    """What is wrong with the request itself, whatever the hall is like."""
    state, wishes = engine.state, command.wishes
    if command.principal.startswith("customer:") and command.principal != customer_recipient(command.customer_id):
        return Reply("not_yours")
    if not command.call_id or not command.customer_id or len(command.business_reference) > cm.MAX_TEXT:
        return Reply("bad_value")
    if wishes is not None and (refusal := _refuse_wishes(command.principal, wishes, queue)) is not None:
        return refusal
    if command.call_id in state.calls:
        return Reply("call_exists")
    live = state.calls.get(state.call_by_customer.get(command.customer_id, ""))
    if live is not None and live.state != lc.ENDED:
        return Reply(
            "already_in_call", {"call_id": live.id, **({"division_id": away} if (away := moved_to(live)) else {})}
        )
    if queue.plan.recording == "required" and not command.is_consented:
        return Reply("consent_required")
    return _refuse_required(state, wishes, queue) if wishes is not None else None


def _refuse_wishes(principal: str, wishes: Wishes, queue: Queue) -> Reply | None:
    if principal.partition(":")[0] in ("customer", "agent") and (
        wishes.credit_ms or wishes.is_absolute or wishes.required_agent_id
    ):
        return Reply("not_yours", {"allowed": "priority and a required agent come from the bank's own systems"})
    if not 0 <= wishes.credit_ms <= queue.plan.priority_credit_ms_max:
        return Reply("bad_value", {"allowed": f"credit_ms from 0 to {queue.plan.priority_credit_ms_max}"})
    return None


def _refuse_required(state: State, wishes: Wishes, queue: Queue) -> Reply | None:
    own = (need_of(wishes.need), need_of(wishes.joint_need))
    if own != ((), ()) and own not in queue.needs and len(queue.needs) >= queue.plan.needs_max:
        return Reply("too_many_needs", {"needs_max": queue.plan.needs_max})
    if wishes.is_callback and queue.callbacks_count >= queue.plan.callbacks_max:
        return Reply("callbacks_full", {"callbacks_max": queue.plan.callbacks_max})
    agent_id = wishes.required_agent_id
    if not agent_id:
        return None
    agent = state.agents.get(agent_id)
    if agent is None or agent.is_retired:
        return Reply("unknown_agent", {"agent_id": agent_id})
    if not _qualifies(state, queue, agent_id, wishes):
        return Reply("not_qualified", {"agent_id": agent_id})
    return None


def _qualifies(state: State, queue: Queue, agent_id: str, wishes: Wishes) -> bool:
    """Does the agent meet the need of the queue's last step, with the call's own skills, and is not excluded?"""
    plan = queue.plan
    need = need_at(plan, len(plan.relaxation), need_of(wishes.need))
    return meets(state.agents[agent_id].skills, need) and agent_id not in wishes.excluded_agent_ids


def find_favourite(state: State, queue: Queue, customer_id: str, wishes: Wishes, now_ms: int) -> Favourite | None:
    """The first rule that names an agent who may serve the call (docs/routing.md, Favourites)."""
    plan = queue.plan
    if wishes.required_agent_id:
        return Favourite(wishes.required_agent_id, "required", NEVER_MS)
    last = state.last_agents.get(customer_id) if plan.last_agent_window_ms else None
    is_recent = last is not None and now_ms - last.at_ms < plan.last_agent_window_ms
    for rule, agent_id in (
        ("preferred", wishes.preferred_agent_id),
        ("relationship", wishes.manager_id if plan.strategy == "relationship" else ""),
        ("last_agent", last.agent_id if last is not None and is_recent else ""),
    ):
        agent = state.agents.get(agent_id)
        if agent is None or agent.is_retired or agent.activity == lc.OFFLINE:
            continue
        if _qualifies(state, queue, agent_id, wishes):
            return Favourite(agent_id, rule, now_ms + plan.preferred_window_ms)
    return None
