"""OpenTelemetry spans: whose child each is, what they tell, and that nothing of them is there without being asked for."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog

from actors import spans
from actors.tracing import current_traceparent
from tests.collector import Collector, attributes_of, collecting
from tests.waiting import until

CLIENTS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = CLIENTS[:-1] + "0"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made
        await spans.close_spans()


async def test_a_request_is_the_child_of_its_client_and_the_parent_of_what_it_asks(collector: Collector) -> None:
    """Given a client's trace; when a request asks a shard, and ends; then both spans hang together, with their facts."""
    spans.configure_spans("gateway-1")
    span = spans.begin_request("call.request", CLIENTS)
    own = current_traceparent()
    assert own[3:35] == CLIENTS[3:35]
    assert own[36:52] != CLIENTS[36:52]
    spans.tell("RequestCall", own, 1_700_000_000_000, "queue_full", call_id="c1", division="main")
    spans.end_request(span, role="customer", status=0)
    await spans.close_spans()
    await until(lambda: len(collector.spans) == 2)
    request, command = collector.named("call.request"), collector.named("RequestCall")
    assert request.parent_span_id.hex() == CLIENTS[36:52]
    assert (command.trace_id, command.parent_span_id) == (request.trace_id, request.span_id)
    assert request.trace_id.hex() == CLIENTS[3:35]
    assert command.start_time_unix_nano == 1_700_000_000_000_000_000
    assert command.end_time_unix_nano > command.start_time_unix_nano
    assert attributes_of(request) == {"tellerhall.role": "customer"}
    assert attributes_of(command) == {
        "tellerhall.call_id": "c1",
        "tellerhall.division": "main",
        "tellerhall.reason": "queue_full",
    }
    assert collector.resources[0]["service.name"] == "tellerhall"
    assert collector.resources[0]["service.instance.id"].startswith("gateway-1-")


async def test_without_a_clients_trace_one_begins(collector: Collector) -> None:
    """Given no trace, or one that is malformed; then the request is a root of its own."""
    spans.configure_spans("gateway-1")
    for incoming in ("", "00-nonsense"):
        spans.end_request(spans.begin_request("call.request", incoming))
    await spans.close_spans()
    await until(lambda: len(collector.spans) == 2)
    assert {span.parent_span_id for span in collector.spans} == {b""}
    assert len({span.trace_id for span in collector.spans}) == 2


async def test_a_client_who_does_not_sample_is_believed(collector: Collector) -> None:
    """Given a trace whose client does not sample it; then nothing leaves, and who is asked next is told so too."""
    spans.configure_spans("gateway-1")
    span = spans.begin_request("call.request", UNSAMPLED)
    assert current_traceparent().endswith("-00")
    spans.tell("RequestCall", current_traceparent(), 1_700_000_000_000)
    spans.end_request(span)
    await spans.close_spans()
    assert not collector.spans


async def test_a_collector_that_is_silent_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given somebody at the address who takes everything and answers nothing, and more spans than leave at once; then requests
    go on, and the end takes no longer than its bound."""
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(spans, "CLOSE_S", 0.5)
    spans.configure_spans("gateway-1")
    for _ in range(2_000):
        spans.end_request(spans.begin_request("call.request", ""))
    async with asyncio.timeout(5):
        await spans.close_spans()
    silent.close()


async def test_a_slip_in_a_variable_keeps_nobody_from_starting(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a variable that the SDK refuses; then there are no spans, and a line says why."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000")
    with structlog.testing.capture_logs() as lines:
        spans.configure_spans("gateway-1")
    assert spans.begin_request("call.request", "") is None
    assert [line["event"] for line in lines] == ["spans.not_configured"]


@pytest.mark.parametrize(
    "said", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_is_imported_that_is_not_asked_for(said: dict[str, str]) -> None:
    """Given no address, or the SDK switched off; then a process has no spans, and not even the package."""
    code = (
        "import sys; from actors import spans; spans.configure_spans('x'); assert spans.begin_request('a', '') is None; "
        "spans.tell('b', '00-' + 32 * 'a' + '-' + 16 * 'b' + '-01', 1); assert 'opentelemetry' not in sys.modules"
    )
    run: Callable[..., Any] = subprocess.run
    assert run([sys.executable, "-c", code], env={"PATH": "/usr/bin", **said}, check=False).returncode == 0
