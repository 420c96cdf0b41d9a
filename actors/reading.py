"""Answers to reads, made from a division's state inside the shard's turn, after that turn's events are durable."""

from heapq import nsmallest
from itertools import islice
from typing import Any

from actors.items import (
    CallsPage,
    PlanInForce,
    Read,
    ReadAgent,
    ReadAgents,
    ReadCall,
    ReadCalls,
    ReadCallsPage,
    ReadExplanation,
    ReadPlan,
    ReadPositions,
    ReadQueue,
    WorkerHello,
)
from dispatch.effects import Reply
from dispatch.explain import explain
from dispatch.state import State
from dispatch.viewing import agent_view, call_view, position_views, queue_view

CALLS_MAX = 1_000
"""In one answer; a thousand views take some milliseconds of the shard's turn, passing over 50,000 other calls as much again."""


def read(state: State, item: Read, now_ms: int) -> Any:
    """Return the item's answer as `items.ANSWER_TYPES` says."""
    if isinstance(item, ReadCall):
        return call_view(state, item.call_id)
    if isinstance(item, ReadAgent):
        return agent_view(state, item.agent_id)
    if isinstance(item, ReadQueue):
        return queue_view(state, item.queue_id, now_ms)
    if isinstance(item, ReadPositions):
        return position_views(state, item.call_ids)
    if isinstance(item, ReadCalls):
        found = (call.id for call in state.calls.values() if call.state in item.states)
        return [call_view(state, call_id) for call_id in islice(found, max(0, min(item.count_max, CALLS_MAX)))]
    if isinstance(item, ReadCallsPage):
        return _calls_page(state, item)
    if isinstance(item, ReadExplanation):
        return explain(state, item.call_id)
    if isinstance(item, ReadPlan):
        return PlanInForce(state.plan, state.plan_digest)
    if isinstance(item, ReadAgents):
        return [agent_view(state, agent_id) for agent_id in state.agents]
    return [queue_view(state, queue_id, now_ms) for queue_id, queue in state.queues.items() if not queue.is_retired]


def _calls_page(state: State, item: ReadCallsPage) -> CallsPage:
    """In the order in which they came: admission numbers are given once, so a place is one whoever is gone."""
    count_max = max(1, min(item.count_max, CALLS_MAX))
    found = [
        call
        for call in state.calls.values()
        if call.order > item.after and call.state in item.states and item.queue_id in ("", call.queue_id)
    ]
    page = nsmallest(count_max, found, key=lambda call: call.order)
    views = [view for call in page if (view := call_view(state, call.id)) is not None]
    return CallsPage(views, page[-1].order if len(found) > count_max else None)


def disowned_rooms(state: State, item: WorkerHello) -> Reply:
    """Name the rooms that the worker holds and the division knows nothing of any more."""
    disowned = []
    for call_id, attempt in item.rooms:
        call = state.calls.get(call_id)
        if call is None or all(room.attempt != attempt for room in call.rooms):
            disowned.append([call_id, attempt])
    return Reply("", {"disowned": disowned})
