"""What comes due, as the dumb twin finds it: by reading every record, one instant after the other."""

from dispatch import timers as tm
from tests.engine.twin import Fact, Twin, TwinCall, never
from tests.engine.twin_calls import (
    KEPT_FOR_EVER,
    drop_client,
    end,
    end_wrap_up,
    forget,
    give_back,
    give_back_all,
    remove_party,
    requeue,
    set_activity,
    try_again_later,
)
from tests.engine.twin_hours import changes
from tests.engine.twin_limits import end_window, meet_limit, relax, settle
from tests.engine.twin_matching import release_held

Deadline = tuple[int, int, str, str]
"""(at, kind in the order of `dispatch/timers.py`, whose, with whom)."""


def expire(twin: Twin, now_ms: int, oracle: list[tuple[int, str, str]] | None = None) -> list[Fact]:
    twin.oracle = list(oracle or [])
    while instants := [at_ms for at_ms, *_ in _deadlines(twin, now_ms) if at_ms <= now_ms]:
        at_ms = twin.now_ms = max(twin.now_ms, min(instants))
        while due := [one for one in _deadlines(twin, at_ms) if one[0] <= at_ms]:
            _, kind, first, second = min(due)
            _expire_one(twin, kind, first, second)
        settle(twin)
    twin.now_ms = max(twin.now_ms, now_ms)
    facts, twin.facts = twin.facts, []
    return facts


def _deadlines(twin: Twin, until_ms: int) -> list[Deadline]:
    """All deadlines there are, those of the clock up to `until_ms`."""
    found: list[Deadline] = []
    for call in twin.calls:
        found += _of_call(twin, call)
    for agent in twin.agents:
        found += [(work.until_ms, tm.WRAP_UP, agent.plan.id, work.call_id) for work in agent.wrap_ups]
        found += [(agent.not_before_ms, tm.DELAY, agent.plan.id, "")] if agent.not_before_ms > twin.now_ms else []
    found += [(one.grace_until_ms, tm.GRACE, who, "") for who, one in twin.clients.items() if one.grace_until_ms]
    for queue in twin.queues:
        found += [(at_ms, tm.HOURS, queue.id, "") for at_ms in changes(queue, twin.now_ms, until_ms)]
    return found


def _of_call(twin: Twin, call: TwinCall) -> list[Deadline]:
    found: list[Deadline] = []
    for ring in call.rings:
        ends = (0 if ring.is_accepted else ring.expires_at_ms, ring.gone_until_ms)
        found += [(at_ms, tm.RESERVATION, call.id, ring.agent_id) for at_ms in ends if at_ms]
    found += [(at, tm.REFUSED, call.id, one) for one, at in call.refused.items() if twin.now_ms < at and not never(at)]
    if call.state == "ended":
        is_owed = call.rooms or call.unsealed
        patience_ms = max(twin.plan.recording_timeout_ms, twin.plan.ended_retention_ms)
        at_ms = call.ended_at_ms + patience_ms if is_owed else call.forget_at_ms
        return [*found, (at_ms, tm.FORGET, call.id, "")]
    single = [
        (call.media_until_ms, tm.MEDIA),
        (call.on_hold_until_ms, tm.HOLD),
        (call.held_until_ms, tm.JOINT),
        (call.hold_not_before_ms if call.hold_not_before_ms > twin.now_ms else 0, tm.JOINT),
        (call.not_before_ms if call.not_before_ms > twin.now_ms else 0, tm.CALLBACK),
        (call.invited_until_ms if call.state == "invited" else 0, tm.INVITATION),
        (_next_step_at_ms(twin, call), tm.RELAX),
        *_of_waiting(twin, call),
    ]
    return found + [(at_ms, kind, call.id, "") for at_ms, kind in single if at_ms]


