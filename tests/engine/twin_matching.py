"""Who gets whom, as the dumb twin understands it: everybody is tried with everybody, after each step.

Where one call is chosen, or calls are served one by one because a joint call waits, the twin decides alone. Where several are
chosen in one round the rules leave ties between agents open: it chooses the calls, and of the agents it takes the engine's
word (`Twin.oracle`) after checking that they may serve, one call each.
"""

from dispatch.choice import key_function
from dispatch.model import Agent
from dispatch.plan import QueuePlan
from tests.engine.twin import BUSY, Twin, TwinAgent, TwinCall, TwinRing
from tests.engine.twin_hours import phase

Pairs = list[tuple[TwinCall, TwinAgent]]

# -- who may


def is_askable(twin: Twin, agent: TwinAgent) -> bool:
    """Rule 1, for any call."""
    is_there = agent.activity == "ready" and not (agent.is_gone or agent.is_retired or agent.wrap_ups)
    return is_there and agent.not_before_ms <= twin.now_ms


def meets(agent: TwinAgent, need: dict[str, int]) -> bool:
    return all(agent.plan.skills.get(skill, 0) >= level for skill, level in need.items())


def is_at_cap(twin: Twin, queue: QueuePlan, more: int = 0) -> bool:
    """Rule 6: so many calls of the queue ring or talk already."""
    talking = [call for call in twin.calls if call.queue_id == queue.id and call.state in ("reserved", *BUSY)]
    return bool(queue.in_call_max) and len(talking) + more >= queue.in_call_max


def could_take(twin: Twin, agent: TwinAgent, call: TwinCall, need: dict[str, int]) -> bool:
    """Rules 1 to 5: whether the agent suits the call, whatever the queue and the call are doing."""
    held_for = twin.held_by(agent)
    kept_for = call.favourite.agent_id if call.favourite and call.is_kept_at(twin.now_ms) else agent.plan.id
    return (
        is_askable(twin, agent)
        and held_for in (None, call)
        and meets(agent, need)
        and twin.free_units(agent) >= twin.queue_of(call).cost_units
        and call.refused.get(agent.plan.id, 0) <= twin.now_ms
        and kept_for == agent.plan.id
    )


def may_ask(twin: Twin, call: TwinCall, more: int = 0) -> bool:
    """Rules 6 and 7: whether the call may be reserved at all; `more` of its queue are chosen already in this round."""
    queue = twin.queue_of(call)
    is_open = phase(queue, twin.now_ms) != "closed" and not is_at_cap(twin, queue, more)
    return is_open and call.is_in_line() and call.not_before_ms <= twin.now_ms


def able(twin: Twin, call: TwinCall) -> list[TwinAgent]:
    return [agent for agent in twin.agents if could_take(twin, agent, call, twin.need_of(call))]


def experts(twin: Twin, call: TwinCall) -> list[TwinAgent]:
    """Who may be the second person; a favourite is about the first."""
    kept, call.favourite = call.favourite, None
    found = [agent for agent in twin.agents if could_take(twin, agent, call, joint_need(twin, call))]
    call.favourite = kept
    return found


def joint_need(twin: Twin, call: TwinCall) -> dict[str, int]:
    """The call's own replaces the queue's."""
    return dict(call.wishes.joint_need or twin.queue_of(call).joint_need)


# -- strategies


def order_of(twin: Twin, call: TwinCall, agent: TwinAgent, *, is_expert: bool = False) -> tuple[int, ...]:
    """The agent's place for this call: the favourite first, then the strategy, then idleness, then the plan's order."""
    favours = call.favourite is not None and call.favourite.agent_id == agent.plan.id and not is_expert
    place = 0 if favours else 1
    return (place, *strategy_key(twin, call, agent), agent.idle_since_ms, twin.agents.index(agent))


