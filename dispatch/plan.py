"""The configuration of one division, as the engine sees it.

A plan reaches the engine as a command (`ApplyPlan`) and is journaled, so a replay decides with the very plan the
live engine had. Reading the TOML file and naming its mistakes is `actors/configuration.py`; what is checked
here (`Plan.problems`) is what makes a plan meaningless to the engine: names that do not exist, names twice.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\Z")]
"""Ids of agents, queues, skills and divisions: 1 to 64 characters that need no quoting in a URL, key or log."""

Level = Annotated[int, Meta(ge=1, le=10)]
DAY_MS = 86_400_000
DurationMs = Annotated[int, Meta(ge=0, le=DAY_MS)]
ReservationTimeoutMs = Annotated[int, Meta(ge=1_000, le=DAY_MS)]
Units = Annotated[int, Meta(ge=1, le=10_000)]

Recording = Literal["required", "optional", "off"]
"""`required`: a call counts as connected only once every party's capture log has confirmed bytes."""

Media = Literal["room", "external"]
"""`room`: our media workers carry the call. `external`: another system does; the agent's client reports `connected`."""

WrapUp = Literal["none", "timed", "until_done"]
Strategy = Literal["longest_idle"]


class QueuePlan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One skill queue: a service that customers may ask for."""

    id: Id
    need: dict[Id, Level] = field(default_factory=dict)
    """Skill -> lowest level. An agent who has all of them may serve the queue. Empty: every agent may."""
    name: dict[str, str] = field(default_factory=dict)
    """Language tag (`en`, `zh`) -> the name shown to people."""
    strategy: Strategy = "longest_idle"
    target_ms: DurationMs = 20_000
    """Service-level target; the order key is queued_at + target - priority credit (ROUTING.md 3)."""
    reservation_timeout_ms: ReservationTimeoutMs = 20_000
    decline_delay_ms: DurationMs = 30_000
    """How long an agent who declined a call is not asked again for that same call."""
    no_answer_delay_ms: DurationMs = 5_000
    """How long an agent who let a reservation expire gets no reservation at all."""
    misses_max: Annotated[int, Meta(ge=1, le=100)] = 2
    """Reservations missed in a row after which the agent becomes not_ready(no_answer)."""
    wrap_up: WrapUp = "timed"
    wrap_up_ms: DurationMs = 30_000
    wrap_up_ms_max: DurationMs = 600_000
    """Bound for `timed` with its extensions and for `until_done`: no agent stays in wrap-up for ever."""
    connecting_timeout_ms: ReservationTimeoutMs = 15_000
    cost_units: Units = 100
    waiting_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    """Calls that may wait; one more is refused as `queue_full` unless an agent is free for it. 0: nobody may wait."""
    recording: Recording = "required"
    media: Media = "room"


class AgentPlan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bank employee who may sign in."""

    id: Id
    skills: dict[Id, Level] = field(default_factory=dict)
    name: str = ""
    """Shown to customers; a work name, no personal record."""
    capacity_units: Units = 100


class Plan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that is configured in one division."""

    division_id: Id
    queues: list[QueuePlan] = field(default_factory=list)
    agents: list[AgentPlan] = field(default_factory=list)
    retired: dict[Id, Id] = field(default_factory=dict)
    """Queue that is no longer offered -> queue of this plan that takes its waiting calls, at their old queued-at time."""
    reconnect_grace_ms: DurationMs = 30_000
    """How long a call waits for a party whose connection dropped."""
    reservation_grace_ms: DurationMs = 5_000
    """How long a disconnected agent keeps a ringing reservation."""
    ended_retention_ms: DurationMs = 120_000
    """How long an ended call stays in memory; afterwards its history answers for it."""
    recording_timeout_ms: DurationMs = 900_000
    """How long after the end a recording may take to be sealed before it is reported missing."""
    idempotency_keys_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 200_000
    live_calls_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 60_000
    """Calls that have not ended; one more is refused as `hall_full`."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, what is wrong) for each contradiction inside the plan, in file order."""
        yield from _twice("queues", [queue.id for queue in self.queues])
        yield from _twice("agents", [agent.id for agent in self.agents])
        known = {queue.id for queue in self.queues}
        for retired, target in self.retired.items():
            if retired in known:
                yield f"retired.{retired}", "is still among the queues; remove it from one of the two"
            if target not in known:
                yield f"retired.{retired}", f"{target!r} is not a queue of this division"
        for index, queue in enumerate(self.queues):
            if queue.media == "external" and queue.recording != "off":
                yield (
                    f"queues[{index}].recording",
                    f"{queue.recording!r} cannot be kept where media is 'external': the other system records; say 'off'",
                )
            if queue.wrap_up_ms > queue.wrap_up_ms_max:
                yield (
                    f"queues[{index}].wrap_up_ms",
                    f"{queue.wrap_up_ms} is more than wrap_up_ms_max {queue.wrap_up_ms_max}",
                )


def _twice(key: str, ids: list[str]) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for index, one in enumerate(ids):
        if one in seen:
            yield f"{key}[{index}].id", f"{one!r} is already used by {key}[{seen[one]}]"
        seen.setdefault(one, index)


def meets(skills: dict[str, int], need: dict[str, int]) -> bool:
    """Say whether an agent with `skills` has every skill of `need` at its level or better."""
    return all(skills.get(skill, 0) >= level for skill, level in need.items())
