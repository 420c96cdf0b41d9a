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
STALL_MS_MAX = 6_000
"""How long a send buffer may stay without ever being empty; with the grace below the client is gone within 10 s."""
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


class TokenBucket:
    """Allow `rate_per_s` on average and `burst` at once. O(1), no timer."""

    __slots__ = ("_burst", "_level", "_rate_per_s", "_since_s")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = float(burst)
        self._since_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token; False when there is none."""
        self._level = min(self._burst, self._level + max(0.0, now_s - self._since_s) * self._rate_per_s)
        self._since_s = now_s
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True
