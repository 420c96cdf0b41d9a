"""The figures of one run, from the clients' records: counts, waits, service level, occupancy, decision latency, lateness.

Rules: each figure's definition stands here once, in `DEFINITIONS`, and is printed beside it. Latency counts from the intended
instant of the schedule, never from when the generator got round to sending. Percentiles are observed values (nearest rank).

Theory: a run starts with all agents idle and ends with the last arrival, so a quarter of it is warm-up. What is compared with
the prediction is measured in the window after that; the counts are of the whole run.

Not here: the prediction's formulas (`loadtest/erlang.py`), writing it down (`loadtest/report.py`).
"""

import math
from collections.abc import Iterable

from msgspec import Struct

from loadtest.accounting import balance
from loadtest.erlang import Pool, p_longer, predict, service_level
from loadtest.records import CallRecord, Engagement, Records
from loadtest.workload import Arrival, Workload

SERVICE_LEVEL_MS = 1_000
WARM_UP_RATIO = 0.25
PERCENTILES = (50.0, 90.0, 95.0, 99.0)
LATENCY_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

DEFINITIONS = {
    "offered": "arrivals in the schedule",
    "answered": "the customer was connected with an agent",
    "abandoned": "the customer's patience ended first and nobody was connected",
    "refused": "the hall said no to the request, or ended the waiting call by a limit of its queue, by name",
    "wait_ms": "intended instant to connected, answered calls, at the customer; ringing included",
    "line_wait_ms": "intended instant to the last reservation, or to giving up without one; answered and abandoned calls",
    "service_level_1s": "answered within 1 s / (answered + abandoned after 1 s); whole run, wait_ms",
    "occupancy_ratio": "(in_call + wrap_up) / (in_call + wrap_up + ready) agent time in the window, at the agents",
    "decision_ms": "intended instant to the reservation at the agent's client, first reservations of calls that found a free "
    "agent (the hall had them wait 0 ms)",
    "lateness_ms": "intended instant to the request being sent: the generator's own",
}


class Percentiles(Struct, frozen=True):
    """Observed values at named ranks; `count` says how much the high ones mean."""

    count: int
    values: dict[str, float]
    max: float


class LineWait(Struct, frozen=True):
    """One call's time in line, and whether an agent's reservation ended it."""

    wait_ms: float
    is_reserved: bool


class Predicted(Struct, frozen=True):
    """One line of the comparison."""

    name: str
    measured: float
    predicted: float


class Measures(Struct, frozen=True, kw_only=True):
    """Everything that is reported of a run."""

    counts: dict[str, int]
    refusals: dict[str, int]
    wait_ms: Percentiles
    line_wait_ms: Percentiles
    decision_ms: Percentiles
    lateness_ms: Percentiles
    service_level_1s: float
    occupancy_ratio: float
    window_ms: tuple[float, float]
    predictions: list[Predicted]


def percentiles(values: Iterable[float], ranks: tuple[float, ...] = PERCENTILES) -> Percentiles:
    """Return the observed values at `ranks` (nearest rank: the smallest with at least that share at or below it)."""
    ordered = sorted(values)
    if not ordered:
        return Percentiles(0, {}, 0.0)
    at = {f"p{rank:g}": ordered[math.ceil(rank / 100 * len(ordered)) - 1] for rank in ranks}
    return Percentiles(len(ordered), at, ordered[-1])


def measure(workload: Workload, arrivals: list[Arrival], records: Records) -> Measures:
    """Return the figures of a run."""
    window = (workload.seconds * 1000 * WARM_UP_RATIO, workload.seconds * 1000.0)
    waits = line_waits(records)
    in_window = [waits[one.number] for one in records.calls if one.number in waits and one.intended_ms >= window[0]]
    refusals: dict[str, int] = {}
    for call in records.calls:
        if call.refused_as:
            refusals[call.refused_as] = refusals.get(call.refused_as, 0) + 1
    occupancy = occupancy_ratio(records.engagements, workload.agents, window)
    return Measures(
        counts=balance(records),
        refusals=refusals,
        wait_ms=percentiles(waits_ms(records)),
        line_wait_ms=percentiles(one.wait_ms for one in waits.values()),
        decision_ms=percentiles(decisions_ms(records), LATENCY_PERCENTILES),
        lateness_ms=percentiles(
            (one.sent_ms - one.intended_ms for one in records.calls if one.sent_ms is not None), LATENCY_PERCENTILES
        ),
        service_level_1s=service_level_ratio(records.calls, SERVICE_LEVEL_MS),
        occupancy_ratio=occupancy,
        window_ms=window,
        predictions=_compare(workload, arrivals, in_window, occupancy),
    )


def waits_ms(records: Records) -> list[float]:
    """`wait_ms` of each answered call."""
    return [one.connected_ms - one.intended_ms for one in records.calls if one.connected_ms is not None]


