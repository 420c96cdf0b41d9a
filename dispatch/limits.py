"""Limits of a queue, and what happens to a call that meets one: overflow, callback, message or refusal.

A limit has a cause (`queue_closed`, `no_agents`, `queue_full`, `waited_too_long`) and a list of ways in the plan; the first way
that is possible is taken. New calls are led by `admit`, before they exist; calls that wait already by `lead_on`.
"""

from typing import Final, NamedTuple

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.choice import need_of
from dispatch.ending import end_call
from dispatch.handing import hand_over, may_leave
from dispatch.hours import CLOSED, OPEN
from dispatch.lanes import Queue
from dispatch.matching import Decider, is_eligible
from dispatch.model import Call
from dispatch.needs import need_at, own_needs
from dispatch.plan import Way, meets
from dispatch.state import State
from dispatch.wishes import NEVER_MS, Wishes

MOVES_MAX: Final = 4
"""Overflows of one call; a ring of full queues ends here."""


class Entrant(NamedTuple):
    """A call that asks to be let in, or to be moved."""

    customer_id: str
    is_consented: bool
    wishes: Wishes | None
    visited: tuple[str, ...] = ()
    may_leave: bool = False
    """It may go to another division."""


class Outcome(NamedTuple):
    """Where a call goes: into `queue`, or nowhere (`refused` names the limit)."""

    queue: Queue
    cause: str = ""
    is_callback: bool = False
    refused: str = ""
    then: str = "refuse"
    text: str = ""
    address: str = ""
    """Not empty: another division's queue is to be asked, and the call waits for the answer in `queue`."""


def admit(engine: Decider, queue: Queue, entrant: Entrant) -> Outcome:
    """Look at the queue's limits: closed, no agents, full. A call that begins as a callback meets none of them."""
    if entrant.wishes is not None and entrant.wishes.is_callback:
        return Outcome(queue)
    cause = met_limit(engine, queue, entrant)
    return take_way(engine, queue, entrant, cause) if cause else Outcome(queue)


def is_wide_open(queue: Queue) -> bool:
    """Can nobody meet a limit at this queue's door now, whoever it is?"""
    plan = queue.plan
    return plan.hours is None and not plan.on_no_agents and queue.counts[lc.WAITING] < plan.waiting_max


def met_limit(engine: Decider, queue: Queue, entrant: Entrant) -> str:
    """The first limit that a call meets at this queue's door, or ''."""
    plan = queue.plan
    if plan.hours is not None and queue.phase_now(engine.now_ms) != OPEN:
        return "queue_closed"
    if plan.on_no_agents and not has_agents(engine.state, queue, entrant.wishes):
        return "no_agents"
    if queue.counts[lc.WAITING] >= plan.waiting_max and not _is_free_for(engine, queue, entrant):
        return "queue_full"
    return ""


def has_agents(state: State, queue: Queue, wishes: Wishes | None) -> bool:
    """Is anybody signed in who may serve such a call once every step is open?"""
    return state.has_signed_in(queue.plan, need_of(wishes.need) if wishes is not None else ())


def _is_free_for(engine: Decider, queue: Queue, entrant: Entrant) -> bool:
    """Would such a call ring at once? A joint one needs two and is not looked at so closely: it would not."""
    state, plan, wishes = engine.state, queue.plan, entrant.wishes
    if not queue.is_serving or plan.joint_need or (wishes is not None and wishes.joint_need):
        return False
    probe = Call(
        id="",
        customer_id=entrant.customer_id,
        queue_id=plan.id,
        order=0,
        queued_at_ms=engine.now_ms,
        due_at_ms=0,
        business_reference="",
        is_consented=True,
        recording="off",
        media="external",
        wishes=wishes,
    )
    own = own_needs(probe)
    if wishes is None or own == ((), ()) or own in queue.needs:
        probe.refused_until_ms = dict.fromkeys(wishes.excluded_agent_ids, NEVER_MS) if wishes is not None else None
        only = state.candidates.get(wishes.required_agent_id) if wishes is not None else None
        lane = state.lane_of(probe)
        if only is not None:
            return is_eligible(engine, only, probe, lane)
        # Who became free in this very step stands in no pool yet.
        is_freed = any(is_eligible(engine, candidate, probe, lane) for candidate in state.freed)
        return is_freed or lane.pool.first(probe, engine.now_ms) is not None
    need = need_at(plan, 0, own[0])
    return any(
        candidate.free_units >= plan.cost_units
        and wishes.required_agent_id in ("", agent_id)
        and agent_id not in wishes.excluded_agent_ids
        and meets(candidate.agent.skills, need)
        for agent_id, candidate in state.candidates.items()
    )


def _ways(queue: Queue, cause: str) -> list[Way]:
    plan = queue.plan
    by_cause = {
        "queue_closed": plan.on_closed,
        "no_agents": plan.on_no_agents,
        "queue_full": plan.on_full,
        "waited_too_long": plan.on_wait,
    }
    return by_cause[cause]


def take_way(engine: Decider, queue: Queue, entrant: Entrant, cause: str) -> Outcome:
    """The first possible way that the queue's plan names for this cause; none: refused by the cause's name."""
    for way in _ways(queue, cause):
        if way.do == "overflow":
            target = _overflow(engine, queue, entrant, way)
            if isinstance(target, str):
                return Outcome(queue, cause, address=target)
            if target is not None:
                return Outcome(target, cause)
        elif way.do == "callback":
            if queue.callbacks_count < queue.plan.callbacks_max:
                return Outcome(queue, cause, True)
        else:
            return Outcome(queue, cause, refused=cause, then=way.do, text=way.text)
    return Outcome(queue, cause, refused=cause)


