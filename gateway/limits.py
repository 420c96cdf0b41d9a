"""Bounds on what one client, and all clients together, may take. Sizes stand here with their reasons.

Rules: nothing here waits; whoever is over a limit is refused at once, with a reason and a time. Instants come in as
arguments (seconds of the loop's clock), so each bound has a test at it and one past it.

Not here: the per-queue limits of the hall, which the engine keeps (`dispatch/plan.py`).
"""

MESSAGE_BYTES_MAX = 65_536
"""Largest frame a client may send. An SDP offer has about 6 KiB."""
BODY_BYTES_MAX = 65_536
"""Largest REST body, for the same reason."""
WRITER_LIMIT_BYTES = 16_384
SOCKET_SEND_BYTES = 32_768
"""SO_SNDBUF: without it a peer that never reads holds 2.8 MB in the kernel (measured)."""
TCP_USER_TIMEOUT_MS = 8_000
"""The kernel gives up a connection whose data nobody acknowledges; aiohttp's heartbeat does not free it (measured)."""
SEND_BUFFER_BYTES_MAX = 262_144
"""In this process, per connection: some 1,500 events. A client that is behind by more resumes faster than it reads."""
STALL_MS_MAX = 4_500
STALL_BYTES_MIN = 8_192
"""A client takes this much, or all there is, in that time; with rounds of 1 s and the grace below it is gone within 10 s."""
CLOSE_GRACE_MS = 2_000
"""How long a peer has to answer our close frame before the socket is reset."""
INBOX_EVENTS_MAX = 1_024
"""Events that may wait for a name to be looked up; more means the client must resume."""
MISUNDERSTANDINGS_MAX = 10
"""Messages of a connection that made no sense, before it is closed with 4000."""
SILENCE_PINGS_MAX = 2
"""Pings without any sign of life after which a connection counts as dead."""
BACKLOG = 4_096
"""Of the listening socket: a reconnect storm of 15,000 clients fills the default 128 at once."""

BUCKETS_MAX = 20_000
"""Names whose rate is remembered, of each kind: 4 MiB. The one unheard for longest is forgotten, and has a full burst then."""
CONNECTIONS_PER_CLIENT_MAX = 8
"""Of one client at a time: one that counts, and those being closed because it came."""
OFFERS_PER_S = 1.0
OFFERS_BURST = 10
"""SDP offers of one client: each costs a media worker some 10 ms and a peer connection."""

HEAD_BYTES_MAX = 32_768
"""Request line and headers together: a token of 4 KiB twice, and a browser's cookies of other pages."""
HEAD_LINE_BYTES_MAX = 8_190
"""Request line or one header."""
HEADERS_MAX = 64
"""Of one request; browsers send some 20."""
SUBPROTOCOLS_MAX = 8
"""Offered in one upgrade; a client of ours offers 2."""
FIRST_BYTE_MS_MAX = 10_000
"""From the connection to the first byte of a request."""
HEAD_MS_MAX = 10_000
"""From a request's first byte to the end of its headers: some 30 round trips of a bad network."""
BODY_MS_MAX = 10_000
"""From there to the end of its body: 6 KiB/s for the largest."""
REST_MS_MAX = 2_000
"""For what still comes of a request that was answered before it was whole: a client that sends it all sees the answer."""
IDLE_S_MAX = 75
"""Between two requests: above the 60 s for which nginx keeps a connection that it may use again."""
TLS_HANDSHAKE_S_MAX = 5.0
READ_MS_MAX = 8_000
READ_BYTES_MIN = 16_384
"""A reader of an HTTP answer takes this much, or all that is left, in that time: 2 KiB/s, the slowest of mobile networks."""
PLAIN_SOCKETS_MAX = 1_500
"""Sockets beside `connections_max` that are no WebSockets. Past it those that wait longest without a request make room."""
HTTP_BYTES_PER_S = 2_097_152
HTTP_BYTES_BURST = 4_194_304
"""From one connection before an upgrade; a proxy's are not bounded, they carry many clients."""
SOCKET_BYTES_PER_S = 131_072
SOCKET_BYTES_BURST = 524_288
"""From one WebSocket: eight of the largest messages at once, two a second; an agent's desktop sends 1 KiB/s."""
READ_COST_BYTES = 64
"""Each read of a socket counts as so many bytes more: a byte at a time would cost us 100 times what it carries."""
FRAMES_PER_S = 100
FRAMES_BURST = 300
"""Frames of one WebSocket, with pings and fragments: 5 for each message that is allowed."""


class TokenBucket:
    """Allow `rate_per_s` on average and `burst` at once. O(1), no timer."""

    __slots__ = ("_burst", "_level", "_rate_per_s", "_since_s")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = float(burst)
        self._since_s = now_s

    def take(self, now_s: float, count: float = 1.0) -> bool:
        """Take `count` tokens, or none; False when there are fewer."""
        if self.available(now_s) < count:
            return False
        self._level -= count
        return True

    def available(self, now_s: float) -> float:
        """Return how many tokens there are."""
        self._level = min(self._burst, self._level + max(0.0, now_s - self._since_s) * self._rate_per_s)
        self._since_s = now_s
        return self._level

    def wait_s(self, now_s: float, count: float = 1.0) -> float:
        """Return how long until there are `count`; 0 when there are."""
        return max(0.0, (count - self.available(now_s)) / self._rate_per_s)
