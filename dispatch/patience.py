"""Decisions while a call waits: its priority changes, its steps open, its window for one agent ends, it becomes a callback."""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.limits import open_steps
from dispatch.matching import Decider
from dispatch.model import Call
from dispatch.wishes import NEVER_MS


def set_priority(engine: Decider, command: cm.SetPriority) -> Reply:
    """Change a waiting or ringing call's place at once."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    if command.principal.partition(":")[0] in ("customer", "agent"):
        return Reply("not_yours")
    if call.state not in (lc.WAITING, lc.RESERVED):
        return Reply("wrong_state", {"state": call.state})
    plan = engine.state.queues[call.queue_id].plan
    if not 0 <= command.credit_ms <= plan.priority_credit_ms_max:
        return Reply("bad_value", {"allowed": f"credit_ms from 0 to {plan.priority_credit_ms_max}"})
    if (command.credit_ms, command.is_absolute) != (call.credit_ms, call.is_absolute):
        due_at_ms = call.due_at_ms + call.credit_ms - command.credit_ms
        engine.emit(ev.CallPrioritised(engine.now_ms, call.id, command.credit_ms, command.is_absolute, due_at_ms))
    return Reply()


def request_callback(engine: Decider, command: cm.RequestCallback) -> Reply:
    """The customer need not stay: the call keeps its place."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    role, _, own_id = command.principal.partition(":")
    if role == "agent" or (role == "customer" and own_id != call.customer_id):
        return Reply("not_yours")
    if call.state != lc.WAITING:
        return Reply("wrong_state", {"state": call.state})
    queue = engine.state.queues[call.queue_id]
    if call.is_callback:
        return Reply()
    if queue.callbacks_count >= queue.plan.callbacks_max:
        return Reply("callbacks_full", {"callbacks_max": queue.plan.callbacks_max})
    engine.emit(ev.CallbackArranged(engine.now_ms, call.id, "asked"))
    return Reply()


def relax(engine: Decider, call: Call) -> None:
    """The next relaxation step opens, whatever the call is doing."""
    open_steps(engine, call)


def end_window(engine: Decider, call: Call) -> None:
    """The call was kept for one agent long enough."""
    release_favourite(engine, call, "window")


def release_favourite(engine: Decider, call: Call, reason: str) -> None:
    """Let anybody take a call that was kept for one agent, unless it is kept for ever."""
    favourite = call.favourite
    is_kept = favourite is not None and engine.now_ms <= favourite.until_ms < NEVER_MS
    if favourite is not None and is_kept and call.state in (lc.WAITING, lc.RESERVED):
        engine.emit(ev.FavouriteReleased(engine.now_ms, call.id, favourite.agent_id, reason))


def release_kept(engine: Decider, agent_id: str) -> None:
    """The agent signed out: calls that were kept for them are anybody's.

    Those that stand in no line now (the customer is away, the next attempt of a callback has not come) are released when
    they come back, see `release_absent`.
    """
    state = engine.state
    candidate = state.candidates.get(agent_id)
    if candidate is not None:
        for key in list(candidate.kept):
            release_favourite(engine, state.calls[key[2]], "signed_out")


def release_absent(engine: Decider, calls: list[Call]) -> None:
    """Of calls that begin to wait or wait again: nobody waits for a favourite who signed out meanwhile."""
    state = engine.state
    for call in list(calls):
        if call.favourite is not None and state.may_stand(call) and call.not_before_ms <= engine.now_ms:
            agent = state.agents.get(state.kept_for(call))
            if agent is not None and agent.activity == lc.OFFLINE:
                release_favourite(engine, call, "signed_out")
