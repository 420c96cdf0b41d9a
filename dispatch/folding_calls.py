"""What several arms of `apply` do to a call: find it, move it, its rooms, its refusals."""

from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.estimate import after_joining, after_leaving
from dispatch.lanes import Queue
from dispatch.lifecycle import CALL, ImpossibleEvent, call_after
from dispatch.model import Call, LastAgent, Room
from dispatch.state import State


def call_of(state: State, event: Any) -> Call:
    """The call that the event is about; without one the event is impossible."""
    try:
        return state.calls[event.call_id]
    except KeyError:
        raise ImpossibleEvent(f"no such call: {event!r}") from None


def move(state: State, call: Call, event: ev.Event) -> Queue:
    """Take the call to the state that its table gives, and count it there; return its queue."""
    queue = state.queues[call.queue_id]
    before = call.state
    after = CALL[before].get(type(event)) or call_after(before, event)
    if after == before:
        return queue
    call.state = after
    counts = queue.counts
    counts[before] -= 1
    counts[after] += 1
    if before == lc.WAITING:
        leave_waiting(state, queue, call, event.at_ms)
    if after == lc.WAITING:
        after_joining(state.pace(queue), event.at_ms)
    elif after == lc.ENDED:
        state.ended_count += 1
    else:
        return queue
    if queue.plan.in_call_max and state.is_live:
        state.reopened.append(queue)
        state.is_touched = True
    return queue


def leave_waiting(state: State, queue: Queue, call: Call, at_ms: int) -> None:
    """The call no longer waits in its queue: its line has moved."""
    has_waited = at_ms > (call.entered_at_ms or call.queued_at_ms)
    is_asked = call.state == lc.RESERVED
    waiting_count = queue.counts[lc.WAITING]
    after_leaving(state.pace(queue), at_ms, has_waited=has_waited, is_asked=is_asked, waiting_count=waiting_count)


def ask_room(call: Call, attempt: int) -> None:
    """Begin a new attempt: nobody is in it and nothing is recorded yet."""
    call.room_attempt = attempt
    call.rooms = (*call.rooms, Room(attempt))
    call.joined = ()
    call.recording_parties = ()


def drop_room(call: Call, room: Room) -> None:
    """The room is gone."""
    call.rooms = tuple(one for one in call.rooms if one is not room)


def leave_room(call: Call) -> None:
    """The call needs its room no more: one that no worker knows is dropped, another begins to close."""
    room = call.room()
    if room is None:
        return
    if room.state == lc.REQUESTED:
        drop_room(call, room)
    else:
        room.state = lc.CLOSING


def remember_agent(state: State, customer_id: str, agent_id: str, at_ms: int) -> None:
    """Whom the customer talked to last; the oldest memory makes room."""
    agents = state.last_agents
    agents.pop(customer_id, None)
    agents[customer_id] = LastAgent(agent_id, at_ms)
    while len(agents) > state.plan.last_agents_max:
        del agents[next(iter(agents))]


def refuse(state: State, call: Call, agent_id: str, until_ms: int) -> None:
    """This agent is not asked for this call until then; refusals that are over are forgotten, a longer one stays."""
    refused = {one: at for one, at in (call.refused_until_ms or {}).items() if at > state.now_ms}
    refused[agent_id] = max(until_ms, refused.get(agent_id, 0))
    call.refused_until_ms = refused
    state.arm(refused[agent_id], tm.REFUSED, call.id, agent_id)
