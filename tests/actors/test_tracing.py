"""Trace context: what a client may bring, which trace a call has, and what a log line says of both."""

import asyncio
from typing import Any

import pytest

from actors.tracing import (
    CALLS,
    CallTraces,
    add_trace,
    begin_trace,
    current_traceparent,
    derived_traceparent,
    is_traceparent,
    new_traceparent,
    trace_id_of,
)

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        (GIVEN, True),
        (GIVEN.replace("00-", "01-", 1) + "-later", True),
        ("", False),
        (GIVEN.upper(), False),
        (GIVEN + "\n", False),
        (GIVEN.replace("00-", "ff-", 1), False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", False),
        (GIVEN + "-" + "x" * 128, False),
    ],
)
def test_what_counts_as_a_traceparent(text: str, is_valid: bool) -> None:
    """W3C Trace Context 3.2: version, trace id, parent id and flags; `ff` and zeros are invalid."""
    assert is_traceparent(text) is is_valid


def test_traces_made_here_are_valid_and_differ() -> None:
    """Given no context, then each new one is well formed, and so is the one that follows from a call's id."""
    assert is_traceparent(new_traceparent())
    assert new_traceparent() != new_traceparent()
    assert is_traceparent(derived_traceparent("call-1"))
    assert derived_traceparent("call-1") == derived_traceparent("call-1") != derived_traceparent("call-2")


async def test_a_trace_belongs_to_the_task_that_began_it() -> None:
    """Given two requests at once, then neither sees the other's trace, and a malformed one is replaced."""

    async def carry_out(traceparent: str) -> str:
        begin_trace(traceparent)
        await asyncio.sleep(0)
        return current_traceparent()

    one, other = await asyncio.gather(
        asyncio.create_task(carry_out(GIVEN)), asyncio.create_task(carry_out("malformed"))
    )
    assert one == GIVEN
    assert is_traceparent(other)
    assert other != GIVEN
    assert current_traceparent() == ""


def test_a_process_remembers_a_bounded_number_of_calls() -> None:
    """Given room for two calls, when a third begins, then the first has the trace that follows from its id."""
    calls = CallTraces(2)
    for number in range(3):
        calls.remember(f"call-{number}", GIVEN)
    assert len(calls) == 2
    assert calls.of("call-0") == derived_traceparent("call-0")
    assert calls.of("call-2") == GIVEN
    calls.remember("call-2", new_traceparent())
    assert calls.of("call-2") == GIVEN, "a call's trace is that of the request it began with"
    calls.forget("call-2")
    assert len(calls) == 1
    calls.remember("call-4", "malformed")
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["call_id", "call", "room_id"])
def test_a_line_of_a_call_has_its_id_and_its_trace(name: str) -> None:
    """Given a line that names a call in any of the three words, then it says `call_id` and `trace_id`."""
    CALLS.remember("call-of-test", GIVEN)
    try:
        line: dict[str, Any] = dict(add_trace(None, "", {"event": "x", name: "call-of-test"}))
    finally:
        CALLS.forget("call-of-test")
    assert (line["call_id"], line["trace_id"]) == ("call-of-test", trace_id_of(GIVEN))


def test_a_line_of_no_call_has_no_trace() -> None:
    """Given a line outside of any request, then nothing is made up."""
    assert add_trace(None, "", {"event": "x"}) == {"event": "x"}
