"""What a client may say: nonsense, roles, repeats, floods, readers that do not read."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from actors.hall import MediaRefused
from dispatch import events, views
from dispatch.effects import Reply
from gateway.app import Gateway
from gateway.settings import Settings
from tests.gateway.client import JSON, MSGPACK, Visitor
from tests.gateway.stub_hall import StubHall, unavailable
from tests.gateway.test_session import call_view

Token = Callable[..., str]

NONSENSE = [
    ("not json", "malformed"),
    ("[]", "malformed"),
    ('{"v":2,"id":"x","type":"call.hang_up","data":{}}', "malformed"),
    ('{"v":1,"id":"","type":"call.hang_up","data":{}}', "malformed"),
    ('{"v":1,"id":"' + "x" * 65 + '","type":"call.hang_up","data":{}}', "malformed"),
    ('{"v":1,"id":"x","data":{}}', "malformed"),
    ("[" * 10_000, "malformed"),
    ('{"v":1,"id":"x","type":"call.fly","data":{}}', "unknown_type"),
    ('{"v":1,"id":"x","type":"agent.state","data":{"activity":"ready"}}', "wrong_role"),
    ('{"v":1,"id":"x","type":"call.hang_up"}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.hang_up","data":null}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.hang_up","data":{"call_id":7}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.hang_up","data":{"call_id":"a\\u0000b"}}', "bad_value"),
    (
        '{"v":1,"id":"x","type":"call.request","data":{"queue_id":"q","business_reference":"' + "x" * 201 + '"}}',
        "bad_value",
    ),
    ('{"v":1,"id":"x","type":"call.hang_up","data":{"call_id":"k\\n"}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.request","data":{"queue_id":"q","need":{"en":11}}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.request","data":{"queue_id":"q","need":{"e n":1}}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.request","data":{"queue_id":"q","preferred_agent_id":"a 1"}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.request","data":{"queue_id":"q","region":"' + "x" * 65 + '"}}', "bad_value"),
    ('{"v":1,"id":"x","type":"call.transfer","data":{"call_id":"k","to_queue_id":"cards"}}', "wrong_role"),
    ('{"v":1,"id":"x","type":"customer.invite","data":{"customer_id":"c","queue_id":"q"}}', "wrong_role"),
    ('{"v":1,"id":"y","type":"call.request","data":{"queue_id":"q","display_name":"\\ud800"}}', "malformed"),
    ('{"v":1,"id":"x","type":"rtc.sdp_offer","data":{"call_id":"k","attempt":-1,"sdp":"v=0"}}', "bad_value"),
    (
        '{"v":1,"id":"x","type":"rtc.sdp_offer","data":{"call_id":"k","attempt":1,"sdp":"' + "x" * 32_769 + '"}}',
        "bad_value",
    ),
    (
        json.dumps(
            {
                "v": 1,
                "id": "x",
                "type": "rtc.stats",
                "data": {"call_id": "k", "stats": {f"s{number}": 1 for number in range(33)}},
            },
            separators=(",", ":"),
        ),
        "bad_value",
    ),
]


@pytest.mark.parametrize(("text", "reason"), NONSENSE)
async def test_nonsense_gets_a_typed_error(visitor: Visitor, token: Token, text: str, reason: str) -> None:
    """Given an open session; when nonsense comes; then its reason is named and the session goes on."""
    client = await visitor.greeted(token("customer", "c-1"))
    await client.socket.send_str(text)
    error = await client.next()
    assert error["type"] == "error"
    assert error["data"]["reason"] == reason
    assert "Traceback" not in str(error)
    if text.startswith('{"v":1,"id":"x"'):
        assert error["re"] == "x"
    assert (await client.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"


async def test_nonsense_in_messagepack(visitor: Visitor, token: Token) -> None:
    """Given MessagePack; when garbage and a text frame come; then both are malformed."""
    client = await visitor.greeted(token("customer", "c-1"), subprotocol=MSGPACK)
    await client.socket.send_bytes(b"\xc1garbage")
    await client.socket.send_str("{}")
    await client.socket.send_bytes(msgspec.msgpack.encode({"v": 1, "id": "x", "type": "call.hang_up", "data": {}}))
    got = [await client.next() for _ in range(3)]
    assert [one["data"]["reason"] for one in got] == ["malformed", "malformed", "bad_value"]


async def test_too_much_nonsense_is_4000(visitor: Visitor, token: Token) -> None:
    """Given nine mistakes forgiven; when the tenth comes; then 4000, after its error."""
    client = await visitor.greeted(token("customer", "c-1"))
    for _ in range(9):
        await client.socket.send_str("?")
        assert (await client.next())["type"] == "error"
    await client.socket.send_bytes(b"?")
    assert await client.closed() == 4000
    assert client.messages[-1]["data"]["reason"] == "malformed"


async def test_a_message_at_the_bound_and_one_past_it(visitor: Visitor, token: Token) -> None:
    """Given 64 KiB; then it is read; when one byte more comes; then 1009."""
    client = await visitor.greeted(token("customer", "c-1"))
    head, tail = '{"v":1,"id":"x","type":"call.hang_up","data":{"call_id":"k"},"pad":"', '"}'
    pad = 65_536 - len(head) - len(tail)
    await client.socket.send_str(head + "x" * (pad - 1) + tail)
    assert (await client.next())["type"] == "ack"
    await client.socket.send_str(head + "x" * (pad + 1) + tail)
    assert await client.closed() == 1009


async def test_a_command_carries_principal_and_id(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """SAFETY.md 6: given a request; when it is repeated by another connection; then id and call id are the same."""
    data = {"queue_id": "loans", "is_consented": True, "business_reference": "b", "display_name": " 王五 "}
    first = await visitor.greeted(token("customer", "c-1"))
    answer = await first.ask("call.request", data, "same")
    await first.socket.close()
    second = await visitor.greeted(token("customer", "c-1"), subprotocol=MSGPACK)
    assert (await second.ask("call.request", data, "same"))["data"] == answer["data"]
    call_id = answer["data"]["value"]["call_id"]
    command = ("call", call_id, "request", ("c-1", "loans", "b", True, None), "customer:c-1", "same")
    assert stub.commands == [command, command]
    assert stub.people == {"customer:c-1": {"display_name": "王五"}}
    other = await visitor.greeted(token("customer", "c-2"))
    assert (await other.ask("call.request", data, "same"))["data"]["value"]["call_id"] != call_id


@pytest.mark.parametrize(
    ("type_", "data", "name", "args"),
    [
        ("agent.state", {"activity": "ready"}, "set_ready", ()),
        ("agent.state", {"activity": "not_ready", "reason": "lunch"}, "set_not_ready", ("lunch",)),
        ("agent.state", {"activity": "offline"}, "sign_out", ()),
        ("reservation.accept", {"reservation_id": "r"}, "accept", ("r",)),
        ("reservation.decline", {"reservation_id": "r", "reason": "x"}, "decline", ("r", "x", {"is_busy": False})),
        ("reservation.decline", {"reservation_id": "r", "is_busy": True}, "decline", ("r", "", {"is_busy": True})),
        (
            "call.transfer",
            {"call_id": "k", "to_queue_id": "cards", "reason": "card stolen"},
            "transfer",
            ({"to_queue_id": "cards", "to_agent_id": "", "credit_ms": -1, "reason": "card stolen"},),
        ),
        (
            "call.transfer",
            {"call_id": "k", "to_agent_id": "a-2", "credit_ms": 0},
            "transfer",
            ({"to_queue_id": "", "to_agent_id": "a-2", "credit_ms": 0, "reason": ""},),
        ),
        ("call.hold", {"call_id": "k", "is_held": True}, "set_hold", (True,)),
        (
            "script.step",
            {"call_id": "k", "step_id": "risk", "text": "It may lose value.", "answers": ["yes", "no"]},
            "show_script_step",
            ("risk", "It may lose value.", ["yes", "no"]),
        ),
        (
            "party.invite",
            {"call_id": "k", "role": "expert", "to_queue_id": "wealth"},
            "invite_party",
            ("expert", {"to_agent_id": "", "to_queue_id": "wealth"}),
        ),
        ("party.remove", {"call_id": "k", "agent_id": "a-2"}, "remove_party", ("a-2",)),
        ("party.remove", {"call_id": "k"}, "remove_party", ("a-1",)),
        ("transfer.complete", {"call_id": "k", "to_agent_id": "a-2"}, "complete_transfer", ("a-2",)),
        ("wrapup.done", {"call_id": "k"}, "finish_wrap_up", ("k",)),
        ("wrapup.extend", {"call_id": "k", "extra_ms": 5}, "extend_wrap_up", ("k", 5)),
        ("call.connected", {"call_id": "k"}, "report_connected", ()),
        ("call.hang_up", {"call_id": "k"}, "hang_up", ()),
    ],
)
async def test_what_an_agent_may_do(
    visitor: Visitor,
    stub: StubHall,
    token: Token,
    type_: str,
    data: dict[str, object],
    name: str,
    args: tuple[object, ...],
) -> None:
    """Given an agent; when each message comes; then exactly its command is given, under the agent's name."""
    client = await visitor.greeted(token("agent", "a-1"))
    assert (await client.ask(type_, data, "m-1"))["type"] == "ack"
    [(kind, key, *rest)] = stub.commands
    assert (kind, key) in (("agent", "a-1"), ("call", "k"))
    assert rest == [name, args, "agent:a-1", "m-1"]


