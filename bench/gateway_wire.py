"""The lean client of `bench/gateway.py`: one process holds thousands of WebSockets on one epoll, by hand.

Rules: no task, no future and no decoder per connection: an event's type and number are found by searching its bytes, and
only what must be answered is decoded. Frames to the server carry a mask of zeros, which RFC 6455 section 5.3 allows and
which makes masking free. A connection that is lost comes back as the pages do: after 0.2 to 0.4 s, then ever later up to 15
s, 5 s later still where it was told that there is no room; with the highest event number it has seen, and with what was not
answered.

Theory: the machine under test carries the clients too, so a client must cost a fraction of what its gateway does.

Not here: what the clients do with calls (`gateway_people.py`), the processes (`gateway_crowd.py`).
"""

import base64
import contextlib
import errno
import heapq
import os
import random
import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

ADDRESS = "127.0.0.1"
SOURCES = 4
"""Source addresses a process: 28,000 ephemeral ports each."""
BACKOFF_FIRST_S = 0.4
BACKOFF_MAX_S = 15.0
RATE_PAUSE_S = 5.0
HANDSHAKE_S = 10.0
RECV_BYTES = 65_536
EVENTS_MAX = 512
PONG = b'{"v":1,"id":"p","type":"session.pong","data":{}}'
GREETINGS = frozenset((b"session.welcome", b"session.resumed", b"session.reset"))
CONNECTING, UPGRADING, OPEN, WAITING = range(4)
IP_BIND_ADDRESS_NO_PORT = 24
"""Linux: the port is chosen at connect, so that a source address has 28,000 for each destination."""


