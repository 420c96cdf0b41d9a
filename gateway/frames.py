"""A look at the frames of one WebSocket before aiohttp sees them: masked, and not too many.

Rules: nothing is copied but a header that came in pieces (13 bytes at most). A step costs O(frames), and ends with the first
frame too many, so a megabyte of two-byte frames costs no more than the allowance.

Theory (RFC 6455 section 5.2): a header says how long its frame is, so frames can be counted without reading them. aiohttp
refuses reserved bits, unknown opcodes, bad control frames, text that is not UTF-8 and what is too large by itself; it takes
frames without a mask, which section 5.1 forbids, and does not show fragments as they come, so that a flood of empty ones
would cost a core.

Not here: bytes and time (`gateway/door.py`), messages a second (`gateway/session.py`).
"""

from gateway.limits import FRAMES_BURST, FRAMES_PER_S, TokenBucket

NOT_MASKED = 1002
TOO_MANY = 4008

_MASK_BYTES = 4
_EXTENDED_BYTES = {126: 2, 127: 8}


class FrameCount:
    """Of one connection, from its first frame on."""

    __slots__ = ("_bucket", "_head", "_left")

    def __init__(self, now_s: float) -> None:
        self._bucket = TokenBucket(FRAMES_PER_S, FRAMES_BURST, now_s)
        self._head = b""
        """The beginning of a header whose rest has not come yet."""
        self._left = 0
        """Bytes of the present frame that have not come yet."""

    def take(self, data: bytes, now_s: float) -> int:
        """Look at what has come; return the close code of what is wrong with it, or 0."""
        if self._head:
            data, self._head = self._head + data, b""
        at, end, count, count_max = self._left, len(data), 0, self._bucket.available(now_s)
        while at + 2 <= end:
            second = data[at + 1]
            if not second & 0x80:
                return NOT_MASKED
            extended = _EXTENDED_BYTES.get(second & 0x7F, 0)
            head = 2 + extended + _MASK_BYTES
            if at + head > end:
                break
            if count >= count_max:
                return TOO_MANY
            count += 1
            length = int.from_bytes(data[at + 2 : at + 2 + extended], "big") if extended else second & 0x7F
            at += head + length
        self._bucket.take(now_s, count)
        self._left, self._head = max(0, at - end), data[at:]
        return 0
