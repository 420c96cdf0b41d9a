"""Every call is accounted for: the customers' records, the agents' records and the hall's histories say the same.

Rules: nothing is repaired and nothing is left out. A mismatch is a `Mismatch` with the name of the rule and of the call; one is
enough to fail the run. Only whole facts are compared, never instants: the clocks of client and hall differ.

The rules
    balance          offered = answered + abandoned + refused, and nothing is live, failed or was never sent
    one call         a call id belongs to one arrival and one customer
    one at a time    an agent's engagements follow each other, by the agent's own event numbers
    one agent        a call that was answered was accepted by one agent, a call that was not by none that connected
    same history     the hall's history of a call has one beginning and one end, and the outcome, agent and reservations
                     that the clients saw
    nothing more     the hall admitted as many calls as the customers know, and none is live
    no faults        no client noted anything that should not happen

Not here: reading histories (`loadtest/hall.py`), figures (`loadtest/measures.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from msgspec import Struct

from loadtest.records import CallRecord, Engagement, Records

History = list[dict[str, Any]]
SETTLED = ("answered", "abandoned", "refused")


class Mismatch(Struct, frozen=True, order=True):
    """One thing that does not add up."""

    rule: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}: {self.detail}"


class HallCount(Struct, frozen=True):
    """What the hall itself counts. `admitted` is the growth over the run."""

    admitted: int
    live: int


def balance(records: Records) -> dict[str, int]:
    """Return the number of calls by outcome, and of all as `offered`."""
    counts: Counter[str] = Counter(one.outcome for one in records.calls)
    return {"offered": len(records.calls), **{name: counts.pop(name, 0) for name in SETTLED}, **counts}


def check(records: Records, history_of: Callable[[str], History], count: HallCount | None) -> list[Mismatch]:
    """Return all mismatches, sorted. `count` is None for a hall that others use too: then "nothing more" is not checked."""
    return sorted(
        [
            *_balance(records),
            *_one_call(records),
            *_one_at_a_time(records),
            *_one_agent(records),
            *_same_history(records, history_of),
            *(_nothing_more(records, count) if count is not None else ()),
            *(Mismatch("no faults", fault.partition(":")[0], fault) for fault in records.faults),
        ]
    )


def _name(call: CallRecord) -> str:
    return call.call_id or f"arrival {call.number}"


def _balance(records: Records) -> Iterator[Mismatch]:
    for call in records.calls:
        if call.outcome not in SETTLED:
            ended = f", ended as {call.end_reason}" if call.end_reason else ""
            yield Mismatch("balance", _name(call), f"arrival {call.number} is {call.outcome}{ended}")
        elif call.outcome != "refused" and not call.call_id:
            yield Mismatch("balance", _name(call), "ended without ever getting an id")


def _one_call(records: Records) -> Iterator[Mismatch]:
    numbers_by_id: dict[str, list[int]] = defaultdict(list)
    for call in records.calls:
        if call.call_id:
            numbers_by_id[call.call_id].append(call.number)
    for call_id, numbers in numbers_by_id.items():
        if len(numbers) > 1:
            yield Mismatch("one call", call_id, f"is the call of the arrivals {numbers}")
    numbers_seen = Counter(call.number for call in records.calls)
    for number, count in numbers_seen.items():
        if count > 1:
            yield Mismatch("one call", f"arrival {number}", f"was recorded {count} times")


def _one_at_a_time(records: Records) -> Iterator[Mismatch]:
    engagements_by_agent: dict[str, list[Engagement]] = defaultdict(list)
    for engagement in records.engagements:
        engagements_by_agent[engagement.agent_id].append(engagement)
    for agent_id, engagements in engagements_by_agent.items():
        for before, after in pairwise(sorted(engagements, key=lambda one: one.began_seq)):
            if before.over_seq is None or before.over_seq >= after.began_seq:
                detail = f"got {after.call_id} while {before.call_id} was not over"
                yield Mismatch("one at a time", agent_id, detail)
        for engagement in engagements:
            if engagement.over_seq is None:
                yield Mismatch("one at a time", agent_id, f"{engagement.call_id} was never over")


def _one_agent(records: Records) -> Iterator[Mismatch]:
    accepted_by: dict[str, list[str]] = defaultdict(list)
    connected_by: dict[str, list[str]] = defaultdict(list)
    for one in records.engagements:
        if one.outcome == "accepted":
            accepted_by[one.call_id].append(one.agent_id)
        if one.connected_ms is not None:
            connected_by[one.call_id].append(one.agent_id)
    for call in records.calls:
        agents, connected = accepted_by[call.call_id], connected_by[call.call_id]
        if call.outcome == "answered" and (len(agents) != 1 or connected != agents):
            yield Mismatch("one agent", _name(call), f"answered; accepted by {agents}, connected at {connected}")
        elif call.outcome != "answered" and connected:
            yield Mismatch("one agent", _name(call), f"{call.outcome}, yet connected at {connected}")
    known = {call.call_id for call in records.calls}
    for call_id in sorted({one.call_id for one in records.engagements} - known):
        yield Mismatch("one agent", call_id, "rang at an agent and belongs to no customer")


def _same_history(records: Records, history_of: Callable[[str], History]) -> Iterator[Mismatch]:
    engagements_by_call: dict[str, list[Engagement]] = defaultdict(list)
    for engagement in records.engagements:
        engagements_by_call[engagement.call_id].append(engagement)
    for call in records.calls:
        if call.call_id:
            for detail in _differences(call, engagements_by_call[call.call_id], history_of(call.call_id)):
                yield Mismatch("same history", call.call_id, detail)


def _differences(call: CallRecord, engagements: list[Engagement], history: History) -> Iterator[str]:
    if not history:
        yield "the hall knows nothing of this call"
        return
    by_type: dict[str, History] = defaultdict(list)
    for event in history:
        by_type[event["type"]].append(event)
    for name in ("call_queued", "call_ended"):
        if len(by_type[name]) != 1:
            yield f"{len(by_type[name])} times {name}"
    is_connected = len(by_type["call_connected"]) == 1
    if len(by_type["call_connected"]) > 1 or is_connected != (call.outcome == "answered"):
        yield f"{len(by_type['call_connected'])} times call_connected, the customer saw: {call.outcome}"
    for event in by_type["call_queued"]:
        # A limit may have led it to another queue at the door.
        asked = event.get("asked_queue_id") or event["queue_id"]
        if (event["customer_id"], asked) != (call.customer_id, call.queue_id):
            yield f"queued for {event['customer_id']} in {asked}, asked by {call.customer_id} for {call.queue_id}"
    for event in by_type["call_ended"]:
        if event["reason"] != call.end_reason:
            yield f"ended as {event['reason']}, the customer was told {call.end_reason}"
    yield from _other_reservations(engagements, by_type)


def _other_reservations(engagements: list[Engagement], by_type: dict[str, History]) -> Iterator[str]:
    outcome_by_id = {one["reservation_id"]: "accepted" for one in by_type["reservation_accepted"]}
    outcome_by_id |= {one["reservation_id"]: one["outcome"] for one in by_type["reservation_closed"]}
    hall = [
        (one["reservation_id"], one["agent_id"], outcome_by_id.get(one["reservation_id"], ""))
        for one in by_type["call_reserved"]
    ]
    agents = [(one.reservation_id, one.agent_id, one.outcome) for one in engagements]
    if sorted(hall) != sorted(agents):
        yield f"reservations at the hall {sorted(hall)}, at the agents {sorted(agents)}"


def _nothing_more(records: Records, count: HallCount) -> Iterator[Mismatch]:
    known = sum(1 for call in records.calls if call.call_id)
    if count.admitted != known:
        yield Mismatch("nothing more", "hall", f"admitted {count.admitted} calls, the customers know {known}")
    if count.live:
        yield Mismatch("nothing more", "hall", f"{count.live} calls are live after the last customer has gone")
