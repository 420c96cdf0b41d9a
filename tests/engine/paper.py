"""Events by hand, for tests that need no engine: one function an event; what a test does not care about is filled in."""

from dispatch import events as ev
from dispatch.counts import AgentCounts, QueueCounts
from dispatch.measures import INTERVAL_MS, Measures
from dispatch.plan import AgentPlan, Plan, QueuePlan

START_MS = 1_700_000_100_000
"""The start of an interval."""
assert START_MS % INTERVAL_MS == 0
HOUR_MS = 3_600_000


def plan_event(at_ms: int = START_MS, agents: tuple[str, ...] = ("anna", "ben")) -> ev.PlanApplied:
    queues = [QueuePlan(id="loans", target_ms=20_000), QueuePlan(id="cards", target_ms=10_000)]
    plan = Plan(division_id="d", queues=queues, agents=[AgentPlan(id=one) for one in agents])
    return ev.PlanApplied(at_ms, plan, "p")


def queued(at_ms: int, call_id: str = "c1", queue_id: str = "loans", **fields: object) -> ev.CallQueued:
    return ev.CallQueued(at_ms, call_id, "of-" + call_id, queue_id, at_ms, at_ms + 20_000, **fields)  # type: ignore[arg-type]


def reserved(at_ms: int, call_id: str = "c1", agent_id: str = "anna", role: str = "agent") -> ev.CallReserved:
    return ev.CallReserved(
        at_ms, call_id, f"{call_id}.1", agent_id, "of-" + call_id, "loans", 1, at_ms + 20_000, 0, "why", role=role
    )


def accepted(at_ms: int, call_id: str = "c1", agent_id: str = "anna") -> ev.ReservationAccepted:
    return ev.ReservationAccepted(at_ms, call_id, f"{call_id}.1", agent_id, at_ms + 15_000, 0)


def closed(at_ms: int, outcome: str, agent_id: str = "anna", call_id: str = "c1") -> ev.ReservationClosed:
    return ev.ReservationClosed(at_ms, call_id, f"{call_id}.1", agent_id, outcome)


def connected(at_ms: int, call_id: str = "c1", agent_id: str = "anna") -> ev.CallConnected:
    return ev.CallConnected(at_ms, call_id, agent_id, "of-" + call_id)


def ended(at_ms: int, reason: str, agent_id: str = "", call_id: str = "c1", wrap_up: str = "none") -> ev.CallEnded:
    return ev.CallEnded(at_ms, call_id, "of-" + call_id, "loans", reason, agent_id, wrap_up=wrap_up)


def ready(at_ms: int, agent_id: str = "anna", activity: str = "ready", reason: str = "") -> ev.AgentActivityChanged:
    return ev.AgentActivityChanged(at_ms, agent_id, activity, reason)


def talking(at_ms: int, call_id: str = "c1", agent_id: str = "anna") -> list[ev.Event]:
    """A call of `loans` that is connected from `at_ms` on, having waited 4 s."""
    return [
        queued(at_ms - 4_000, call_id),
        reserved(at_ms - 4_000, call_id, agent_id),
        accepted(at_ms - 1_000, call_id, agent_id),
        connected(at_ms, call_id, agent_id),
    ]


def fold(*events: ev.Event | list[ev.Event], measures: Measures | None = None) -> Measures:
    measures = measures or Measures()
    for one in events:
        for event in one if isinstance(one, list) else [one]:
            measures.apply(event)
    return measures


def only(counts: QueueCounts) -> dict[str, object]:
    """The counters that are not 0."""
    return {name: value for name in counts.__struct_fields__ if (value := getattr(counts, name))}


def balance(counts: QueueCounts) -> int:
    """0 where the queue's counters add up."""
    came = counts.offered_count + counts.moved_in_count
    went = counts.answered_count + counts.abandoned_count + counts.abandoned_short_count
    return came - went - counts.ended_otherwise_count - counts.moved_out_count - counts.live_count


def time_of(counts: AgentCounts) -> int:
    worked_ms = counts.ready_ms + counts.reserved_ms + counts.in_call_ms + counts.wrap_up_ms
    return worked_ms + counts.offline_ms + sum(counts.not_ready_ms.values())
