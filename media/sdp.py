"""What an SDP offer must be before it reaches aiortc, and what an answer must say beyond aiortc's.

Pure text work. An offer's own candidates are dropped: the worker learns a client's address from the client's
authenticated connectivity checks alone, so nobody can make it send checks to a third party, a browser's mDNS names need
no resolving, and a missing or early `end-of-candidates` cannot fail the connection.
"""

import re
from typing import NamedTuple

OFFER_BYTES_MAX = 64 * 1024
LINES_MAX = 2_000
SENDING = ("sendrecv", "sendonly")

_OPUS = re.compile(r"^(a=rtpmap:(\d+) opus/48000/2)\r?$", re.IGNORECASE | re.MULTILINE)


class BadOffer(ValueError):
    """The offer is nothing the worker can answer; the message says which rule it breaks."""


class Offer(NamedTuple):
    """A checked offer: text for aiortc, the kinds it has, and those that the party will send."""

    text: str
    kinds: list[str]
    sent_kinds: frozenset[str]


def check_offer(text: str) -> Offer:
    """Check and clean an offer: at most one audio and one video section, bundled, with a DTLS fingerprint."""
    if not isinstance(text, str) or len(text) > OFFER_BYTES_MAX:
        raise BadOffer("not text, or too long")
    lines = text.splitlines()
    if len(lines) > LINES_MAX or not lines or not lines[0].startswith("v=0"):
        raise BadOffer("not an SDP description")
    kinds: list[str] = []
    sent: set[str] = set()
    kept: list[str] = []
    direction = "sendrecv"
    for line in [*lines, "m="]:
        if line.startswith("m="):
            if kinds and direction in SENDING:
                sent.add(kinds[-1])
            direction = "sendrecv"
            kinds.append(line[2:].split(" ", 1)[0])
        elif line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"):
            direction = line[2:]
        if not line.startswith(("a=candidate:", "a=end-of-candidates")):
            kept.append(line)
    kept.pop()
    kinds.pop()
    if sorted(kinds) not in (["audio"], ["audio", "video"]):
        raise BadOffer("needs one audio section and at most one video section")
    if not any(line.startswith("a=group:BUNDLE ") for line in kept):
        raise BadOffer("not bundled")
    if not any(line.startswith("a=fingerprint:") for line in kept):
        raise BadOffer("no DTLS fingerprint")
    return Offer("\r\n".join(kept) + "\r\n", kinds, frozenset(sent))


def finish_answer(text: str) -> str:
    """Ask for Opus with in-band error correction: audio is not repaired by NACK, so FEC is what hides a loss."""
    return _OPUS.sub("\\1\r\na=fmtp:\\2 minptime=10;useinbandfec=1\r", text)
