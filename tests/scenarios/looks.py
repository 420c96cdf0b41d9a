"""Questions that a scenario asks in between: how long a call will wait, why it waits, how an agent stands, what was counted.

They change nothing. Their answers are written below the question, like any trace.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatch.counts import occupancy, service_level
from dispatch.explain import explain
from dispatch.measures import Measures
from dispatch.state import State
from dispatch.viewing import position_views, queue_view
from tests.scenarios.times import Clock, in_words


@dataclass(frozen=True)
class Sight:
    """All that a question may look at."""

    state: State
    clock: Clock
    measures: Measures


Look = Callable[[Sight, str], list[str]]


def answer(text: str, sight: Sight) -> list[str] | None:
    """The answer to a question; None: the sentence is none."""
    for pattern, look in LOOKS:
        if found := re.fullmatch(pattern, text):
            return look(sight, found[1])
    return None


def _about(estimate_ms: int | None) -> str:
    return "not known yet" if estimate_ms is None else f"about {in_words(estimate_ms // 1_000 * 1_000)}"


def _wait(sight: Sight, call_id: str) -> list[str]:
    views = position_views(sight.state, [call_id])
    if not views:
        return [f"{call_id} does not wait"]
    return [f"{call_id} is at position {views[0].position}; still to wait: {_about(views[0].estimate_ms)}"]


def _line(sight: Sight, queue_id: str) -> list[str]:
    view = queue_view(sight.state, queue_id, sight.state.now_ms)
    assert view is not None, f"no queue {queue_id}"
    return [f"{view.waiting_count} wait in {queue_id}; who comes now waits: {_about(view.estimate_ms)}"]


def _why(sight: Sight, call_id: str) -> list[str]:
    told, clock = explain(sight.state, call_id), sight.clock
    assert told is not None, f"no call {call_id}"
    need = " and ".join(f"{skill} {level}" for skill, level in told.need.items()) or "nothing"
    lines = [f"{call_id} is {told.state} in {told.queue_id}: {', '.join(told.reasons) or 'nothing keeps it'}"]
    due = f"; it is due {clock.tell(told.due_at_ms)}" if told.due_at_ms else ""
    lines.append(f"it needs {need} (step {told.step} of {told.steps_count}){due}")
    if told.kept_for_agent_id:
        lines.append(f"it is kept for {told.kept_for_agent_id} ({told.kept_by_rule})")
    if told.held_agent_id:
        lines.append(f"{told.held_agent_id} is held for it")
    for name, groups in (("agents", told.groups), ("experts", told.expert_groups)):
        if groups:
            lines.append(f"{name} who could: " + ", ".join(f"{one.count} {one.doing}" for one in groups))
    for one in told.asked:
        before = f", before {one.before_call_id}" if one.before_call_id else ""
        lines.append(f"it rings at {one.agent_id} as {one.role}, by {one.rule}{before}")
    for change in told.next_changes:
        detail = f" ({change.detail})" if change.detail else ""
        lines.append(f"at {clock.tell(change.at_ms)}: {change.what}{detail}")
    return lines


def _agent(sight: Sight, agent_id: str) -> list[str]:
    agent = sight.state.agents[agent_id]
    doing = ", ".join(f"{what} {call_id}" for call_id, what in agent.engagements.items()) or "nothing to do"
    idle_since = sight.clock.tell(agent.idle_since_ms)
    return [
        f"{agent_id} is {agent.activity.replace('_', ' ')}; {doing}; idle since {idle_since}",
        f"uses {agent.used_units} of {agent.capacity_units} units",
        f"since sign-in: {agent.answered_count} accepted, {agent.missed_count} not answered ({agent.misses} in a row), "
        f"{agent.declined_count} declined, {agent.busy_count} busy elsewhere, {agent.lost_count} lost with the connection",
    ]


def _counted(sight: Sight, name: str) -> list[str]:
    """Every counter that is not 0, and the figure made of them."""
    if name in sight.state.agents:
        agent = sight.measures.agent(name, sight.state.now_ms)
        return [_counters(agent), f"occupancy: {_share(occupancy(agent))}"]
    queue = sight.measures.queue(name)
    return [_counters(queue), f"service level within 20 s: {_share(service_level(queue, 20_000))}"]


def _counters(counts: Any) -> str:
    told = [_counter(field, value) for field, value in msgspec.structs.asdict(counts).items() if value]
    return ", ".join(one for one in told if one) or "nothing yet"


def _counter(field: str, value: Any) -> str:
    """`talk 1 min`; a dictionary by its names; buckets are left out, they say the sums once more."""
    name = field.removesuffix("_count").replace("_ms", "").replace("_", " ")
    if isinstance(value, dict):
        kinds = {what: in_words(one) if "_ms" in field else one for what, one in value.items() if isinstance(what, str)}
        return f"{name} ({', '.join(f'{what}: {one}' for what, one in kinds.items())})" if kinds else ""
    return f"{name} {in_words(value) if '_ms' in field else value}"


def _share(ratio: float | None) -> str:
    return "not known yet" if ratio is None else f"{ratio:.1%}"


LOOKS: list[tuple[str, Look]] = [
    (r"how long will (c\d+) wait\?", _wait),
    (r"how long is the line of (\S+)\?", _line),
    (r"why is (c\d+) where it is\?", _why),
    (r"how is (\S+)\?", _agent),
    (r"what is counted for (\S+)\?", _counted),
]