def _overflow(engine: Decider, queue: Queue, entrant: Entrant, way: Way) -> Queue | str | None:
    """The first of the way's queues that takes the call, or (by its address) the first of another division before that."""
    if len(entrant.visited) >= MOVES_MAX:
        return None
    for queue_id in way.queues:
        if "/" in queue_id:
            if entrant.may_leave and queue_id not in entrant.visited:
                return queue_id
            continue
        target = engine.state.queues.get(queue_id)
        if target is None or target.is_retired or target is queue or queue_id in entrant.visited:
            continue
        if target.plan.recording == "required" and not entrant.is_consented:
            continue
        if not met_limit(engine, target, entrant) and takes_needs(target, entrant):
            return target
    return None


def takes_needs(queue: Queue, entrant: Entrant) -> bool:
    """Is there room for what such a call asks for beyond the queue's own need?"""
    wishes = entrant.wishes
    own = (need_of(wishes.need), need_of(wishes.joint_need)) if wishes is not None else ((), ())
    return own == ((), ()) or own in queue.needs or len(queue.needs) < queue.plan.needs_max


# -- calls that wait already


def lead_on(engine: Decider, call: Call, cause: str) -> None:
    """A waiting call met a limit: move it, make it a callback, or end it by name."""
    state = engine.state
    queue = state.queues[call.queue_id]
    rule = call.favourite.rule if call.favourite is not None else ""
    may_go = not call.is_callback and may_leave(call.hops, call.wishes, rule)
    entrant = Entrant(call.customer_id, call.is_consented, call.wishes, call.visited, may_go)
    outcome = take_way(engine, queue, entrant, cause)
    if outcome.address:
        hand_over(engine, call, outcome.address, cause, call.credit_ms)
    elif outcome.refused:
        end_call(engine, call, cause, outcome.then)
    elif outcome.is_callback:
        engine.emit(ev.CallbackArranged(engine.now_ms, call.id, cause))
    else:
        move_call(engine, call, outcome.queue, cause)


def move_call(engine: Decider, call: Call, target: Queue, reason: str) -> None:
    """Let the call wait in another queue at its old queued-at time; steps that are due there open at once."""
    release_hold(engine, call)
    plan = target.plan
    due_at_ms = call.queued_at_ms + plan.target_ms - min(call.credit_ms, plan.priority_credit_ms_max)
    engine.emit(ev.CallMoved(engine.now_ms, call.id, call.queue_id, plan.id, due_at_ms, reason))
    open_steps(engine, call)


def release_hold(engine: Decider, call: Call) -> None:
    """Nobody is held any more for a joint call that leaves its line."""
    if call.held_agent_id:
        engine.emit(ev.JointReleased(engine.now_ms, call.id, call.held_agent_id, "call_left"))


def open_steps(engine: Decider, call: Call) -> None:
    """Open the relaxation steps that are due by now (ROUTING.md 5.20)."""
    steps = engine.state.queues[call.queue_id].plan.relaxation
    step = call.step
    while step < len(steps) and call.queued_at_ms + steps[step].after_ms <= engine.now_ms:
        step += 1
    if step != call.step:
        engine.emit(ev.NeedRelaxed(engine.now_ms, call.id, step))


def waiting_calls(state: State, queue: Queue) -> list[Call]:
    """Calls of the queue that have a place, or will have one after this very step; the most due first."""
    keys = {key for line in queue.lines() for key in line}
    keys |= {state.key(call) for call in state.unplaced if call.queue_id == queue.plan.id and state.may_stand(call)}
    return [state.calls[key[2]] for key in sorted(keys)]


def lead_on_all(engine: Decider) -> None:
    """Calls that wait where nobody will serve them are led on: closed queues, and those that mind having no agents."""
    state = engine.state
    for queue in list(state.queues.values()):
        is_closed = queue.phase == CLOSED
        if not queue.counts[lc.WAITING] or not (is_closed or queue.plan.on_no_agents):
            continue
        known: dict[object, bool] = {}
        for call in waiting_calls(state, queue):
            if _is_spared(call):
                continue
            if is_closed:
                lead_on(engine, call, "queue_closed")
                continue
            own = own_needs(call)[0]
            if own not in known:
                known[own] = state.has_signed_in(queue.plan, own)
            if not known[own]:
                lead_on(engine, call, "no_agents")


def _is_spared(call: Call) -> bool:
    """Callbacks wait until it opens; an invited call is between its agent and its customer, whatever the queue is like."""
    return call.is_callback or (call.favourite is not None and call.favourite.rule == "invitation")


def expire_wait(engine: Decider, call: Call) -> None:
    """The call has waited in its queue for `wait_ms_max`."""
    lead_on(engine, call, "waited_too_long")


def change_phase(engine: Decider, queue: Queue) -> None:
    """The queue opens, begins to close, or closes: then who waits is led on, and callbacks stay for tomorrow."""
    state = engine.state
    queue.update_phase(engine.now_ms)
    if queue.phase_until_ms:
        state.timers.arm(queue.phase_until_ms, tm.HOURS, queue.plan.id)
    if queue.phase == CLOSED:
        state.is_led_on = True
    else:
        state.reopened.append(queue)
    state.is_touched = True
