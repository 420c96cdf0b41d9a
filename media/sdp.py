"""What an SDP offer must be before it reaches aiortc, and what an answer must say beyond aiortc's.

Pure text work. An offer's own candidates are dropped: the worker learns a client's address from the client's
authenticated connectivity checks, so nobody can make it send checks to a third party, a browser's mDNS names need
no resolving, and a missing or early `end-of-candidates` cannot fail the connection. Candidates that are trickled afterwards are
read by `read_candidate`; which of them are checked, `room.py` decides.
"""

import re
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

OFFER_BYTES_MAX = 64 * 1024
LINES_MAX = 2_000
SENDING = ("sendrecv", "sendonly")
RECEIVING = ("sendrecv", "recvonly")
CANDIDATE_LENGTH_MAX = 512
"""Characters of one candidate; browsers' have about 150."""

Flow = Literal["both", "up", "down"]
"""What of a party's media a link carries: `up` from the party (WHIP), `down` to the party (WHEP)."""

_OPUS = re.compile(r"^(a=rtpmap:(\d+) opus/48000/2)\r?$", re.IGNORECASE | re.MULTILINE)

_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)\r?$", re.MULTILINE)


class BadOffer(ValueError):
    """The offer is nothing the worker can answer; the message says which rule it breaks."""


class Offer(NamedTuple):
    """A checked offer: text for aiortc, the kinds it has, and those that the party will send."""

    text: str
    kinds: list[str]
    sent_kinds: frozenset[str]
    received_kinds: frozenset[str] = frozenset()
    """Those that the party wants to have."""
    flow: Flow = "both"
    ufrag: str = ""
    """The party's ICE user fragment."""


class Candidate(NamedTuple):
    """A party's own address, as a candidate names it (RFC 8839 section 5.1), and the user fragment it belongs to."""

    text: str
    address: str
    port: int
    ufrag: str


def check_offer(text: str, flow: Flow = "both") -> Offer:
    """Check and clean an offer: at most one audio and one video section, bundled, with a DTLS fingerprint.

    Where only one way is asked for, each section must go that way (RFC 9725 section 4.2: no `recvonly`, no `inactive`).
    """
    if not isinstance(text, str) or len(text) > OFFER_BYTES_MAX:
        raise BadOffer("not text, or too long")
    lines = text.splitlines()
    if len(lines) > LINES_MAX or not lines or not lines[0].startswith("v=0"):
        raise BadOffer("not an SDP description")
    kinds: list[str] = []
    sent: set[str] = set()
    received: set[str] = set()
    kept: list[str] = []
    direction = "sendrecv"
    for line in [*lines, "m="]:
        if line.startswith("m="):
            if kinds and direction in SENDING:
                sent.add(kinds[-1])
            if kinds and direction in RECEIVING:
                received.add(kinds[-1])
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
    if flow != "both" and (sent if flow == "up" else received) != set(kinds):
        raise BadOffer(f"each section must go {flow}")
    ufrag = _UFRAG.search(text)
    going_up = frozenset() if flow == "down" else frozenset(sent)
    return Offer(
        "\r\n".join(kept) + "\r\n", kinds, going_up, frozenset(received), flow, ufrag.group(1) if ufrag else ""
    )


def finish_answer(text: str, flow: Flow = "both") -> str:
    """Ask for Opus with in-band error correction: audio is not repaired by NACK, so FEC is what hides a loss.

    Where one way was asked for, say that RTCP is never apart from RTP (RFC 9725 section 4.4.1, RFC 8858).
    """
    if flow != "both":
        text = text.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n")
    return _OPUS.sub("\\1\r\na=fmtp:\\2 minptime=10;useinbandfec=1\r", text)


def read_candidate(text: str) -> Candidate | None:
    """Read `candidate:...`; None for one that no worker of ours can use: TCP, RTCP apart, IPv6, a name (mDNS).

    Such a one is no mistake (RFC 9725 section 4.3.2: discard it silently). Raises BadOffer for what is none at all.
    """
    words = text.removeprefix("a=").removeprefix("candidate:").split()
    if len(text) > CANDIDATE_LENGTH_MAX or len(words) < 8 or words[6] != "typ":
        raise BadOffer("not a candidate")
    if not (words[1].isdecimal() and words[3].isdecimal() and words[5].isdecimal()):
        raise BadOffer("not a candidate")
    more = dict(zip(words[8::2], words[9::2], strict=False))
    try:
        address = IPv4Address(words[4])
    except ValueError:
        return None
    port = int(words[5])
    if words[1] != "1" or words[2].lower() != "udp" or not 0 < port < 65_536:
        return None
    return Candidate(" ".join(words), str(address), port, more.get("ufrag", ""))
