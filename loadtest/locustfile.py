"""What locust loads: a customer and an agent as users of our own kind, and a shape that lasts as long as the schedule.

Rules: locust gives the processes, the statistics, the CSV files and the HTML page; it decides nothing. Its users are a closed
model, so arrivals come from the schedule and not from its waiting times (CAPACITY.md). `TELLERHALL_LOADTEST_RUN` names the file
that says what to do; `loadtest/cli.py` writes it and reads the records afterwards.

Theory: each user is one person with one connection, which it reads until the run is over. The shape asks for all of them at
once, waits until the floor says that everything is over, and stops the run.

Not here: people (`loadtest/people.py`), the run's course (`loadtest/floor.py`).
"""

import os
from pathlib import Path
from typing import Any, ClassVar

import gevent
import msgspec
from locust import LoadTestShape, User, events, task

from loadtest import records, workload
from loadtest.floor import Floor
from loadtest.people import Agent, Customer, Person
from loadtest.running import RUN_VARIABLE, Run

RUN = msgspec.json.decode(Path(os.environ[RUN_VARIABLE]).read_bytes(), type=Run)
SPAWN_PER_S = 100
"""Connections opened a second: far below a gateway's bound of upgrades."""
FLUSH_S = 0.2
"""Time for what agents say last to leave before the process ends."""


def _count(name: str, milliseconds: float, failure: str) -> None:
    events.request.fire(
        request_type="WS",
        name=name,
        response_time=milliseconds,
        response_length=0,
        exception=RuntimeError(failure) if failure else None,
        context={},
    )


FLOOR = Floor(*workload.read(Path(RUN.schedule_path)), len(RUN.customers) + len(RUN.agents), _count)


class _PersonUser(User):  # type: ignore[misc] # locust has no types
    """A person's life as a locust user; the classes below say whose."""

    abstract = True
    kind: type[Person]
    tokens: ClassVar[list[tuple[str, str]]]

    def on_start(self) -> None:
        person_id, token = self.tokens.pop()
        self.person = self.kind(person_id, RUN.url, token, FLOOR)

    @task  # type: ignore[untyped-decorator]
    def live(self) -> None:
        try:
            self.person.live()
        except Exception as error:
            # A mistake of ours costs one person; locust would log it and nobody would count it.
            FLOOR.fault(f"{self.person.person_id}: {error!r}")
        # Whoever lost the connection stays away until locust ends the run; returning would send the same person in again.
        while True:
            gevent.sleep(1.0)

    def on_stop(self) -> None:
        self.person.leave()


class CustomerUser(_PersonUser):
    fixed_count = len(RUN.customers)
    kind = Customer
    tokens: ClassVar[list[tuple[str, str]]] = list(RUN.customers.items())


class AgentUser(_PersonUser):
    fixed_count = len(RUN.agents)
    kind = Agent
    tokens: ClassVar[list[tuple[str, str]]] = list(RUN.agents.items())


class ScheduleShape(LoadTestShape):  # type: ignore[misc] # locust has no types
    """Everybody, until the schedule has been played."""

    def tick(self) -> tuple[int, float] | None:
        if FLOOR.is_over:
            return None
        return CustomerUser.fixed_count + AgentUser.fixed_count, SPAWN_PER_S


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    gevent.spawn(FLOOR.run)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    gevent.sleep(FLUSH_S)
    records.write(Path(RUN.records_path), FLOOR.records)
