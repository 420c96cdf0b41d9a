"""Calls without a WebSocket: WHIP (RFC 9725) and its counterpart over HTTP, with a real media worker and plain WebRTC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import aioice.ice
import pytest
from aiohttp import hdrs

from actors.hall import MediaRefused
from actors.media_items import Candidates
from actors.media_part import MediaPart
from dispatch import views
from gateway.app import Gateway
from gateway.client_fields import SDP_LENGTH_MAX
from gateway.settings import Settings
from media.room import CANDIDATES_MAX
from tests.gateway.client import Client, Visitor
from tests.gateway.real_media import REQUEST, Person, hall_with_media, links_of
from tests.gateway.stub_hall import StubHall
from tests.gateway.test_messages import call_view
from tests.waiting import until

Token = Callable[..., str]
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
PAGE = "https://bank.example"
TURN = "turn:turn.bank.example:3478?transport=udp"
PATIENCE_TRIES = 200


class Answer:
    """What came back: status, body as text, headers."""

    def __init__(self, status: int, text: str, headers: Any) -> None:
        self.status, self.text, self.headers = status, text, headers


class Caller:
    """Somebody with HTTP and WebRTC, and nothing else."""

    def __init__(self, http: aiohttp.ClientSession, base: str, token: str) -> None:
        self._http, self._base, self._token = http, base, token
        self.call_id = ""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = "json" if isinstance(body, dict) else "data"
        async with self._http.request(
            method, self._base + path, headers={**given, **named}, **{kind: body}
        ) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def post(self, name: str, sdp: str, **headers: str) -> Answer:
        return await self.ask("POST", f"/v1/calls/{self.call_id}/{name}", sdp, **{**SDP, **headers})

    async def state(self) -> dict[str, Any]:
        async with self._http.get(
            f"{self._base}/v1/calls/{self.call_id}", headers={"Authorization": f"Bearer {self._token}"}
        ) as response:
            found: dict[str, Any] = await response.json()
        return found

    async def becomes(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask again and again, as a client without a WebSocket must."""
        for _ in range(PATIENCE_TRIES):
            if is_so(found := await self.state()):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(found)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        keys_folder=tmp_path / "keys",
        stop_ms=200,
        messages_burst=1_000,
        allowed_origins=(PAGE,),
        turn_urls=(TURN,),
        turn_secret="between us",
    )


