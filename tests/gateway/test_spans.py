"""Traces of a request through gateway and shard, as a bank's collector gets them."""

from collections.abc import AsyncIterator, Callable

import pytest

from actors import spans
from tests.collector import Collector, attributes_of, collecting
from tests.gateway.client import Visitor
from tests.gateway.test_call_life import REQUEST, hall, local, visitor
from tests.waiting import until

__all__ = ["hall", "local", "visitor"]
Token = Callable[..., str]
CLIENTS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        spans.configure_spans("gateway-1")
        yield made
        await spans.close_spans()


async def test_a_message_and_its_command(collector: Collector, visitor: Visitor, token: Token) -> None:
    """Given a client who asks over its WebSocket; then the gateway's span is a root, the shard's its child, with call id."""
    client = await visitor.greeted(token("customer", "c-1"))
    call_id = (await client.ask("call.request", REQUEST))["data"]["value"]["call_id"]
    assert (await client.ask("call.request", REQUEST))["data"]["reason"] == "already_in_call"
    await spans.close_spans()
    await until(lambda: len(collector.spans) >= 4)
    by_reason = {(span.name, attributes_of(span).get("tellerhall.reason", "")): span for span in collector.spans}
    asked, done = by_reason["call.request", ""], by_reason["RequestCall", ""]
    assert (done.trace_id, done.parent_span_id) == (asked.trace_id, asked.span_id)
    assert attributes_of(done)["tellerhall.call_id"] == call_id
    assert attributes_of(asked) == {"tellerhall.role": "customer"}
    refused = by_reason["call.request", "already_in_call"]
    assert by_reason["RequestCall", "already_in_call"].parent_span_id == refused.span_id


async def test_a_rest_request_of_a_client_with_a_trace(collector: Collector, visitor: Visitor, token: Token) -> None:
    """Given a caller's own trace; then its request is in it, named by the route's pattern, and so is what is answered."""
    status, _, headers = await visitor.request(
        "POST", "/v1/calls", token("customer", "c-1"), json=REQUEST, headers={"traceparent": CLIENTS}
    )
    assert status == 201
    await spans.close_spans()
    await until(lambda: len(collector.spans) >= 2)
    asked = collector.named("POST /v1/calls")
    assert (asked.trace_id.hex(), asked.parent_span_id.hex()) == (CLIENTS[3:35], CLIENTS[36:52])
    assert headers["traceparent"][36:52] == asked.span_id.hex()
    assert attributes_of(asked) == {"tellerhall.status": 201}
    assert collector.named("RequestCall").parent_span_id == asked.span_id


async def test_nothing_that_a_client_wrote_leaves(collector: Collector, visitor: Visitor, token: Token) -> None:
    """Given a call id and a type that are anything but; then no span has a word of them, and what is not worth one has none."""
    client = await visitor.greeted(token("customer", "c-1"))
    assert (await client.ask("call.hang_up", {"call_id": "Zhang San 13800000000"}))["type"] == "error"
    assert (await client.ask("Zhang San", {}))["data"]["reason"] == "unknown_type"
    assert (await visitor.request("GET", "/healthz"))[0] == 200
    await spans.close_spans()
    await until(lambda: len(collector.spans) >= 2)
    assert sorted(span.name for span in collector.spans) == ["HangUp", "call.hang_up"]
    assert "Zhang" not in str(collector.spans)
