"""What is logged of a call's life: ids, states and reasons from a list, nothing that a person wrote."""

import asyncio

import pytest

from actors import transitions
from actors.courier import traceparent_of
from actors.measures import REASONS_MAX, Histogram, ShardMeasures
from actors.tracing import CALLS, derived_traceparent, trace_id_of
from actors.transitions import LateLines, lines_of, told
from dispatch import events as ev
from dispatch.commands import AdmitHandOver, HangUp
from dispatch.handing_facts import HandedCall
from tests.waiting import until

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_calls_steps_are_told_without_what_people_wrote() -> None:
    """Given a call with a reference, a decline in free words and an end by staff's own words, then no word of it is logged."""
    events = [
        ev.CallQueued(1, "call-1", "c-1", "loans", 1, 2, business_reference="Loan of Ann Smith"),
        ev.Connected(1, "customer:c-1", "g", "k"),
        ev.ReservationClosed(2, "call-1", "r-1", "anna", "declined", "Ann Smith is my aunt"),
        ev.CallEnded(3, "call-1", "c-1", "loans", "Ann Smith called off", waited_ms=2),
        ev.CallEnded(4, "call-2", "c-2", "loans", "abandoned"),
    ]
    lines = lines_of("main", events)
    assert [line["event"] for line in lines] == ["call.queued", "call.not_accepted", "call.ended", "call.ended"]
    assert lines[0] == {
        "event": "call.queued",
        "call_id": "call-1",
        "division": "main",
        "queue_id": "loans",
        "trace_id": trace_id_of(derived_traceparent("call-1")),
    }
    assert lines[1]["outcome"] == "declined"
    assert "reason" not in lines[2]
    assert lines[3]["reason"] == "abandoned"
    assert "Ann" not in str(lines)
    assert "c-1" not in str(lines)


def test_every_line_can_be_made_of_its_event() -> None:
    """Given the table of what is told, then each event has `call_id` and the fields that its line names."""
    for kind, (name, fields) in told().items():
        assert {"call_id", *fields} <= set(kind.__struct_fields__), name


def test_a_call_that_is_handed_over_takes_its_trace_along() -> None:
    """Given a call with a trace of its client's, when the courier carries it on, then the trace goes beside it."""
    call = HandedCall(
        call_id="call-9", customer_id="c-9", queue_id="loans", from_division="main", version=1, valid_until_ms=1, hops=1,
        queued_at_ms=1,
    )  # fmt: skip
    CALLS.remember("call-9", GIVEN)
    try:
        assert traceparent_of(AdmitHandOver(call)) == GIVEN
        assert traceparent_of(HangUp("call-9")) == ""
    finally:
        CALLS.forget("call-9")


def test_a_forgotten_call_gives_its_trace_back() -> None:
    """Given a call whose trace is remembered, when the engine forgets it, then so does the shard."""
    CALLS.remember("call-1", GIVEN)
    assert lines_of("main", [ev.CallForgotten(1, "call-1", "c-1")]) == []
    assert CALLS.of("call-1") == derived_traceparent("call-1")


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (0.1, 0), (0.11, 1), (1.0, 1), (1.01, 2)])
def test_a_histogram_counts_up_to_its_bounds(value: float, bucket: int) -> None:
    """Given bounds of 0.1 and 1, then a value counts below the bound that it does not exceed."""
    histogram = Histogram((0.1, 1.0))
    histogram.observe(value)
    assert histogram.values() == {"bounds": [0.1, 1.0], "counts": [int(i == bucket) for i in range(3)], "sum": value}


def test_reasons_are_counted_within_a_bound() -> None:
    """Given one reason more than are kept, then it counts as `other`, and known ones go on."""
    measures = ShardMeasures()
    for number in range(REASONS_MAX + 1):
        measures.refuse(f"reason_{number}")
    measures.refuse("reason_0")
    refused = measures.values()["refused"]
    assert len(refused) == REASONS_MAX + 1
    assert (refused["reason_0"], refused["other"]) == (2, 1)


async def test_lines_are_written_a_moment_later_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given events of two turns; then their lines are written in one go, in order, when the answers are out."""
    written: list[list[str]] = []
    monkeypatch.setattr(transitions, "write_lines", lambda lines: written.append([line["call_id"] for line in lines]))
    late = LateLines()
    late.add("main", [ev.CallConnected(1, "call-1", "anna", "c-1")])
    late.add("main", [])
    late.add("main", [ev.CallConnected(2, "call-2", "ben", "c-2")])
    assert not written
    await until(lambda: written == [["call-1", "call-2"]])
    late.add("main", [ev.CallConnected(3, "call-3", "anna", "c-3")])
    late.write()
    assert written[1:] == [["call-3"]]
    await asyncio.sleep(2 * transitions.LATE_S)
    assert len(written) == 2