@pytest.fixture
async def part(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[MediaPart, Gateway]]:
    """A hall with a worker, and its gateway. aioice leaves out loopback by itself."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    async with hall_with_media(tmp_path / "recordings", settings) as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def accepted(agent: Client, person: Person) -> None:
    """The agent takes what rings and is in the room, over a WebSocket."""
    ringing = (await agent.until("reservation.new"))["data"]
    await agent.ask("reservation.accept", {"reservation_id": ringing["reservation_id"]})
    room = (await agent.until("rtc.room"))["data"]
    answer = await agent.ask("rtc.sdp_offer", {**room, "sdp": await person.offer()})
    await person.accept(answer["data"]["value"]["sdp_answer"])


def without_candidates(sdp: str) -> tuple[str, list[str]]:
    lines = sdp.splitlines()
    found = [line for line in lines if line.startswith("a=candidate:")]
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join(kept) + "\r\n", found


def fragment_of(sdp: str, candidates: list[str]) -> str:
    """What a WHIP client trickles for this offer (RFC 9725, figure 4)."""
    ice = [line for line in sdp.splitlines() if line.startswith(("a=ice-ufrag:", "a=ice-pwd:"))][:2]
    lines = ["a=group:BUNDLE 0", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *ice, *candidates, "a=end-of-candidates"]
    return "\r\n".join(lines) + "\r\n"


async def test_a_customer_with_http_alone_talks_with_an_agent_on_a_websocket(
    part: tuple[MediaPart, Gateway], http: aiohttp.ClientSession, token: Token
) -> None:
    """Given a customer who asks and polls by REST, sends by WHIP with trickled candidates and receives by WHEP, when an agent
    answers over a WebSocket, then both see and hear each other; the sessions end, and then the call."""
    worker, gateway = part
    base = f"http://127.0.0.1:{gateway.port}"
    agent = await Visitor(http, base).greeted(token("agent", "a-1"))
    await agent.ask("agent.state", {"activity": "ready"})
    caller, desk = Caller(http, base, token("customer", "c-1")), Person()
    asked = await caller.ask("POST", "/v1/calls", REQUEST)
    caller.call_id = asked.headers["Location"].rpartition("/")[2]
    early = await caller.post("whip", await Person().offer("sendonly"))
    assert early.status in (409, 503), "there is no room yet"
    await accepted(agent, desk)
    await caller.becomes(lambda call: bool(call["room"] and call["room"]["is_open"]))

    camera, screen = Person(), Person()
    offer, candidates = without_candidates(await camera.offer("sendonly"))
    sent = await caller.post("whip", offer)
    assert (sent.status, sent.headers["Content-Type"].partition(";")[0]) == (201, "application/sdp")
    assert (sent.text.count("a=recvonly"), sent.text.count("a=rtcp-mux-only")) == (2, 2)
    await camera.accept(sent.text)
    session = sent.headers["Location"]
    trickled = await caller.ask(
        "PATCH", session, fragment_of(offer, candidates), **FRAGMENT, If_Match=sent.headers["ETag"]
    )
    assert (trickled.status, trickled.text, "ETag" in trickled.headers) == (204, "", False)
    received = await caller.post("whep", await screen.offer("recvonly"))
    assert (received.status, received.text.count("a=sendonly")) == (201, 2)
    await screen.accept(received.text)
    await caller.becomes(lambda call: call["state"] == "connected")
    for person in (screen, desk):
        since = dict(person.frames_count)
        await until(lambda person=person, since=since: person.sees_and_hears(since))  # type: ignore[misc]

    ended = await caller.ask("DELETE", session, If_Match='"something else"')
    assert ended.status == 200
    assert (await caller.ask("DELETE", session)).status == 404
    await until(lambda: [link.flow for link in links_of(worker, "customer")] == ["down"])
    assert (await agent.until(lambda one: one["type"] == "call.party" and not one["data"]["is_joined"]))["data"][
        "party"
    ] == "customer"
    assert (await caller.ask("DELETE", f"/v1/calls/{caller.call_id}")).status == 200
    assert (await agent.until("call.ended"))["data"]["reason"] == "customer_hung_up"
    for person in (camera, screen, desk):
        await person.close()
    await agent.socket.close()


async def test_a_newer_session_takes_over_from_the_older(
    part: tuple[MediaPart, Gateway], http: aiohttp.ClientSession, token: Token
) -> None:
    """RFC 9725 4.3.1: given a session whose ICE is to be restarted, then that is 422 and the session goes on; a new POST makes
    a new session, and the older one is gone once the newer one flows."""
    worker, gateway = part
    base = f"http://127.0.0.1:{gateway.port}"
    agent = await Visitor(http, base).greeted(token("agent", "a-1"))
    await agent.ask("agent.state", {"activity": "ready"})
    caller, desk = Caller(http, base, token("customer", "c-1")), Person()
    asked = await caller.ask("POST", "/v1/calls", REQUEST)
    caller.call_id = asked.headers["Location"].rpartition("/")[2]
    await accepted(agent, desk)
    await caller.becomes(lambda call: bool(call["room"] and call["room"]["is_open"]))
    people, sessions = [Person(), Person()], []
    for number, person in enumerate(people):
        sent = await caller.post("whip", await person.offer("sendonly"))
        await person.accept(sent.text)
        sessions.append(sent)
        await until(lambda number=number: len(links_of(worker, "customer")) == number + 1 or number == 1)  # type: ignore[misc]
        await until(lambda: links_of(worker, "customer")[-1].is_connected)
        if number == 0:
            since = dict(desk.frames_count)
            await until(lambda since=since: desk.sees_and_hears(since))  # type: ignore[misc]
            restart = fragment_of("a=ice-ufrag:anew\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n", [])
            refused = await caller.ask("PATCH", sent.headers["Location"], restart, **FRAGMENT, If_Match="*")
            assert (refused.status, "ice_restart" in refused.text) == (422, True)
            assert not links_of(worker, "customer")[0].is_closed
    await until(lambda: len(links_of(worker, "customer")) == 1)
    since = dict(desk.frames_count)
    await until(lambda: desk.sees_and_hears(since))
    gone = await caller.ask("PATCH", sessions[0].headers["Location"], restart, **FRAGMENT, If_Match="*")
    assert gone.status == 404
    for person in (*people, desk):
        await person.close()
    await agent.socket.close()


# -- what needs no media: the same gateway before a stub


@pytest.fixture
async def caller(visitor: Visitor, stub: StubHall, token: Token) -> Caller:
    stub.views["call", "k-1"] = call_view(room=views.RoomView(2, True, "w-1", 7), agent_id="a-1")
    found = Caller(visitor.http, visitor.base, token("customer", "c-1"))
    found.call_id = "k-1"
    return found


LINK_ID = "0123456789abcdef" * 2
SESSION = f"/v1/calls/k-1/media/2-{LINK_ID}"
TAG = f'"{LINK_ID}"'
GOOD = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"


async def test_the_answer_to_an_offer(caller: Caller, stub: StubHall) -> None:
    """RFC 9725 4.2, 4.3.1, 4.6: 201 with the answer, the session's address, a strong entity tag, and the ICE servers."""
    sent = await caller.post("whip", "v=0")
    assert (sent.status, sent.text) == (201, "v=0 answer")
    assert sent.headers["Location"] == "/v1/calls/k-1/media/2-link-1"
    assert sent.headers["ETag"] == '"link-1"'
    [link] = sent.headers.getall("Link")
    address, *rest = link.split("; ")
    assert address == f"<{TURN}>"
    assert rest[0] == 'rel="ice-server"'
    assert rest[1].endswith(':customer:c-1"')
    assert rest[2].startswith('credential="')
    assert rest[3] == 'credential-type="password"'
    [(_, worker_id, name, (_, item), *_)] = stub.commands
    assert (worker_id, name, item.party, item.attempt, item.sdp, item.flow) == (
        "w-1",
        "SdpOffer",
        "customer",
        2,
        "v=0",
        "up",
    )
    await caller.post("whep", "v=0")
    assert stub.commands[-1][3][1].flow == "down"


