"""Explain: why a call waits, why it was given to whom, what happens next and when (asked for at FreeSWITCH #2511).

Reads only. `explain` answers from the state for a call in memory: O(kinds of agents who qualify), and a look at each agent of a
kind that has somebody ready, so that it can be asked for every reservation that rings. `explain_history` answers
from a call's events for decisions that are over.
"""

from collections.abc import Iterable

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.choice import Candidate, Pool
from dispatch.deadlines import next_step_at_ms, wait_until_ms
from dispatch.explanations import AgentGroup, Asked, Explanation, NextChange
from dispatch.hours import CLOSED, OPEN
from dispatch.lanes import Lane
from dispatch.model import Call
from dispatch.state import State
from dispatch.wishes import NEVER_MS


def explain(state: State, call_id: str) -> Explanation | None:
    """Why the call is where it is; None: not in memory, its history answers (`explain_history`)."""
    call = state.calls.get(call_id)
    if call is None:
        return None
    queue = state.queues[call.queue_id]
    lane = state.lane_of(call) if call.state != lc.INVITED and call.state not in lc.OVER else None
    kept_for = state.kept_for(call) if call.state == lc.WAITING else ""
    explanation = Explanation(
        call.id,
        call.state,
        call.queue_id,
        [],
        dict(lane.pool.need) if lane is not None else {},
        call.step,
        len(queue.plan.relaxation),
        call.due_at_ms,
        call.order,
        call.is_absolute,
        call.credit_ms,
        queue.position(state.key(call)) if call.id in state.standing else 0,
        kept_for,
        call.favourite.rule if call.favourite is not None else "",
        call.held_agent_id,
        next_changes=sorted(_changes(state, call), key=lambda one: (one.at_ms, one.what, one.detail)),
    )
    if lane is not None and call.state in (lc.WAITING, lc.RESERVED):
        explanation.groups = _groups(state, call, lane.pool)
        if lane.expert_pool is not None:
            explanation.expert_groups = _groups(state, call, lane.expert_pool)
    if call.state == lc.WAITING and lane is not None:
        explanation.reasons = _reasons(state, call, lane, explanation)
    explanation.asked = [_asked(state, call, one.agent_id) for one in call.reservations]
    return explanation


# -- who could serve, and what they are doing


def _groups(state: State, call: Call, pool: Pool) -> list[AgentGroup]:
    counts: dict[str, int] = {}
    state.count_doing()
    for kind in pool.kinds:
        for doing, count in kind.counts.items():
            if doing != lc.READY:
                counts[doing] = counts.get(doing, 0) + count
        if kind.counts.get(lc.READY, 0):
            for candidate in kind.candidates:
                if candidate.doing == lc.READY:
                    kept = _keeping(state, call, candidate, pool)
                    counts[kept] = counts.get(kept, 0) + 1
    return [AgentGroup(doing, count) for doing, count in sorted(counts.items()) if count]


def _keeping(state: State, call: Call, candidate: Candidate, pool: Pool) -> str:
    """What keeps a ready agent from this call; `free`: nothing."""
    agent = candidate.agent
    if agent.held_for_call_id:
        return "held"
    if agent.is_gone or agent.is_retired:
        return "disconnected"
    if agent.not_before_ms > state.now_ms:
        return "delayed"
    if candidate.free_units < pool.cost_units:
        return "no_capacity"
    if (call.refused_until_ms or {}).get(agent.id, 0) > state.now_ms:
        return "refused"
    return "free"


def _reasons(state: State, call: Call, lane: Lane, explanation: Explanation) -> list[str]:
    """Every reason that holds, the strongest first."""
    queue = lane.queue
    doing = {group.doing for group in explanation.groups}
    found = [
        ("queue_closed", queue.phase_now(state.now_ms) == CLOSED),
        ("in_call_cap", queue.room <= 0),
        ("customer_gone", not state.may_stand(call)),
        ("callback_later", call.not_before_ms > state.now_ms),
        ("kept_for_agent", bool(explanation.kept_for_agent_id)),
        ("joint_half", lane.expert_pool is not None and _has_one_half(explanation)),
        ("nobody_qualified", not lane.pool.size),
        ("nobody_signed_in", bool(lane.pool.size) and doing <= {lc.OFFLINE}),
        ("all_busy", "free" not in doing and not doing <= {lc.OFFLINE}),
    ]
    names = [name for name, holds in found if holds]
    # Both are there and yet it waits: one person who could be either, and nobody else.
    return names or (["joint_half"] if lane.expert_pool is not None else [])