async def test_a_refusal_of_the_engine(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a late accept; then the engine's reason reaches the agent."""
    stub.replies["accept"] = Reply("not_pending")
    client = await visitor.greeted(token("agent", "a-1"))
    error = await client.ask("reservation.accept", {"reservation_id": "r"})
    assert (error["type"], error["data"]["reason"]) == ("error", "not_pending")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(unavailable("store_unavailable"), "store_unavailable"), (RuntimeError("secret"), "internal")],
)
async def test_a_fault_below_becomes_a_reason(
    visitor: Visitor, stub: StubHall, token: Token, fault: Exception, reason: str
) -> None:
    """Given trouble or a bug below; then a typed error without a word of its inside, and the session goes on."""
    stub.replies["accept"] = fault
    client = await visitor.greeted(token("agent", "a-1"))
    error = await client.ask("reservation.accept", {"reservation_id": "r"})
    assert error["data"]["reason"] == reason
    assert "secret" not in str(error)
    assert (await client.ask("agent.state", {"activity": "ready"}))["type"] == "ack"


async def test_sdp_goes_to_the_rooms_worker(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an open room; when its party offers for its attempt; then the worker answers; anything else is refused."""
    client = await visitor.greeted(token("customer", "c-1"))
    offer = {"call_id": "k-1", "attempt": 2, "sdp": "v=0"}

    async def reason(call: views.CallView | None) -> str:
        if call is None:
            stub.views.pop(("call", "k-1"), None)
        else:
            stub.views["call", "k-1"] = call
        return str((await client.ask("rtc.sdp_offer", offer))["data"]["reason"])

    room = views.RoomView(2, True, "w-1", 7)
    assert await reason(None) == "not_yours"
    assert await reason(call_view(customer_id="c-2", room=room)) == "not_yours"
    assert await reason(call_view(room=None)) == "wrong_state"
    assert await reason(call_view(room=views.RoomView(3, True, "w-1", 7))) == "stale_attempt"
    assert await reason(call_view(room=views.RoomView(2, False, "w-1", 7))) == "not_ready"
    assert stub.commands == []
    stub.views["call", "k-1"] = call_view(room=room)
    assert (await client.ask("rtc.sdp_offer", offer))["data"]["value"] == {"sdp_answer": "v=0 answer", "attempt": 2}
    assert stub.commands[-1][3] == ("w-1", 7, "k-1", 2, "customer", "v=0")
    stub.replies["rtc_answer"] = MediaRefused("bad_sdp")
    assert (await client.ask("rtc.sdp_offer", offer))["data"]["reason"] == "bad_sdp"


async def test_stats_are_for_the_own_call(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an agent of another call; when it reports; then it is refused; the own call's figures are measured."""
    stub.views["call", "k-1"] = call_view(agent_id="a-1")
    other = await visitor.greeted(token("agent", "a-2"))
    stats = {"call_id": "k-1", "stats": {"round_trip_ms": 40, "made_up": 1}}
    assert (await other.ask("rtc.stats", stats))["data"]["reason"] == "not_yours"
    agent = await visitor.greeted(token("agent", "a-1"))
    assert (await agent.ask("rtc.stats", stats))["type"] == "ack"
    async with visitor.http.get(visitor.base + "/metrics") as response:
        text = await response.text()
    assert "tellerhall_rtc_round_trip_seconds_count 1.0" in text
    assert "made_up" not in text


async def test_a_flood_is_4008(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """Given three messages at once allowed; when the fourth comes; then 4008."""
    settings = Settings(keys_folder=tmp_path / "keys", messages_per_s=0.01, messages_burst=3, stop_ms=100)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        client = await Visitor(http, f"http://127.0.0.1:{gateway.port}").greeted(token("customer", "c-1"))
        for _ in range(3):
            assert (await client.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
        await client.send("call.hang_up", {"call_id": "k"})
        assert await client.closed() == 4008
    await gateway.stop()


async def test_silence_is_noticed_and_life_is_not(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """Given pings each 1 s; when one client answers and one does not; then only the silent one is closed."""
    gateway = Gateway(stub, Settings(keys_folder=tmp_path / "keys", ping_ms=1_000, stop_ms=100))  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        lively = await visitor.greeted(token("customer", "c-1"))
        silent = await visitor.greeted(token("customer", "c-2"))
        ending = asyncio.create_task(silent.closed())
        while not ending.done():
            await lively.until("session.ping")
            await lively.send("session.pong")
        assert await ending == 4009
        assert (await lively.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
    await gateway.stop()


async def test_a_client_that_does_not_read_is_cut_off(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a peer that never reads; when events pile up; then its buffer stays bounded and it is gone within 10 s."""
    reader, writer = await _raw_upgrade(visitor, token("customer", "c-1"))
    await reader.readuntil(b"\r\n\r\n")
    await stub.subscribed_event.wait()
    began_s = asyncio.get_running_loop().time()
    event = events.RoomLost(1, "k-1", 1, "x" * 1_000)
    while "customer:c-1" in stub.listeners:
        stub.tell("customer:c-1", *[event] * 50)
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began_s < 10
    writer.close()


async def test_a_client_that_falls_behind_a_little_is_cut_off_in_time(
    visitor: Visitor, stub: StubHall, token: Token
) -> None:
    """Given a buffer below its bound that never empties; then the stall alone ends it within 10 s."""
    reader, writer = await _raw_upgrade(visitor, token("customer", "c-1"))
    await reader.readuntil(b"\r\n\r\n")
    await stub.subscribed_event.wait()
    began_s = asyncio.get_running_loop().time()
    stub.tell("customer:c-1", *[events.RoomLost(1, "k-1", 1, "x" * 1_000)] * 200)
    while "customer:c-1" in stub.listeners:
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began_s < 10
    writer.close()


async def _raw_upgrade(visitor: Visitor, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket by hand on a socket with a small receive buffer that reads no further than the upgrade."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    host, _, port = visitor.base.removeprefix("http://").partition(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2_048)
    writer.write(
        f"GET /v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        f"Sec-WebSocket-Protocol: {JSON}, bearer.{token}\r\n\r\n".encode()
    )
    return reader, writer


def test_every_message_of_the_protocol_page_has_a_type() -> None:
    """Given docs/protocol.md; then each message in its tables is in gateway/messages.py, and the other way round."""
    from gateway import client_messages as said
    from gateway import messages as wire
    from gateway import messages_talking

    assert messages_talking.CallOwner in wire.FromServer.__subclasses__()
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    server_types = {one.TYPE for one in wire.FromServer.__subclasses__()} | {wire.SessionReset.TYPE}
    for type_ in server_types | said.ALL_CLIENT_TYPES:
        assert f"`{type_}`" in page, type_
    tables = page.split("## From the server")[1].split("## WebRTC")[0]
    for row in tables.splitlines():
        if row.startswith("| `"):
            for name in row.split("|")[1].replace("(no `seq`)", "").split(","):
                assert name.strip().strip("`") in server_types | said.ALL_CLIENT_TYPES, row


def test_json_and_messagepack_say_the_same() -> None:
    """Given one message; then both codecs carry the same fields."""
    from gateway import messages as wire
    from gateway.codec import CODECS

    message = wire.Outgoing(1, "s1", "call.ended", wire.CallEnded("k", "hung_up", 1, 2), "", 7, 9)
    expected = {
        "v": 1,
        "id": "s1",
        "type": "call.ended",
        "seq": 7,
        "at_ms": 9,
        "data": {"call_id": "k", "reason": "hung_up", "waited_ms": 1, "talked_ms": 2},
    }
    assert json.loads(CODECS[JSON].encode(message)) == expected
    assert msgspec.msgpack.decode(CODECS[MSGPACK].encode(message)) == expected
