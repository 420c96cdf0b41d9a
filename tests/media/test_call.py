"""Calls over loopback with real links: forwarding, gating, reconnect, repair, lifecycle."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from aiortc import AudioStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from media.contract import check_contract
from media.reports import MediaRefused, PartyJoined, PartyLeft, RecordingStarted, RoomFailed, RoomOpened
from media.worker import MediaWorker
from tests.media.conftest import MakeWorker, order
from tests.media.peers import LightParty, Reports, is_part, until

MakeParty = Callable[[], LightParty]


async def call(
    worker: MediaWorker, reports: Reports, make_party: MakeParty, recording: str = "off"
) -> tuple[LightParty, LightParty]:
    """A call in which both parties hear each other."""
    await worker.open_room(order(recording=recording))
    customer, agent = make_party(), make_party()
    await customer.connect(worker, "call-1", 1, "customer")
    await agent.connect(worker, "call-1", 1, "agent")
    await reports.wait(PartyJoined, 2)
    await until(lambda: all(party.notes.packets["video"] for party in (customer, agent)), what="video both ways")
    return customer, agent


async def test_contract_holds() -> None:
    """Given the pinned libraries, when the contract is checked, then nothing is broken."""
    await check_contract()


async def test_forwarded_payloads_are_identical(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a call, when both parties send, then each gets the other's payloads bit by bit, numbered without a gap."""
    worker, reports = await make_worker()
    customer, agent = await call(worker, reports, make_party)
    await until(lambda: all(hearer.notes.reports[kind] for hearer in (customer, agent) for kind in ("audio", "video")))
    for sender, hearer in ((customer, agent), (agent, customer)):
        for kind in ("audio", "video"):
            assert is_part(hearer.payloads(kind), sender.sent[kind]), kind
            numbers = [sequence for sequence, _, _, _ in hearer.notes.packets[kind]]
            assert all((b - a) & 0xFFFF == 1 for a, b in pairwise(numbers))


async def test_nothing_is_forwarded_before_recording_is_confirmed(
    make_worker: MakeWorker, make_party: MakeParty
) -> None:
    """SAFETY.md 16. Given a room that requires recording, when one party alone has confirmed bytes, then nothing is
    forwarded; when the other has too, then both hear each other from a key frame on."""
    worker, reports = await make_worker()
    await worker.open_room(order())
    customer, agent = make_party(), make_party()
    agent.is_muted = True
    await customer.connect(worker, "call-1", 1, "customer")
    await agent.connect(worker, "call-1", 1, "agent")
    await reports.wait(RecordingStarted, party="customer")
    await until(lambda: len(agent.link.up_by_kind) == 2)
    sent = len(customer.sent["audio"])
    await until(lambda: len(customer.sent["audio"]) > sent + 25)
    assert not reports.of(RecordingStarted, party="agent")
    assert not agent.payloads("audio")
    assert not agent.payloads("video")
    agent.unmute()
    await reports.wait(RecordingStarted, party="agent")
    await until(lambda: len(agent.payloads("video")) > 5 and len(customer.payloads("audio")) > 5)
    assert agent.payloads("video")[0] == customer.frames[0][0]


@pytest.mark.parametrize("recording", ["optional", "off"])
async def test_other_rooms_forward_at_once(make_worker: MakeWorker, make_party: MakeParty, recording: str) -> None:
    """Given a room that does not require recording, when the parties join, then they hear each other."""
    worker, reports = await make_worker()
    customer, _ = await call(worker, reports, make_party, recording)
    await until(lambda: len(customer.payloads("audio")) > 5)


