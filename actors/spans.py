"""OpenTelemetry spans: what a request did in gateway, shard and media worker, for a bank that collects traces. Off by default.

Rules
- On where `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) says where to; the SDK's other variables
  count too (sampler, headers, resource). Spans leave in batches from a thread of their own, over OTLP and HTTP; what the
  collector does not take is dropped, and nothing waits for it.
- A span names ids and reasons from a list, as log lines do (`transitions`): no name, no free text, no SDP.
- Where a client brings a `traceparent`, its word counts on whether the trace is sampled; else the SDK's sampler decides.

Theory: `tracing` carries one `traceparent` along a request. A span takes the place of what came, so that whoever is asked
next is its child. Without the SDK's variables nothing here is imported, and a request costs one comparison more.

Not here: the context itself (`tracing`).
"""

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from actors.tracing import begin_trace, is_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CLOSE_S = 2.0
"""How long the last spans may take to leave when a process stops; the SDK's own waiting has no bound that it keeps."""

log = structlog.get_logger()


class _Setting:
    provider: "TracerProvider | None" = None
    tracer: "Tracer | None" = None


def configure_spans(part: str) -> None:
    """Set spans up for this process where the variables ask for them; `part` is what they come from (`shard-0`)."""
    if _Setting.tracer is not None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    if not any(os.environ.get(one) for one in VARIABLES):
        return
    try:
        _Setting.provider = _provider(part)
    except Exception:
        # A slip in a variable of the SDK's must not keep a hall from starting.
        log.exception("spans.not_configured", part=part)
        return
    _Setting.tracer = _Setting.provider.get_tracer("tellerhall")
    log.info("spans.leave", part=part)


def _provider(part: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or "tellerhall",
        "service.instance.id": f"{part}-{os.getpid()}",
    }
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def close_spans() -> None:
    """Let what has been told leave, within `CLOSE_S`; what has not left by then is lost."""
    provider, _Setting.provider, _Setting.tracer = _Setting.provider, None, None
    if provider is None:
        return
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        provider.shutdown()
        with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(closed.set)

    # No thread of the loop's: those are waited for at the end.
    threading.Thread(target=close, name="spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closed.wait(), CLOSE_S)


def begin_request(name: str, incoming: str) -> "Span | None":
    """Begin what a client asks for: its trace, or a new one, is that of this asyncio task from now on (`begin_trace`).

    Returns the span to end with `end_request`; None where there are none. `name`: from a list, and nothing that a client wrote;
    empty: it is worth no span.
    """
    tracer = _Setting.tracer
    if tracer is None or not name:
        begin_trace(incoming)
        return None
    from opentelemetry.trace import SpanKind

    parent = _context_of(incoming) if is_traceparent(incoming) else None
    span = tracer.start_span(name, parent, SpanKind.SERVER)
    own = span.get_span_context()
    begin_trace(f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags):02x}")
    return span


def end_request(span: "Span | None", reason: str = "", **attributes: Any) -> None:
    """`reason`: why it was refused; empty: it was not."""
    if span is not None:
        _end(span, reason, attributes)


def tell(name: str, traceparent: str, began_ms: int, reason: str = "", **attributes: Any) -> None:
    """Tell of something that is over: a command that is durable, a room that is open. `began_ms`: since the Unix epoch."""
    tracer = _Setting.tracer
    if tracer is not None and is_traceparent(traceparent):
        span = tracer.start_span(name, _context_of(traceparent), start_time=began_ms * 1_000_000)
        _end(span, reason, attributes, max(time.time_ns(), began_ms * 1_000_000))


def _end(span: "Span", reason: str, attributes: dict[str, Any], at_ns: int | None = None) -> None:
    if span.is_recording():
        for name, value in attributes.items():
            if value:
                span.set_attribute(f"tellerhall.{name}", value)
        if reason:
            span.set_attribute("tellerhall.reason", reason)
    span.end(at_ns)


def _context_of(traceparent: str) -> Any:
    """The SDK's context whose current span is the remote one that `traceparent` names."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(remote))
