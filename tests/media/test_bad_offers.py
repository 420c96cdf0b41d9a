"""Malformed and huge SDP: refused before it is parsed, or by a real worker as `bad_sdp`; the next good offer is answered."""

from collections.abc import Callable

import pytest
from aiortc import RTCPeerConnection

from media.reports import MediaRefused
from media.room import LINKS_MAX
from media.sdp import LINES_MAX, OFFER_BYTES_MAX, BadOffer, check_offer
from media.worker import MediaWorker
from tests.media.conftest import MakeWorker, order

Mangle = Callable[[str], str]
GOOD = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=sendrecv",
        "",
    ]
)
HUGE = {
    "a thousand sections": GOOD + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n" * 1_000,
    "more lines than allowed": GOOD + "a=x\r\n" * LINES_MAX,
    "more bytes than allowed": GOOD + "a=" + "x" * OFFER_BYTES_MAX,
    "one section, of a kind that is none": GOOD.replace("m=audio", "m=application"),
    "a section in a separator of Unicode": GOOD + "a=x\u2028m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
    "no fingerprint": GOOD.replace("a=fingerprint", "a=finger"),
    "not bundled": GOOD.replace("a=group", "a=grope"),
    "no version": GOOD.replace("v=0", "v=1"),
    "nothing": "",
    "only line ends": "\r\n" * 100,
    "only zeros": "\0" * 1_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_refused_before_it_is_parsed(name: str) -> None:
    """Given an offer beyond a bound or without a part it needs; then it is refused, and never reaches the parser."""
    with pytest.raises(BadOffer):
        check_offer(HUGE[name])


def test_candidates_are_dropped_however_many() -> None:
    """Given as many candidates as fit, also behind a separator of Unicode; then none is left to be tried."""
    lines = "a=candidate:1 1 udp 1 203.0.113.9 9 typ host\r\na=x\u2028a=candidate:2 1 udp 1 203.0.113.9 9 typ host\r\n"
    count = (LINES_MAX - len(GOOD.splitlines())) // 3
    assert "203.0.113.9" not in check_offer(GOOD + lines * count).text


MANGLED: dict[str, Mangle] = {
    "without its ICE user": lambda sdp: "\r\n".join(one for one in sdp.splitlines() if "ice-ufrag" not in one) + "\r\n",
    "without its codecs": lambda sdp: "\r\n".join(one for one in sdp.splitlines() if "rtpmap" not in one) + "\r\n",
    "with letters for numbers": lambda sdp: sdp.replace("rtpmap:96", "rtpmap:ninety"),
    "with a port of Arabic digits": lambda sdp: sdp.replace("m=audio ", "m=audio \u0661\u0662"),
    "with a thousand sources": lambda sdp: sdp + "".join(f"a=ssrc:{number} cname:x\r\n" for number in range(1_000)),
    "with a thousand codecs": lambda sdp: sdp + "".join(f"a=rtpmap:{n} X/{n}\r\n" for n in range(1_000)),
    "with a thousand parameters": lambda sdp: sdp + "a=fmtp:96 " + ";".join(f"p{n}={n}" for n in range(1_000)) + "\r\n",
    "with a fingerprint that is none": lambda sdp: sdp.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz:"),
    "cut in the middle of a line": lambda sdp: sdp[: 2 * len(sdp) // 3],
    "with characters from everywhere": lambda sdp: sdp + "a=mid:\U0001f3e6\u202e\ufeff\r\na=msid:\ud83c x\r\n",
}


async def outcome(worker: MediaWorker, sdp: str) -> str:
    """Why the offer was refused; empty where it was answered."""
    try:
        await worker.answer("call-1", 1, "customer", sdp)
    except MediaRefused as refused:
        return refused.reason
    return ""


async def test_a_worker_outlives_them_all(make_worker: MakeWorker) -> None:
    """Given a real offer, mangled; then it is answered or refused as `bad_sdp`, and the real one is answered after each."""
    worker, _ = await make_worker()
    await worker.open_room(order(recording="off"))
    peer = RTCPeerConnection()
    peer.addTransceiver("audio")
    peer.addTransceiver("video")
    await peer.setLocalDescription(await peer.createOffer())
    good = peer.localDescription.sdp
    reasons = set()
    for mangle in MANGLED.values():
        reasons.add(await outcome(worker, mangle(good)))
    assert reasons <= {"bad_sdp", ""}
    assert "bad_sdp" in reasons
    assert (await worker.answer("call-1", 1, "customer", good)).startswith("v=0")
    assert worker.measures()["links"] <= LINKS_MAX
    await peer.close()
