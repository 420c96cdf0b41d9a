"""What happens to calls and agents, as the dumb twin understands it: given back, accepted, requeued, ended, forgotten."""

from tests.engine.twin import BUSY, Twin, TwinAgent, TwinCall, TwinParty, TwinRing, TwinTalk, TwinWork
from tests.engine.twin_matching import joint_need, release_held

KEPT_FOR_EVER = ("required", "invitation")

# -- reservations


def give_back(twin: Twin, call: TwinCall, ring: TwinRing, outcome: str) -> None:
    """The reservation ends; the other one of a joint pair is rescinded with it."""
    close_ring(twin, call, ring, outcome)
    if ring.role in ("agent", "expert") and call.state == "reserved" and joint_need(twin, call):
        for other in list(call.rings):
            close_ring(twin, call, other, "rescinded")
    if call.state == "reserved" and not call.rings:
        call.state = "waiting"


def close_ring(twin: Twin, call: TwinCall, ring: TwinRing, outcome: str) -> None:
    agent = twin.agent_of(ring.agent_id)
    for_call, at_all = _delays(twin, call, ring, outcome)
    told = at_all or twin.now_ms if outcome == "expired" else for_call
    twin.tell("closed", call.id, ring.id, agent.plan.id, outcome, told, 0 if outcome == "expired" else at_all)
    call.rings.remove(ring)
    if for_call:
        call.refused[agent.plan.id] = for_call
    if at_all:
        agent.not_before_ms = max(agent.not_before_ms, at_all)
    agent.declined_count += outcome == "declined"
    agent.busy_count += outcome == "busy"
    agent.lost_count += outcome == "agent_lost"
    agent.missed_count += outcome == "expired"
    agent.misses += outcome == "expired"
    if outcome != "rescinded":
        release_favourite(twin, call, agent, outcome)


def _delays(twin: Twin, call: TwinCall, ring: TwinRing, outcome: str) -> tuple[int, int]:
    """Until when the agent is not asked (for this call, at all); 0: at once."""
    queue = twin.queue_of(call)
    delays = {
        "declined": (queue.decline_delay_ms, queue.reject_delay_ms),
        "busy": (queue.decline_delay_ms, queue.busy_delay_ms),
        "expired": (0, queue.no_answer_delay_ms),
        "agent_lost": (0, queue.disconnect_delay_ms),
    }
    for_call, at_all = delays.get(outcome, (0, 0))
    return for_call and twin.now_ms + for_call, at_all and twin.now_ms + at_all


def release_favourite(twin: Twin, call: TwinCall, agent: TwinAgent, reason: str) -> None:
    """The call is no longer kept for this agent; one kept for ever stays so, and a window that has passed is over already."""
    favourite = call.favourite
    if favourite is None or favourite.agent_id != agent.plan.id or call.state not in ("waiting", "reserved"):
        return
    if favourite.until_ms >= twin.now_ms and favourite.rule not in KEPT_FOR_EVER:
        drop_favourite(twin, call, reason)


def release_absent(twin: Twin) -> None:
    """Nobody waits for a favourite who has signed out."""
    for call in twin.calls:
        agent = twin.agent(call.favourite.agent_id) if call.favourite else None
        may_ring = call.is_in_line() and call.not_before_ms <= twin.now_ms
        if agent is not None and agent.activity == "offline" and may_ring:
            release_favourite(twin, call, agent, "signed_out")


def drop_favourite(twin: Twin, call: TwinCall, reason: str) -> None:
    favourite = call.favourite
    assert favourite is not None
    twin.tell("unkept", call.id, favourite.agent_id, reason)
    call.favourite = type(favourite)(favourite.agent_id, favourite.rule, 0)


def give_back_all(twin: Twin, agent: TwinAgent, outcome: str) -> None:
    for call, ring in twin.rings_at(agent):
        if ring in call.rings:
            give_back(twin, call, ring, outcome)


# -- agents


def set_activity(twin: Twin, agent: TwinAgent, activity: str, reason: str) -> None:
    twin.tell("activity", agent.plan.id, activity, reason)
    if agent.activity == "offline" and activity != "offline":
        agent.idle_since_ms, agent.misses = twin.now_ms, 0
        agent.answered_count = agent.missed_count = agent.declined_count = agent.busy_count = agent.lost_count = 0
    if activity == "ready":
        agent.misses = agent.not_before_ms = 0
    agent.activity, agent.reason = activity, reason
    twin.mark(agent)
    if activity == "offline":
        release_absent(twin)


def end_wrap_up(twin: Twin, agent: TwinAgent, work: TwinWork, how: str) -> None:
    agent.wrap_ups.remove(work)
    agent.idle_since_ms = twin.now_ms
    twin.tell("wrapped_up", work.call_id, agent.plan.id, how)


def wrap_up_after(twin: Twin, call: TwinCall) -> tuple[str, int]:
    """What follows for everyone who was in a call that leaves now: only a connected one has work after it."""
    queue = twin.queue_of(call)
    kind = queue.wrap_up if call.state == "connected" else "none"
    length_ms = {"none": 0, "timed": queue.wrap_up_ms, "until_done": queue.wrap_up_ms_max}[kind]
    return kind, twin.now_ms + length_ms if kind != "none" else 0


