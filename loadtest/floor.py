"""The meeting place of one run: who has arrived, which customer is free for the next call, when everything is over.

Rules: arrivals are fired at their intended instants, whatever the hall does. A call goes to the customer who has been free the
longest; with none free it waits here for the first who is, and that time counts as the generator's own lateness. All
of this runs in one process and one thread; between two waits nothing else happens.

Not here: what a person does with a call (`loadtest/people.py`).
"""

import gc
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import gevent

from loadtest.records import CallRecord, Engagement, Records
from loadtest.workload import Arrival, Workload

ARRIVE_S_MAX = 60.0
"""Until when all connections must stand."""
HEAD_START_S = 1.0
"""Between the last connection and the run's start: what connecting left to do is then done."""
DRAIN_S_EXTRA = 20.0
"""Beyond the longest patience and talk: what is live then is not going to end."""
LOOK_S = 0.1

CountRequest = Callable[[str, float, str], None]
"""Name, milliseconds, failure (empty: none): for locust's own statistics."""


class Free(Protocol):
    """A customer who can take a call."""

    def begin(self, arrival: Arrival, record: CallRecord) -> None: ...


class Floor:
    """One run."""

    def __init__(self, workload: Workload, arrivals: list[Arrival], expected: int, count: CountRequest) -> None:
        self.count = count
        self.records = Records(calls=[CallRecord(one.number, one.queue_id, one.at_ms) for one in arrivals])
        self.is_over = False
        self.wrap_up_ms = workload.wrap_up_ms
        self._workload = workload
        self._arrivals = arrivals
        self._arrival_by_reference = {one.reference: one for one in arrivals}
        self._expected = expected
        self._present = 0
        self._free: deque[Free] = deque()
        self._due: deque[Arrival] = deque()
        self._open_calls = len(arrivals)
        self._open_engagements = 0
        self._start_s = time.perf_counter()

    @property
    def now_ms(self) -> float:
        """Milliseconds since the start of the run."""
        return (time.perf_counter() - self._start_s) * 1000

    def fault(self, text: str) -> None:
        """Note what should not have happened to a client."""
        self.records.faults.append(text)

    # -- persons

    def enter(self) -> None:
        """Somebody's connection stands, and they can do their work."""
        self._present += 1

    def become_free(self, customer: Free) -> None:
        """The customer can take a call: one that is due already, or a later one."""
        if self._due:
            self._hand(self._due.popleft(), customer)
        else:
            self._free.append(customer)

    def call_over(self, customer: Free) -> None:
        """The customer's call came to its end, whichever."""
        self._open_calls -= 1
        self.become_free(customer)

    def arrival(self, reference: str) -> Arrival | None:
        """Return the arrival with this business reference; None for a call that is not of this run."""
        return self._arrival_by_reference.get(reference)

    def engage(self, engagement: Engagement) -> None:
        self.records.engagements.append(engagement)
        self._open_engagements += 1

    def disengage(self) -> None:
        self._open_engagements -= 1

    # -- the run

    def run(self) -> None:
        """Wait for everybody, play the schedule, wait for the last call; each in bounded time."""
        if self._wait(lambda: self._present >= self._expected, ARRIVE_S_MAX):
            gevent.sleep(HEAD_START_S)
            self._tune()
            self._start_s = time.perf_counter()
            self.records.started_at_ms = int(time.time() * 1000)
            self._play()
            patience_ms_max = max((one.patience_ms for one in self._arrivals), default=0)
            drain_s = (patience_ms_max + self._workload.talk_ms_max + self.wrap_up_ms) / 1000 + DRAIN_S_EXTRA
            self._wait(lambda: not self._open_calls and not self._open_engagements, drain_s)
        else:
            self.fault(f"only {self._present} of {self._expected} clients were connected after {ARRIVE_S_MAX:.0f} s")
        self.is_over = True

    def _play(self) -> None:
        for arrival in self._arrivals:
            gevent.sleep(max(0.0, (arrival.at_ms - self.now_ms) / 1000))
            if self._free:
                self._hand(arrival, self._free.popleft())
            else:
                self._due.append(arrival)

    def _hand(self, arrival: Arrival, customer: Free) -> None:
        customer.begin(arrival, self.records.calls[arrival.number])

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> bool:
        until_s = time.perf_counter() + seconds
        while not is_so():
            if time.perf_counter() > until_s:
                return False
            gevent.sleep(LOOK_S)
        return True

    @staticmethod
    def _tune() -> None:
        """What stands now stays: without this the collector stops the generator for tens of ms (GATEWAY.md, Scale)."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 1_000)
