"""The accounts: a run that adds up passes, and each way of losing or doubling a call is found by the name of its rule."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from loadtest.accounting import HallCount, balance, check
from loadtest.records import CallRecord, Engagement, Records
from tests.loadtest import made_up

Histories = dict[str, list[dict[str, Any]]]
Spoil = Callable[[Records, Histories], None]


def _check(records: Records, histories: Histories, count: HallCount | None = made_up.COUNT) -> list[tuple[str, str]]:
    return [(one.rule, one.what) for one in check(records, lambda call_id: histories.get(call_id, []), count)]


def test_a_run_that_adds_up_has_no_mismatch() -> None:
    """Given two answered calls, one abandoned and one refused, all told alike by everybody, then nothing is found."""
    assert _check(made_up.run(), made_up.histories()) == []


def test_the_balance_counts_each_call_once() -> None:
    """Given the same run, then offered is the sum of the outcomes."""
    assert balance(made_up.run()) == {"offered": 4, "answered": 2, "abandoned": 1, "refused": 1}


def _waited_too_long(records: Records, histories: Histories) -> None:
    """The hall ended k-2 by its queue's limit, after it had led it to another queue; nobody gave up."""
    records.calls[2].gave_up_ms, records.calls[2].end_reason = None, "waited_too_long"
    histories["k-2"][0] |= {"queue_id": "wealth", "asked_queue_id": "cards"}
    histories["k-2"][-1]["reason"] = "waited_too_long"


def test_a_limit_that_ends_a_call_refuses_it() -> None:
    """Given a call that waited too long, told alike by everybody, then it counts as refused, by that name, and all adds up."""
    records, histories = made_up.run(), made_up.histories()

    _waited_too_long(records, histories)

    assert _check(records, histories) == []
    assert balance(records) == {"offered": 4, "answered": 2, "abandoned": 0, "refused": 2}
    assert [call.refused_as for call in records.calls] == ["", "", "waited_too_long", "queue_full"]


def _asked_for_another_queue(records: Records, histories: Histories) -> None:
    histories["k-2"][0]["asked_queue_id"] = "wealth"


def _ended_by_no_limit(records: Records, histories: Histories) -> None:
    _waited_too_long(records, histories)
    records.calls[2].end_reason = histories["k-2"][-1]["reason"] = "media_failed"


def _never_ended(records: Records, histories: Histories) -> None:
    records.calls[0].ended_ms = None


def _never_sent(records: Records, histories: Histories) -> None:
    records.calls[3].sent_ms = None


def _ended_unasked(records: Records, histories: Histories) -> None:
    records.calls[2].gave_up_ms = None


def _forgotten_by_the_hall(records: Records, histories: Histories) -> None:
    del histories["k-1"]


def _answered_twice_over(records: Records, histories: Histories) -> None:
    records.calls[1].call_id = "k-0"


def _begun_twice(records: Records, histories: Histories) -> None:
    histories["k-0"].append(histories["k-0"][0])


def _ended_twice(records: Records, histories: Histories) -> None:
    histories["k-2"].append(histories["k-2"][-1])


def _connected_in_secret(records: Records, histories: Histories) -> None:
    histories["k-2"].insert(2, {"type": "call_connected", "call_id": "k-2", "agent_id": "a-2"})


def _somebody_elses_call(records: Records, histories: Histories) -> None:
    histories["k-0"][0]["customer_id"] = "c-9"


def _another_reason(records: Records, histories: Histories) -> None:
    histories["k-1"][-2]["reason"] = "media_lost"


def _a_reservation_nobody_saw(records: Records, histories: Histories) -> None:
    histories["k-2"].insert(1, {"type": "call_reserved", "reservation_id": "k-2.0", "agent_id": "a-1"})


def _two_agents(records: Records, histories: Histories) -> None:
    second = msgspec.structs.replace(records.engagements[0], agent_id="a-2", began_seq=4, over_seq=9)
    records.engagements.append(second)


def _two_calls_at_once(records: Records, histories: Histories) -> None:
    records.engagements[0].over_seq = 8


def _never_over(records: Records, histories: Histories) -> None:
    records.engagements[2].over_seq = None


def _rang_for_nobody(records: Records, histories: Histories) -> None:
    records.engagements.append(Engagement("a-2", "k-9", "k-9.1", -1, 1, 0, 0.0, 4, "expired", over_seq=5))


def _a_lost_connection(records: Records, histories: Histories) -> None:
    records.faults.append("c-1: connection lost: closed by the server with 4009")


def _recorded_twice(records: Records, histories: Histories) -> None:
    records.calls.append(CallRecord(3, "cards", 800.0, "c-3", "", 801.0, refusal="queue_full"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_never_ended, ("balance", "k-0")),
        (_never_sent, ("balance", "arrival 3")),
        (_ended_unasked, ("balance", "k-2")),
        (_forgotten_by_the_hall, ("same history", "k-1")),
        (_answered_twice_over, ("one call", "k-0")),
        (_recorded_twice, ("one call", "arrival 3")),
        (_begun_twice, ("same history", "k-0")),
        (_ended_twice, ("same history", "k-2")),
        (_connected_in_secret, ("same history", "k-2")),
        (_somebody_elses_call, ("same history", "k-0")),
        (_asked_for_another_queue, ("same history", "k-2")),
        (_ended_by_no_limit, ("balance", "k-2")),
        (_another_reason, ("same history", "k-1")),
        (_a_reservation_nobody_saw, ("same history", "k-2")),
        (_two_agents, ("one agent", "k-0")),
        (_two_calls_at_once, ("one at a time", "a-1")),
        (_never_over, ("one at a time", "a-2")),
        (_rang_for_nobody, ("one agent", "k-9")),
        (_a_lost_connection, ("no faults", "c-1")),
    ],
)
def test_each_mismatch_is_named(spoil: Spoil, expected: tuple[str, str]) -> None:
    """Given a run that adds up, when one thing is spoilt, then the rule and the call (or whoever it is) are named."""
    records, histories = made_up.run(), made_up.histories()

    spoil(records, histories)

    assert expected in _check(records, histories)


@pytest.mark.parametrize("count", [HallCount(admitted=4, live=0), HallCount(admitted=3, live=1)])
def test_a_call_that_only_the_hall_knows_is_found(count: HallCount) -> None:
    """Given a hall that admitted one more call, or still has one, then the hall is named."""
    assert _check(made_up.run(), made_up.histories(), count) == [("nothing more", "hall")]


def test_a_hall_that_others_use_is_not_counted() -> None:
    """Given no count of the hall's own, then only the run's own calls are compared."""
    assert _check(made_up.run(), made_up.histories(), None) == []