def framed(payload: bytes) -> bytes:
    """Return the payload as one masked text frame."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB4x", 0x81, 0x80 | length) + payload
    return struct.pack("!BBH4x", 0x81, 0x80 | 126, length) + payload


PONG_FRAME = framed(PONG)


class Peer:
    """One client: a customer's page or an agent's desktop."""

    __slots__ = (
        "asked", "asked_id", "attempts", "began_s", "buffer", "call_id", "is_agent", "is_greeted", "lost_s", "numbers",
        "phase", "principal", "seq", "slot", "sock", "stage", "token", "via",
    )  # fmt: skip

    def __init__(self, is_agent: bool, principal: str, token: str) -> None:
        self.is_agent = is_agent
        self.principal = principal
        self.token = token
        self.sock: Any = None
        self.stage = WAITING
        self.buffer = b""
        self.seq = -1
        """Highest event number; -1 before the first greeting."""
        self.is_greeted = False
        self.attempts = 0
        self.began_s = 0.0
        self.lost_s = 0.0
        self.numbers = 0
        self.asked: bytes | None = None
        """The frame that has no answer yet."""
        self.asked_id = b""
        self.phase = 0
        self.call_id = ""
        self.slot = -1
        """Its index in a list of those that talk."""
        self.via = b""
        """The gateway that greeted it last."""


class Wire:
    """All connections of one process. `on_event(peer, kind, payload)` gets each message that is not a heartbeat."""

    def __init__(self, port: int, first_source: int, on_event: Callable[[Peer, bytes, bytes], None]) -> None:
        self.port = port
        self._sources = [f"127.0.0.{first_source + number}" for number in range(SOURCES)]
        self._on_event = on_event
        self.tls: ssl.SSLContext | None = None
        self._epoll = select.epoll()
        self._peer_by_fd: dict[int, Peer] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timers_count = 0
        self._next_source = 0
        self._others: dict[int, Callable[[], None]] = {}
        self.connected_count = 0
        self.greet_ms: list[float] = []
        """From the first packet of a connection to its greeting."""
        self.back_s: list[float] = []
        """From the loss of a connection to its next greeting."""
        self.losses: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.messages_count = 0
        self.bytes_count = 0
        self.loop_lag_s = 0.0

    # -- the loop

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Also look after a descriptor that is no connection."""
        self._others[fd] = on_readable
        self._epoll.register(fd, select.EPOLLIN)

    def at(self, due_s: float, work: Callable[[], None]) -> None:
        """Do `work` at that instant of `time.perf_counter`."""
        self._timers_count += 1
        heapq.heappush(self._timers, (due_s, self._timers_count, work))

    def run_once(self) -> None:
        """Wait for the next thing, and do what is due."""
        timers = self._timers
        now_s = time.perf_counter()
        wait_s = min(max(0.0, timers[0][0] - now_s), 1.0) if timers else 1.0
        for fd, mask in self._epoll.poll(wait_s, EVENTS_MAX):
            peer = self._peer_by_fd.get(fd)
            if peer is None:
                if fd in self._others:
                    self._others[fd]()
            elif peer.stage == OPEN:
                self._read(peer)
            elif peer.stage == CONNECTING:
                self._upgrade(peer)
            else:
                self._read_upgrade(peer, mask)
        now_s = time.perf_counter()
        while timers and timers[0][0] <= now_s:
            heapq.heappop(timers)[2]()

    # -- one connection

    def connect(self, peer: Peer) -> None:
        """Begin a connection; whatever becomes of it is seen by its events."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self._sources[self._next_source % SOURCES], 0))
        self._next_source += 1
        peer.began_s = time.perf_counter()
        peer.buffer, peer.is_greeted = b"", False
        peer.sock, peer.stage = sock, CONNECTING
        if self.tls is not None:
            self._connect_tls(peer)
            return
        sock.setblocking(False)
        code = sock.connect_ex((ADDRESS, self.port))
        if code not in (0, errno.EINPROGRESS):
            self._lose(peer, errno.errorcode.get(code, str(code)))
            return
        self._peer_by_fd[sock.fileno()] = peer
        self._epoll.register(sock.fileno(), select.EPOLLOUT)
        self.at(peer.began_s + HANDSHAKE_S, lambda: self._give_up(peer, sock))

    def _give_up(self, peer: Peer, sock: socket.socket) -> None:
        """As a page does, which has not been greeted in time."""
        if peer.sock is sock and not peer.is_greeted:
            self._lose(peer, "not greeted")

    def _connect_tls(self, peer: Peer) -> None:
        """The handshake may block: it is measured what it costs in memory, not how fast it is."""
        assert self.tls is not None
        try:
            peer.sock.settimeout(HANDSHAKE_S)
            peer.sock.connect((ADDRESS, self.port))
            peer.sock = self.tls.wrap_socket(peer.sock, server_hostname="localhost")
            peer.sock.setblocking(False)
        except OSError as error:
            self._lose(peer, type(error).__name__)
            return
        self._peer_by_fd[peer.sock.fileno()] = peer
        self._epoll.register(peer.sock.fileno(), select.EPOLLOUT)

    def _upgrade(self, peer: Peer) -> None:
        code = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(peer, errno.errorcode.get(code, str(code)))
            return
        resume = f"?resume={peer.seq}" if peer.seq >= 0 else ""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /v1/ws{resume} HTTP/1.1\r\nHost: {ADDRESS}:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: tellerhall.v1.json\r\nAuthorization: Bearer {peer.token}\r\n\r\n"
        )
        peer.stage = UPGRADING
        self._epoll.modify(peer.sock.fileno(), select.EPOLLIN)
        self.write(peer, request.encode())

    def write(self, peer: Peer, data: bytes) -> None:
        """Send at once; the few hundred bytes of a client always find room, or its connection is gone."""
        try:
            sent = peer.sock.send(data)
        except OSError as error:
            self._lose(peer, type(error).__name__)
            return
        if sent != len(data):
            self.problems["short_write"] += 1

    def say(self, peer: Peer, kind: str, data: bytes, own_id: str = "") -> None:
        """Ask something that gets one answer; it is asked again by whichever connection comes next."""
        peer.numbers += 1
        message_id = own_id or f"{peer.principal}.{peer.numbers}"
        peer.asked_id = message_id.encode()
        peer.asked = framed(b'{"v":1,"id":"%b","type":"%b","data":%b}' % (peer.asked_id, kind.encode(), data))
        if peer.is_greeted:
            self.write(peer, peer.asked)

    def _read_upgrade(self, peer: Peer, mask: int) -> None:
        try:
            data = peer.sock.recv(RECV_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._lose(peer, type(error).__name__)
            return
        if not data:
            self._lose(peer, "eof")
            return
        peer.buffer += data
        head, found, rest = peer.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self._lose(peer, "http " + head[9:12].decode("latin-1"))
            return
        peer.stage, peer.buffer = OPEN, b""
        if rest:
            self._take(peer, rest)

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(RECV_BYTES)
            if self.tls is not None:
                while peer.sock.pending():
                    data += peer.sock.recv(RECV_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._lose(peer, type(error).__name__)
            return
        if not data:
            self._lose(peer, "eof")
            return
        self._take(peer, peer.buffer + data if peer.buffer else data)

    def _take(self, peer: Peer, data: bytes) -> None:
        """Take the whole frames of `data`; what is left waits for more."""
        at, end = 0, len(data)
        self.bytes_count += end
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start + length > end:
                break
            self.messages_count += 1
            if data[at] == 0x81:
                self._hear(peer, data[start : start + length])
            elif data[at] == 0x88:
                self._lose(peer, f"close {int.from_bytes(data[start : start + 2], 'big')}")
            if peer.stage != OPEN:
                return
            at = start + length
        peer.buffer = data[at:]

    def _hear(self, peer: Peer, payload: bytes) -> None:
        start = payload.find(b'"type":"') + 8
        kind = payload[start : payload.find(b'"', start)]
        if kind == b"session.ping":
            self.write(peer, PONG_FRAME)
            return
        if kind in GREETINGS:
            self._greet(peer, kind, payload)
        elif payload[-1:] == b"}" and (found := payload.rfind(b'"seq":')) > 0 and b"}" not in payload[found:-1]:
            seq = int(payload[found + 6 : -1].partition(b",")[0])
            if seq <= peer.seq:
                self.problems["repeated"] += 1
                return
            if seq != peer.seq + 1:
                self.problems["gap"] += 1
            peer.seq = seq
        elif kind in (b"ack", b"error"):
            found = payload.rfind(b'"re":"')
            if found > 0 and payload[found + 6 : payload.find(b'"', found + 6)] == peer.asked_id:
                peer.asked = None
        self._on_event(peer, kind, payload)

    def _greet(self, peer: Peer, kind: bytes, payload: bytes) -> None:
        now_s = time.perf_counter()
        if kind != b"session.resumed":
            found = payload.find(b'},"seq":')
            peer.seq = int(payload[found + 8 : payload.find(b",", found + 8)])
        if not peer.is_greeted:
            self.connected_count += 1
            self.greet_ms.append((now_s - peer.began_s) * 1_000)
            if peer.lost_s:
                self.back_s.append(now_s - peer.lost_s)
            peer.is_greeted, peer.attempts, peer.lost_s = True, 0, 0.0
            if peer.asked is not None:
                self.write(peer, peer.asked)

    def _lose(self, peer: Peer, why: str) -> None:
        """The connection is gone: come back, as a page does."""
        if peer.sock is not None:
            self._peer_by_fd.pop(peer.sock.fileno(), None)
            with contextlib.suppress(OSError):
                peer.sock.close()
        peer.sock, peer.stage = None, WAITING
        now_s = time.perf_counter()
        self.losses[why] += 1
        if peer.is_greeted:
            self.connected_count -= 1
        peer.is_greeted = False
        peer.lost_s = peer.lost_s or now_s
        pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(peer.attempts, 10)) * random.uniform(0.5, 1.0)
        peer.attempts += 1
        if why == "http 503" or why == "close 4008":
            pause_s += RATE_PAUSE_S
        self.at(now_s + pause_s, lambda: self.connect(peer))