def strategy_key(twin: Twin, call: TwinCall, agent: TwinAgent) -> tuple[int, ...]:
    queue = twin.queue_of(call)
    match queue.strategy:
        case "longest_idle" | "relationship":
            return (agent.idle_since_ms,)
        case "most_skilled":
            return (-sum(agent.plan.skills.get(skill, 0) for skill in queue.need),)
        case "least_occupied":
            return (twin.occupancy(agent),)
        case "round_robin":
            return (agent.reserved_order,)
        case "fewest_calls":
            return (agent.answered_count,)
        case "nearest":
            return (_distance(call, agent), agent.idle_since_ms)
    return (key_function(queue.strategy)(_as_model(agent), queue, twin.now_ms),)


def _distance(call: TwinCall, agent: TwinAgent) -> int:
    wishes, plan = call.wishes, agent.plan
    if not wishes.region or wishes.region != plan.region:
        return 2
    return 0 if wishes.carrier and wishes.carrier == plan.carrier else 1


def _as_model(agent: TwinAgent) -> Agent:
    """What a registered strategy sees."""
    return Agent(
        id=agent.plan.id,
        order=0,
        name=agent.plan.name,
        skills=agent.plan.skills,
        capacity_units=agent.plan.capacity_units,
    )


# -- matching


def match(twin: Twin) -> None:
    """Match until nothing can be matched, then ask further agents for the calls that were reserved now."""
    _let_go_of_held(twin)
    note_changes(twin)
    rung: list[TwinCall] = []
    while pairs := _serve_in_order(twin) if _does_joint_wait(twin) else _round(twin):
        rung += [call for call, _ in pairs if call not in rung]
    _ask_more(twin, rung)


def note_changes(twin: Twin) -> None:
    """Write down who is busy, ready or away from now on."""
    for agent in twin.agents:
        twin.mark(agent)


def reserve(twin: Twin, call: TwinCall, agent: TwinAgent, role: str = "agent", by: QueuePlan | None = None) -> None:
    """Under the rules of the call's queue, or of the one that a further party comes from."""
    queue = by or twin.queue_of(call)
    call.attempt += 1
    twin.reserved += 1
    agent.reserved_order = twin.reserved
    ring = TwinRing(
        f"{call.id}.{call.attempt}",
        agent.plan.id,
        twin.now_ms + queue.reservation_timeout_ms,
        queue.cost_units,
        role,
    )
    call.rings.append(ring)
    if call.state == "waiting":
        call.state = "reserved"
    twin.tell("reserved", call.id, ring.id, agent.plan.id, ring.expires_at_ms, role, call.step, ring.cost)
    note_changes(twin)


def _round(twin: Twin) -> Pairs:
    """Choose the lexicographically most due set of calls that can be matched together, then who serves them."""
    chosen: dict[str, TwinCall] = {}
    """Agent -> call, rearranged while calls are added."""
    for call in twin.line():
        more = sum(one.queue_id == call.queue_id for one in chosen.values())
        if may_ask(twin, call, more):
            _augment(twin, chosen, call, set())
    calls = sorted(chosen.values(), key=lambda one: one.key)
    if len(calls) == 1:
        call = calls[0]
        pairs = [(call, min(able(twin, call), key=lambda one: order_of(twin, call, one)))]
    else:
        pairs = _by_oracle(twin, calls) or [(call, twin.agent_of(agent_id)) for agent_id, call in chosen.items()]
    for call, agent in pairs:
        reserve(twin, call, agent)
    if pairs:
        twin.ruled_on.append(("alone" if len(calls) == 1 else "together", len(calls)))
    return pairs


def _augment(twin: Twin, chosen: dict[str, TwinCall], call: TwinCall, tried: set[str]) -> bool:
    for agent in able(twin, call):
        if agent.plan.id in tried:
            continue
        tried.add(agent.plan.id)
        other = chosen.get(agent.plan.id)
        if other is None or _augment(twin, chosen, other, tried):
            chosen[agent.plan.id] = call
            return True
    return False


