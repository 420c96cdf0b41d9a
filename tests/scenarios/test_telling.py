"""What scenarios are written in: each field that somebody decided is told, nothing is guessed, and a difference is seen."""

from datetime import date
from typing import Any

import msgspec
import pytest

from dispatch.handing_facts import HandedCall
from dispatch.plan import Plan
from tests.engine.samples import EACH
from tests.engine.scene import Scene
from tests.scenarios.hall import checked, with_line
from tests.scenarios.phrases import Cast, commands
from tests.scenarios.runner import Player, read
from tests.scenarios.sentences import sentence
from tests.scenarios.times import Clock, duration_ms, in_words

CLOCK = Clock(date(2026, 3, 2), 480)
ECHOES = {
    "at_ms", "business_reference", "connection_id", "customer_id", "fingerprint", "is_consented", "manifest_sha256", "media",
    "plan", "wishes",
}  # fmt: skip
"""Fields that repeat the command above the trace, its plan or its report; `at_ms` stands before the sentence."""
UNTOLD: dict[str, set[str]] = {
    "Answered": {"value"},
    "CallEnded": {"forget_at_ms", "queue_id"},
    "CallQueued": {"queued_at_ms"},
    "CallReserved": {"queue_id", "reservation_id"},
    "CallHandingOver": {"version"},
    "HandOverRevoked": {"version"},
    "HandOverRefused": {"version"},
    "CallHandedOver": {"version", "from_queue_id"},
    "HandedCallEnded": {"forget_at_ms"},
    "HandOverAdmitted": {"credit_ms"},
    "HandOverDeclined": {"version"},
    "OriginTold": {"version"},
    "InvitationAccepted": {"queued_at_ms"},
    "JointAccepted": {"reservation_id"},
    "PartyAdded": {"reservation_id"},
    "ReservationAccepted": {"reservation_id"},
    "ReservationClosed": {"reservation_id"},
}
"""Fields that another line says again: a reservation is call and attempt, queued-at is now, forgetting is told then,
and the version of a hand-over stands in what is asked of the other division."""
WORDS = {"outcome", "how", "mode"}
"""Each known word of these has a sentence of its own; an unknown one has none and raises KeyError."""

HALL = "A hall\n\nShows: A call\n\nHall\n    queue loans: target 20 s\n    agent anna\n\n"


def changed(value: Any) -> Any:
    """Another value of the same type; None where a test cannot make one up."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 61_001
    if isinstance(value, list):
        return [*value, "more"]
    if isinstance(value, HandedCall):
        return msgspec.structs.replace(value, cause=value.cause + "x")
    return value + "x" if isinstance(value, str) else None


@pytest.mark.parametrize("event", EACH, ids=lambda event: type(event).__name__)
def test_every_decided_field_changes_the_sentence(event: Any) -> None:
    """Given one of each event with all its fields, when one changes, then its sentence does, or the field is told elsewhere."""
    others = {
        field: msgspec.structs.replace(event, **{field: changed(getattr(event, field))})
        for field in event.__struct_fields__
        if field not in WORDS
    }
    untold = {field for field, other in others.items() if sentence(other, CLOCK) == sentence(event, CLOCK)}
    assert untold - ECHOES == UNTOLD.get(type(event).__name__, set())


@pytest.mark.parametrize(
    ("text", "ms"), [("0 s", 0), ("999 ms", 999), ("1 min 30 s", 90_000), ("2 d 1 h", 176_400_000), ("1 s 1 ms", 1_001)]
)
def test_durations_are_told_as_they_are_read(text: str, ms: int) -> None:
    """Given a duration in words, then it is read and told the same."""
    assert (duration_ms(text), in_words(ms)) == (ms, text)


@pytest.mark.parametrize("text", ["20", "20 sec", "", "1 min30 s", "-1 s"])
def test_a_duration_needs_its_unit(text: str) -> None:
    """Given a number without a unit that exists, then it is no duration."""
    with pytest.raises(ValueError, match="no duration"):
        duration_ms(text)


@pytest.mark.parametrize("text", ["09:00:05", "23:59:59.999", "Tue 00:00:00", "Sun 09:00:00", "2026-04-01 12:00:00"])
def test_instants_are_told_as_they_are_read(text: str) -> None:
    """Given an instant of this day, this week or later, then it is read and told the same."""
    assert CLOCK.tell(CLOCK.instant_ms(text)) == text


def test_a_day_begins_at_local_midnight() -> None:
    """Given 8 h east of Greenwich, when it is 08:00 there, then it is 00:00 UTC of that day (2026-03-02 is day 20,514)."""
    assert CLOCK.instant_ms("08:00:00") == 20_514 * 86_400_000


@pytest.mark.parametrize(
    "line",
    [
        "queue loans: colour red",
        "room loans: target 20 s",
        "queue loans: relaxation at 5 s loan 2",
        "queue loans: target 20",
    ],
)
def test_a_line_of_the_hall_that_is_none(line: str) -> None:
    """Given a hall's line with a mistake, then it is refused, not passed over."""
    with pytest.raises(ValueError, match=r"no such|neither|no relaxation|no duration"):
        with_line(Plan(division_id="d"), line, 0)


def test_a_setting_out_of_its_bounds() -> None:
    """Given misses_max 0, one below its least, then the hall is none."""
    with pytest.raises(msgspec.ValidationError):
        checked(with_line(Plan(division_id="d"), "queue loans: misses_max 0", 0))


@pytest.mark.parametrize(
    "text", ["wei wants loans", "wei asks for loans: call c1; champagne", "anna accepts", "wei hangs up 7"]
)
def test_a_sentence_that_nobody_understands(text: str) -> None:
    """Given a command with a mistake, then it is refused, not passed over."""
    with pytest.raises(ValueError, match=r"nobody understands|no such wish"):
        commands(text, Cast(Scene(), 0))


@pytest.mark.parametrize("line", ["9:00  anna becomes ready", "08:59:59  anna becomes ready", "until yesterday"])
def test_a_line_without_a_time_that_comes(line: str) -> None:
    """Given a command without its time, or at one that is over, then the scenario is none."""
    with pytest.raises(ValueError, match=r"neither a time|over already|unpack"):
        Player(read(f"{HALL}09:00:00  anna becomes ready\n{line}\n")).play()


def test_a_trace_is_written_anew_whatever_it_said() -> None:
    """Given a file whose trace tells what was not decided, when it is played, then the new trace is the engine's."""
    told = f"{HALL}09:00:00  anna becomes ready\n    09:00:00  anna is queen\n09:00:01  time passes\n    09:00:01  it rains\n"
    assert Player(read(told)).play() == f"{HALL}09:00:00  anna becomes ready\n    09:00:00  anna is ready\n"
