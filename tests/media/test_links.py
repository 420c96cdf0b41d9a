"""Links of one party: on two that go one way each, replaced, trickled to, and left. RFC 8838, RFC 9725."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from media import room as room_module
from media.reports import MediaRefused, PartyJoined, PartyLeft
from media.sdp import BadOffer, check_offer, read_candidate
from media.worker import MediaWorker
from tests.media.conftest import MakeWorker, order
from tests.media.peers import LightParty, is_part, until

MakeParty = Callable[[], LightParty]
ROOM = ("call-1", 1, "customer")


def reason_of(error: "pytest.ExceptionInfo[MediaRefused]") -> str:
    return error.value.reason


async def test_two_links_of_one_way_each_are_one_party(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a customer with a link up and a link down, when the agent comes on one for both, then both see each other; the
    listener makes nobody present, and its end makes nobody leave."""
    worker, reports = await make_worker()
    await worker.open_room(order())
    camera, screen, agent = make_party(), make_party(), make_party()
    answer, _ = await screen.connect(worker, *ROOM, "down")
    assert answer.count("a=sendonly") == 2
    await until(lambda: screen.link.is_connected)
    assert not reports.of(PartyJoined)
    answer, _ = await camera.connect(worker, *ROOM, "up")
    assert (answer.count("a=recvonly"), answer.count("a=rtcp-mux-only")) == (2, 2)
    await agent.connect(worker, "call-1", 1, "agent")
    await reports.wait(PartyJoined, 2)
    for kind in ("audio", "video"):
        await until(lambda kind=kind: is_part(agent.payloads(kind)[-20:], camera.sent[kind]))  # type: ignore[misc]
        await until(lambda kind=kind: is_part(screen.payloads(kind)[-20:], agent.sent[kind]))  # type: ignore[misc]
    assert camera.payloads("video") == []
    await screen.leave()
    await until(lambda: worker.measures()["links"] == 2)
    assert not reports.of(PartyLeft)
    await camera.leave()
    await reports.wait(PartyLeft, party="customer")