def _by_oracle(twin: Twin, calls: list[TwinCall]) -> Pairs:
    """The engine's agents for these calls, checked; nothing when it chose other calls or an agent twice."""
    pairs: Pairs = []
    for entry in list(twin.oracle):
        at_ms, call_id, agent_id = entry
        call, agent = next((one for one in calls if one.id == call_id), None), twin.agent(agent_id)
        if at_ms != twin.now_ms or call is None or agent is None or any(call is one for one, _ in pairs):
            continue
        if agent not in able(twin, call) or any(agent is other for _, other in pairs):
            return []
        pairs.append((call, agent))
        twin.oracle.remove(entry)
    return pairs if len(pairs) == len(calls) else []


def _ask_more(twin: Twin, rung: list[TwinCall]) -> None:
    """Parallel reservations: further free agents for calls that were reserved just now, not for joint and kept ones."""
    for call in sorted(rung, key=lambda one: one.key):
        queue = twin.queue_of(call)
        if joint_need(twin, call) or call.is_kept_at(twin.now_ms):
            continue
        while call.state == "reserved" and len(call.rings) < queue.reservations_max:
            free = [agent for agent in able(twin, call) if call.ring_of(agent.plan.id) is None]
            if not free:
                break
            reserve(twin, call, min(free, key=lambda one: order_of(twin, call, one)))


# -- joint calls: one by one


def _does_joint_wait(twin: Twin) -> bool:
    return any(joint_need(twin, call) for call in twin.line())


def _serve_in_order(twin: Twin) -> Pairs:
    """The first call in the order of keys that can be served; joint calls before it may hold one person."""
    for call in twin.line():
        if not may_ask(twin, call):
            continue
        if joint_need(twin, call):
            pair = _joint_pair(twin, call)
            if pair:
                release_held(twin, call, "reserved")
                reserve(twin, call, pair[0])
                reserve(twin, call, pair[1], "expert")
                return [(call, pair[0]), (call, pair[1])]
            _hold_one(twin, call)
        elif found := able(twin, call):
            agent = min(found, key=lambda one: order_of(twin, call, one))
            reserve(twin, call, agent)
            return [(call, agent)]
    return []


def _joint_pair(twin: Twin, call: TwinCall) -> tuple[TwinAgent, TwinAgent] | None:
    """The first agent in the strategy's order beside whom there is an expert, and the first of these; who is held is one."""
    agents = sorted(able(twin, call), key=lambda one: order_of(twin, call, one))
    others = sorted(experts(twin, call), key=lambda one: order_of(twin, call, one, is_expert=True))
    pairs = [(one, other) for one in agents for other in others if one is not other]
    held_id = call.held_agent_id
    with_held = [pair for pair in pairs if pair[0].plan.id == held_id] + [
        pair for pair in pairs if pair[1].plan.id == held_id
    ]
    return next(iter(with_held or pairs), None)


def _hold_one(twin: Twin, call: TwinCall) -> None:
    queue = twin.queue_of(call)
    if call.held_agent_id or not queue.joint_hold_ms or call.hold_not_before_ms > twin.now_ms:
        return
    for role, found in (("agent", able(twin, call)), ("expert", experts(twin, call))):
        if found:
            agent = min(found, key=lambda one: order_of(twin, call, one, is_expert=role == "expert"))
            call.held_agent_id, call.held_until_ms = agent.plan.id, twin.now_ms + queue.joint_hold_ms
            twin.tell("held", call.id, agent.plan.id, role, call.held_until_ms)
            note_changes(twin)
            return


def release_held(twin: Twin, call: TwinCall, reason: str, not_before_ms: int = 0) -> None:
    if call.held_agent_id:
        twin.tell("let_go", call.id, call.held_agent_id, reason, not_before_ms)
        call.held_agent_id, call.held_until_ms = "", 0
        call.hold_not_before_ms = not_before_ms


def _let_go_of_held(twin: Twin) -> None:
    """The hold ends early when the person leaves or the call does."""
    for call in twin.calls:
        agent = twin.agent(call.held_agent_id)
        if not call.held_agent_id:
            continue
        if not call.is_in_line():
            release_held(twin, call, "call_left")
        elif agent is None or not is_askable(twin, agent):
            release_held(twin, call, "agent_left")
