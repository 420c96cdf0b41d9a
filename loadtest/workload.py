"""The schedule of a load test: who calls when, how patient they are and how long they talk, all fixed before the first call.

Rules: an open model. Arrivals come at their instants whatever the hall does (CAPACITY.md). One random stream a purpose,
keyed by the call's number, so that two runs with one seed meet identical customers even where one draws more than the other.

Theory: the day of a bank is scaled down to a minute. Talk is lognormal with sigma 0.98 as measured in a real bank,
cut at `TALK_MEANS_MAX` means so that the drain after the last arrival has a bound; patience is exponential, because the
Erlang A model beside the measured values assumes it. The arrival rate follows from the occupancy that is wished for.

File format, version 1, JSON lines: first the `Workload`, then one `Arrival` a line in order of `at_ms`. The simulator can
read the same file.

Not here: who plays the schedule (`loadtest/people.py`), what is measured (`loadtest/measures.py`).
"""

import hashlib
import math
import random
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

VERSION = 1
TALK_SIGMA = 0.98
"""Anonymous Bank 1999 (CAPACITY.md)."""
TALK_MEANS_MAX = 5.0
TALK_MS_MIN = 50
ANSWER_MS_MIN, ANSWER_MS_MAX = 50, 150
"""How long a virtual agent lets it ring: short, since it holds the agent and is no part of the hall's work."""
AGENT_ENDS_RATIO = 0.25
"""Share of the calls that the agent hangs up, so that both ways are walked."""


class Arrival(Struct, frozen=True):
    """One customer's wish. All durations are whole milliseconds."""

    number: int
    at_ms: int
    queue_id: str
    patience_ms: int
    answer_ms: int
    talk_ms: int
    ends: Literal["customer", "agent"]

    @property
    def reference(self) -> str:
        """The business reference under which both sides find the arrival again."""
        return f"load-{self.number}"


class Workload(Struct, frozen=True, kw_only=True):
    """What the schedule is drawn from."""

    version: int = VERSION
    seed: int
    seconds: int
    agents: int
    queue_ids: list[str]
    occupancy_ratio: float = 0.87
    talk_ms_mean: int = 4_000
    patience_ms_mean: int = 5_000
    wrap_up_ms: int = 1_000

    @property
    def talk_ms_max(self) -> int:
        return int(self.talk_ms_mean * TALK_MEANS_MAX)

    @property
    def hold_ms_mean(self) -> float:
        """How long a call occupies its agent on average: ringing, talk (as cut) and wrap-up."""
        return (ANSWER_MS_MIN + ANSWER_MS_MAX) / 2 + _mean_of_cut_lognormal(self) + self.wrap_up_ms

    @property
    def arrivals_per_s(self) -> float:
        """The rate at which the agents are busy for `occupancy_ratio` of their time."""
        return self.occupancy_ratio * self.agents * 1000 / self.hold_ms_mean


def _mean_of_cut_lognormal(workload: Workload) -> float:
    """E[min(X, c)] of the lognormal X with mean m: m Phi(s - d) + c (1 - Phi(d)) moved to the cut's terms."""
    mean, cut = workload.talk_ms_mean, workload.talk_ms_max
    mu = math.log(mean) - TALK_SIGMA**2 / 2
    distance = (math.log(cut) - mu) / TALK_SIGMA
    return mean * _phi(distance - TALK_SIGMA) + cut * _phi(-distance)


def _phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def schedule(workload: Workload) -> list[Arrival]:
    """Return the arrivals of `workload`, sorted by `at_ms`; equal workloads have equal schedules, on any machine."""
    gaps = random.Random(f"{workload.seed}/gap")
    rate_per_ms = workload.arrivals_per_s / 1000
    arrivals: list[Arrival] = []
    at_ms = gaps.expovariate(rate_per_ms)
    while at_ms < workload.seconds * 1000:
        arrivals.append(_arrival(workload, len(arrivals), int(at_ms)))
        at_ms += gaps.expovariate(rate_per_ms)
    return arrivals


def _arrival(workload: Workload, number: int, at_ms: int) -> Arrival:
    def chance(purpose: str) -> random.Random:
        return random.Random(f"{workload.seed}/{purpose}/{number}")

    mu = math.log(workload.talk_ms_mean) - TALK_SIGMA**2 / 2
    talk_ms = int(chance("talk").lognormvariate(mu, TALK_SIGMA))
    return Arrival(
        number=number,
        at_ms=at_ms,
        queue_id=chance("queue").choice(workload.queue_ids),
        patience_ms=int(chance("patience").expovariate(1 / workload.patience_ms_mean)),
        answer_ms=chance("answer").randint(ANSWER_MS_MIN, ANSWER_MS_MAX),
        talk_ms=max(TALK_MS_MIN, min(workload.talk_ms_max, talk_ms)),
        ends="agent" if chance("ends").random() < AGENT_ENDS_RATIO else "customer",
    )


def write(path: Path, workload: Workload, arrivals: list[Arrival]) -> str:
    """Write the schedule file and return its SHA-256."""
    content = msgspec.json.Encoder().encode_lines([workload, *arrivals])
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> tuple[Workload, list[Arrival]]:
    """Read a schedule file; raises msgspec.ValidationError or ValueError where it is none of ours."""
    first, *rest = path.read_bytes().splitlines()
    workload = msgspec.json.decode(first, type=Workload)
    if workload.version != VERSION:
        raise ValueError(f"{path}: version {workload.version} is not {VERSION}")
    arrival = msgspec.json.Decoder(Arrival)
    return workload, [arrival.decode(line) for line in rest]
