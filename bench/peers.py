"""The peers of the engine's benchmark: the same queue as a simpy and as a ciw model, written the way their manuals do.

One line, some agents, first come first served, a customer's whole way: arrive, wait, be served, leave. Both get the draws that
the engine gets, made beforehand, so all three live the very same day and must find the same mean wait. They know one need, one
strategy and two events a customer; no reservation, no answer, no journal.
"""

from collections.abc import Generator
from typing import Any

import ciw
import simpy
from ciw.dists import Distribution
from msgspec import Struct


class Day(Struct, frozen=True):
    """What happens to a queue, in seconds: who comes when, and how long each of them is served."""

    gaps_s: list[float]
    """Before each arrival, since the one before."""
    services_s: list[float]
    agents_count: int


def serve_with_simpy(day: Day) -> float:
    """Return the mean wait in seconds."""
    env = simpy.Environment()
    agents = simpy.Resource(env, day.agents_count)
    waits: list[float] = []

    def customer(service_s: float) -> Generator[simpy.Event, Any, None]:
        arrived_s = env.now
        with agents.request() as asked:
            yield asked
            waits.append(env.now - arrived_s)
            yield env.timeout(service_s)

    def arrivals() -> Generator[simpy.Event, Any, None]:
        for gap_s, service_s in zip(day.gaps_s, day.services_s, strict=True):
            yield env.timeout(gap_s)
            env.process(customer(service_s))

    env.process(arrivals())
    env.run()
    return sum(waits) / len(waits)


class _Drawn(Distribution):  # type: ignore[misc]
    """Draws made beforehand; after the last of them nothing more happens."""

    def __init__(self, values: list[float]) -> None:
        self._values = iter(values)

    def sample(self, t: float | None = None, ind: object = None) -> float:
        return next(self._values, float("inf"))


def serve_with_ciw(day: Day) -> float:
    """Return the mean wait in seconds."""
    network = ciw.create_network(
        arrival_distributions=[_Drawn(day.gaps_s)],
        service_distributions=[_Drawn(day.services_s)],
        number_of_servers=[day.agents_count],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(day.gaps_s), method="Finish")
    records = simulation.get_all_records()
    return float(sum(record.waiting_time for record in records) / len(records))
