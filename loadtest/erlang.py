"""Exact formulas for one pool of agents: Erlang B, Erlang C, Erlang A and bounded waiting lines, by one birth-death chain.

Rules: rates and times share one unit of the caller's choice. Poisson arrivals, exponential service and patience; a blocked
or impatient call does not come back. Sums run until what is left cannot change the 12th digit, or to `STATES_MAX`.

Theory: in state j the chain is left upwards with the arrival rate and downwards with min(j, n) mu + max(0, j - n) theta
(Palm 1957; Garnett, Mandelbaum, Reiman 2002). Who meets k waiting calls waits for k + 1 departures, a sum S of
independent exponentials with rates c + i theta (c = n mu, i = 0..k); exp(-theta S) is Beta(c/theta, k + 1), so its tail is
a finite sum of positive terms. Without impatience S is an Erlang distribution.

Not here: how many agents are needed (a planner's question), the simulator.
"""

import math
from collections.abc import Iterator

from msgspec import Struct

STATES_MAX = 1_000_000
NEGLIGIBLE = 1e-16


class Pool(Struct, frozen=True):
    """One pool of agents in steady state."""

    arrival_rate: float
    service_rate: float
    agents: int
    patience_rate: float = 0.0
    """1 / mean patience; 0: nobody gives up, and the load must be less than the agents."""
    line_max: int | None = None
    """Calls that may wait; None: any number."""


class Prediction(Struct, frozen=True):
    """Steady state of a pool. Probabilities are of all arrivals; times include those who did not wait."""

    p_wait: float
    """An arrival finds all agents busy and is admitted."""
    p_abandon: float
    p_block: float
    wait_mean: float
    """Time in line of admitted arrivals, whether answered or not."""
    line_mean: float
    occupancy: float
    p_line: list[float]
    """p_line[k]: an arrival finds all agents busy and k calls waiting, and is admitted."""


def erlang_b(agents: int, load: float) -> float:
    """Return the share of blocked calls with no waiting line. O(agents)."""
    blocked = 1.0
    for count in range(1, agents + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def erlang_c(agents: int, load: float) -> float:
    """Return the share of calls that wait, nobody giving up; 1.0 where the load is not less than the agents."""
    if load >= agents:
        return 1.0
    blocked = erlang_b(agents, load)
    return blocked / (1 - load / agents * (1 - blocked))


def predict(pool: Pool) -> Prediction:
    """Return the steady state; raises ValueError where there is none."""
    if not pool.patience_rate and pool.line_max is None and pool.arrival_rate >= pool.agents * pool.service_rate:
        raise ValueError("nobody gives up and the load is not less than the agents: the line grows without end")
    waiting = list(_weights_of_line(pool))
    busy_weight = waiting[0]
    # Weights relative to the state "all agents busy, nobody waits"; below it they follow from Erlang B.
    total = busy_weight / erlang_b(pool.agents, pool.arrival_rate / pool.service_rate) + sum(waiting[1:])
    is_bounded = pool.line_max is not None
    p_block = waiting[-1] / total if is_bounded else 0.0
    admitted = waiting[:-1] if is_bounded else waiting
    line_mean = sum(k * weight for k, weight in enumerate(waiting)) / total
    p_abandon = pool.patience_rate * line_mean / pool.arrival_rate
    served_rate = pool.arrival_rate * (1 - p_block - p_abandon)
    return Prediction(
        p_wait=sum(admitted) / total,
        p_abandon=p_abandon,
        p_block=p_block,
        wait_mean=line_mean / (pool.arrival_rate * (1 - p_block)),
        line_mean=line_mean,
        occupancy=served_rate / (pool.agents * pool.service_rate),
        p_line=[weight / total for weight in admitted],
    )


def _weights_of_line(pool: Pool) -> Iterator[float]:
    """Yield the weight of "all busy, k wait" for k = 0, 1, ...; the first is 1."""
    weight, largest = 1.0, 1.0
    for k in range(STATES_MAX):
        yield weight
        if k == pool.line_max:
            return
        weight *= pool.arrival_rate / (pool.agents * pool.service_rate + (k + 1) * pool.patience_rate)
        largest = max(largest, weight)
        if weight < NEGLIGIBLE * largest:
            return


def p_longer(pool: Pool, prediction: Prediction, time: float) -> float:
    """Return the share of arrivals that are still in line after `time`, neither answered nor gone."""
    tails = _tails(pool.agents * pool.service_rate, pool.patience_rate, time)
    waiting = sum(p * tail for p, tail in zip(prediction.p_line, tails, strict=False))
    return waiting * math.exp(-pool.patience_rate * time)


def p_answered_within(pool: Pool, prediction: Prediction, time: float) -> float:
    """Return the share of arrivals that an agent answers after at most `time` in line."""
    rate, theta = pool.agents * pool.service_rate, pool.patience_rate
    at_once = 1 - prediction.p_block - prediction.p_wait
    # E[exp(-theta S); S <= t] by a change of measure: each rate grows by theta, with weight c / (c + (k + 1) theta).
    tails = _tails(rate + theta, theta, time)
    later = sum(
        p * rate / (rate + (k + 1) * theta) * (1 - tail)
        for k, (p, tail) in enumerate(zip(prediction.p_line, tails, strict=False))
    )
    return at_once + later


def service_level(pool: Pool, prediction: Prediction, time: float) -> float:
    """Return answered within `time` / (answered + abandoned after `time`), this project's one definition."""
    answered_in_time = p_answered_within(pool, prediction, time)
    answered = 1 - prediction.p_block - prediction.p_abandon
    # Still in line after `time`: answered later or abandoned after it.
    abandoned_later = p_longer(pool, prediction, time) - (answered - answered_in_time)
    return answered_in_time / (answered + abandoned_later)


def _tails(rate: float, theta: float, time: float) -> Iterator[float]:
    """Yield P(S > time) for S = the sum of k + 1 exponentials with rates `rate` + i `theta`, k = 0, 1, ..."""
    tail = 0.0
    # Logarithms: the first terms of a large pool are too small for a float, the sum of all is not.
    log_term = -rate * time
    gone = -math.expm1(-theta * time)
    for k in range(STATES_MAX):
        tail += math.exp(log_term)
        yield min(1.0, tail)
        factor = gone * (rate / theta + k) if theta else rate * time
        if not factor:
            log_term = -math.inf
        else:
            log_term += math.log(factor / (k + 1))
