"""A day of a hall in virtual time through the real engine: who calls, who works, and what is asked of the estimators meanwhile.

Calls follow a real bank's hours (Anonymous Bank 1999), the day's volume times a gamma busyness with shape 27, and for ten
minutes somewhere in the day three times as many come. Talk is lognormal with sigma 0.98, patience lognormal with sigma
1.2 (heavier-tailed than exponential). Agents have one to four skills and work shifts of 8 hours with half an hour's break,
planned for the mean day. Some calls have priority, one queue relaxes its need, some reservations ring out. One random
stream a purpose, so that two days of one seed are the same day.
"""

import math
from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random

from msgspec import Struct

from bench.measuring import SEED, START_MS
from dispatch import commands as cm
from dispatch import events as ev
from dispatch.engine import Engine
from dispatch.estimate import ESTIMATORS, estimated_wait_ms
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation
from dispatch.viewing import place_of
from dispatch.wishes import Wishes

HOUR_MS = 3_600_000
HOURLY_SHARES = (2.61, 5.62, 7.85, 8.96, 7.80, 6.98, 7.34, 7.75, 7.73, 7.40, 5.96, 5.10, 4.15, 3.73, 3.84, 3.47, 2.67)
"""% of a day's calls from 7 h to 24 h, Sunday to Thursday."""
BUSYNESS_SHAPE = 27
CALLS_MEAN = 10_000
BURST_MS = 600_000
BURST_FACTOR = 3
TALK_SIGMA, PATIENCE_SIGMA = 0.98, 1.2
PATIENCE_S_MEAN = 600
WRAP_UP_MS = 30_000
OCCUPANCY_PLANNED = 0.90
SHIFT_HOURS = 8
BREAK_MS = 1_800_000
ANSWER_MS = (2_000, 6_000)
MISSED_RATIO = 0.02
"""Reservations that ring out."""
VIP_RATIO = 0.05
VIP_CREDIT_MS = 60_000
ASK_MS = 60_000
"""A waiting call is asked about when it is queued, and again after every minute."""


class Service(Struct, frozen=True):
    """One queue of the hall."""

    id: str
    share: float
    talk_s_mean: int


SERVICES = (
    Service("cards", 0.38, 240), Service("loans", 0.22, 300), Service("transfers", 0.15, 180), Service("trust", 0.12, 420),
    Service("pensions", 0.08, 240), Service("estates", 0.05, 600),
)  # fmt: skip
RELAXED = "trust"
"""Asks for level 6 first; after a minute whoever has the skill will do."""


class Asked(Struct):
    """What the estimators said to a waiting call at an instant, and in the end how long it really took."""

    at_ms: int
    call_id: str
    queue_id: str
    waited_ms: int
    position: int
    estimates_ms: tuple[int | None, ...]
    """In the order of `ESTIMATORS`."""
    real_ms: int = -1
    """-1: gave up."""


Due = tuple[int, int, cm.Command | str]
"""(at_ms, number, command to give, or the id of a call to ask about)."""