@pytest.mark.parametrize("path", ["/v1/calls/k-1/whip", "/v1/calls/k-1/whep", SESSION])
async def test_a_look_shows_nothing(caller: Caller, path: str) -> None:
    """RFC 9725 4.1: GET and HEAD of endpoints and sessions are successful and have no content."""
    for method in ("GET", "HEAD"):
        seen = await caller.ask(method, path)
        assert (seen.status, seen.text) == (204, "")


@pytest.mark.parametrize("name", ["whip", "whep"])
async def test_what_is_not_sdp_is_refused(caller: Caller, stub: StubHall, name: str) -> None:
    """RFC 9725 4.2: another content type, or SDP that the worker cannot answer; at the bound of its length and one past."""
    path = f"/v1/calls/k-1/{name}"
    assert (await caller.ask("POST", path, "v=0", Content_Type="text/plain")).status == 415
    assert (await caller.ask("POST", path, "v=0", Content_Type="application/json")).status == 415
    assert (await caller.ask("POST", path, b"\xff", **SDP)).status == 400
    assert stub.commands == []
    assert (await caller.post(name, "v" * SDP_LENGTH_MAX)).status == 201
    assert (await caller.post(name, "v" * (SDP_LENGTH_MAX + 1))).status == 413
    stub.replies["SdpOffer"] = MediaRefused("bad_sdp")
    refused = await caller.post(name, "v=0")
    assert (refused.status, refused.headers["Content-Type"]) == (422, "application/problem+json")


async def test_a_busy_worker_says_when_to_come_again(caller: Caller, stub: StubHall) -> None:
    """RFC 9725 4.5: 503 with Retry-After, where the room is not open yet or the worker has no time."""
    stub.views["call", "k-1"] = call_view(room=views.RoomView(2, False, "w-1", 7))
    refused = await caller.post("whip", "v=0")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")


async def test_conditions_of_a_trickle(caller: Caller, stub: StubHall) -> None:
    """RFC 9725 4.3.1, 4.3.2: 428 without the tag, 412 with another, 415 of another type, 400 malformed, 204 and no tag."""

    async def trickled(body: str = GOOD, kind: dict[str, str] = FRAGMENT, **headers: str) -> Answer:
        return await caller.ask("PATCH", SESSION, body, **kind, **headers)

    assert (await trickled()).status == 428
    assert (await trickled(If_Match='"other"')).status == 412
    assert (await trickled(If_Match=f"W/{TAG}")).status == 412, "a weak tag matches nothing"
    assert (await trickled(kind=SDP, If_Match=TAG)).status == 415
    for body in ("", "nonsense", "a=ice-ufrag:x\r\n", GOOD + GOOD.replace("abcd", "efgh"), GOOD + "m=a\x00b\r\n"):
        assert (await trickled(body, If_Match=TAG)).status == 400, body
    assert stub.commands == []
    for tag in (TAG, f'"other", {TAG}', "*"):
        found = await trickled(If_Match=tag)
        assert (found.status, found.text, "ETag" in found.headers) == (204, "", False)
    expected = Candidates(
        "k-1", 2, "customer", ["candidate:1 1 udp 1 192.0.2.1 9 typ host"], "127.0.0.1", LINK_ID, "abcd"
    )
    assert [command[3][1] for command in stub.commands] == [expected] * 3


