"""The configuration of one division, as the engine sees it.

A plan reaches the engine as a command (`ApplyPlan`) and is journaled, so a replay decides with the very plan the
live engine had. Reading the TOML file and naming its mistakes is `actors/configuration.py`; what is checked
here (`Plan.problems`) is what makes a plan meaningless to the engine: names that do not exist, names twice.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dispatch.hours import Hours

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\Z")]
"""Ids of agents, queues, skills and divisions: 1 to 64 characters that need no quoting in a URL, key or log."""

Address = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63}/)?[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\Z")]
"""A queue of this division by its id, or of another one as `division/queue`."""

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
STRATEGIES = (
    "longest_idle", "most_skilled", "least_occupied", "round_robin", "fewest_calls", "relationship", "nearest"
)  # fmt: skip
"""Ours; `dispatch/choice.py` says what each means and takes registered ones."""

JOINT_HOLD_MS_MIN = 1_000
"""Each hold and release is an event in the journal: a call that waits for a pair must not write thousands."""
LIMITS = ("on_full", "on_wait", "on_no_agents", "on_closed")
"""The keys of a queue that hold ways."""
STEPS_MAX = 8
"""Relaxation steps of a queue."""


class Relaxation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A step that widens the need as time passes."""

    after_ms: Annotated[int, Meta(ge=1, le=DAY_MS)]
    """Since the call was queued, whatever happened to it meanwhile."""
    need: dict[Id, Level] = field(default_factory=dict)
    """Holds from then on, instead of the need before; it may only ask for less."""


