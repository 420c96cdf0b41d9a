"""Counters of a queue and of an agent, and the figures made from them, each with its one definition.

Rules. Counters only add up: two of them (two intervals, two queues) make a third by `add`. Figures are never stored, and never
averaged over intervals: they are made from the sum. Free text (reasons) is counted under at most `REASONS_MAX` names.

Which facts make which counter: `dispatch/measures.py`. Where they are kept: `dispatch/ledger.py`.
"""

from bisect import bisect_left
from typing import Any, Final, TypeVar

from msgspec import Struct, field

REASONS_MAX = 32
"""Names in one dictionary of reasons, `other` among them; staff may write any text, and what does not fit counts there."""
OTHER = "other"

WAIT_EDGES_MS: Final = (
    *range(500, 10_000, 500),
    *range(10_000, 30_000, 1_000),
    *range(30_000, 120_000, 5_000),
    *range(120_000, 300_000, 15_000),
    *range(300_000, 1_800_000, 60_000),
    *range(1_800_000, 7_200_000, 300_000),
    *range(7_200_000, 86_400_001, 3_600_000),
)
"""Upper edges of the buckets of waits, inclusive; the last bucket, beyond a day, has none. Every usual T is an edge."""


class QueueCounts(Struct, array_like=True):
    """What happened to the calls of a queue. At any instant:

    offered + moved_in = answered + abandoned + abandoned_short + ended_otherwise + moved_out + live.
    """

    offered_count: int = 0
    """Calls that asked for this queue and were admitted (refused ones apart, in `refused`), invitations once accepted."""
    moved_in_count: int = 0
    """Calls that came from another queue (overflow, retired queue) or by blind transfer, also back into the same queue."""
    answered_count: int = 0
    """First connected here: the two see and hear each other."""
    abandoned_count: int = 0
    """The customer ended it, or was lost, before it was connected here, after 5 s or more."""
    abandoned_short_count: int = 0
    """The same after less than 5 s."""
    ended_otherwise_count: int = 0
    """Ended before it was connected here, and not by the customer."""
    moved_out_count: int = 0
    """Left for another queue before it was connected here."""
    live_count: int = 0
    """None of the five yet."""
    answered_in_target_count: int = 0
    """Of the answered: waited no longer than the queue's `target_ms`."""
    abandoned_after_target_count: int = 0
    """Of the abandoned: waited longer than that."""
    moved_on_count: int = 0
    """Left, by transfer as a rule, after it had been answered here."""
    callback_arranged_count: int = 0
    callback_answered_count: int = 0
    """Of the answered: callbacks. They count with their whole wait, as everybody."""
    callback_unanswered_count: int = 0
    """Of those ended otherwise: the last attempt was in vain too."""
    absolute_count: int = 0
    """Of those offered or moved in: emergencies, from the beginning or made one while they waited."""
    requeued_count: int = 0
    """Back to the old place after an agent had accepted."""
    invited_count: int = 0
    invited_in_vain_count: int = 0
    """Invitations that ended without having been accepted."""
    transferred_count: int = 0
    """Blind, out of this queue's conversations."""
    consulted_count: int = 0
    """Consulted transfers: another agent became the owner."""
    taken_over_count: int = 0
    parties_count: int = 0
    """Further agents who came into a call."""
    reserved_count: int = 0
    """Reservations made = those in `reservations` + those that ring now."""
    reservations: dict[str, int] = field(default_factory=dict)
    """Outcome (`accepted`, `declined`, `busy`, `expired`, `agent_lost`, `agent_left`, `rescinded`) -> count."""
    refused: dict[str, int] = field(default_factory=dict)
    """Reason -> calls not admitted."""
    ended: dict[str, int] = field(default_factory=dict)
    """Reason -> calls that ended in this queue, before or after the answer."""
    wait_ms: int = 0
    """Sum over the answered, from queued-at (an overflow keeps it, a transfer begins anew) to connected."""
    wait_ms_max: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    """Index into `WAIT_EDGES_MS` -> answered calls."""
    abandoned_wait_ms: int = 0
    abandoned_waits: dict[int, int] = field(default_factory=dict)
    """The same for abandoned calls, short ones included."""
    talk_ms: int = 0
    """Connected time, hold included."""
    hold_ms: int = 0
    holds_count: int = 0
    wrap_up_ms: int = 0
    """Of everybody who was in the calls, booked when it ends."""