async def test_reconnect_is_seamless_for_the_other(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a call, when the customer offers anew, then the agent's numbering and time go on, nobody has left, and the
    old link is closed."""
    worker, reports = await make_worker()
    customer, agent = await call(worker, reports, make_party)
    await until(lambda: len(agent.payloads("video")) > 30)
    again = make_party()
    await again.connect(worker, "call-1", 1, "customer")
    await until(lambda: worker.measures()["links"] == 2 and customer.link.is_closed, what="old link closed")
    heard = len(agent.payloads("video"))
    await until(lambda: len(agent.payloads("video")) > heard + 30)
    for kind in ("audio", "video"):
        packets = agent.notes.packets[kind]
        numbers = [sequence for sequence, _, _, _ in packets]
        assert all((b - a) & 0xFFFF == 1 for a, b in pairwise(numbers)), kind
        times = [timestamp for _, timestamp, _, _ in packets]
        assert all((b - a) & 0xFFFFFFFF < 90_000 for a, b in pairwise(times)), kind
    assert is_part(agent.payloads("video")[-20:], again.sent["video"])
    assert not reports.of(PartyLeft)
    assert len(reports.of(PartyJoined)) == 2


async def test_party_that_hangs_up_has_left_and_may_come_again(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a call, when the customer's connection closes, then it is reported; when it comes again, then that too."""
    worker, reports = await make_worker()
    customer, agent = await call(worker, reports, make_party)
    await customer.leave()
    await reports.wait(PartyLeft, party="customer")
    again = make_party()
    await again.connect(worker, "call-1", 1, "customer")
    await reports.wait(PartyJoined, 2, party="customer")
    await until(lambda: is_part(agent.payloads("video")[-10:], again.sent["video"]))


async def test_every_advertised_address_is_offered(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given two advertised addresses, when a party offers, then the answer has both with the one port, and it connects."""
    worker, reports = await make_worker(host="0.0.0.0", advertised_addresses=["127.0.0.1", "127.0.0.2"])
    await worker.open_room(order(recording="off"))
    customer = make_party()
    answer = await worker.answer("call-1", 1, "customer", await customer.link.offer())
    candidates = [line.split()[4:6] for line in answer.splitlines() if line.startswith("a=candidate:")]
    assert candidates[:2] == [["127.0.0.1", str(worker.port)], ["127.0.0.2", str(worker.port)]]
    await customer.link.accept(answer)
    await reports.wait(PartyJoined)


@pytest.mark.parametrize("addresses", [[], ["localhost"], ["::1"]])
async def test_unusable_advertised_addresses_stop_the_start(make_worker: MakeWorker, addresses: list[str]) -> None:
    """Given no address or one that is not IPv4, when the worker starts, then it says so and does not run."""
    with pytest.raises(ValueError, match=r"advertised|IPv4|Expected|octet"):
        await make_worker(advertised_addresses=addresses)


async def test_silent_party_has_left(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a call, when the customer vanishes without a word, then it has left after the silence timeout."""
    worker, reports = await make_worker(silence_timeout_ms=1_000)
    customer, _ = await call(worker, reports, make_party)
    customer.vanish()
    await reports.wait(PartyLeft, party="customer")
    await until(lambda: worker.measures()["links"] == 1)


async def test_losses_are_repaired(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a tenth of all media lost on the way up and down, when video flows, then nearly every packet arrives."""
    worker, reports = await make_worker()
    customer, agent = await call(worker, reports, make_party)
    chance = random.Random(5)
    customer.port.loses = lambda: chance.random() < 0.1
    begin = len(agent.notes.packets["video"])
    await asyncio.sleep(3)
    customer.port.loses = lambda: False
    await asyncio.sleep(0.6)
    assert customer.port.lost_count > 10
    packets = agent.notes.packets["video"][begin:]
    numbers = sorted({(sequence - packets[0][0]) & 0xFFFF for sequence, _, _, _ in packets})
    assert len(numbers) >= 0.99 * (numbers[-1] - numbers[0] + 1)
    assert worker.measures()["nacks"] > 0


class _Pull:
    """Counts the decoded frames of a track."""

    def __init__(self, track: MediaStreamTrack) -> None:
        self.track, self.count = track, 0

    async def run(self) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                await self.track.recv()
                self.count += 1


async def test_plain_aiortc_peers_see_and_hear_each_other(make_worker: MakeWorker) -> None:
    """Given two unchanged aiortc peers in this very process, when they call, then both decode pictures and sound."""
    worker, reports = await make_worker()
    await worker.open_room(order(recording="optional"))
    peers: list[RTCPeerConnection] = []
    pulls: list[_Pull] = []
    tasks: list[asyncio.Task[None]] = []
    for name in ("customer", "agent"):
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(peer)
        for track in (AudioStreamTrack(), VideoStreamTrack()):
            peer.addTrack(track)

        @peer.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            pulls.append(_Pull(track))
            tasks.append(asyncio.create_task(pulls[-1].run()))

        await peer.setLocalDescription(await peer.createOffer())
        answer = await worker.answer("call-1", 1, name, peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await reports.wait(PartyJoined, 2)
    await until(lambda: len(pulls) == 4 and all(pull.count > 20 for pull in pulls), what="decoded frames")
    await asyncio.gather(*(peer.close() for peer in peers))
    await asyncio.gather(*tasks)


GOOD_HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=fingerprint:sha-256 AA\r\n"


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        "hello",
        "v=0\r\n",
        "v=0" + "x" * 70_000,
        GOOD_HEAD,
        GOOD_HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
        GOOD_HEAD + "m=audio nine UDP/TLS/RTP/SAVPF zero\r\na=mid:0\r\n",
        GOOD_HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=ice-ufrag:x\r\n",
        GOOD_HEAD + "m=audio 9 X 1\r\nm=audio 9 X 1\r\n",
        GOOD_HEAD + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    ],
)
async def test_bad_offer_is_refused(make_worker: MakeWorker, sdp: str) -> None:
    """Given an open room, when an offer is not usable, then it is refused as bad_sdp and no link stays."""
    worker, _ = await make_worker()
    await worker.open_room(order(recording="off"))
    with pytest.raises(MediaRefused) as refused:
        await worker.answer("call-1", 1, "customer", sdp)
    assert refused.value.reason == "bad_sdp"
    assert worker.measures()["links"] == 0


async def test_offers_to_the_wrong_place_are_refused(make_worker: MakeWorker) -> None:
    """Given a room, when an offer names another room, attempt or party, then the refusal says which."""
    worker, _ = await make_worker()
    await worker.open_room(order(recording="off"))
    for arguments, reason in (
        (("call-2", 1, "customer"), "unknown_room"),
        (("call-1", 2, "customer"), "stale_attempt"),
        (("call-1", 1, "expert"), "unknown_party"),
    ):
        with pytest.raises(MediaRefused) as refused:
            await worker.answer(*arguments, "v=0")
        assert refused.value.reason == reason


async def test_rooms_open_and_close_idempotently(make_worker: MakeWorker) -> None:
    """Given orders that repeat and overtake each other, when they arrive, then each attempt opens once and ends once."""
    worker, reports = await make_worker()
    await worker.open_room(order(attempt=1, recording="off"))
    await worker.open_room(order(attempt=1, recording="off"))
    assert len(reports.of(RoomOpened, attempt=1)) == 2
    await worker.open_room(order(attempt=2, recording="off"))
    assert worker.measures()["rooms"] == 1
    await worker.open_room(order(attempt=1, recording="off"))
    assert reports.of(RoomFailed, attempt=1, reason="stale_attempt")
    await worker.close_room("call-1", 1)
    assert worker.measures()["rooms"] == 1
    await worker.close_room("call-1", 2)
    await worker.close_room("call-1", 2)
    await worker.open_room(order(attempt=2, recording="off"))
    assert reports.of(RoomFailed, attempt=2, reason="room_closed")
    assert worker.measures()["rooms"] == 0


@pytest.mark.parametrize("room_id", ["", "..", "../x", "a/b", "a\0b", "x" * 200, ".hidden"])
async def test_room_ids_that_could_leave_the_folder_are_refused(make_worker: MakeWorker, room_id: str) -> None:
    """Given an id that is no plain name, when a room is ordered, then it fails as bad_room_id and nothing is written."""
    worker, reports = await make_worker()
    await worker.open_room(order(room_id=room_id))
    assert reports.of(RoomFailed, reason="bad_room_id")
    await worker.close_room(room_id, 1)


@pytest.mark.parametrize("parties", [[], ["a", "a"], ["a", "../b"], ["a", "b", "c"]])
async def test_orders_with_bad_parties_are_refused(make_worker: MakeWorker, parties: list[str]) -> None:
    """Given parties that are none, when a room is ordered, then it fails as bad_order."""
    worker, reports = await make_worker()
    await worker.open_room(order(parties=parties))
    assert reports.of(RoomFailed, reason="bad_order")


async def test_capacity_is_bounded(make_worker: MakeWorker) -> None:
    """Given room for two rooms and three parties, when more are ordered, then the bound is named; at the bound they open."""
    worker, reports = await make_worker(rooms_max=2, parties_max=3)
    await worker.open_room(order("call-1", recording="off"))
    await worker.open_room(order("call-2", recording="off"))
    assert reports.of(RoomFailed, room_id="call-2", reason="parties_full")
    await worker.open_room(order("call-3", recording="off", parties=["customer"]))
    assert reports.of(RoomOpened, room_id="call-3")
    await worker.open_room(order("call-4", recording="off", parties=["customer"]))
    assert reports.of(RoomFailed, room_id="call-4", reason="rooms_full")


async def test_too_little_disk_refuses_recorded_rooms(make_worker: MakeWorker) -> None:
    """SAFETY.md 21. Given less free disk than the floor, when rooms are ordered, then only those that record fail."""
    worker, reports = await make_worker(free_disk_floor_bytes=1 << 60)
    await worker.open_room(order("call-1"))
    assert reports.of(RoomFailed, room_id="call-1", reason="disk_low")
    await worker.open_room(order("call-2", recording="off"))
    assert reports.of(RoomOpened, room_id="call-2")