class Way(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to a call that meets a limit. Of a list of ways the first that is possible is taken."""

    do: Literal["overflow", "callback", "message", "refuse"]
    """`overflow`: to the first of `queues` that takes it, at the old queued-at time; `callback`: it keeps its place and the
    customer is called back; `message`: it ends, and the customer is asked for a message; `refuse`: it ends by name."""
    queues: list[Address] = field(default_factory=list)
    """One of another division (`division/queue`) is asked whether it takes the call, which waits for the answer meanwhile."""
    text: str = ""
    """Shown to the customer."""


class QueuePlan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One skill queue: a service that customers may ask for."""

    id: Id
    need: dict[Id, Level] = field(default_factory=dict)
    """Skill -> lowest level. An agent who has all of them may serve the queue. Empty: every agent may."""
    name: dict[str, str] = field(default_factory=dict)
    """Language tag (`en`, `zh`) -> the name shown to people."""
    strategy: str = "longest_idle"
    """Which of several free agents is asked: one of `STRATEGIES`, or a registered one."""
    target_ms: DurationMs = 20_000
    """Service-level target; the order key is queued_at + target - priority credit (ROUTING.md 3)."""
    priority_credit_ms_max: DurationMs = 90_000
    """Most that a call's priority may bring forward its due instant. A bank's published VIP rule was 1.5 minutes."""
    relaxation: Annotated[list[Relaxation], Meta(max_length=STEPS_MAX)] = field(default_factory=list)
    needs_max: Annotated[int, Meta(ge=1, le=1_000)] = 64
    """Distinct needs of live calls beside the queue's own; one more is refused as `too_many_needs`."""
    reservations_max: Annotated[int, Meta(ge=1, le=50)] = 1
    """Agents who are asked for one call at once; the first accept wins."""
    preferred_window_ms: DurationMs = 30_000
    """How long a call is kept for its preferred agent, its manager (`relationship`) or its last agent."""
    last_agent_window_ms: DurationMs = 0
    """A customer who calls again within it goes to the same agent first. 0: no memory of agents."""
    joint_need: dict[Id, Level] = field(default_factory=dict)
    """A second person whom every call needs at once; empty: none."""
    joint_hold_ms: DurationMs = 10_000
    """How long one person may be held for a joint call until the other is free. 0: never held."""
    reservation_timeout_ms: ReservationTimeoutMs = 20_000
    decline_delay_ms: DurationMs = 30_000
    """How long an agent who declined a call is not asked again for that same call."""
    reject_delay_ms: DurationMs = 0
    """How long an agent who declined a call gets no reservation at all."""
    busy_delay_ms: DurationMs = 30_000
    """How long an agent who was busy elsewhere gets no reservation at all."""
    no_answer_delay_ms: DurationMs = 5_000
    """How long an agent who let a reservation expire gets no reservation at all."""
    disconnect_delay_ms: DurationMs = 0
    """How long an agent whose connection dropped while it rang gets none at all, from when it was given back on."""
    misses_max: Annotated[int, Meta(ge=1, le=100)] = 2
    """Reservations missed in a row after which the agent becomes not_ready(no_answer)."""
    wrap_up: WrapUp = "timed"
    wrap_up_ms: DurationMs = 30_000
    wrap_up_ms_max: DurationMs = 600_000
    """Bound for `timed` with its extensions and for `until_done`: no agent stays in wrap-up for ever."""
    connecting_timeout_ms: ReservationTimeoutMs = 15_000
    cost_units: Units = 100
    waiting_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    """Calls that may wait; one more meets `on_full` unless an agent is free for it. 0: nobody may wait."""
    wait_ms_max: DurationMs = 0
    """How long a call may wait in this queue before `on_wait`. 0: as long as the customer likes."""
    in_call_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Calls of this queue that may ring or talk at once; more wait beside free agents. 0: no cap."""
    hours: Hours | None = None
    """When the queue takes calls; None: always."""
    closing_grace_ms: DurationMs = 1_800_000
    """How long who waits is still served after closing time; then `on_closed`."""
    on_full: list[Way] = field(default_factory=list)
    """At `waiting_max`. Empty, or nothing in it possible: refused as `queue_full`."""
    on_wait: list[Way] = field(default_factory=list)
    """At `wait_ms_max`. Empty, or nothing in it possible: ended as `waited_too_long`."""
    on_no_agents: list[Way] = field(default_factory=list)
    """When no eligible agent is signed in, for new and for waiting calls. Empty: they wait. Nothing possible: `no_agents`."""
    on_closed: list[Way] = field(default_factory=list)
    """Outside of `hours`. Empty, or nothing in it possible: refused or ended as `queue_closed`."""
    callbacks_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_000
    """Calls of this queue that may wait for a callback at once. 0: no callbacks."""
    callback_answer_ms: ReservationTimeoutMs = 60_000
    """How long a customer who is called back has to come."""
    callback_retry_ms: DurationMs = 300_000
    """After that, how long until the next attempt, at the old place."""
    callback_attempts_max: Annotated[int, Meta(ge=1, le=100)] = 3
    """Attempts after which the call ends as `callback_unanswered`."""
    hold_ms_max: ReservationTimeoutMs = 600_000
    """How long a customer may be on hold before the hold ends by itself."""
    transfer_credit_ms: DurationMs = 90_000
    """Priority credit of a call that is transferred into this queue, unless the transfer says less."""
    recording: Recording = "required"
    media: Media = "room"


class AgentPlan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bank employee who may sign in."""

    id: Id
    skills: dict[Id, Level] = field(default_factory=dict)
    name: str = ""
    """Shown to customers; a work name, no personal record."""
    capacity_units: Units = 100
    region: str = ""
    carrier: str = ""
    """Where the agent sits, for strategy `nearest`."""


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
    last_agents_max: Annotated[int, Meta(ge=0, le=10_000_000)] = 100_000
    """Customers whose last agent is remembered; the oldest is forgotten first."""
    invitation_ms: Annotated[int, Meta(ge=1_000, le=7 * DAY_MS)] = 600_000
    """How long an invitation to a customer stays open unless it says less."""
    hand_over_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 10_000
    """How long another division may take to admit a call; then it is asked back."""
    hand_over_give_up_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 120_000
    """How long its answer to that may take; then the call ends as `hand_over_unanswered`: it may be there already.

    Both together are shorter than the time for which anybody asks (`handing_facts.UNTOLD_MS`).
    """

    def problems(self, registered: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
        """Yield (key, what is wrong) for each contradiction inside the plan, in file order.

        `registered`: strategies beside `STRATEGIES` that this program knows.
        """
        yield from _twice("queues", [queue.id for queue in self.queues])
        yield from _twice("agents", [agent.id for agent in self.agents])
        known = {queue.id for queue in self.queues}
        for retired, target in self.retired.items():
            if retired in known:
                yield f"retired.{retired}", "is still among the queues; remove it from one of the two"
            if target not in known:
                yield f"retired.{retired}", f"{target!r} is not a queue of this division"
        for index, queue in enumerate(self.queues):
            for key, address in _addresses(queue):
                if address.startswith(f"{self.division_id}/"):
                    yield f"queues[{index}].{key}", f"{address!r} is of this very division; name the queue alone"
            for key, what in _queue_problems(queue, known, {*STRATEGIES, *registered}):
                yield f"queues[{index}].{key}", what


def _queue_problems(queue: QueuePlan, known: set[str], strategies: set[str]) -> Iterator[tuple[str, str]]:
    if queue.strategy not in strategies:
        yield "strategy", f"{queue.strategy!r} is unknown; known are {', '.join(sorted(strategies))}"
    if queue.media == "external" and queue.recording != "off":
        yield (
            "recording",
            f"{queue.recording!r} cannot be kept where media is 'external': the other system records; say 'off'",
        )
    if queue.wrap_up_ms > queue.wrap_up_ms_max:
        yield "wrap_up_ms", f"{queue.wrap_up_ms} is more than wrap_up_ms_max {queue.wrap_up_ms_max}"
    if 0 < queue.joint_hold_ms < JOINT_HOLD_MS_MIN:
        yield "joint_hold_ms", f"{queue.joint_hold_ms} is neither 0 (never held) nor at least {JOINT_HOLD_MS_MIN}"
    yield from _relaxation_problems(queue)
    for what in queue.hours.problems() if queue.hours else []:
        yield "hours", what
    for key in LIMITS:
        for way in getattr(queue, key):
            if (way.do == "overflow") != bool(way.queues):
                yield key, "'overflow' needs queues, the other ways have none"
    for key, address in _addresses(queue):
        if "/" not in address and (address not in known or address == queue.id):
            yield key, f"{address!r} is not another queue of this division"


def _addresses(queue: QueuePlan) -> Iterator[tuple[str, str]]:
    """Yield (key, queue named there) for all ways of a queue."""
    for key in LIMITS:
        for way in getattr(queue, key):
            yield from ((key, address) for address in way.queues)


def _relaxation_problems(queue: QueuePlan) -> Iterator[tuple[str, str]]:
    need, after_ms = queue.need, 0
    for index, step in enumerate(queue.relaxation):
        if step.after_ms <= after_ms:
            yield f"relaxation[{index}].after_ms", f"{step.after_ms} is not later than the step before ({after_ms})"
        if not meets(need, step.need):
            yield f"relaxation[{index}].need", "asks for more than the step before; a step may only ask for less"
        need, after_ms = step.need, step.after_ms


def _twice(key: str, ids: list[str]) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for index, one in enumerate(ids):
        if one in seen:
            yield f"{key}[{index}].id", f"{one!r} is already used by {key}[{seen[one]}]"
        seen.setdefault(one, index)


def meets(skills: dict[str, int], need: dict[str, int]) -> bool:
    """Say whether an agent with `skills` has every skill of `need` at its level or better."""
    return all(skills.get(skill, 0) >= level for skill, level in need.items())