class Day:
    """The engine with its people. `asked` is complete after `run`."""

    def __init__(self, number: int) -> None:
        self.seed = f"{SEED}/{number}"
        self.engine = Engine("bench")
        self.asked: list[Asked] = []
        self.answered_at_ms: dict[str, int] = {}
        self.calls_count = 0
        self._dues: list[Due] = []
        self._number = 0
        self._talk_s = {service.id: service.talk_s_mean for service in SERVICES}
        self._answering = Random(f"{self.seed}/answer")
        self.busyness = Random(f"{self.seed}/busyness").gammavariate(BUSYNESS_SHAPE, 1 / BUSYNESS_SHAPE)

    def run(self) -> None:
        """Let the day pass, and note for each question how long it really took."""
        self._open()
        for at_ms in self._arrivals():
            self._request(at_ms)
        while self._dues:
            at_ms, _, what = heappop(self._dues)
            self._expire_until(at_ms)
            if isinstance(what, str):
                self._ask(what, at_ms)
            elif type(what) is not cm.HangUp or what.reason or self._still_waits(what.call_id):
                self._react(self.engine.step(what, at_ms)[0])
                if type(what) is cm.RequestCall:
                    self._ask(what.call_id, at_ms)
        for asked in self.asked:
            if asked.call_id in self.answered_at_ms:
                asked.real_ms = self.answered_at_ms[asked.call_id] - asked.at_ms

    # -- who is there

    def _open(self) -> None:
        queues = [
            QueuePlan(
                id=service.id, need={service.id: 6 if service.id == RELAXED else 1}, media="external", recording="off",
                wrap_up_ms=WRAP_UP_MS,
                relaxation=[Relaxation(after_ms=60_000, need={service.id: 1})] if service.id == RELAXED else [],
            )
            for service in SERVICES
        ]  # fmt: skip
        agents = list(self._agents())
        self.engine.step(cm.ApplyPlan(Plan(division_id="bench", queues=queues, agents=agents), "bench"), START_MS)

    def _agents(self) -> Iterator[AgentPlan]:
        """Shifts are added to the first hour that is short of people until the mean day's work is covered."""
        dice = Random(f"{SEED}/roster")
        busy_s = sum(one.share * one.talk_s_mean for one in SERVICES) + WRAP_UP_MS / 1_000 + 5
        needed = [CALLS_MEAN * share / 100 * busy_s / 3_600 / OCCUPANCY_PLANNED for share in HOURLY_SHARES]
        present, number = [0] * len(needed), 0
        while short := [hour for hour, count in enumerate(present) if count < needed[hour] - 0.5]:
            first = min(short[0], len(needed) - SHIFT_HOURS)
            for hour in range(first, first + SHIFT_HOURS):
                present[hour] += 1
            yield self._agent(dice, f"a{number}", START_MS + first * HOUR_MS)
            number += 1

    def _agent(self, dice: Random, agent_id: str, begins_at_ms: int) -> AgentPlan:
        weights = [service.share for service in SERVICES]
        skills = {one.id: dice.randint(3, 9) for one in dice.choices(SERVICES, weights, k=dice.choice((1, 2, 2, 3, 4)))}
        begins_at_ms += dice.randrange(600_000)
        break_at_ms = begins_at_ms + dice.randrange(3 * HOUR_MS, 5 * HOUR_MS)
        for at_ms, activity in (
            (begins_at_ms, "ready"), (break_at_ms, "not_ready"), (break_at_ms + BREAK_MS, "ready"),
            (begins_at_ms + SHIFT_HOURS * HOUR_MS, "offline"),
        ):  # fmt: skip
            self._later(at_ms, cm.SetActivity(agent_id, activity, "break" if activity == "not_ready" else ""))
        return AgentPlan(id=agent_id, skills=skills)

    # -- who calls

    def _arrivals(self) -> Iterator[int]:
        dice = Random(f"{self.seed}/arrivals")
        burst_at_ms = START_MS + dice.randrange(2 * HOUR_MS, 14 * HOUR_MS)
        at_ms = float(START_MS)
        end_ms = START_MS + len(HOURLY_SHARES) * HOUR_MS
        most = BURST_FACTOR * max(HOURLY_SHARES)
        per_ms = self.busyness * CALLS_MEAN / 100 / HOUR_MS
        # Thinning (Lewis and Shedler 1979): candidates at the highest rate, kept in proportion to the rate of the instant.
        while (at_ms := at_ms + dice.expovariate(per_ms * most)) < end_ms:
            share = HOURLY_SHARES[int(at_ms - START_MS) // HOUR_MS]
            is_burst = burst_at_ms <= at_ms < burst_at_ms + BURST_MS
            if dice.random() * most < share * (BURST_FACTOR if is_burst else 1):
                yield int(at_ms)

    def _request(self, at_ms: int) -> None:
        self.calls_count += 1
        call_id = f"c{self.calls_count}"
        dice = Random(f"{self.seed}/call/{call_id}")
        (service,) = dice.choices(SERVICES, [one.share for one in SERVICES])
        wishes = Wishes(credit_ms=VIP_CREDIT_MS) if dice.random() < VIP_RATIO else None
        self._later(at_ms, cm.RequestCall(call_id, "of-" + call_id, service.id, wishes=wishes))
        patience_s = dice.lognormvariate(math.log(PATIENCE_S_MEAN) - PATIENCE_SIGMA**2 / 2, PATIENCE_SIGMA)
        self._later(at_ms + int(1_000 * patience_s), cm.HangUp(call_id))

    def _still_waits(self, call_id: str) -> bool:
        """Who is answered, or rings, is patient again."""
        call = self.engine.state.calls.get(call_id)
        return call is not None and call.state == "waiting"

    # -- what happens

    def _later(self, at_ms: int, what: cm.Command | str) -> None:
        self._number += 1
        heappush(self._dues, (at_ms, self._number, what))

    def _expire_until(self, at_ms: int) -> None:
        while (next_ms := self.engine.next_deadline_ms()) is not None and next_ms <= at_ms:
            self._react(self.engine.expire(next_ms)[0])

    def _react(self, events: list[ev.Event]) -> None:
        for event in events:
            if type(event) is ev.CallReserved:
                if self._answering.random() >= MISSED_RATIO:
                    accept = cm.AcceptReservation(event.reservation_id, event.agent_id)
                    self._later(event.at_ms + self._answering.randint(*ANSWER_MS), accept)
            elif type(event) is ev.ReservationAccepted:
                self.answered_at_ms[event.call_id] = event.at_ms
                self._later(event.at_ms + 1_000, cm.ReportConnected(event.call_id))
            elif type(event) is ev.CallConnected:
                queue_id = self.engine.state.calls[event.call_id].queue_id
                mu = math.log(self._talk_s[queue_id]) - TALK_SIGMA**2 / 2
                talk_s = Random(f"{self.seed}/talk/{event.call_id}").lognormvariate(mu, TALK_SIGMA)
                self._later(event.at_ms + int(1_000 * talk_s), cm.HangUp(event.call_id, "done"))
            elif type(event) is ev.AgentActivityChanged and event.reason == "no_answer":
                self._later(event.at_ms + 60_000, cm.SetActivity(event.agent_id, "ready"))

    def _ask(self, call_id: str, at_ms: int) -> None:
        state = self.engine.state
        call = state.calls.get(call_id)
        place = place_of(state, call) if call is not None else None
        if call is None or place is None:
            if call is not None and call.state == "reserved":
                self._later(at_ms + ASK_MS, call_id)
            return
        pace = state.paces[call.queue_id]
        estimates_ms = tuple(estimated_wait_ms(pace, place, name) for name in ESTIMATORS)
        self.asked.append(Asked(at_ms, call_id, call.queue_id, place.waited_ms, place.position, estimates_ms))
        self._later(at_ms + ASK_MS, call_id)
