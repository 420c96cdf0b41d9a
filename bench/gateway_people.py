"""What the clients of `bench/gateway.py` do: agents who answer at once, customers who talk, customers who wait.

Open model: each instant of a seeded Poisson schedule ends one call that talks and begins another, by a customer who has none;
the request carries its intended instant as business reference, so whoever gets the reservation, in whatever process, knows how
long it took. Lateness is the generator's own: from the intended instant until the request was written.

Not here: bytes and connections (`gateway_wire.py`), the processes (`gateway_crowd.py`).
"""

import random
import time
from array import array
from collections import Counter, deque
from typing import Any

import msgspec

from bench.gateway_wire import Peer, Wire

IDLE, ASKING, TALKING, ENDING = range(4)
TALK_QUEUE, LINE_QUEUE = "talk", "line"
CONNECT_EVERY_S = 0.02
OPENING_MAX = 300
"""Connections of one process that wait for their greeting, while it fills up."""


class _Reservation(msgspec.Struct):
    reservation_id: str
    call_id: str
    business_reference: str


class _Envelope(msgspec.Struct):
    data: _Reservation


class _Id(msgspec.Struct):
    call_id: str = ""
    reason: str = ""
    retry_after_ms: int = 0


class _IdEnvelope(msgspec.Struct):
    data: _Id


_reservation = msgspec.json.Decoder(_Envelope)
_id = msgspec.json.Decoder(_IdEnvelope)