async def test_the_bounds_of_a_fragment(caller: Caller) -> None:
    """Given a fragment with as many lines, or a candidate as long, as may be; then it is taken; with one more it is not."""
    line = "a=x\r\n"
    assert (await caller.ask("PATCH", SESSION, GOOD + line * 253, **FRAGMENT, If_Match=TAG)).status == 204
    assert (await caller.ask("PATCH", SESSION, GOOD + line * 254, **FRAGMENT, If_Match=TAG)).status == 400
    for length, status in ((512, 204), (513, 400)):
        long = "a=" + "candidate:".ljust(length, "1") + "\r\n"
        assert (await caller.ask("PATCH", SESSION, GOOD + long, **FRAGMENT, If_Match=TAG)).status == status
    assert CANDIDATES_MAX == 32, "a link takes so many; tests/media/test_links.py"


@pytest.mark.parametrize("path", [f"/v1/calls/k-1/media/{one}" for one in ("x", f"3-{LINK_ID}", f"2-{LINK_ID}0")])
async def test_a_session_of_no_link_is_not_found(caller: Caller, path: str) -> None:
    """Given no session's address, or one of a room that was replaced; then 404 for everything."""
    assert (await caller.ask("GET", path)).status == 404
    assert (await caller.ask("DELETE", path)).status == 404
    assert (await caller.ask("PATCH", path, GOOD, **FRAGMENT, If_Match=TAG)).status == 404


async def test_a_session_is_its_partys_alone(visitor: Visitor, caller: Caller, token: Token) -> None:
    """RFC 9725 4.7.1: each request needs a bearer token, and whoever is no party of the call is refused."""
    requests = [
        ("POST", "/v1/calls/k-1/whip", "v=0", SDP),
        ("POST", "/v1/calls/k-1/whep", "v=0", SDP),
        ("GET", SESSION, None, {}),
        ("PATCH", SESSION, GOOD, {**FRAGMENT, "If_Match": TAG}),
        ("DELETE", SESSION, None, {}),
    ]
    for role, name, status in (
        ("customer", "c-2", 403),
        ("agent", "a-2", 403),
        ("operator", "o-1", 403),
        ("", "", 401),
    ):
        other = Caller(visitor.http, visitor.base, token(role, name) if role else "")
        for method, path, body, headers in requests:
            refused = await other.ask(method, path, body, **headers)
            assert refused.status == status, (role, method, path)
            assert ("WWW-Authenticate" in refused.headers) is (status == 401)


async def test_preflights_and_answers_to_pages_of_configured_origins(visitor: Visitor, caller: Caller) -> None:
    """RFC 9725 4.2, Fetch: OPTIONS needs no token, names what may be posted, and lets configured origins in, exactly; their
    pages may read answers, refusals too, and the headers that a client needs."""
    nobody = Caller(visitor.http, visitor.base, "")
    asks = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
    allowed = await nobody.ask("OPTIONS", "/v1/calls/k-1/whip", Origin=PAGE, **asks)
    assert (allowed.status, allowed.headers["Accept-Post"]) == (200, "application/sdp")
    assert allowed.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == PAGE
    assert allowed.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] == "GET, OPTIONS, POST"
    assert "If-Match" in allowed.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS]
    assert "Link" not in allowed.headers, "RFC 9725 4.6: no credentials in a preflight"
    session = await nobody.ask("OPTIONS", SESSION, Origin=PAGE, **asks)
    assert session.headers["Accept-Patch"] == FRAGMENT["Content-Type"]
    for origin in ("https://bank.example.evil.example", "http://bank.example", "null"):
        refused = await nobody.ask("OPTIONS", "/v1/calls/k-1/whip", Origin=origin, **asks)
        assert hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in refused.headers
        assert (await caller.post("whip", "v=0", Origin=origin)).status == 403
    sent = await caller.post("whip", "v=0", Origin=PAGE)
    assert sent.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == PAGE
    assert {"ETag", "Link", "Location"} <= set(sent.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS].split(", "))
    unread = await caller.ask("POST", "/v1/calls/k-1/whip", "v=0", Content_Type="text/plain", Origin=PAGE)
    assert (unread.status, unread.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN]) == (415, PAGE)
    assert "Origin" in unread.headers[hdrs.VARY]