def _has_one_half(explanation: Explanation) -> bool:
    """Is one of the two people there, and the other not?"""
    halves = [any(one.doing == "free" for one in groups) for groups in (explanation.groups, explanation.expert_groups)]
    return bool(explanation.held_agent_id) or halves[0] != halves[1]


# -- what comes by the clock


def _changes(state: State, call: Call) -> list[NextChange]:
    now_ms = state.now_ms
    favourite, queue = call.favourite, state.queues[call.queue_id]
    found = [
        (next_step_at_ms(state, call), "step_opens", str(call.step + 1)),
        (favourite.until_ms if favourite is not None and favourite.until_ms < NEVER_MS else 0, "window_ends", ""),
        (wait_until_ms(state, call) if call.state == lc.WAITING else 0, "wait_limit", call.queue_id),
        (call.on_hold_until_ms, "hold_ends", ""),
        (call.not_before_ms, "callback_due", ""),
        (call.held_until_ms, "joint_hold_ends", call.held_agent_id),
        (call.hold_not_before_ms, "joint_hold_allowed", ""),
        (call.media_until_ms, "media_deadline", ""),
        (call.invited_until_ms if call.state == lc.INVITED else 0, "invitation_expires", ""),
        (call.handing.until_ms if call.handing is not None else 0, "hand_over_deadline", _elsewhere(call)),
        (call.forget_at_ms, "forgotten", ""),
    ]
    if call.state == lc.ENDED:
        found = found[-1:]
    elif queue.phase_until_ms and call.state in (lc.WAITING, lc.RESERVED):
        what = {OPEN: "queue_stops_taking_calls", CLOSED: "queue_opens"}.get(queue.phase, "queue_closes")
        found.append((queue.phase_until_ms, what, call.queue_id))
    for reservation in call.reservations:
        found.append((reservation.expires_at_ms, "reservation_expires", reservation.agent_id))
        found.append((reservation.agent_gone_until_ms, "agent_given_up", reservation.agent_id))
    for agent_id, until_ms in (call.refused_until_ms or {}).items():
        found.append((until_ms if until_ms < NEVER_MS else 0, "refusal_ends", agent_id))
    return [NextChange(*one) for one in found if one[0] >= now_ms]


def _elsewhere(call: Call) -> str:
    return call.handing.address if call.handing is not None else ""


# -- decisions


def _asked(state: State, call: Call, agent_id: str) -> Asked:
    reservation = call.reservation_of(agent_id)
    assert reservation is not None, "asked for what the call holds"
    return Asked(
        reservation.id,
        agent_id,
        reservation.role,
        reservation.rule,
        reservation.key,
        reservation.runner_up_id,
        call.step,
        reservation.made_at_ms,
        reservation.made_at_ms - call.queued_at_ms,
        reservation.expires_at_ms,
        "accepted" if reservation.is_accepted else "pending",
        before_call_id=_next_for(state, state.candidates.get(agent_id)),
    )


def _next_for(state: State, candidate: Candidate | None) -> str:
    """The most due call that stands in a lane of this agent."""
    if candidate is None:
        return ""
    heads = [lane.line.head() for pool in candidate.kind.pools for lane in pool.lanes if lane.line]
    return min((head for head in heads if head is not None), default=(0, 0, ""))[2]


def explain_history(events: Iterable[ev.Event]) -> list[Asked]:
    """Every decision in a call's history, in order: who was asked, why, in whose place, and what became of it."""
    asked: dict[str, Asked] = {}
    for event in events:
        if isinstance(event, ev.CallReserved):
            asked[event.reservation_id] = Asked(
                event.reservation_id,
                event.agent_id,
                event.role,
                event.why,
                event.key,
                event.runner_up_id,
                event.step,
                event.at_ms,
                event.waited_ms,
                event.expires_at_ms,
            )
        elif isinstance(event, ev.ReservationAccepted | ev.PartyAdded | ev.ReservationClosed):
            one = asked.get(event.reservation_id)
            if one is not None:
                one.outcome = _outcome(event)
                one.closed_at_ms = event.at_ms
    return list(asked.values())


def _outcome(event: ev.ReservationAccepted | ev.PartyAdded | ev.ReservationClosed) -> str:
    if isinstance(event, ev.ReservationClosed):
        return event.outcome
    return "accepted" if isinstance(event, ev.ReservationAccepted) else "joined"