class AgentCounts(Struct, array_like=True):
    """How an agent's time passed, and what became of the agent's reservations.

    The times add up to the time for which the agent was in the plan. Who does two things at once is counted under the first of:
    in a call, wrap-up, reserved, else the activity. An agent held for a joint call is ready.
    """

    ready_ms: int = 0
    reserved_ms: int = 0
    in_call_ms: int = 0
    wrap_up_ms: int = 0
    offline_ms: int = 0
    not_ready_ms: dict[str, int] = field(default_factory=dict)
    """By reason."""
    reserved_count: int = 0
    """Reservations = the seven below + those that ring now."""
    accepted_count: int = 0
    missed_count: int = 0
    """Not answered in time."""
    declined_count: int = 0
    busy_count: int = 0
    lost_count: int = 0
    """The connection was lost."""
    left_count: int = 0
    """The agent went not ready or offline."""
    rescinded_count: int = 0


Counts = TypeVar("Counts", QueueCounts, AgentCounts)


def add(into: Counts, more: Counts) -> None:
    """Add every counter of `more`; the longest wait is the longer of the two."""
    for name in into.__struct_fields__:
        mine, others = getattr(into, name), getattr(more, name)
        if isinstance(mine, dict):
            for key, count in others.items():
                add_named(mine, key, count)
        else:
            setattr(into, name, max(mine, others) if name == "wait_ms_max" else mine + others)


def add_named(counts: dict[Any, int], name: Any, count: int) -> None:
    """Count under a name, or under `other` where it would be one text too many. Bucket numbers have their own bound."""
    if isinstance(name, str) and name not in counts and len(counts) >= REASONS_MAX - (OTHER not in counts):
        name = OTHER
    counts[name] = counts.get(name, 0) + count


# -- figures

DEFINITIONS: Final = {
    "service_level_<T>s": "answered within T / (answered + abandoned after T); from queued to connected, of the calls that "
    "came to the queue in the interval",
    "service_level_target": "the same with each call's T: target_ms of the queue when the call came to it",
    "occupancy": "(in_call + wrap_up) / (in_call + wrap_up + ready); reserved counts as ready",
    "wait_p<n>_ms": "n % of the answered waited no longer; upper edge of the bucket, at most the longest wait",
}
"""Printed beside the figures. Other definitions exist and differ by points."""


def service_level_name(within_ms: int) -> str:
    """Return the figure's name, with its T: `service_level_20s`."""
    return f"service_level_{within_ms // 1000}s" if within_ms % 1000 == 0 else f"service_level_{within_ms}ms"


def service_level(counts: QueueCounts, within_ms: int) -> float | None:
    """Return answered within T / (answered + abandoned after T) (STYLE.md), or None where both are 0.

    Exact. Raises ValueError for a T that is no edge of `WAIT_EDGES_MS`: then the buckets cannot tell.
    """
    last = bisect_left(WAIT_EDGES_MS, within_ms)
    if last == len(WAIT_EDGES_MS) or WAIT_EDGES_MS[last] != within_ms:
        raise ValueError(f"T = {within_ms} ms is no edge of WAIT_EDGES_MS; take one of those")
    answered_in = sum(count for index, count in counts.waits.items() if index <= last)
    abandoned_after = sum(count for index, count in counts.abandoned_waits.items() if index > last)
    return _ratio(answered_in, counts.answered_count + abandoned_after)


def service_level_target(counts: QueueCounts) -> float | None:
    """Return the service level with each call's own target as T."""
    return _ratio(counts.answered_in_target_count, counts.answered_count + counts.abandoned_after_target_count)


def occupancy(counts: AgentCounts) -> float | None:
    """Return (in_call + wrap_up) / (in_call + wrap_up + ready), reserved counted as ready; None without any such time."""
    busy_ms = counts.in_call_ms + counts.wrap_up_ms
    return _ratio(busy_ms, busy_ms + counts.ready_ms + counts.reserved_ms)


def wait_percentile_ms(counts: QueueCounts, per_mille: int) -> int | None:
    """Return how long at most the given share of the answered waited (nearest rank, 1 to 1000), None if nobody was answered."""
    if not 1 <= per_mille <= 1_000:
        raise ValueError(f"{per_mille} is not in 1 to 1000")
    rank = -(-counts.answered_count * per_mille // 1_000)
    for index in sorted(counts.waits):
        rank -= counts.waits[index]
        if rank <= 0:
            edge_ms = WAIT_EDGES_MS[index] if index < len(WAIT_EDGES_MS) else counts.wait_ms_max
            return min(edge_ms, counts.wait_ms_max)
    return None


def wait_bucket(wait_ms: int) -> int:
    """Return the index of the bucket that a wait belongs to."""
    return bisect_left(WAIT_EDGES_MS, wait_ms)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