async def test_a_link_replaces_the_older_of_its_own_way(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a link each way, when either is made anew, then the old one of that way ends and the other goes on; one for both
    ways ends both."""
    worker, reports = await make_worker()
    await worker.open_room(order(recording="off"))
    ups, downs = [make_party(), make_party()], [make_party(), make_party()]
    await ups[0].connect(worker, *ROOM, "up")
    await reports.wait(PartyJoined)
    await downs[0].connect(worker, *ROOM, "down")
    await until(lambda: downs[0].link.is_connected)
    await ups[1].connect(worker, *ROOM, "up")
    await until(lambda: ups[0].link.is_closed)
    assert not downs[0].link.is_closed
    await downs[1].connect(worker, *ROOM, "down")
    await until(lambda: downs[0].link.is_closed)
    assert not ups[1].link.is_closed
    both = make_party()
    await both.connect(worker, *ROOM)
    await until(lambda: ups[1].link.is_closed and downs[1].link.is_closed)
    assert not reports.of(PartyLeft)


@pytest.mark.parametrize("flow", ["up", "down"])
async def test_links_of_one_way_are_bounded(make_worker: MakeWorker, make_party: MakeParty, flow: str) -> None:
    """Given as many offers as a party may have links, when one more comes, then the oldest is let go."""
    worker, _ = await make_worker()
    await worker.open_room(order(recording="off"))
    offer = await make_party().link.offer(flow)  # type: ignore[arg-type]
    for _ in range(room_module.LINKS_MAX):
        await worker.answer(*ROOM, offer, flow)  # type: ignore[arg-type]
    assert worker.measures()["links"] == room_module.LINKS_MAX
    await worker.answer(*ROOM, offer, flow)  # type: ignore[arg-type]
    assert worker.measures()["links"] == room_module.LINKS_MAX


async def test_an_offer_must_go_the_way_it_is_for(make_party: MakeParty) -> None:
    """RFC 9725 4.2: `recvonly` and `inactive` are no offers to send. An offer of both ways may be taken one way."""
    offer = await make_party().link.offer("both")
    assert check_offer(offer, "up").sent_kinds == {"audio", "video"}
    assert check_offer(offer, "down").sent_kinds == frozenset()
    for written, flow in (("recvonly", "up"), ("inactive", "up"), ("sendonly", "down")):
        with pytest.raises(BadOffer, match="must go"):
            check_offer(offer.replace("a=sendrecv", f"a={written}", 1), flow)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "candidate:1 1 UDP 2122 0f3a.local 5000 typ host",
        "candidate:1 1 tcp 1518 127.0.0.1 9 typ host tcptype active",
        "candidate:1 2 udp 2122 127.0.0.1 5000 typ host",
        "candidate:1 1 udp 2122 ::1 5000 typ host",
        "candidate:1 1 udp 2122 127.0.0.1 0 typ host",
        "candidate:1 1 udp 2122 127.0.0.1 65536 typ host",
    ],
)
def test_a_candidate_of_another_kind_is_passed_over(text: str) -> None:
    """RFC 9725 4.3.2: given a transport or an address that the worker has no use for, then that is no mistake."""
    assert read_candidate(text) is None


@pytest.mark.parametrize(
    "text", ["", "x", "candidate:1 1 udp", "candidate:1 1 udp a 1.2.3.4 5 typ host", "candidate:" + "1 " * 300]
)
def test_what_is_no_candidate_is_refused(text: str) -> None:
    with pytest.raises(BadOffer):
        read_candidate(text)


class Ear:
    """A UDP socket of the test's own, at an address of its own."""

    def __init__(self, host: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        port = self.socket.getsockname()[1]
        self.candidate = f"candidate:1 1 udp 2122260223 {host} {port} typ host generation 0"

    def has_heard(self) -> bool:
        try:
            return len(self.socket.recv(2_048)) > 0
        except BlockingIOError:
            return False


async def offered(worker: MediaWorker, make_party: MakeParty) -> tuple[str, str]:
    """A party whose own checks never come: (the worker's link, the party's user fragment)."""
    await worker.open_room(order(recording="off"))
    offer = await make_party().link.offer()
    _, link_id = await worker.open_link(*ROOM, offer)
    return link_id, check_offer(offer).ufrag


async def test_a_trickled_candidate_is_checked_at_the_partys_own_address_alone(
    make_worker: MakeWorker, make_party: MakeParty
) -> None:
    """RFC 8838: given candidates that come after the answer, then the worker checks the one at the address that the party
    speaks from; nobody is made to hear its checks who did not ask for them."""
    worker, _ = await make_worker(host="0.0.0.0")
    _, ufrag = await offered(worker, make_party)
    own, third, late = Ear("127.0.0.1"), Ear("127.0.0.3"), Ear("127.0.0.1")
    texts = [third.candidate, f"{late.candidate} ufrag other", f"{own.candidate} ufrag {ufrag}"]
    await worker.add_candidates(*ROOM, "", "", texts, "127.0.0.1")
    await until(own.has_heard)
    await asyncio.sleep(0.2)  # Checks are 20 ms apart.
    assert (third.has_heard(), late.has_heard()) == (False, False)
    for ear in (own, third, late):
        ear.socket.close()


async def test_candidates_are_bounded_and_of_their_own_session(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a link, then it takes as many candidates as a link may have and none more, and none of another ICE session."""
    worker, _ = await make_worker()
    link_id, ufrag = await offered(worker, make_party)
    text = "candidate:1 1 udp 2122 10.9.9.9 5000 typ host"
    with pytest.raises(MediaRefused) as error:
        await worker.add_candidates(*ROOM, link_id, "other", [text], "127.0.0.1")
    assert reason_of(error) == "ice_restart"
    with pytest.raises(MediaRefused) as error:
        await worker.add_candidates(*ROOM, "nobody", ufrag, [text], "127.0.0.1")
    assert reason_of(error) == "unknown_link"
    with pytest.raises(MediaRefused) as error:
        await worker.add_candidates(*ROOM, link_id, ufrag, ["candidate:?"], "127.0.0.1")
    assert reason_of(error) == "bad_sdp"
    await worker.add_candidates(*ROOM, link_id, ufrag, [text] * (room_module.CANDIDATES_MAX - 1), "127.0.0.1")
    with pytest.raises(MediaRefused) as error:
        await worker.add_candidates(*ROOM, link_id, ufrag, [text], "127.0.0.1")
    assert reason_of(error) == "too_many"


async def test_a_party_that_says_bye_has_left_at_once_and_may_come_again(
    make_worker: MakeWorker, make_party: MakeParty
) -> None:
    """Given a party that flows, when it leaves by word, then it has left before any silence is noticed, and comes again."""
    worker, reports = await make_worker(silence_timeout_ms=60_000)
    await worker.open_room(order(recording="off"))
    customer = make_party()
    _, link_id = await customer.connect(worker, *ROOM)
    await reports.wait(PartyJoined)
    with pytest.raises(MediaRefused) as error:
        worker.leave(*ROOM, "nobody")
    assert reason_of(error) == "unknown_link"
    worker.leave(*ROOM, link_id)
    await reports.wait(PartyLeft)
    worker.leave(*ROOM)
    await make_party().connect(worker, *ROOM)
    await reports.wait(PartyJoined, 2)
