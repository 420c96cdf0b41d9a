"""Rates by address and by client, whatever way they come; whose address counts behind a proxy."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.addresses import UNKNOWN, Networks, client_of, forwarded_for
from gateway.app import Gateway
from gateway.rates import Buckets
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.gateway.raw import Raw, get, upgrade
from tests.gateway.stub_hall import StubHall

Token = Callable[..., str]


@asynccontextmanager
async def serving(stub: StubHall, tmp_path: Path, **changes: object) -> AsyncIterator[Gateway]:
    """A gateway that bounds this machine's addresses too."""
    known = {"keys_folder": tmp_path / "keys", "stop_ms": 100, "unlimited_networks": ()}
    gateway = Gateway(stub, Settings(**{**known, **changes}))  # type: ignore[arg-type]
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def status_of(gateway: Gateway, head: bytes, source: str = "127.0.0.1") -> int:
    raw = await Raw.open(gateway.port, source)
    raw.send(head)
    status, _, _ = await raw.answer()
    raw.end()
    return status


async def test_requests_of_one_address(stub: StubHall, tmp_path: Path) -> None:
    """Given three requests at once allowed; then the fourth is 429, on whatever connection; other addresses go on."""
    async with serving(stub, tmp_path, requests_per_s=0.01, requests_burst=3) as gateway:
        seen = [await status_of(gateway, get("/")) for _ in range(4)]
        assert seen == [200, 200, 200, 429]
        assert await status_of(gateway, get("/"), "127.0.0.2") == 200


async def test_failed_sign_ins_of_one_address(stub: StubHall, tmp_path: Path, token: Token) -> None:
    """Given two failures allowed, by header or subprotocol; then nothing more is verified for that address; others sign in."""
    async with serving(stub, tmp_path, failed_logins_per_s=0.01, failed_logins_burst=2) as gateway:
        good = get("/v1/queues", Authorization=f"Bearer {token('customer', 'c-1')}")
        assert await status_of(gateway, get("/v1/queues", Authorization="Bearer nonsense")) == 401
        assert await status_of(gateway, good) == 200
        assert await status_of(gateway, upgrade("nonsense")) == 101
        assert await status_of(gateway, good) == 429
        assert await status_of(gateway, upgrade(token("customer", "c-1"))) == 429
        assert await status_of(gateway, get("/")) == 200, "pages need no sign-in"
        assert await status_of(gateway, good, "127.0.0.2") == 200