def leave(twin: Twin, call: TwinCall, agent: TwinAgent, cost: int, work: tuple[str, int]) -> None:
    """One agent is out of the call: free at once, or after the work."""
    kind, until_ms = work
    if kind == "none":
        agent.idle_since_ms = twin.now_ms
    else:
        agent.wrap_ups.append(TwinWork(call.id, call.queue_id, kind, twin.now_ms, until_ms, cost))


def remove_party(twin: Twin, call: TwinCall, party: TwinParty, reason: str) -> None:
    work = wrap_up_after(twin, call)
    call.parties.remove(party)
    leave(twin, call, twin.agent_of(party.agent_id), party.cost, work)
    twin.tell("party_out", call.id, party.agent_id, party.role, reason, *work)


def empty_out(twin: Twin, call: TwinCall, reason: str) -> None:
    """Whoever is in the call beside its owner is let go: parties, those who ring for it."""
    for ring in list(call.rings):
        close_ring(twin, call, ring, "rescinded")
    for party in list(call.parties):
        remove_party(twin, call, party, reason)
    if call.state == "reserved":
        call.state = "waiting"


# -- calls


def leave_room(call: TwinCall) -> None:
    for room in list(call.rooms):
        if room.state == "requested":
            call.rooms.remove(room)
        else:
            room.state = "closing"


def remember_talk(twin: Twin, call: TwinCall, agent: TwinAgent) -> None:
    """Whom the customer talked to last, in queues that remember it."""
    if not twin.queue_of(call).last_agent_window_ms:
        return
    twin.talks = [one for one in twin.talks if one.customer_id != call.customer_id]
    twin.talks.append(TwinTalk(call.customer_id, agent.plan.id, twin.now_ms))
    excess = len(twin.talks) - twin.plan.last_agents_max
    twin.talks = twin.talks[max(0, excess) :]


def end(twin: Twin, call: TwinCall, reason: str, then: str = "") -> None:
    release_held(twin, call, "call_left")
    empty_out(twin, call, "call_ended")
    agent = twin.agent(call.agent_id) if call.state in BUSY else None
    talked_ms = twin.now_ms - call.connected_at_ms if call.state == "connected" else 0
    work = wrap_up_after(twin, call)
    waited_ms = (call.connected_at_ms or twin.now_ms) - (call.queued_at_ms or twin.now_ms)
    agent_id = agent.plan.id if agent else ""
    twin.tell("ended", call.id, reason, agent_id, waited_ms, talked_ms, *work, then)
    if agent is not None:
        leave(twin, call, agent, call.cost, work)
        if talked_ms:
            remember_talk(twin, call, agent)
    leave_room(call)
    call.state, call.ended_at_ms, call.cost, call.media_until_ms = "ended", twin.now_ms, 0, 0
    call.on_hold_until_ms, call.supervisors, call.script = 0, {}, None
    call.forget_at_ms = twin.now_ms + twin.plan.ended_retention_ms


def requeue(twin: Twin, call: TwinCall, reason: str) -> None:
    """Back to the old place once; the second time, or when the customer is gone too, it ends."""
    is_gone = call.is_gone and not (call.is_callback and call.state != "connected")
    if call.was_requeued or is_gone:
        end(twin, call, reason)
        return
    call.was_requeued = True
    _back(twin, call, reason, twin.now_ms + twin.queue_of(call).decline_delay_ms, 0)


def try_again_later(twin: Twin, call: TwinCall) -> None:
    """The customer did not come to the callback: the agent is free, the call is tried later, so many times."""
    queue = twin.queue_of(call)
    call.callback_count += 1
    if call.callback_count >= queue.callback_attempts_max:
        end(twin, call, "callback_unanswered")
        return
    _back(twin, call, "callback_unanswered", 0, twin.now_ms + max(1, queue.callback_retry_ms))


def _back(twin: Twin, call: TwinCall, reason: str, not_before_ms: int, call_not_before_ms: int) -> None:
    empty_out(twin, call, "requeued")
    agent = twin.agent_of(call.agent_id)
    twin.tell("requeued", call.id, agent.plan.id, reason, not_before_ms, call_not_before_ms)
    leave_room(call)
    if not_before_ms:
        call.refused[agent.plan.id] = not_before_ms
    agent.idle_since_ms = twin.now_ms
    call.state, call.agent_id, call.reservation_id = "waiting", "", ""
    call.cost = call.media_until_ms = call.connected_at_ms = call.on_hold_until_ms = 0
    call.not_before_ms, call.supervisors, call.script = call_not_before_ms, {}, None


def forget_if_over(twin: Twin, call: TwinCall) -> None:
    if call.state == "ended" and call.forget_at_ms <= twin.now_ms and not call.rooms and not call.unsealed:
        forget(twin, call)


def forget(twin: Twin, call: TwinCall) -> None:
    for attempt in call.unsealed:
        twin.tell("missing", call.id, attempt)
    twin.calls.remove(call)
    twin.tell("forgotten", call.id)
    drop_client(twin, "customer:" + call.customer_id)


def drop_client(twin: Twin, recipient: str) -> None:
    """A customer who is neither connected nor owns a call in memory is forgotten with all answers."""
    role, _, own_id = recipient.partition(":")
    owns = any(one.customer_id == own_id and one.order == twin.last_order.get(own_id) for one in twin.calls)
    client = twin.clients.get(recipient)
    if role == "customer" and not owns and client is not None and not client.connection_id:
        del twin.clients[recipient]
        twin.answers = [one for one in twin.answers if one[0] != recipient or one[1].startswith("key:")]
