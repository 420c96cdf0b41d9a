"""Webhooks over REST: registered by operators, in their division, under the rules of the configuration."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from actors.configuration import Configuration, WebhooksSection
from actors.hall import Hall
from actors.history_items import ReadEvents
from actors.local import LocalHall, LocalNetwork, local_hall
from actors.store_client import StoreClient
from actors.webhook_book import ENDPOINTS_MAX, DeadLetter, WebhookBook
from dispatch.plan import Plan
from gateway.app import Gateway
from gateway.settings import Settings
from gateway.slots import slots_of
from gateway.webhook_part import WebhookPart, Webhooks, WebhookSettings
from gateway.webhook_urls import GuardedResolver, UrlRules, address_problem, url_problem
from tests.gateway.archiving import ArchivingFollower
from tests.gateway.client import Visitor
from tests.gateway.receiving import Receiver
from tests.gateway.test_call_life import PLAN, REQUEST
from tests.journal.conftest import client, store
from tests.waiting import until

__all__ = ["client", "store"]
Token = Callable[..., str]
BODY = {"url": "https://crm.bank.example/calls", "types": ["tellerhall.call_ended"]}


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, others=(Plan(division_id="other"),)) as local:
        follower = ArchivingFollower(local, tmp_path / "archive")
        yield local
        await follower.close()


@pytest.fixture
async def hall(local: LocalHall, client: StoreClient) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    hall.webhooks = WebhookBook(client)
    yield hall
    await hall.close()


@pytest.fixture
async def visitor(hall: Hall, tmp_path: Path) -> AsyncIterator[Visitor]:
    rules = UrlRules(["crm.bank.example", "127.0.0.1"])
    gateway = Gateway(hall, Settings(keys_folder=tmp_path / "keys", stop_ms=200, webhook_urls=rules))
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()


async def test_the_life_of_an_endpoint(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given an operator; then an endpoint is registered once per key, seen without its secret, changed, and removed."""
    operator, key = token("operator", "o-1"), {"Idempotency-Key": "k-1"}
    status, made, headers = await visitor.request("POST", "/v1/webhooks", operator, json=BODY, headers=key)
    assert (status, headers["Location"]) == (201, f"/v1/webhooks/{made['webhook_id']}")
    assert made["secret"].startswith("whsec_")
    again = await visitor.request("POST", "/v1/webhooks", operator, json=BODY, headers=key)
    assert again[:2] == (201, made)
    other = {**BODY, "types": []}
    status, problem, _ = await visitor.request("POST", "/v1/webhooks", operator, json=other, headers=key)
    assert (status, problem["reason"]) == (422, "key_reused")
    path = headers["Location"]
    assert (await visitor.request("GET", path, operator))[1] == {k: v for k, v in made.items() if k != "secret"}
    _, listed, _ = await visitor.request("GET", "/v1/webhooks", operator)
    assert [one["webhook_id"] for one in listed["webhooks"]] == [made["webhook_id"]]
    _, changed, _ = await visitor.request("PATCH", path, operator, json={"is_enabled": False})
    assert (changed["is_enabled"], changed["url"], changed["types"]) == (False, BODY["url"], BODY["types"])
    assert (await visitor.request("DELETE", path, operator))[0] == 200
    assert (await visitor.request("GET", path, operator))[1]["reason"] == "not_found"
    assert hall.webhooks is not None
    assert await hall.webhooks.progress() == {}


