"""Limits and favourites, as the dumb twin understands them: what a call meets at a limit, and whom it is kept for."""

from dataclasses import replace

from dispatch.plan import QueuePlan, Way
from dispatch.wishes import NEVER_MS, Favourite, Wishes
from tests.engine.twin import Twin, TwinAgent, TwinCall
from tests.engine.twin_calls import drop_favourite, end, release_absent
from tests.engine.twin_hours import phase
from tests.engine.twin_matching import able, is_at_cap, match, meets, release_held

MOVES_MAX = 4

# -- what limits look at


def suits(twin: Twin, agent: TwinAgent, call: TwinCall, queue: QueuePlan) -> bool:
    """The agent meets the need of the queue's last step, the call's own skills added."""
    return meets(agent, twin.need_in(queue, call.wishes, len(queue.relaxation)))


def is_signed_in(agent: TwinAgent) -> bool:
    """A lost connection counts as signed out only after its grace."""
    return agent.activity != "offline" and not agent.is_retired


def lacks_agents(twin: Twin, call: TwinCall, queue: QueuePlan) -> bool:
    return not any(is_signed_in(agent) and suits(twin, agent, call, queue) for agent in twin.agents)


def is_full(twin: Twin, call: TwinCall, queue: QueuePlan) -> bool:
    """So many wait already, and no agent is free for a new call like this one. A joint call does not find two at once."""
    waiting = [one for one in twin.calls if one.queue_id == queue.id and one.state == "waiting" and one is not call]
    if len(waiting) < queue.waiting_max:
        return False
    if is_at_cap(twin, queue) or phase(queue, twin.now_ms) == "closed" or queue.joint_need or call.wishes.joint_need:
        return True
    excluded = dict.fromkeys(call.wishes.excluded_agent_ids, NEVER_MS)
    like = replace(call, queue_id=queue.id, step=0, favourite=None, refused=excluded)
    only = call.wishes.required_agent_id
    return not any(only in ("", agent.plan.id) for agent in able(twin, like))


def callbacks_waiting(twin: Twin, queue: QueuePlan) -> int:
    waiting = [one for one in twin.calls if one.is_callback and one.state in ("waiting", "reserved")]
    return sum(one.queue_id == queue.id for one in waiting)


def has_room_for_need(twin: Twin, queue: QueuePlan, wishes: Wishes) -> bool:
    """Distinct needs of live calls beside the queue's own are bounded."""
    plain = ({}, {})
    known: list[object] = [plain]
    for call in twin.calls:
        own = (call.wishes.need, call.wishes.joint_need)
        if call.state != "ended" and call.queue_id == queue.id and own not in known:
            known.append(own)
    return (wishes.need, wishes.joint_need) in known or len(known) - 1 < queue.needs_max


# -- ways


def first_way(twin: Twin, call: TwinCall, queue: QueuePlan, ways: list[Way]) -> tuple[str, QueuePlan]:
    """The first way that is possible, and the queue it leads to; `refuse` when there is none."""
    for way in ways:
        if way.do == "overflow":
            target = next((one for one in map(twin.offered, way.queues) if one and _takes(twin, call, one)), None)
            if target is not None:
                return "overflow", target
        elif way.do != "callback" or callbacks_waiting(twin, queue) < queue.callbacks_max:
            return way.do, queue
    return "refuse", queue


def _takes(twin: Twin, call: TwinCall, target: QueuePlan) -> bool:
    has_been = target.id in (call.queue_id, *call.visited) or len(call.visited) >= MOVES_MAX
    if has_been or phase(target, twin.now_ms) != "open" or is_full(twin, call, target):
        return False
    if target.on_no_agents and lacks_agents(twin, call, target):
        return False
    is_consented = target.recording != "required" or call.is_consented
    return is_consented and has_room_for_need(twin, target, call.wishes)


def meet_limit(twin: Twin, call: TwinCall, ways: list[Way], reason: str) -> None:
    """A waiting call has met a limit."""
    what, target = first_way(twin, call, twin.queue_of(call), ways)
    if what == "overflow":
        move(twin, call, target, reason)
    elif what == "callback":
        become_callback(twin, call, reason)
    else:
        end(twin, call, reason, "message" if what == "message" else "")


def move(twin: Twin, call: TwinCall, target: QueuePlan, reason: str) -> None:
    release_held(twin, call, "call_left")
    due_at_ms = call.queued_at_ms + target.target_ms - min(call.credit_ms, target.priority_credit_ms_max)
    twin.tell("moved", call.id, call.queue_id, target.id, due_at_ms, reason)
    call.visited.append(call.queue_id)
    call.queue_id, call.due_at_ms, call.entered_at_ms, call.step = target.id, due_at_ms, twin.now_ms, 0
    call.credit_ms = min(call.credit_ms, target.priority_credit_ms_max)
    relax(twin, call)


def become_callback(twin: Twin, call: TwinCall, cause: str) -> None:
    call.is_callback = True
    twin.tell("callback", call.id, cause)


def relax(twin: Twin, call: TwinCall) -> None:
    """All steps that are due open at once."""
    steps = twin.queue_of(call).relaxation
    due = [number for number, one in enumerate(steps, 1) if call.queued_at_ms + one.after_ms <= twin.now_ms]
    if due and due[-1] > call.step and call.state not in ("ended", "invited"):
        call.step = due[-1]
        twin.tell("relaxed", call.id, call.step)


def sweep(twin: Twin) -> None:
    """Waiting calls of queues that are closed, and of those that mind and have no agent signed in; the most due first."""
    for call in [call for queue in twin.queues for call in twin.line(queue.id)]:
        queue = twin.queue_of(call)
        is_invited = call.favourite is not None and call.favourite.rule == "invitation"
        if call.is_callback or is_invited:
            continue
        if phase(queue, twin.now_ms) == "closed":
            meet_limit(twin, call, queue.on_closed, "queue_closed")
        elif queue.on_no_agents and lacks_agents(twin, call, queue):
            meet_limit(twin, call, queue.on_no_agents, "no_agents")


def settle(twin: Twin) -> None:
    """The end of every step: who met a limit is led on, then everybody is matched."""
    release_absent(twin)
    sweep(twin)
    match(twin)


# -- favourites


def favourite_for(twin: Twin, call: TwinCall, queue: QueuePlan) -> Favourite | None:
    """The first rule that applies."""
    wishes, until_ms = call.wishes, twin.now_ms + queue.preferred_window_ms
    last = next((one for one in twin.talks if one.customer_id == call.customer_id), None)
    is_recent = last is not None and twin.now_ms - last.at_ms < queue.last_agent_window_ms
    rules = [
        ("required", wishes.required_agent_id, NEVER_MS),
        ("preferred", wishes.preferred_agent_id, until_ms),
        ("relationship", wishes.manager_id if queue.strategy == "relationship" else "", until_ms),
        ("last_agent", last.agent_id if last and is_recent else "", until_ms),
    ]
    for rule, agent_id, kept_until_ms in rules:
        agent = twin.agent(agent_id)
        if agent is None or agent_id in wishes.excluded_agent_ids:
            continue
        if rule == "required" or (is_signed_in(agent) and suits(twin, agent, call, queue)):
            return Favourite(agent_id, rule, kept_until_ms)
    return None


def end_window(twin: Twin, call: TwinCall) -> None:
    drop_favourite(twin, call, "window")
