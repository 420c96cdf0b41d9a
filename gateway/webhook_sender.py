"""Sends one endpoint its events: signed, retried, in order per call, and never past what is not settled.

Rules
- Events come from the archive in order. Of one call one is under way at a time, and the next only once it is settled: delivered
  (a 2xx), or kept as a dead letter. Calls do not wait for each other.
- The place that is kept durably is before the oldest event that is not settled. A restart, or a kill, begins there: some events
  come twice, under the same id, and none is left out.
- An event is given up when it is older than `give_up_after_ms` and was tried `ATTEMPTS_MIN` times in this run, not before.
- An endpoint that fails again and again is asked with one request at a time; the first success lets all go on.
- Redirects are failures: where the bytes go was checked for this URL alone.

Bounds: `OUTSTANDING_MAX` events in memory, `SPAN_MAX` events from the oldest unsettled one to the newest read (what a restart
may repeat), `FLIGHTS_MAX` requests at once, `timeout_ms` each, `ANSWER_BYTES_MAX` read of an answer that nobody needs.

Not here: which endpoints there are (`gateway/webhook_part`), what is sent (`gateway/webhook_events`).
"""

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import aiohttp
import structlog
from msgspec import Struct

from actors.archive_reading import Placed, Position
from actors.history_items import EventsPage
from actors.items import HallUnavailable
from actors.store_client import StoreUnavailable
from actors.webhook_book import DeadLetter, Endpoint, Progress, WebhookBook
from gateway.webhook_events import CONTENT_TYPE, cloud_event, encoded
from gateway.webhook_signing import signed_headers
from gateway.webhook_urls import UrlRules, url_problem

OUTSTANDING_MAX = 1_000
SPAN_MAX = 20_000
FLIGHTS_MAX = 8
PAGE = 500
POLL_S = 0.5
"""As the follower: nothing is archived sooner."""
SAVE_S = 0.5
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
JITTER = 0.2
ATTEMPTS_MIN = 3
FAILING_COUNT = 10
"""Failures in a row after which an endpoint counts as down."""
ANSWER_BYTES_MAX = 1_024
USER_AGENT = "Tellerhall-Webhooks/1"

ReadEvents = Callable[[Position, int], Awaitable[EventsPage]]
"""The next events after a position, at most so many. May raise HallUnavailable; then it is asked again."""

log = structlog.get_logger("gateway.webhooks")


class SendingSettings(Struct, frozen=True):
    """How hard is tried."""

    timeout_ms: int = 10_000
    give_up_after_ms: int = 86_400_000
    backoff_first_s: float = BACKOFF_FIRST_S
    backoff_max_s: float = BACKOFF_MAX_S


class Letter:
    """One event on its way."""

    __slots__ = ("at_ms", "attempts", "before", "body", "call_id", "dead", "event_id", "position", "type")

    def __init__(self, placed: Placed, before: Position, body: bytes, event_id: str, type_: str, call_id: str) -> None:
        self.position = placed.position
        self.before = before
        """What was read before it: where a restart begins if this one is the oldest."""
        self.at_ms = placed.event.at_ms
        self.body = body
        self.event_id = event_id
        self.type = type_
        self.call_id = call_id
        self.attempts = 0
        self.dead: DeadLetter | None = None
        """Where it stands in the book, when it was given up before."""


