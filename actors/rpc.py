"""Requests and answers between parts, over one TCP connection a pair: the frames, and the proof of who speaks.

Rules
- A part listens on its own machine's address, at a port that the kernel chose. Who may ask Ray for the part may have `Address`,
  its secret among it; the secret itself never crosses a connection.
- On each connection both sides prove that they know the secret before anything else is read: an HMAC-SHA256 over both sides'
  nonces, under a label a side, so that neither's proof serves as the other's.
- Where Ray's own traffic is under TLS (`RAY_USE_TLS`), so is this, with the same files and with certificates from both sides.
- A frame is a head (`HEAD`) and a body. A request's number comes back with its answer; answers come in any order.

Why not Ray's own calls: what they carry passes through four threads on each side. M (make bench-rpc): 1.9 to 5.7 ms a
call where a frame takes 0.2 to 0.3 ms, and 8 times the CPU time at the caller.

Bounds: `FRAME_BYTES_MAX` a frame; a connection that breaks a rule is closed. What was under way on a lost connection may have
been carried out: who asked repeats it under the same (sender, number) (`mailbox`, `inbox`).

Not here: the listening side (`rpc_server`), the asking side (`rpc_client`), whom to connect to (`wiring`).
"""

import hashlib
import hmac
import os
import socket
import ssl
import struct
from collections.abc import Iterator

from msgspec import Struct

HEAD = struct.Struct(">IIB")
"""Bytes of the body, the request's number, and its kind."""
FRAME_BYTES_MAX = 64 * 1024 * 1024
"""A batch has 100 KiB, a letter 4 MiB at most; an answer with the views of all agents has several MB."""
NONCE_BYTES, PROOF_BYTES = 32, 32
RECEIVE, POLL = 1, 2
"""Kinds of requests; the body is the method's arguments."""
ANSWER, ENDED, NOT_OWNER, FAILED = 1, 2, 3, 4
"""Kinds of answers: the method's value; the part has ended; it lives and does not own the division; it raised what is named."""
CLIENT, SERVER = b"tellerhall asks", b"tellerhall answers"
HELLO_S = 5.0
"""Until both sides have proved themselves: two round trips, and TLS, on a machine that may be overloaded."""
UNHEARD_MS = 15_000
"""A machine that vanished says nothing: what it has not confirmed for so long ends the connection."""
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_COUNT = 5, 5, 2


class Address(Struct, frozen=True, array_like=True):
    """Where a part listens, and what proves that one may speak with it."""

    host: str
    port: int
    secret: bytes

    def __repr__(self) -> str:
        return f"<Address {self.host}:{self.port}>"


class BrokenRule(Exception):
    """The other side does not speak as agreed."""


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def take(self, count: int) -> bytes | None:
        """Return the next `count` bytes, once they are there."""
        if len(self._bytes) < count:
            return None
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (number, kind, body) of each whole frame. Raises BrokenRule."""
        start = 0
        while len(self._bytes) - start >= HEAD.size:
            length, number, kind = HEAD.unpack_from(self._bytes, start)
            if length > FRAME_BYTES_MAX:
                raise BrokenRule(f"a frame of {length} bytes")
            end = start + HEAD.size + length
            if len(self._bytes) < end:
                break
            yield number, kind, bytes(memoryview(self._bytes)[start + HEAD.size : end])
            start = end
        del self._bytes[:start]


def frame(number: int, kind: int, body: bytes) -> bytes:
    """Raises ValueError."""
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"{len(body)} bytes do not fit a frame of {FRAME_BYTES_MAX}")
    return HEAD.pack(len(body), number, kind) + body


def proof(secret: bytes, side: bytes, own_nonce: bytes, other_nonce: bytes) -> bytes:
    """Return what only one who knows the secret can say on this connection."""
    return hmac.digest(secret, side + own_nonce + other_nonce, hashlib.sha256)


def is_proved(said: bytes, secret: bytes, side: bytes, own_nonce: bytes, other_nonce: bytes) -> bool:
    """Whether `said` is the proof of the side whose nonce is `own_nonce`."""
    return hmac.compare_digest(said, proof(secret, side, own_nonce, other_nonce))


def notice_silence(connection: socket.socket) -> None:
    """Let the kernel end the connection to a machine that vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)


def tls(side: ssl.Purpose) -> ssl.SSLContext | None:
    """Return the context that Ray's own settings ask for; None: Ray speaks in the clear. `side`: whom this one looks at.

    Addresses are those of machines, and certificates may name none: who speaks is proved by the secret, and by the
    authority that signed.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    context = ssl.create_default_context(side, cafile=os.environ["RAY_TLS_CA_CERT"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context