def _of_waiting(twin: Twin, call: TwinCall) -> list[tuple[int, int]]:
    if call.state not in ("waiting", "reserved"):
        return []
    queue, favourite, waits = twin.queue_of(call), call.favourite, call.state == "waiting"
    wait_until_ms = (call.entered_at_ms or call.queued_at_ms) + queue.wait_ms_max
    is_kept = favourite is not None and favourite.until_ms >= twin.now_ms and favourite.rule not in KEPT_FOR_EVER
    return [
        (wait_until_ms if waits and queue.wait_ms_max and not call.is_callback else 0, tm.WAIT),
        (favourite.until_ms if favourite is not None and is_kept else 0, tm.FAVOURITE),
    ]


def _next_step_at_ms(twin: Twin, call: TwinCall) -> int:
    steps = twin.queue_of(call).relaxation
    if call.state == "invited" or call.step >= len(steps):
        return 0
    return call.queued_at_ms + steps[call.step].after_ms


def _expire_one(twin: Twin, kind: int, first: str, second: str) -> None:
    agent = twin.agent(first)
    if kind == tm.WRAP_UP and agent is not None:
        end_wrap_up(twin, agent, next(one for one in agent.wrap_ups if one.call_id == second), "time")
    elif kind == tm.GRACE:
        end_grace(twin, first)
    elif (call := twin.call(first)) is not None:
        _expire_call(twin, call, kind, second)


def _expire_call(twin: Twin, call: TwinCall, kind: int, agent_id: str) -> None:
    match kind:
        case tm.RESERVATION:
            _expire_ring(twin, call, agent_id)
        case tm.MEDIA:
            _expire_media(twin, call)
        case tm.FORGET:
            forget(twin, call)
        case tm.RELAX:
            relax(twin, call)
        case tm.FAVOURITE:
            end_window(twin, call)
        case tm.WAIT:
            meet_limit(twin, call, twin.queue_of(call).on_wait, "waited_too_long")
        case tm.HOLD:
            call.on_hold_until_ms = 0
            twin.tell("hold", call.id, False, "time", 0)
        case tm.JOINT:
            release_held(twin, call, "time", twin.now_ms + twin.queue_of(call).joint_hold_ms)
        case tm.INVITATION:
            end(twin, call, "invitation_expired")


def _expire_media(twin: Twin, call: TwinCall) -> None:
    if call.state != "connecting":
        end(twin, call, "media_lost")
    elif call.is_callback and "customer" not in call.joined:
        try_again_later(twin, call)
    else:
        requeue(twin, call, "media_failed")


def _expire_ring(twin: Twin, call: TwinCall, agent_id: str) -> None:
    ring, agent = call.ring_of(agent_id), twin.agent_of(agent_id)
    assert ring is not None
    if ring.gone_until_ms and ring.gone_until_ms <= twin.now_ms:
        give_back(twin, call, ring, "agent_lost")
        return
    misses_max = twin.queue_of(call).misses_max
    give_back(twin, call, ring, "expired")
    if agent.misses >= misses_max:
        give_back_all(twin, agent, "agent_left")
        set_activity(twin, agent, "not_ready", "no_answer")


def end_grace(twin: Twin, recipient: str) -> None:
    twin.tell("disconnected", recipient, 0)
    twin.clients[recipient].grace_until_ms = 0
    role, _, own_id = recipient.partition(":")
    call, agent = twin.live_call_of(own_id), twin.agent(own_id)
    if role == "customer":
        drop_client(twin, recipient)
        may_be_away = call is not None and call.is_callback and call.state != "connected"
        if call is not None and call.is_gone and not may_be_away:
            end(twin, call, "customer_lost")
    elif agent is not None:
        agent.is_gone = False
        give_back_all(twin, agent, "agent_lost")
        for joined, party in twin.joined_by(agent):
            remove_party(twin, joined, party, "agent_lost")
        for call in twin.owned_by(agent):
            requeue(twin, call, "agent_lost")
        for work in list(agent.wrap_ups):
            end_wrap_up(twin, agent, work, "signed_out")
        if agent.activity != "offline":
            set_activity(twin, agent, "offline", "connection_lost")