async def test_one_rate_a_client(stub: StubHall, tmp_path: Path, token: Token) -> None:
    """Given six at once allowed; when they come over REST, a WebSocket and a reconnect; then they count together."""
    async with (
        serving(stub, tmp_path, messages_per_s=0.01, messages_burst=6) as gateway,
        aiohttp.ClientSession() as http,
    ):
        visitor, mine = Visitor(http, f"http://127.0.0.1:{gateway.port}"), token("customer", "c-1")
        first = await visitor.greeted(mine)
        for _ in range(2):
            assert (await first.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
        for _ in range(2):
            assert (await visitor.request("GET", "/v1/queues", mine))[0] == 200
        again = await visitor.greeted(mine)
        for _ in range(2):
            assert (await again.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
        await again.send("call.hang_up", {"call_id": "k"})
        assert await again.closed() == 4008
        status, body, headers = await visitor.request("GET", "/v1/queues", mine)
        assert (status, body["reason"], int(headers["Retry-After"]) > 1) == (429, "too_many", True)
        assert (await visitor.request("GET", "/v1/queues", token("customer", "c-2")))[0] == 200
        await first.socket.close()


async def test_connects_of_one_client(
    stub: StubHall, tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a client that connects again and again; then one upgrade past the burst is 429, another client's is not."""
    monkeypatch.setattr("gateway.limits.CONNECTIONS_PER_CLIENT_MAX", 1_000)
    async with serving(stub, tmp_path, connects_per_s=0.01, connects_burst=20) as gateway:
        mine = upgrade(token("customer", "c-1"))
        seen = [await status_of(gateway, mine) for _ in range(21)]
        assert seen == [101] * 20 + [429]
        assert await status_of(gateway, upgrade(token("customer", "c-2"))) == 101


async def test_offers_of_one_client(
    stub: StubHall, tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given two SDP offers at once allowed; then the third is refused with a time, and the connection stays."""
    monkeypatch.setattr("gateway.limits.OFFERS_BURST", 2)
    monkeypatch.setattr("gateway.limits.OFFERS_PER_S", 0.01)
    async with serving(stub, tmp_path) as gateway, aiohttp.ClientSession() as http:
        client = await Visitor(http, f"http://127.0.0.1:{gateway.port}").greeted(token("customer", "c-1"))
        offer = {"call_id": "k", "attempt": 1, "sdp": "v=0"}
        seen = [(await client.ask("rtc.sdp_offer", offer))["data"] for _ in range(3)]
        assert [one["reason"] == "too_many" for one in seen] == [False, False, True]
        assert seen[2]["retry_after_ms"] >= 1_000
        assert (await client.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
        await client.socket.close()


async def test_behind_a_proxy(stub: StubHall, tmp_path: Path) -> None:
    """Given a trusted proxy; then the last whom it names is bounded, not whom its client names; nobody else is believed."""
    async with serving(
        stub, tmp_path, requests_per_s=0.01, requests_burst=1, trusted_proxies=("127.0.0.1",)
    ) as gateway:
        assert await status_of(gateway, get("/", X_Forwarded_For="203.0.113.7")) == 200
        assert await status_of(gateway, get("/", X_Forwarded_For="198.51.100.1, 203.0.113.7")) == 429
        assert await status_of(gateway, get("/", X_Forwarded_For="203.0.113.8")) == 200
        assert await status_of(gateway, get("/", X_Forwarded_For="1.1.1.1"), "127.0.0.2") == 200
        assert await status_of(gateway, get("/", X_Forwarded_For="1.1.1.2"), "127.0.0.2") == 429


async def test_the_own_origin_behind_a_proxy(stub: StubHall, tmp_path: Path, token: Token) -> None:
    """Given a proxy that ends TLS; then the origin that browsers see is the own one; from anybody else it stays foreign."""
    async with serving(stub, tmp_path, trusted_proxies=("127.0.0.1",)) as gateway:
        named = {"Origin": "https://bank.example", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "bank.example"}
        head = upgrade(token("customer", "c-1"), **named)
        assert await status_of(gateway, head) == 101
        assert await status_of(gateway, head, "127.0.0.2") == 403


def test_addresses_are_counted_by_who_can_have_them() -> None:
    """Given addresses in all their spellings; then an IPv4 address is one name, of IPv6 the network of 64 bits is."""
    assert {client_of(one) for one in ("203.0.113.7", "203.0.113.7:99", "::ffff:203.0.113.7")} == {"203.0.113.7"}
    same = {client_of(one) for one in ("2001:db8::1", "2001:db8::ffff", "[2001:db8::2]:443", "2001:db8::3%eth0")}
    assert same == {"2001:db8::/64"}
    assert client_of("2001:db8:0:1::1") not in same
    assert {client_of(one) for one in ("", "x", "unknown", "1.2.3", "9" * 500)} == {UNKNOWN}
    proxies = Networks(["10.0.0.0/8"])
    assert forwarded_for("10.0.0.1", ["1.1.1.1, 2.2.2.2", "3.3.3.3, 10.9.9.9"], proxies) == "3.3.3.3"
    assert forwarded_for("10.0.0.1", [], proxies) == "10.0.0.1"
    with pytest.raises(ValueError, match="does not appear"):
        Networks(["bank"])


@pytest.mark.parametrize("excess", [0, 1])
def test_names_that_are_remembered(excess: int) -> None:
    """Given as many names as are remembered, and one more; then the one unheard for longest is forgotten, and no other."""
    buckets = Buckets(1.0, 1.0, count_max=3)
    for number in range(3 + excess):
        assert buckets.take(f"n{number}", 0.0) == 0
    assert len(buckets) == 3
    assert buckets.take("n2", 0.0) > 0
    assert (buckets.take("n0", 0.0) == 0) == bool(excess)
