"""A Python client of the WebSocket protocol: comes back by itself, asks questions that get exactly one answer.

    with Client("http://127.0.0.1:8080", token) as client:
        call = client.ask("call.request", queue_id="loans", is_consented=True)
        for message in client.messages():
            ...

Rules: nothing here knows what a call is. Every question has a deadline, the number of open ones is bounded, and so are the
attempts to connect and the messages that wait to be read. A question keeps its id over reconnects: the server answers a
repeat with the first answer and does nothing twice. Messages come once and in order; the next connection resumes from the
highest event number, and where the server has forgotten, a snapshot comes instead (`session.reset`).

Theory: one thread reads, whoever likes asks. `run` is that thread's work, for callers that have a thread, or a greenlet, of
their own; `with` starts one. Whoever reads too slowly is cut off by the server (4009) and resumes.

Not here: frames (`loadtest/link.py`), what a message means.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from gateway import messages as wire
from gateway.client_messages import FromClient, SessionPong
from gateway.messages_talking import CallHandedOver
from loadtest.link import CONNECT_S, TICK_S, Heard, Link, LinkClosed, LinkLost, new_id

ASK_S = 15.0
ASKS_MAX = 1_000
UNREAD_MAX = 10_000
ATTEMPTS_MAX = 60
"""In a row without a session: with the longest back-off a quarter of an hour."""
BACKOFF_FIRST_S = 0.4
BACKOFF_MAX_S = 15.0
RATE_PAUSE_S = 5.0
SILENT_PINGS_MAX = 2.5
"""Silence of so many ping intervals means that the path is dead."""
FINAL_CODES = {1000: "done", 1009: "malformed", 4000: "malformed", 4001: "not_signed_in", 4002: "token_expired",
               4003: "wrong_role", 4004: "replaced"}  # fmt: skip
"""Close codes after which to come back would be of no use; any other: resume."""
TOO_MANY_CODE = 4008
GREETINGS = (wire.SessionWelcome.TYPE, wire.SessionReset.TYPE, wire.SessionResumed.TYPE)


class Refused(Exception):
    """The server, or the way to it, said no."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """`reason`: one word of the protocol, or `timeout`, `offline`."""
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason
        self.detail = detail


class Message(NamedTuple):
    """What the server said of itself."""

    type: str
    data: dict[str, Any]
    seq: int
    """0: not an event."""


Then = Callable[[dict[str, Any], Refused | None], None]
"""Gets the value of the `ack`, or what was refused."""


class _Ask(NamedTuple):
    type: str
    data: FromClient | dict[str, Any]
    then: Then
    until_s: float


class Client:
    """Somebody's session. `on_message`, where given, gets each message in the reading thread instead of `messages`."""

    def __init__(
        self,
        url: str,
        token: str,
        on_message: Callable[[Heard], None] | None = None,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        self.url = url
        self.resumes_count = 0
        self._token = token
        self._on_message = on_message
        self._attempts_max = attempts_max
        self._link: Link | None = None
        self._seq: int | None = None
        self._asks: dict[str, _Ask] = {}
        self._lock = threading.RLock()
        self._is_online = threading.Event()
        self._is_over = threading.Event()
        self._over: Refused | None = None
        self._leave_at_s = 0.0
        """When to come again through another gateway, of its own accord; 0: not."""
        self._unread: queue.Queue[Heard | None] = queue.Queue(UNREAD_MAX)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Client":
        """Connect; raises Refused where the server does not let us in, or cannot be reached in `ASK_S`."""
        self._thread = threading.Thread(target=self._run_quietly, name="tellerhall-client", daemon=True)
        self._thread.start()
        if not self._is_online.wait(ASK_S):
            self.close()
            raise self._over or Refused("timeout", f"no session at {self.url}")
        if self._over is not None:
            raise self._over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join(ASK_S)

    # -- asking

    def ask(self, type_: str, **data: Any) -> dict[str, Any]:
        """Return the value of the `ack`, over reconnects if need be. Raises Refused."""
        answered = threading.Event()
        answer: list[tuple[dict[str, Any], Refused | None]] = []

        def then(value: dict[str, Any], refused: Refused | None) -> None:
            answer.append((value, refused))
            answered.set()

        self.ask_then(type_, data, then)
        if not answered.wait(ASK_S + CONNECT_S + 2 * TICK_S):
            raise Refused("offline", "nobody reads: see `run`")
        value, refused = answer[0]
        if refused is not None:
            raise refused
        return value

    def ask_then(self, type_: str, data: FromClient | dict[str, Any], then: Then) -> None:
        """Ask, and have the answer later, in the reading thread. Raises Refused where too much is open."""
        ask_id = new_id()
        with self._lock:
            if self._is_over.is_set():
                raise self._over or Refused("offline", "closed")
            if len(self._asks) >= ASKS_MAX:
                raise Refused("offline", "too many open questions")
            self._asks[ask_id] = _Ask(type_, data, then, time.monotonic() + ASK_S)
            link = self._link if self._is_online.is_set() else None
        if link is not None:
            self._say(link, ask_id, type_, data)

    def _say(self, link: Link, ask_id: str, type_: str, data: FromClient | dict[str, Any]) -> None:
        try:
            link.say(type_, data, ask_id)
        except LinkLost:
            pass  # The reader hears of it too, and the question is asked again.

    def _settle(self, ask_id: str, value: dict[str, Any], refused: Refused | None) -> None:
        with self._lock:
            ask = self._asks.pop(ask_id, None)
        if ask is not None:  # A late answer is normal: the deadline has spoken already.
            ask.then(value, refused)

    def _expire(self) -> None:
        """Refuse what was not answered in time; leave a gateway that closes."""
        now_s = time.monotonic()
        if self._leave_at_s and now_s >= self._leave_at_s and self._link is not None:
            self._link.close()
        with self._lock:
            expired = [(ask_id, ask.type) for ask_id, ask in self._asks.items() if ask.until_s < now_s]
        for ask_id, type_ in expired:
            self._settle(ask_id, {}, Refused("timeout", type_))

    # -- hearing

    def messages(self) -> Iterator[Message]:
        """Yield what the server says, but answers and heartbeats, until it is over. Raises Refused where it was ended."""
        while (heard := self._unread.get()) is not None:
            yield Message(heard.type, msgspec.json.decode(heard.data, type=dict[str, Any]), heard.seq)
        if self._over is not None and self._over.reason != "done":
            raise self._over

    def run(self) -> None:
        """Connect and hear until `close`. Raises Refused where the server ends it, LinkLost after too many attempts."""
        failures = 0
        try:
            while not self._is_over.is_set():
                pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
                try:
                    self._hear_all()
                except (LinkLost, OSError, msgspec.MsgspecError) as error:
                    lost = error
                code = lost.code if isinstance(lost, LinkClosed) else 0
                if code in FINAL_CODES and not self._is_over.is_set():
                    raise Refused(FINAL_CODES[code], str(lost))
                failures = 1 if self._is_online.is_set() else failures + 1
                self._is_online.clear()
                if failures >= self._attempts_max and not self._is_over.is_set():
                    raise LinkLost(str(lost)) from lost
                self._pause(pause_s + (RATE_PAUSE_S if code == TOO_MANY_CODE else 0.0))
        except (Refused, LinkLost) as error:
            self._end(error if isinstance(error, Refused) else Refused("offline", str(error)))
            raise
        finally:
            self._end(None)

    def _pause(self, pause_s: float) -> None:
        until_s = time.monotonic() + pause_s
        while (left_s := until_s - time.monotonic()) > 0 and not self._is_over.wait(min(left_s, TICK_S)):
            self._expire()

    def _run_quietly(self) -> None:
        try:
            self.run()
        except (Refused, LinkLost):
            pass  # Kept for whoever asks or reads.

    def _hear_all(self) -> None:
        """One connection, to its end. Raises LinkLost, or what a socket or a decoder raises."""
        link = Link(self.url, self._token, self._expire)
        self._leave_at_s = 0.0
        with self._lock:
            self._link = link
        try:
            link.open(self._seq)
            while True:
                self._take(link, link.hear())
                self._expire()
        finally:
            link.close()

    def _take(self, link: Link, heard: Heard) -> None:
        if heard.re and heard.type == wire.Ack.TYPE:
            self._settle(heard.re, msgspec.json.decode(heard.data, type=wire.Ack).value, None)
            return
        if heard.re and heard.type == wire.Error.TYPE:
            error = msgspec.json.decode(heard.data, type=wire.Error)
            self._settle(heard.re, {}, Refused(error.reason, error.detail))
            return
        if heard.type == wire.SessionPing.TYPE:
            link.say(SessionPong.TYPE, SessionPong())
            return
        if heard.type == wire.SessionGoaway.TYPE:
            # All clients of that gateway spread their return over the time it gives.
            after_ms = msgspec.json.decode(heard.data, type=wire.SessionGoaway).after_ms
            self._leave_at_s = time.monotonic() + random.random() * after_ms / 1000
            return
        if heard.seq:
            if self._seq is not None and heard.seq <= self._seq:
                return  # A repeat after a resume.
            self._seq = heard.seq
        if heard.type == CallHandedOver.TYPE:
            # Another division has other numbers.
            self._seq = msgspec.json.decode(heard.data, type=CallHandedOver).seq or None
        self._tell(heard)
        if heard.type in GREETINGS:
            self._arrive(link, heard)

    def _arrive(self, link: Link, heard: Heard) -> None:
        greeting = msgspec.json.decode(heard.data, type=_Greeting)
        if heard.type != wire.SessionResumed.TYPE:
            self._seq = greeting.seq
        link.limit_silence(greeting.ping_ms * SILENT_PINGS_MAX / 1000)
        if self._is_online.is_set():
            return  # A snapshot within a session: nothing was lost on the way out.
        self.resumes_count += heard.type != wire.SessionWelcome.TYPE
        with self._lock:
            self._is_online.set()
            again = list(self._asks.items())
        for ask_id, ask in again:
            self._say(link, ask_id, ask.type, ask.data)

    def _tell(self, heard: Heard) -> None:
        if self._on_message is not None:
            self._on_message(heard)
            return
        while not self._is_over.is_set():
            try:
                self._unread.put(heard, timeout=1.0)
                return
            except queue.Full:
                continue

    # -- the end

    def close(self) -> None:
        """Leave for good; open questions are refused as `offline`. Harmless when repeated."""
        self._is_over.set()
        with self._lock:
            link = self._link
        if link is not None:
            link.close()

    def _end(self, refused: Refused | None) -> None:
        with self._lock:
            self._over = self._over or refused
            self._is_over.set()
            asks = list(self._asks)
        for ask_id in asks:
            self._settle(ask_id, {}, self._over or Refused("offline", "closed"))
        self._is_online.set()  # Nobody waits any longer; `_over` says why.
        try:
            self._unread.put_nowait(None)
        except queue.Full:
            self._unread.get_nowait()
            self._unread.put_nowait(None)


class _Greeting(msgspec.Struct):
    ping_ms: int
    seq: int = 0
