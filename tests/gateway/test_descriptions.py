"""OpenAPI and AsyncAPI: valid by maintained validators, whole, true to what is sent, and readable in a browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import validate
from playwright.async_api import async_playwright

from dispatch import events
from gateway import asyncapi, openapi
from gateway.asyncapi import _CLIENT_TYPES, _SERVER_TYPES
from gateway.catalogue import SERVER_TYPES, UNNUMBERED
from gateway.client_messages import CLIENT_TYPES
from gateway.histories import event_name, history_of
from gateway.messages import FromServer
from gateway.messages_watching import CallRow
from gateway.rest import OPERATIONS
from gateway.schemas import field_docs
from gateway.translation import _TABLES, Known, message_of
from tests.gateway.client import Visitor

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
ASYNCAPI_SCHEMA = Path(__file__).parent / "asyncapi" / "3.0.0.json"
REST: dict[str, Any] = json.loads(openapi.openapi())
MESSAGES: dict[str, Any] = json.loads(asyncapi.asyncapi())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from [one] if key == "$ref" else references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def found(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step.replace("~1", "/")]
    return document


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_openapi_is_valid() -> None:
    """Given the document; then the validator of the OpenAPI community accepts it."""
    assert REST["openapi"] == "3.1.0"
    validate(REST)


def test_asyncapi_is_valid() -> None:
    """Given the document; then it is what the schema of AsyncAPI 3.0.0 asks for."""
    assert MESSAGES["asyncapi"] == "3.0.0"
    jsonschema.Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_text())).validate(MESSAGES)


@pytest.mark.parametrize("document", [REST, MESSAGES], ids=["openapi", "asyncapi"])
def test_nothing_points_nowhere(document: Any) -> None:
    """Given every reference; then it leads to something; and every pattern is one that ECMA 262 has too."""
    for reference in set(references(document)):
        assert found(document, reference) is not None
    assert r"\Z" not in json.dumps(document)


def test_every_operation_is_described() -> None:
    """Given the route table; then OpenAPI has each entry, with its roles, its statuses and no other."""
    described = {(path, method): one for path, methods in REST["paths"].items() for method, one in methods.items()}
    assert set(described) == {(one.path, one.method.lower()) for one in OPERATIONS}
    for one in OPERATIONS:
        seen = described[one.path, one.method.lower()]
        assert seen["operationId"] == one.id
        assert seen["x-roles"] == list(one.roles)
        of_ranges = (206, 416) if one.takes_ranges else ()
        assert set(seen["responses"]) == {str(status) for status in (one.status, *of_ranges, *one.refusal_statuses)}


def test_every_message_is_described_in_words() -> None:
    """Given each message of each role; then AsyncAPI has it with a text, a sample, and in its role's operation."""
    assert set(_SERVER_TYPES) == set(subclasses(FromServer))
    for kind in (*_CLIENT_TYPES, *_SERVER_TYPES):
        assert kind.__doc__, f"{kind.__name__} has no docstring"
    for name, message in MESSAGES["components"]["messages"].items():
        assert message["description"], name
        assert message["examples"], f"{name} has no sample in gateway/samples.py"
    for role, types in CLIENT_TYPES.items():
        sends = MESSAGES["operations"][f"{role}Sends"]["messages"]
        assert len({one["$ref"] for one in sends}) == len(types)
        assert len(MESSAGES["operations"][f"{role}Gets"]["messages"]) == len(SERVER_TYPES[role])  # type: ignore[index]


@pytest.mark.parametrize("role", list(CLIENT_TYPES))
def test_every_message_stands_in_the_page(role: Any) -> None:
    """Given what a role sends and gets; then docs/protocol.md names each."""
    page = PROTOCOL.read_text()
    types = {*CLIENT_TYPES[role], *(kind.TYPE for kind in SERVER_TYPES[role])}
    assert sorted(name for name in types if f"`{name}`" not in page) == []


