"""The proof, at each start, that aiortc, aioice and pylibsrtp are inside what `aiortc_inside.py` believes.

Three checks, cheapest first: the pinned versions, the names and signatures, and a loopback call between two links whose
packets must arrive bit-identical. It takes about 0.2 s. A difference stops the worker with `ContractBroken`, which names
it; falling back to a slower way of forwarding is not offered, since nobody would test it.
"""

import asyncio
import inspect
from importlib.metadata import version
from time import monotonic

import pylibsrtp
from aioice import ice, stun
from aiortc import rtcdtlstransport, rtcicetransport, rtcpeerconnection
from pylibsrtp import _binding

from media import aiortc_inside, rtcp
from media.down_track import DownTrack
from media.link import PartyLink
from media.port import Port
from media.sdp import check_offer
from media.up_track import UpTrack

VERSIONS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pylibsrtp": "1.0.0"}
LOOPBACK_TIMEOUT_S = 10.0
"""Fifty times what it takes: a machine that starts many things at once must not look like a broken library."""
PAYLOAD = bytes(range(256)) * 4


class ContractBroken(RuntimeError):
    """The installed libraries are not the ones this code was written for; the message names the difference."""


async def check_contract() -> None:
    """Raise ContractBroken unless everything we rely on is as we rely on it."""
    for name, wanted in VERSIONS.items():
        if version(name) != wanted:
            raise ContractBroken(f"{name} {version(name)} is installed, {wanted} is needed")
    for what, is_so in _names():
        if not is_so:
            raise ContractBroken(f"{what} is not as expected")
    try:
        await asyncio.wait_for(_call_loopback(), LOOPBACK_TIMEOUT_S)
    except TimeoutError:
        raise ContractBroken(f"the loopback call did not get through in {LOOPBACK_TIMEOUT_S:.0f} s") from None


def _names() -> list[tuple[str, bool]]:
    def takes(function: object, *names: str) -> bool:
        return callable(function) and list(inspect.signature(function).parameters) == list(names)

    connection = ice.Connection(ice_controlling=False)
    dtls = rtcdtlstransport.RTCDtlsTransport
    protocol = ice.StunProtocol
    pieces = [
        (f"RTCDtlsTransport.{name}", hasattr(dtls, name))
        for name in ("_register_rtp_receiver", "_register_rtp_sender", "_unregister_rtp_receiver", "_setup_srtp")
    ]
    pieces += [
        (f"Connection.{name}", hasattr(connection, name))
        for name in ("_nominated", "_protocols", "_queue", "local_username", "local_password")
    ]
    pieces += [(f"libsrtp.{name}", hasattr(_binding.lib, name)) for name in ("srtp_protect", "srtp_unprotect")]
    pieces += [
        (
            "get_component_candidates",
            takes(aiortc_inside.PLAIN_CANDIDATES, "self", "component", "addresses", "timeout"),
        ),
        ("Connection.data_received", takes(ice.Connection.data_received, "self", "data", "component")),
        ("StunProtocol.datagram_received", takes(protocol.datagram_received, "self", "data", "addr")),
        ("Message.check_message_integrity", takes(stun.Message.check_message_integrity, "self", "key")),
        ("RTCRtpReceiver()", takes(aiortc_inside.PLAIN_RECEIVER, "kind", "transport")),
        ("RTCRtpSender()", takes(aiortc_inside.PLAIN_SENDER, "trackOrKind", "transport")),
        ("Session._srtp", hasattr(pylibsrtp.Session(), "_srtp")),
        ("RTCIceGatherer", hasattr(rtcicetransport, "RTCIceGatherer")),
        ("the graft", rtcpeerconnection.RTCRtpReceiver is not aiortc_inside.PLAIN_RECEIVER),
    ]
    return pieces


class _Listener:
    """Says which packets and reports of one track arrived. Satisfies `Sink`."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.is_reported = False
        self.changed = asyncio.Event()

    def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
        """Note one packet."""
        self.payloads.append(payload)
        self.changed.set()

    def append_report(self, stream: int, report: rtcp.SenderReport, now: float) -> None:
        """Note a report."""
        self.is_reported = True
        self.changed.set()


async def _call_loopback() -> None:
    ports = [Port("127.0.0.1", 0), Port("127.0.0.1", 0)]
    caller, callee = (PartyLink(port, ["127.0.0.1"]) for port in ports)
    listener = _Listener()
    heard: dict[str, UpTrack] = {}
    ready: dict[str, DownTrack] = {}
    changed = listener.changed

    def on_up(up: UpTrack) -> None:
        heard[up.kind] = up
        up.capture(listener, 0, monotonic())
        changed.set()

    def on_down(down: DownTrack) -> None:
        ready[down.kind] = down
        changed.set()

    callee.on_up, caller.on_down = on_up, on_down
    try:
        await caller.accept(await callee.answer(check_offer(await caller.offer())))
        while len(heard) < 2 or len(ready) < 2:
            changed.clear()
            await changed.wait()
        for down in ready.values():
            down.forward(1, 0, 0, PAYLOAD, True, monotonic())
            down.forward_report(rtcp.SenderReport(0, 1 << 32, 0))
        while len(listener.payloads) < 2 or not listener.is_reported:
            changed.clear()
            await changed.wait()
        if listener.payloads != [PAYLOAD, PAYLOAD]:
            raise ContractBroken("packets of the loopback call arrived altered")
    finally:
        await caller.close()
        await callee.close()
        for port in ports:
            port.close()