async def test_a_new_secret_is_made_once_per_key(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given a change of the secret that is repeated; then one new secret, with the old one beside it, and never a third."""
    operator = token("operator", "o-1")
    _, made, _ = await visitor.request("POST", "/v1/webhooks", operator, json=BODY)
    path = f"/v1/webhooks/{made['webhook_id']}/secret"
    secrets = [made["secret"]]
    for key in ("k-1", "k-1", "k-2"):
        _, changed, _ = await visitor.request("POST", path, operator, headers={"Idempotency-Key": key})
        secrets.append(changed["secret"])
    assert secrets[1] == secrets[2]
    assert len(set(secrets)) == 3
    assert hall.webhooks is not None
    [endpoint] = await hall.webhooks.endpoints()
    assert len(endpoint.secrets) == 2
    assert endpoint.secrets[0].until_ms == 0 < endpoint.secrets[1].until_ms
    await visitor.request("POST", path, operator, json={"overlap_ms": 0})
    [endpoint] = await hall.webhooks.endpoints()
    assert len(endpoint.secrets) == 1


async def test_another_divisions_endpoint_is_unknown(visitor: Visitor, token: Token) -> None:
    """Given an endpoint of one division; then an operator of another neither sees, changes nor removes it."""
    _, made, _ = await visitor.request("POST", "/v1/webhooks", token("operator", "o-1"), json=BODY)
    stranger, path = token("operator", "o-1", division_id="other"), f"/v1/webhooks/{made['webhook_id']}"
    assert (await visitor.request("GET", "/v1/webhooks", stranger))[1] == {"webhooks": []}
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"is_enabled": False}),
        ("DELETE", "", None),
        ("POST", "/secret", None),
        ("GET", "/dead-letters", None),
        ("POST", "/dead-letters/redelivery", None),
        ("DELETE", "/dead-letters", None),
    ):
        status, problem, _ = await visitor.request(method, path + tail, stranger, json=body)
        assert (status, problem["reason"]) == (404, "not_found"), (method, tail)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 201),
        ({"url": "https://crm.bank.example:8443/a?b=c"}, 201),
        ({"url": "http://127.0.0.1:9/x"}, 201),
        ({"url": "http://crm.bank.example/calls"}, 400),
        ({"url": "https://evil.example/"}, 400),
        ({"url": "https://crm.bank.example.evil.example/"}, 400),
        ({"url": "https://u:p@crm.bank.example/"}, 400),
        ({"url": "https://crm.bank.example/#x"}, 400),
        ({"url": "ftp://crm.bank.example/"}, 400),
        ({"url": "//crm.bank.example/"}, 400),
        ({"url": ""}, 400),
        ({"url": "https://crm.bank.example/" + "a" * 1_975}, 201),
        ({"url": "https://crm.bank.example/" + "a" * 1_976}, 400),
        ({"types": ["tellerhall.answered"]}, 400),
        ({"secret": "mine"}, 400),
    ],
)
async def test_what_may_be_registered(visitor: Visitor, token: Token, change: dict[str, object], status: int) -> None:
    """Given a URL or types; then they are registered where the rules allow them, and are `bad_value` otherwise."""
    got, answer, _ = await visitor.request("POST", "/v1/webhooks", token("operator", "o-1"), json={**BODY, **change})
    assert got == status, answer
    assert answer.get("reason", "bad_value") == "bad_value"


async def test_no_more_endpoints_than_so_many(visitor: Visitor, token: Token) -> None:
    """Given as many endpoints as there may be; then one more is refused by name, a repeat is not."""
    operator = token("operator", "o-1")
    for number in range(ENDPOINTS_MAX):
        headers = {"Idempotency-Key": f"k-{number}"}
        assert (await visitor.request("POST", "/v1/webhooks", operator, json=BODY, headers=headers))[0] == 201
    status, problem, _ = await visitor.request("POST", "/v1/webhooks", operator, json=BODY)
    assert (status, problem["reason"]) == (409, "too_many_webhooks")
    assert (await visitor.request("POST", "/v1/webhooks", operator, json=BODY, headers=headers))[0] == 201


async def test_dead_letters_are_listed_sent_again_and_forgotten(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given more dead letters than a list shows; then the oldest are shown; all are wanted again at a word, or forgotten."""
    operator = token("operator", "o-1")
    _, made, _ = await visitor.request("POST", "/v1/webhooks", operator, json=BODY)
    assert hall.webhooks is not None
    for batch in range(1, 502):
        letter = DeadLetter(batch, 0, f"main.{batch}.0", "tellerhall.call_ended", "k", 5, "status 500")
        await hall.webhooks.bury(made["webhook_id"], letter)
    path = f"/v1/webhooks/{made['webhook_id']}/dead-letters"
    _, listed, _ = await visitor.request("GET", path, operator)
    assert (len(listed["dead_letters"]), listed["is_cut"]) == (500, True)
    assert listed["dead_letters"][0]["event_id"] == "main.1.0"
    assert (await visitor.request("POST", f"{path}/redelivery", operator))[1] == {"letters_count": 501}
    assert all(one.is_wanted for one in await hall.webhooks.dead_letters(made["webhook_id"]))
    assert (await visitor.request("DELETE", path, operator))[1] == {"letters_count": 501}
    assert (await visitor.request("GET", path, operator))[1] == {"dead_letters": [], "is_cut": False}


async def test_from_the_registration_on(visitor: Visitor, token: Token, hall: Hall, local: LocalHall) -> None:
    """Given a call before the registration and one after; then the real sender, over the real archive, tells of the latter."""
    receiver = Receiver()
    await receiver.start()
    staff = token("operator", "o-1")
    for customer_id in ("before", "after"):
        body = {**REQUEST, "customer_id": customer_id}
        _, call, _ = await visitor.request("POST", "/v1/calls", staff, json=body)
        if customer_id == "before":
            _, made, _ = await visitor.request("POST", "/v1/webhooks", staff, json={"url": receiver.url})
    assert hall.webhooks is not None

    def read_of(division_id: str):  # type: ignore[no-untyped-def]
        return lambda after, count_max: hall.ask_follower(ReadEvents(division_id, after, count_max))

    webhooks = Webhooks(hall.webhooks, read_of, WebhookSettings(UrlRules(["127.0.0.1"])))
    await webhooks.start()
    await until(lambda: bool(receiver.taken))
    await webhooks.stop()
    await receiver.stop()
    assert {one.event["subject"] for one in receiver.taken} == {call["call_id"]}
    assert receiver.taken[0].event["data"]["customer_id"] == "after"
    assert b"b-7" not in receiver.taken[0].body
    _, shown, _ = await visitor.request("GET", f"/v1/webhooks/{made['webhook_id']}", staff)
    assert (shown["delivered_count"], shown["waiting_count"], shown["failing_since_ms"]) == (1, 0, None)
    _, status, _ = await visitor.request("GET", "/v1/status", staff)
    assert [one["id"] for one in status["webhooks"]["endpoints"]] == [made["webhook_id"]]


@pytest.mark.parametrize(
    ("address", "host", "is_allowed"),
    [
        ("93.184.216.34", "crm.bank.example", True),
        ("10.1.2.3", "crm.bank.example", True),
        ("169.254.169.254", "crm.bank.example", False),
        ("fe80::1", "crm.bank.example", False),
        ("::ffff:169.254.169.254", "crm.bank.example", False),
        ("0.0.0.0", "crm.bank.example", False),
        ("224.0.0.1", "crm.bank.example", False),
        ("127.0.0.1", "crm.bank.example", False),
        ("::1", "crm.bank.example", False),
        ("127.0.0.1", "localhost", True),
        ("::1", "localhost", True),
    ],
)
def test_where_a_name_may_lead(address: str, host: str, is_allowed: bool) -> None:
    """Given what a name leads to; then addresses that are no server of the bank's are refused, whatever the list says."""
    assert (address_problem(address, host) == "") is is_allowed
    assert url_problem("https://169.254.169.254/latest", UrlRules(["169.254.169.254"]))
    assert url_problem("https://[fe80::1]/", UrlRules(["fe80::1"]))


async def test_a_name_that_leads_to_this_machine_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a name that turns to loopback after it was registered; then the look-up for the connection refuses it."""
    resolver = GuardedResolver()
    found = await resolver.resolve("localhost", 80)
    assert found

    async def rebound(*_: object, **__: object) -> list[dict[str, object]]:
        return [{**found[0], "host": "127.0.0.1"}]

    monkeypatch.setattr(resolver._resolver, "resolve", rebound)
    with pytest.raises(OSError, match="leads to this machine"):
        await resolver.resolve("crm.bank.example", 443)
    await resolver.close()


def test_the_process_runs_where_somebody_may_be_sent_to() -> None:
    """Given no hosts; then there is no such part; given one, then there is, with settings that it can read."""
    configuration = Configuration(divisions=[Plan(division_id="main")])
    assert [slot.id for slot in slots_of(configuration, "unix:///x", 0) if slot.kind == "webhooks"] == []
    section = WebhooksSection(allowed_hosts=["crm.bank.example"], give_up_after_ms=60_000)
    configuration = Configuration(divisions=[Plan(division_id="main")], webhooks=section)
    [slot] = [slot for slot in slots_of(configuration, "unix:///x", 0) if slot.kind == "webhooks"]
    part = WebhookPart(msgspec.msgpack.encode(slot.settings), LocalNetwork())
    assert part._settings.webhooks.sending.give_up_after_ms == 60_000
    assert part._settings.webhooks.rules.allowed_hosts == ["crm.bank.example"]
