"""Who may begin a call now: no more at a time than the hall answers in time, so that calls in progress stay well.

Rules: only what begins a call asks here; whatever else is wanted of the hall goes on. Commands are measured. Who cannot
begin at once waits in a short line, one place a client, first come first served, for half a second at most; who finds no place
is refused by name (`overloaded`) with a time that grows with how many were refused. Each division has its own bound: one that
is slow stops no other.

Theory: the number in flight is the one thing that can be held (Little: what waits is rate times latency). Once in a
`WINDOW_S` the best latency of the commands answered since decides, as in CoDel (RFC 8289): a single slow one means nothing, a
window in which not one was quick means that a line stands. Then the bound becomes 0.7 of what was used; where even half the
target was kept it grows by a tenth, as TCP does; between the two it stays (no swinging). So several gateways share a hall
without speaking to each other. A hall that answers nothing at all shows by the age of what is in flight.

Not here: the hall's own bounds (`actors/mailbox.py`), which stay behind these.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from actors.hall import HallUnavailable
from gateway.rates import spread_ms
from gateway.refusals import Refused

WINDOW_S = 0.25
NEWCOMERS_MAX = 256
"""In flight at most, of one division: above it a hall in good order gains nothing, its batches are full."""
NEWCOMERS_MIN = 1
LESS_RATIO = 0.7
MORE_RATIO = 0.1
WAITING_MAX = 64
WAIT_S_MAX = 0.5
RETRY_S_MAX = 30.0
WINDOWS_MAX = 240
"""After a minute without anything the bound is whole again."""

T = TypeVar("T")


class Bound:
    """Of one division. Instants are seconds of the loop's clock."""

    def __init__(self, target_s: float, now_s: float) -> None:
        self._target_s = target_s
        self.limit = float(NEWCOMERS_MAX)
        """How many newcomers may be in flight."""
        self.newcomers_count = 0
        self._most = 0
        self._began_s: OrderedDict[int, float] = OrderedDict()
        """All commands in flight, the oldest first."""
        self._numbers = 0
        self._best_s = math.inf
        self._window_s = now_s
        self._refused_count = 0
        self._admitted_count = 0
        self.waiting: OrderedDict[str, asyncio.Future[None]] = OrderedDict()
        """Client -> the turn it waits for."""

    def begin(self, now_s: float) -> int:
        """A command is on its way; returns its number."""
        self._numbers += 1
        self._began_s[self._numbers] = now_s
        return self._numbers

    def end(self, number: int, now_s: float, is_refused: bool = False) -> None:
        """It was answered. `is_refused`: as `overloaded`, by the hall."""
        took_s = now_s - self._began_s.pop(number)
        if not is_refused:
            self._best_s = min(self._best_s, took_s)
        elif self._best_s == math.inf:
            self._best_s = 2 * self._target_s
        self.adapt(now_s)

    def adapt(self, now_s: float) -> None:
        """Move the bound where a window has ended."""
        windows = min(WINDOWS_MAX, int((now_s - self._window_s) / WINDOW_S))
        if windows < 1:
            return
        oldest_s = now_s - next(iter(self._began_s.values()), now_s)
        latency_s = oldest_s if self._best_s == math.inf else self._best_s
        if latency_s > self._target_s:
            self.limit = max(NEWCOMERS_MIN, LESS_RATIO * min(self.limit, max(self._most, NEWCOMERS_MIN)))
        elif latency_s < self._target_s / 2:
            for _ in range(windows):
                self.limit = min(NEWCOMERS_MAX, self.limit + max(1.0, MORE_RATIO * self.limit))
        self._window_s, self._best_s, self._most = now_s, math.inf, self.newcomers_count
        self._refused_count = self._admitted_count = 0
        self._let_in()

    async def enter(self, client: str, now_s: float) -> None:
        """Return once `client` may begin a call, which `leave` ends; raises `Refused`."""
        self.adapt(now_s)
        if not self.waiting and self.newcomers_count < int(self.limit):
            self._take()
            return
        if len(self.waiting) >= WAITING_MAX or client in self.waiting:
            raise self._refusal()
        turn = self.waiting[client] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({turn}, timeout=WAIT_S_MAX)
        except asyncio.CancelledError:
            if turn.done():
                self.leave()
            else:
                turn.cancel()
                self.waiting.pop(client, None)
            raise
        if not turn.done():
            turn.cancel()
            self.waiting.pop(client, None)
            raise self._refusal()

    def leave(self) -> None:
        """The newcomer's command was answered."""
        self.newcomers_count -= 1
        self._let_in()

    def _take(self) -> None:
        self.newcomers_count += 1
        self._admitted_count += 1
        self._most = max(self._most, self.newcomers_count)

    def _let_in(self) -> None:
        while self.waiting and self.newcomers_count < int(self.limit):
            _, turn = self.waiting.popitem(last=False)
            if not turn.done():
                self._take()
                turn.set_result(None)

    def _refusal(self) -> Refused:
        self._refused_count += 1
        wait_s = min(RETRY_S_MAX, 1 + self._refused_count / max(1, self._admitted_count))
        what = "many ask at once; try again with the same id"
        return Refused("overloaded", what, retry_after_ms=spread_ms(1000 * wait_s))

    def __repr__(self) -> str:
        return f"<Bound limit={self.limit:.0f} newcomers={self.newcomers_count} waiting={len(self.waiting)}>"


class Admission:
    """Of one gateway."""

    def __init__(self, target_ms: int) -> None:
        self._target_s = target_ms / 1000
        self._bounds: dict[str, Bound] = {}
        """Bounded by the hall's divisions: a token for another is refused before."""

    def of(self, division_id: str) -> Bound:
        """The bound of a division."""
        bound = self._bounds.get(division_id)
        if bound is None:
            bound = self._bounds[division_id] = Bound(self._target_s, _now_s())
        return bound

    async def measured(self, division_id: str, work: Awaitable[T]) -> T:
        """Wait for a command and note how long it took."""
        bound, is_refused = self.of(division_id), False
        number = bound.begin(_now_s())
        try:
            return await work
        except HallUnavailable as error:
            is_refused = error.reason == "overloaded"
            raise
        finally:
            bound.end(number, _now_s(), is_refused)

    @asynccontextmanager
    async def newcomer(self, division_id: str, client: str) -> AsyncIterator[None]:
        """Hold a place for one who begins a call; raises `Refused`."""
        bound = self.of(division_id)
        await bound.enter(client, _now_s())
        try:
            yield
        finally:
            bound.leave()

    def __repr__(self) -> str:
        return f"<Admission {self._bounds}>"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