class EndpointSender:
    """Of one endpoint. Use: `run` in a task; cancel it to end. `endpoint` may be replaced meanwhile."""

    def __init__(
        self,
        endpoint: Endpoint,
        progress: Progress,
        read: ReadEvents,
        book: WebhookBook,
        http: aiohttp.ClientSession,
        rules: UrlRules,
        settings: SendingSettings,
    ) -> None:
        self.endpoint = endpoint
        self.progress = progress
        self._read = read
        self._book = book
        self._http = http
        self._rules = rules
        self._settings = settings
        self._head = progress.position
        """Read up to here."""
        self._head_index = 0
        self._outstanding: dict[Position, tuple[Letter, int]] = {}
        """In the order in which they were read, with the count of what had been read."""
        self._lanes: dict[str, deque[Letter]] = {}
        """Call -> its letters; the first is under way or waits for its next attempt."""
        self._due: list[tuple[float, int, str]] = []
        """Heap of (when, order, call)."""
        self._order = 0
        self._flights: set[asyncio.Task[None]] = set()
        self._failures_in_row = 0
        self._wake = asyncio.Event()
        self._is_changed = False
        self._saved_at_s = self._read_at_s = 0.0
        self._is_reading_on = True
        """The last page was full."""

    def __repr__(self) -> str:
        waiting = f"waiting={len(self._outstanding)} calls={len(self._lanes)} flights={len(self._flights)}"
        return f"<EndpointSender {self.endpoint.id} {waiting}>"

    async def run(self) -> None:
        """Send until cancelled; troubles of hall and store are waited out."""
        try:
            while True:
                try:
                    await self._maybe_fill()
                    await self._maybe_save()
                except (HallUnavailable, StoreUnavailable) as error:
                    log.warning("webhook.waits", endpoint_id=self.endpoint.id, reason=error.reason)
                    await asyncio.sleep(POLL_S)
                self._launch()
                await self._pause()
        finally:
            for flight in self._flights:
                flight.cancel()
            await asyncio.gather(*self._flights, return_exceptions=True)

    async def save(self) -> None:
        """Keep how far this is. Raises StoreUnavailable."""
        oldest = next(iter(self._outstanding.values()), None)
        self.progress.position = oldest[0].before if oldest is not None else self._head
        self.progress.waiting_count = len(self._outstanding)
        self._is_changed = False
        self._saved_at_s = asyncio.get_running_loop().time()
        await self._book.save(self.endpoint.id, self.progress)

    async def send_again(self, letters: list[tuple[Placed, DeadLetter]]) -> None:
        """Take dead letters in; each goes behind what its call has on its way."""
        for placed, dead in letters:
            if placed.position not in self._outstanding:
                self._take(placed, self._head, dead)
        self._wake.set()

    # -- reading

    async def _maybe_fill(self) -> None:
        """Read a page, if it is time and there is room."""
        now_s = asyncio.get_running_loop().time()
        if not self.endpoint.is_enabled or not self._has_room():
            return
        if not self._is_reading_on and now_s - self._read_at_s < POLL_S:
            return
        self._read_at_s = now_s
        self._is_reading_on = False
        page = await self._read(self._head, PAGE)
        for placed in page.events:
            self._take(placed, self._head, None)
            self._head = placed.position
        self._is_reading_on = len(page.events) == PAGE
        self._is_changed |= bool(page.events)

    def _has_room(self) -> bool:
        oldest = next(iter(self._outstanding.values()), None)
        is_spread = oldest is not None and self._head_index - oldest[1] + PAGE > SPAN_MAX
        return len(self._outstanding) <= OUTSTANDING_MAX - PAGE and not is_spread

    def _take(self, placed: Placed, before: Position, dead: DeadLetter | None) -> None:
        self._head_index += 1
        event = cloud_event(self.endpoint.division_id, placed)
        if event is None or not self.endpoint.wants(event.type):
            return
        letter = Letter(placed, before, encoded(event), event.id, event.type, event.subject)
        letter.dead = dead
        self._outstanding[letter.position] = (letter, self._head_index)
        lane = self._lanes.setdefault(letter.call_id, deque())
        lane.append(letter)
        if len(lane) == 1:
            self._schedule(letter.call_id, 0.0)

    # -- sending

    def _schedule(self, call_id: str, in_s: float) -> None:
        self._order += 1
        heapq.heappush(self._due, (asyncio.get_running_loop().time() + in_s, self._order, call_id))
        self._wake.set()

    def _launch(self) -> None:
        """Begin what is due, within the bound."""
        now_s = asyncio.get_running_loop().time()
        while self._may_fly() and self._due and self._due[0][0] <= now_s:
            _, _, call_id = heapq.heappop(self._due)
            flight = asyncio.create_task(self._fly(self._lanes[call_id][0]))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _may_fly(self) -> bool:
        bound = 1 if self._failures_in_row >= FAILING_COUNT else FLIGHTS_MAX
        return self.endpoint.is_enabled and len(self._flights) < bound

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        self._flights.discard(flight)
        self._wake.set()
        if not flight.cancelled() and (error := flight.exception()) is not None:
            log.error("webhook.flight_failed", endpoint_id=self.endpoint.id, error=type(error).__name__)

    async def _fly(self, letter: Letter) -> None:
        """One attempt, and what follows from it."""
        letter.attempts += 1
        failure, wait_s = await self._attempt(letter)
        self._is_changed = True
        now_ms = time.time_ns() // 1_000_000
        if not failure:
            self._succeeded(now_ms)
            await self._settle(letter, None)
            return
        self._failures_in_row += 1
        self.progress.failed_count += 1
        self.progress.last_failure = failure
        self.progress.failing_since_ms = self.progress.failing_since_ms or now_ms
        is_old = now_ms - letter.at_ms > self._settings.give_up_after_ms
        if (is_old or letter.dead is not None) and letter.attempts >= ATTEMPTS_MIN:
            await self._settle(letter, failure)
            return
        backoff_s = min(self._settings.backoff_max_s, self._settings.backoff_first_s * 2 ** (letter.attempts - 1))
        wait_s = min(max(wait_s, backoff_s), self._settings.backoff_max_s)
        self._schedule(letter.call_id, wait_s * random.uniform(1 - JITTER, 1 + JITTER))

    def _succeeded(self, now_ms: int) -> None:
        self.progress.delivered_count += 1
        self.progress.delivered_at_ms = now_ms
        self.progress.failing_since_ms = 0
        was_down, self._failures_in_row = self._failures_in_row >= FAILING_COUNT, 0
        if was_down:
            now_s = asyncio.get_running_loop().time()
            self._due = [(min(at_s, now_s), order, call_id) for at_s, order, call_id in self._due]
            heapq.heapify(self._due)

    async def _settle(self, letter: Letter, failure: str | None) -> None:
        """Delivered, or given up: what is to be kept of that is kept before the call's next letter goes."""
        while True:
            try:
                await self._note(letter, failure)
                break
            except StoreUnavailable as error:
                # The letter stays unsettled meanwhile, and nothing of its call passes it.
                log.warning("webhook.not_noted", endpoint_id=self.endpoint.id, reason=error.reason)
                await asyncio.sleep(POLL_S)
        del self._outstanding[letter.position]
        lane = self._lanes[letter.call_id]
        lane.popleft()
        if lane:
            self._schedule(letter.call_id, 0.0)
        else:
            del self._lanes[letter.call_id]

    async def _note(self, letter: Letter, failure: str | None) -> None:
        if failure is None:
            await self._book.unbury(self.endpoint.id, [letter.dead] if letter.dead is not None else [])
            return
        batch, place = letter.position
        now_ms = time.time_ns() // 1_000_000
        dead = DeadLetter(batch, place, letter.event_id, letter.type, letter.call_id, now_ms, failure)
        self.progress.dropped_count += await self._book.bury(self.endpoint.id, dead)
        self.progress.given_up_count += 1
        log.error("webhook.given_up", endpoint_id=self.endpoint.id, event_id=letter.event_id, reason=failure)

    async def _attempt(self, letter: Letter) -> tuple[str, float]:
        """Send once. Returns what went wrong, empty for nothing, and how long the receiver asks to wait."""
        problem = url_problem(self.endpoint.url, self._rules)
        if problem:
            return f"not sent: {problem}", 0.0
        now_ms = time.time_ns() // 1_000_000
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": USER_AGENT,
            **signed_headers(self.endpoint.secrets, letter.event_id, now_ms, letter.body),
        }
        try:
            async with asyncio.timeout(self._settings.timeout_ms / 1_000):
                async with self._http.post(
                    self.endpoint.url, data=letter.body, headers=headers, allow_redirects=False
                ) as answer:
                    await answer.content.read(ANSWER_BYTES_MAX)
                    if 200 <= answer.status < 300:
                        return "", 0.0
                    return f"status {answer.status}", _retry_after_s(answer.headers.get("Retry-After", ""))
        except TimeoutError:
            return f"no answer within {self._settings.timeout_ms} ms", 0.0
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}"[:200], 0.0

    # -- by the clock

    async def _maybe_save(self) -> None:
        if self._is_changed and asyncio.get_running_loop().time() - self._saved_at_s >= SAVE_S:
            await self.save()

    async def _pause(self) -> None:
        """Wait until something is to be done."""
        at_most_s = 0.0 if self._is_reading_on and self._has_room() and self.endpoint.is_enabled else POLL_S
        if self._due and self._may_fly():
            at_most_s = min(at_most_s, max(0.0, self._due[0][0] - asyncio.get_running_loop().time()))
        self._wake.clear()
        try:
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()
        except TimeoutError:
            pass


def _retry_after_s(text: str) -> float:
    """Read a Retry-After; 0 where there is none that can be read."""
    try:
        return max(0.0, float(text)) if not text or text.strip().isdigit() else _seconds_until(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _seconds_until(text: str) -> float:
    return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