class People:
    """All people of one process. `talkers`: how many of the customers may be in a call at once."""

    def __init__(self, wire: Wire, seed: int) -> None:
        self.wire = wire
        wire._on_event = self.hear
        self._chance = random.Random(seed)
        self.agents: list[Peer] = []
        self.customers: list[Peer] = []
        self.waiters: list[Peer] = []
        self.idle: deque[Peer] = deque()
        self.talking: list[Peer] = []
        self.in_line: list[Peer] = []
        self.requests_count = 0
        self.established_count = 0
        self.ended_count = 0
        self.put_off_count = 0
        """Requests that were refused as `overloaded` while everybody came, and were made again."""
        self.failures: Counter[str] = Counter()
        self.kinds: Counter[bytes] = Counter()
        self.latency_ms: list[float] = []
        self.lateness_ms: list[float] = []
        self.push_ms = array("i")
        self.asked_s: dict[int, float] = {}
        """Requests whose call is not connected yet: id of the customer -> when it was to come."""
        self._earlier: set[int] = set()
        """Those who asked before the counts began anew; what becomes of them belongs to what was."""
        self.load_until_s = 0.0
        self._churn_rate = 0.0
        self.is_measured = False

    def reset(self) -> None:
        """Count anew from now on."""
        self.latency_ms, self.lateness_ms, self.push_ms = [], [], array("i")
        self._earlier = set(self.asked_s)
        self.requests_count = self.established_count = self.ended_count = 0
        self.kinds.clear()
        self.wire.greet_ms, self.wire.back_s = [], []
        self.wire.losses.clear()
        self.wire.messages_count = self.wire.bytes_count = 0

    # -- coming

    def come(self, rate: float) -> None:
        """Connect everybody, at most so many a second and no more than the gateways greet."""
        everybody = [*self.waiters, *self.agents, *self.customers]
        self._chance.shuffle(everybody)
        coming = iter(everybody)
        began_s = time.perf_counter()
        sent = 0

        def some() -> None:
            nonlocal sent
            now_s = time.perf_counter()
            while sent < (now_s - began_s) * rate and sent - self.wire.connected_count < OPENING_MAX:
                peer = next(coming, None)
                if peer is None:
                    return
                sent += 1
                self.wire.connect(peer)
            self.wire.at(now_s + CONNECT_EVERY_S, some)

        some()

    def fill(self, rate: float, count: int) -> None:
        """Bring so many customers into calls."""
        self._fire(rate, time.perf_counter(), lambda _: len(self.talking) + len(self.asked_s) < count, self._request)

    def load(self, rate: float, start_s: float, seconds: float) -> None:
        """End and begin calls, for so long."""
        self.reset()
        self.is_measured = True
        self.load_until_s = start_s + seconds
        self._fire(rate, start_s, lambda due_s: due_s < self.load_until_s, self._exchange)

    def churn(self, rate: float, seconds: float) -> None:
        """Let people in the line give up, and come again at its end."""
        until_s = time.perf_counter() + seconds
        self._fire(rate, time.perf_counter(), lambda due_s: due_s < until_s, lambda _: self._give_up())

    def _fire(self, rate: float, start_s: float, goes_on: Any, work: Any) -> None:
        """Do `work(due)` at Poisson instants while `goes_on(due)`."""
        due_s = start_s + self._chance.expovariate(rate)

        def fire() -> None:
            nonlocal due_s
            now_s = time.perf_counter()
            while due_s <= now_s:
                if not goes_on(due_s):
                    return
                work(due_s)
                due_s += self._chance.expovariate(rate)
            self.wire.at(due_s, fire)

        self.wire.at(due_s, fire)

    def _exchange(self, due_s: float) -> None:
        if self.talking:
            self._hang_up(self.talking[self._chance.randrange(len(self.talking))])
        else:
            self.failures["nobody_talked"] += 1
        self._request(due_s)
        self.lateness_ms.append((time.perf_counter() - due_s) * 1_000)

    def _request(self, due_s: float) -> None:
        if not self.idle:
            self.failures["nobody_idle"] += 1
            return
        peer = self.idle.popleft()
        peer.phase = ASKING
        self.requests_count += 1
        self.asked_s[id(peer)] = due_s
        self._ask_for_call(peer, TALK_QUEUE, due_s)

    def _ask_for_call(self, peer: Peer, queue_id: str, due_s: float) -> None:
        data = f'{{"queue_id":"{queue_id}","business_reference":"{int(due_s * 1e9)}"}}'
        self.wire.say(peer, "call.request", data.encode())

    def _hang_up(self, peer: Peer) -> None:
        self._no_longer(self.talking, peer)
        peer.phase = ENDING
        self.wire.say(peer, "call.hang_up", b'{"call_id":"%b"}' % peer.call_id.encode())

    def _give_up(self) -> None:
        if self.in_line:
            peer = self.in_line[self._chance.randrange(len(self.in_line))]
            self._no_longer(self.in_line, peer)
            peer.phase = ENDING
            self.wire.say(peer, "call.hang_up", b'{"call_id":"%b"}' % peer.call_id.encode())

    def _enter(self, those: list[Peer], peer: Peer) -> None:
        peer.slot = len(those)
        those.append(peer)

    def _no_longer(self, those: list[Peer], peer: Peer) -> None:
        last = those.pop()
        if last is not peer:
            those[peer.slot] = last
            last.slot = peer.slot
        peer.slot = -1

    # -- hearing

    def hear(self, peer: Peer, kind: bytes, payload: bytes) -> None:
        """Take one message of the server."""
        self.kinds[kind] += 1
        if self.is_measured and (found := payload.rfind(b',"at_ms":')) > 0:
            self.push_ms.append(int(time.time() * 1_000) - int(payload[found + 9 : -1]))
        if kind == b"error":
            self._refused(peer, _id.decode(payload).data)
        elif peer.is_agent:
            self._hear_agent(peer, kind, payload)
        else:
            self._hear_customer(peer, kind, payload)

    def _refused(self, peer: Peer, error: _Id) -> None:
        """While everybody comes a customer who is refused as `overloaded` asks again, as a page does; later it counts."""
        if error.reason != "overloaded" or self.is_measured or peer.is_agent or peer.call_id:
            self.failures[f"error {error.reason}"] += 1
            return
        self.put_off_count += 1
        self.wire.at(time.perf_counter() + error.retry_after_ms / 1_000, lambda: self._ask_again(peer))

    def _ask_again(self, peer: Peer) -> None:
        self._ask_for_call(peer, LINE_QUEUE if peer.slot == -2 else TALK_QUEUE, time.perf_counter())

    def _hear_agent(self, peer: Peer, kind: bytes, payload: bytes) -> None:
        if kind == b"reservation.new":
            now_s = time.perf_counter()
            data = _reservation.decode(payload).data
            self.latency_ms.append(now_s * 1_000 - int(data.business_reference) / 1e6)
            self.wire.say(peer, "reservation.accept", b'{"reservation_id":"%b"}' % data.reservation_id.encode())
        elif kind == b"reservation.accepted":
            call_id = _id.decode(payload).data.call_id
            self.wire.say(peer, "call.connected", b'{"call_id":"%b"}' % call_id.encode())
        elif kind == b"session.welcome":
            self.wire.say(peer, "agent.state", b'{"activity":"ready"}')
        elif kind == b"session.reset":
            self.failures["reset"] += 1

    def _hear_customer(self, peer: Peer, kind: bytes, payload: bytes) -> None:
        if kind == b"call.connected":
            self.asked_s.pop(id(peer), None)
            if id(peer) in self._earlier:
                self._earlier.discard(id(peer))
            else:
                self.established_count += 1
            peer.phase = TALKING
            peer.call_id = _id.decode(payload).data.call_id
            self._enter(self.talking, peer)
        elif kind == b"call.ended":
            self._ended(peer)
        elif kind == b"call.queued" and peer.slot == -2:
            peer.phase = ASKING
            peer.call_id = _id.decode(payload).data.call_id
            self._enter(self.in_line, peer)
        elif kind == b"session.welcome":
            self._begin(peer)
        elif kind == b"session.reset":
            self.failures["reset"] += 1

    def _begin(self, peer: Peer) -> None:
        if peer.principal.startswith("w"):
            peer.slot = -2
            self._ask_for_call(peer, LINE_QUEUE, time.perf_counter())
        else:
            self.idle.append(peer)

    def _ended(self, peer: Peer) -> None:
        if peer.phase == TALKING:
            self._no_longer(self.talking, peer)
            self.failures["cut"] += 1
        elif peer.phase != ENDING:
            self.failures["ended_early"] += 1
            self.asked_s.pop(id(peer), None)
            self._earlier.discard(id(peer))
        self.ended_count += 1
        peer.phase, peer.call_id = IDLE, ""
        self._begin(peer)

    # -- figures

    def counts(self) -> dict[str, Any]:
        """What the driver looks at while it waits."""
        return {
            "connected": self.wire.connected_count,
            "idle": len(self.idle),
            "talking": len(self.talking),
            "in_line": len(self.in_line),
            "open": len(self.asked_s),
        }

    def report(self) -> dict[str, Any]:
        """All figures since the last `reset`."""
        wire = self.wire
        return {
            **self.counts(),
            "requests": self.requests_count,
            "established": self.established_count,
            "ended": self.ended_count,
            "put_off": self.put_off_count,
            "failures": self.failures + wire.problems,
            "losses": wire.losses,
            "kinds": {kind.decode(): count for kind, count in self.kinds.items()},
            "latency_ms": self.latency_ms,
            "lateness_ms": self.lateness_ms,
            "push_ms": self.push_ms.tolist(),
            "greet_ms": wire.greet_ms,
            "back_s": wire.back_s,
            "messages": wire.messages_count,
            "bytes": wire.bytes_count,
        }
