"""Bytes of every message, for ever readable; and the rules by which the protocol may grow (docs/protocol.md, Compatibility).

A golden file has one line a message: its name and its bytes, JSON as text and MessagePack as hexadecimal digits. A line never
changes: a message that gains a field gains a line. `python -m tests.gateway.golden_writer` adds what is missing.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway import messages as wire
from gateway.client_messages import CLIENT_TYPES
from gateway.codec import CODECS, JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL, Codec
from gateway.refusals import Refused
from gateway.samples import CLIENT_SAMPLES, SERVER_SAMPLES, sent
from tests.gateway.client import JSON, MSGPACK, Visitor
from tests.gateway.golden_writer import FILES, said, written

Token = Callable[..., str]
GOLDEN = {name: dict(line.split("\t", 1) for line in path.read_text().splitlines()) for name, path in FILES.items()}
ROLE_BY_CLIENT_TYPE = {kind: role for role in ("operator", "agent", "customer") for kind in CLIENT_TYPES[role].values()}


def payload(codec: Codec, line: str) -> bytes:
    return line.encode() if codec.is_text else bytes.fromhex(line)


@pytest.mark.parametrize("file", list(FILES))
def test_every_message_has_its_line(file: str) -> None:
    """Given all samples; then each stands in the golden file of its side and codec, and nothing else does."""
    samples = CLIENT_SAMPLES if file.startswith("client") else SERVER_SAMPLES
    assert list(GOLDEN[file]) == list(samples)


def test_every_field_stands_in_a_line() -> None:
    """Given each message; then each of its fields is in one of its samples: a field that came later is not forgotten."""
    for samples in (SERVER_SAMPLES, CLIENT_SAMPLES):
        seen: dict[type[Any], set[str]] = {}
        for one in samples.values():
            seen.setdefault(type(one), set()).update(msgspec.to_builtins(one))
        assert {kind.__name__: set(kind.__struct_fields__) - fields for kind, fields in seen.items()} == {
            kind.__name__: set() for kind in seen
        }


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("name", list(SERVER_SAMPLES))
def test_the_server_writes_the_same_bytes(name: str, codec: Codec) -> None:
    """Given a sample of the server; then today's codec writes the golden bytes."""
    side = "server.jsonl" if codec.is_text else "server.msgpack"
    assert written(codec, codec.encode(sent(name))) == GOLDEN[side][name]


@pytest.mark.parametrize("name", list(SERVER_SAMPLES))
def test_both_codecs_say_the_same(name: str) -> None:
    """Given a golden message of the server in both codecs; then a client reads the same from either."""
    from_text = json.loads(GOLDEN["server.jsonl"][name])
    assert msgspec.msgpack.decode(bytes.fromhex(GOLDEN["server.msgpack"][name])) == from_text
    assert from_text["type"] == name.split(" ")[0]


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("name", list(CLIENT_SAMPLES))
def test_what_clients_ever_sent_is_read(name: str, codec: Codec) -> None:
    """Given golden bytes of a client; then today's codec reads the sample from them, for a role that may send it."""
    side = "client.jsonl" if codec.is_text else "client.msgpack"
    sample = CLIENT_SAMPLES[name]
    envelope = codec.envelope(payload(codec, GOLDEN[side][name]))
    assert (envelope.v, envelope.id, envelope.type) == (1, "9f2c", sample.TYPE)
    assert codec.data(envelope, ROLE_BY_CLIENT_TYPE[type(sample)]) == sample
    assert written(codec, said(codec, name)) == GOLDEN[side][name]


# -- compatibility


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("name", list(CLIENT_SAMPLES))
def test_unknown_fields_are_ignored_everywhere(name: str, codec: Codec) -> None:
    """Given a message of a newer client, with fields that we do not know around and in its data; then it is read as if
    without."""
    kind: Any = msgspec.json if codec.is_text else msgspec.msgpack
    whole = kind.decode(payload(codec, GOLDEN["client.jsonl" if codec.is_text else "client.msgpack"][name]))
    newer = {"a_new_one": {"x": [1]}, **whole, "data": {"also_new": None, **whole["data"], "last": "y"}, "more": 2}
    sample = CLIENT_SAMPLES[name]
    envelope = codec.envelope(kind.encode(newer))
    assert codec.data(envelope, ROLE_BY_CLIENT_TYPE[type(sample)]) == sample


@pytest.mark.parametrize("name", list(CLIENT_SAMPLES))
def test_a_field_that_came_later_may_be_missing(name: str) -> None:
    """Given a client of the first version, which knows only the fields that a message cannot do without; then it is read."""
    sample = CLIENT_SAMPLES[name]
    codec = CODECS[JSON_SUBPROTOCOL]
    required = [one.encode_name for one in msgspec.structs.fields(type(sample)) if one.required]
    data = {key: value for key, value in msgspec.to_builtins(sample).items() if key in required}
    older = msgspec.json.encode({"v": 1, "id": "1", "type": sample.TYPE, "data": data})
    assert isinstance(codec.data(codec.envelope(older), ROLE_BY_CLIENT_TYPE[type(sample)]), type(sample))


def test_another_version_is_refused_by_name() -> None:
    """Given a message of version 2; then version 1 refuses it as malformed, and says for which message."""
    with pytest.raises(Refused) as refused:
        CODECS[JSON_SUBPROTOCOL].envelope(b'{"v":2,"id":"x","type":"call.hang_up","data":{}}')
    assert (refused.value.reason, refused.value.re) == ("malformed", "x")


def test_what_has_no_meaning_is_left_out() -> None:
    """Given fields marked `UNSET`; then they are not on the wire, so that a page of before sees what it always saw."""
    plain = msgspec.json.decode(CODECS[JSON_SUBPROTOCOL].encode(sent("call.queued")))
    assert "is_callback" not in plain["data"]
    assert "re" not in plain


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_a_type_of_a_newer_client_costs_nothing_but_an_error(
    visitor: Visitor, token: Token, subprotocol: str
) -> None:
    """Given a client that tries what this version does not have; then `unknown_type`, and the session goes on."""
    client = await visitor.greeted(token("customer", "c-1"), subprotocol=subprotocol)
    answer = await client.ask("call.teleport", {"to": "moon"})
    assert answer["data"] == {"reason": "unknown_type", "detail": "call.teleport"}
    assert (await client.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (["tellerhall.v2.json", JSON], JSON),
        (["tellerhall.v2.msgpack", MSGPACK, JSON], MSGPACK),
        (["tellerhall.v9.cbor"], None),
    ],
)
async def test_versions_are_chosen_by_subprotocol(
    visitor: Visitor, token: Token, offered: list[str], expected: str | None
) -> None:
    """Given a client that offers versions in its own order; then the first that is known; none: 400, not a guess."""
    headers = {"Authorization": f"Bearer {token('customer', 'c-1')}"}
    if expected is None:
        status, problem, _ = await visitor.request(
            "GET",
            "/v1/ws",
            headers={
                **headers,
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Sec-WebSocket-Protocol": ", ".join(offered),
            },
        )
        assert (status, problem["reason"]) == (400, "malformed")
        return
    socket = await visitor.http.ws_connect(f"{visitor.base}/v1/ws", protocols=offered, headers=headers)
    assert socket.protocol == expected
    await socket.close()


def test_the_two_subprotocols_are_these_for_ever() -> None:
    """Given version 1; then its subprotocols are named so."""
    assert (JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL, wire.VERSION) == ("tellerhall.v1.json", "tellerhall.v1.msgpack", 1)
