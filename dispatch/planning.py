"""The decision to take a new plan: never at the cost of a waiting call, a clock, a counter or a place."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.choice import registered_strategies
from dispatch.effects import Reply
from dispatch.limits import move_call, open_steps
from dispatch.matching import Decider
from dispatch.patience import release_favourite


def apply_plan(engine: Decider, command: cm.ApplyPlan) -> Reply:
    """Journal the plan; calls that wait in a queue it retires move on, at their old queued-at time. A dry run ends before."""
    state = engine.state
    role = command.principal.partition(":")[0]
    if role not in ("operator", "system"):
        return Reply("not_yours")
    terms, is_new = command.terms or cm.PlanTerms(), command.digest != state.plan_digest
    if is_new and terms.expected_digest not in ("", state.plan_digest):
        return Reply("plan_changed", {"digest": state.plan_digest})
    known = registered_strategies()
    problems = [f"{key}: {what}" for key, what in command.plan.problems(known)]
    if command.plan.division_id != state.division_id:
        problems.append(f"division_id: {command.plan.division_id!r} is not this division, {state.division_id!r}")
    if problems:
        return Reply("bad_value", {"problems": problems})
    kept = {queue.id for queue in command.plan.queues}
    waiting = [call for call in state.calls.values() if call.state == lc.WAITING and call.queue_id not in kept]
    stranded = sorted({call.queue_id for call in waiting if call.queue_id not in command.plan.retired})
    if stranded:
        return Reply("calls_would_be_stranded", {"queues": stranded, "say_where": "retired.<queue> = <other queue>"})
    if not is_new:
        return Reply("", {"is_changed": False})
    if terms.is_dry_run:
        return Reply("", {"is_changed": True})
    engine.emit(ev.PlanApplied(engine.now_ms, command.plan, command.digest))
    for call in waiting:
        move_call(engine, call, state.queues[command.plan.retired[call.queue_id]], "retired")
    for call in list(state.calls.values()):
        agent = state.agents.get(call.favourite.agent_id) if call.favourite is not None else None
        if call.favourite is not None and (agent is None or agent.is_retired):
            release_favourite(engine, call, "signed_out")
        if call.state not in (lc.INVITED, lc.HANDING_OVER) and call.state not in lc.OVER:
            open_steps(engine, call)
    return Reply("", {"is_changed": True})