@pytest.mark.parametrize("name", list(MESSAGES["components"]["messages"]))
def test_samples_are_what_the_schema_says(name: str) -> None:
    """Given each sample as it goes over the wire; then the schema of its message accepts it, and not without its data."""
    message = MESSAGES["components"]["messages"][name]
    schema = {**message["payload"], "components": MESSAGES["components"]}
    validator = jsonschema.Draft7Validator(schema)
    for one in message["examples"]:
        validator.validate(one["payload"])
        assert not validator.is_valid({**one["payload"], "data": 7})


@pytest.mark.parametrize("role", ["customer", "agent", "supervisor"])
def test_the_catalogue_is_what_translation_says(role: Any) -> None:
    """Given each event with words for a role; then the message that it becomes stands in the catalogue, as an event."""
    for kind in _TABLES[role]:
        event = events.SupervisionChanged(1, "k-1", "s-1", "barge") if kind is events.SupervisionChanged else made(kind)
        told = type(message_of(role, event, Known("s-1")))
        assert told in SERVER_TYPES[role], (kind, told)
        assert told not in UNNUMBERED


def test_a_history_is_what_openapi_says() -> None:
    """Given an event of each kind that names a call; then its document has a name, and the schema takes it, no other's."""
    schema = {**REST["components"]["schemas"]["History"], "components": REST["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    wishes = events.Wishes(need={"english": 5})
    kinds = [one for one in get_args(events.Event) if "call_id" in one.__struct_fields__]
    facts = [made(one) for one in kinds if one is not events.CallQueued]
    facts.append(events.CallQueued(1, "k-1", "c-1", "loans", 1, 2, wishes=wishes))
    document = json.loads(msgspec.json.encode(history_of(facts)))
    validator.validate(document)
    assert {one["type"] for one in document["events"]} == {event_name(one) for one in kinds}
    assert document["events"][-1]["wishes"]["need"] == {"english": 5}
    document["events"][0]["type"] = "call_flew"
    assert not validator.is_valid(document)


def made(kind: type[Any]) -> Any:
    """A struct with something in each field that it cannot do without."""
    if not hasattr(kind, "__struct_fields__"):
        return {int: 1, str: "s-1", bool: True, list: [], dict: {}}[get_origin(kind) or kind]
    return kind(**{one.name: made(one.type) for one in msgspec.structs.fields(kind) if one.required})


def test_fields_have_the_words_of_the_source() -> None:
    """Given a field with a text below it; then the schema shows that text."""
    assert field_docs(CallRow)["connected_at_ms"] == "0: not yet."
    row = MESSAGES["components"]["schemas"]["CallRow"]["properties"]
    assert row["connected_at_ms"]["description"] == "0: not yet."


async def test_both_are_served_to_anybody(visitor: Visitor) -> None:
    """Given nobody who is signed in; then both documents and the pages that show them come, under the pages' policy."""
    for path, version in (("/v1/openapi.json", "openapi"), ("/v1/asyncapi.json", "asyncapi")):
        status, document, headers = await visitor.request("GET", path)
        assert (status, headers["Cache-Control"]) == (200, "no-cache")
        assert version in document
    for path in ("/docs", "/docs/rest", "/docs/messages"):
        async with visitor.http.get(visitor.base + path) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.browser
async def test_the_pages_show_everything(visitor: Visitor) -> None:
    """Given a real browser under the policy; then each operation and message has its card, and the search narrows them."""
    chromium = shutil.which("chromium")
    assert chromium, "the browser tests need Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        troubles: list[str] = []
        page.on("console", lambda one: troubles.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: troubles.append(str(one)))
        for tab, count in (("rest", len(OPERATIONS)), ("messages", len(MESSAGES["components"]["messages"]))):
            await page.goto(f"{visitor.base}/docs/{tab}")
            await page.wait_for_selector("body[data-state=shown]")
            assert await page.locator("article.entry").count() == count
        await page.get_by_test_id("role").select_option("operator")
        await page.get_by_test_id("search").fill("alert")
        await page.wait_for_selector("body[data-count='1']")
        assert await page.locator("article.entry h3").inner_text() == "alert"
        await browser.close()
        assert troubles == []