def line_waits(records: Records) -> dict[int, LineWait]:
    """Arrival number -> how long it was in line, for answered and abandoned calls."""
    reserved_ms: dict[int, float] = {}
    for one in records.engagements:
        reserved_ms[one.number] = max(one.reserved_ms, reserved_ms.get(one.number, 0.0))
    waits: dict[int, LineWait] = {}
    for call in records.calls:
        left_ms = reserved_ms.get(call.number, call.gave_up_ms)
        if call.outcome in ("answered", "abandoned") and left_ms is not None:
            waits[call.number] = LineWait(left_ms - call.intended_ms, call.number in reserved_ms)
    return waits


def decisions_ms(records: Records) -> list[float]:
    """`decision_ms` of each call that found a free agent."""
    intended_ms = {one.number: one.intended_ms for one in records.calls}
    return [
        one.reserved_ms - intended_ms[one.number]
        for one in records.engagements
        if one.attempt == 1 and one.waited_ms == 0 and one.number in intended_ms
    ]


def service_level_ratio(calls: Iterable[CallRecord], within_ms: float) -> float:
    """Answered within / (answered + abandoned after); 1.0 where there is nothing to count."""
    in_time = counted = 0
    for call in calls:
        if call.outcome == "answered" and call.connected_ms is not None:
            counted += 1
            in_time += call.connected_ms - call.intended_ms <= within_ms
        elif call.outcome == "abandoned" and call.gave_up_ms is not None:
            counted += call.gave_up_ms - call.intended_ms > within_ms
    return in_time / counted if counted else 1.0


def occupancy_ratio(engagements: Iterable[Engagement], agents: int, window: tuple[float, float]) -> float:
    """Share of the agents' time in `window` spent in calls and wrap-up; ringing counts on neither side."""
    begin_ms, end_ms = window
    busy_ms = ringing_ms = 0.0
    for one in engagements:
        over_ms = end_ms if one.over_ms is None else one.over_ms
        answered_ms = over_ms if one.accepted_ms is None else one.accepted_ms
        ringing_ms += _overlap(one.reserved_ms, answered_ms, begin_ms, end_ms)
        busy_ms += _overlap(answered_ms, over_ms, begin_ms, end_ms)
    counted_ms = agents * (end_ms - begin_ms) - ringing_ms
    return busy_ms / counted_ms if counted_ms > 0 else 0.0


def _overlap(from_ms: float, to_ms: float, begin_ms: float, end_ms: float) -> float:
    return max(0.0, min(to_ms, end_ms) - max(from_ms, begin_ms))


def pool_of(workload: Workload, arrivals: list[Arrival]) -> Pool:
    """Return the pool, in seconds, that the schedule as drawn means: its own rate and mean hold time, not the planned ones."""
    hold_ms = sum(one.answer_ms + one.talk_ms for one in arrivals) / max(1, len(arrivals)) + workload.wrap_up_ms
    return Pool(
        arrival_rate=max(1, len(arrivals)) / workload.seconds,
        service_rate=1000 / hold_ms,
        agents=workload.agents,
        patience_rate=1000 / workload.patience_ms_mean,
    )


def _compare(workload: Workload, arrivals: list[Arrival], waits: list[LineWait], occupancy: float) -> list[Predicted]:
    pool = pool_of(workload, arrivals)
    prediction = predict(pool)
    count, threshold_s = max(1, len(waits)), SERVICE_LEVEL_MS / 1000
    abandoned = sum(not one.is_reserved for one in waits)
    late = sum(one.wait_ms > SERVICE_LEVEL_MS for one in waits)
    answering_s = sum(one.answer_ms for one in arrivals) / max(1, len(arrivals)) / 1000
    # Ringing holds the agent and is no part of occupancy, on either side of the fraction.
    ringing = prediction.occupancy * answering_s * pool.service_rate
    return [
        Predicted("abandoned in line / offered", abandoned / count, prediction.p_abandon),
        Predicted("mean line_wait_ms", sum(one.wait_ms for one in waits) / count, prediction.wait_mean * 1000),
        Predicted("still in line after 1 s", late / count, p_longer(pool, prediction, threshold_s)),
        Predicted(
            "service level in line, 1 s",
            service_level_in_line(waits, SERVICE_LEVEL_MS),
            service_level(pool, prediction, threshold_s),
        ),
        Predicted("occupancy_ratio", occupancy, (prediction.occupancy - ringing) / (1 - ringing)),
    ]


def service_level_in_line(waits: Iterable[LineWait], within_ms: float) -> float:
    """The service level as the formulas have it: an answer is a reservation, ringing takes no time."""
    in_time = counted = 0
    for one in waits:
        is_in_time = one.wait_ms <= within_ms
        counted += one.is_reserved or not is_in_time
        in_time += one.is_reserved and is_in_time
    return in_time / counted if counted else 1.0
