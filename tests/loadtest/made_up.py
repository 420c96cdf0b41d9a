"""A small run that adds up, made by hand: two agents, three calls, and the hall's histories of them."""

from typing import Any

from loadtest.accounting import HallCount
from loadtest.records import CallRecord, Engagement, Records

COUNT = HallCount(admitted=3, live=0)


def run() -> Records:
    """Calls k-0 and k-1 are answered by a-1 one after the other, k-2 gives up while it rings at a-2; number 3 is refused."""
    return Records(
        started_at_ms=1,
        calls=[
            CallRecord(
                0,
                "loans",
                100.0,
                "c-0",
                "k-0",
                101.0,
                connected_ms=200.0,
                ended_ms=900.0,
                end_reason="customer_hung_up",
            ),
            CallRecord(
                1,
                "loans",
                500.0,
                "c-1",
                "k-1",
                501.0,
                connected_ms=2_700.0,
                ended_ms=3_000.0,
                end_reason="agent_hung_up",
            ),
            CallRecord(
                2, "cards", 600.0, "c-2", "k-2", 601.0, gave_up_ms=700.0, ended_ms=705.0, end_reason="customer_hung_up"
            ),
            CallRecord(3, "cards", 800.0, "c-3", "", 801.0, refusal="queue_full"),
        ],
        engagements=[
            Engagement("a-1", "k-0", "k-0.1", 0, 1, 0, 110.0, 2, "accepted", 150.0, 190.0, 901.0, 1_900.0, 6),
            Engagement(
                "a-1", "k-1", "k-1.1", 1, 1, 1_400, 1_902.0, 7, "accepted", 2_600.0, 2_690.0, 3_001.0, 4_001.0, 11
            ),
            Engagement("a-2", "k-2", "k-2.1", 2, 1, 0, 612.0, 2, "rescinded", over_ms=706.0, over_seq=3),
        ],
    )


def histories() -> dict[str, list[dict[str, Any]]]:
    """What the hall tells of the calls of `run`."""
    return {
        "k-0": _answered("k-0", "c-0", "loans", "a-1", "customer_hung_up"),
        "k-1": _answered("k-1", "c-1", "loans", "a-1", "agent_hung_up"),
        "k-2": [
            _event("call_queued", call_id="k-2", customer_id="c-2", queue_id="cards"),
            _event("call_reserved", call_id="k-2", reservation_id="k-2.1", agent_id="a-2"),
            _event("reservation_closed", call_id="k-2", reservation_id="k-2.1", agent_id="a-2", outcome="rescinded"),
            _event("call_ended", call_id="k-2", reason="customer_hung_up"),
        ],
    }


def _answered(call_id: str, customer_id: str, queue_id: str, agent_id: str, reason: str) -> list[dict[str, Any]]:
    reservation_id = f"{call_id}.1"
    return [
        _event("call_queued", call_id=call_id, customer_id=customer_id, queue_id=queue_id),
        _event("call_reserved", call_id=call_id, reservation_id=reservation_id, agent_id=agent_id),
        _event("reservation_accepted", call_id=call_id, reservation_id=reservation_id, agent_id=agent_id),
        _event("call_connected", call_id=call_id, agent_id=agent_id),
        _event("call_ended", call_id=call_id, reason=reason),
        _event("wrap_up_ended", call_id=call_id, agent_id=agent_id, how="time"),
    ]


def _event(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": type_, "at_ms": 0, **fields}
