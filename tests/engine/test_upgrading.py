"""A hall of version 1 goes on in today's engine: its snapshot, its journal, and what it did next.

Given are files that version 1 itself wrote (commit 6bdfe41), of a hall with something in every record: `hall-1-snapshot.hex`;
`hall-1-journal.hex`, the entries that led to it; `hall-1-records.json`, its records by name, as version 1 had them; and
`hall-1-onwards.jsonl`: 128 commands and deadlines after the snapshot, each with what version 1 answered and decided.
Version 2 does not number what is told to clients that were never connected: such numbers are left out where marked so.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.codec import decode_events, encode_events
from dispatch.effects import Reply
from dispatch.engine import Engine
from dispatch.model import Agent, Call, Pace, Recipient, Remembered, Reservation
from dispatch.state import State
from tests.engine.invariants import check

GOLDEN = Path(__file__).parent / "golden"
JOURNAL = [bytes.fromhex(entry) for entry in (GOLDEN / "hall-1-journal.hex").read_text().split("\n\n")]
SNAPSHOT = bytes.fromhex((GOLDEN / "hall-1-snapshot.hex").read_text())
RECORDS = json.loads((GOLDEN / "hall-1-records.json").read_text())
ONWARDS = [json.loads(line) for line in (GOLDEN / "hall-1-onwards.jsonl").read_text().splitlines()]

UNKNOWN_TO_1 = {
    "Call": {"entered_at_ms", "visited"},
    "Reservation": {"made_at_ms", "rule", "key", "runner_up_id"},
    "Pace": {"talk_ms", "line_since_ms", "pending_ms", "line_ms", "left_units"},
    "Agent": {
        "reserved_order", "answered_count", "signed_in_at_ms", "not_ready_since_ms", "not_ready_ms", "busy_since_ms", "busy_ms",
        "missed_count", "declined_count", "busy_count", "lost_count", "occupancy_millionths",
    },
}  # fmt: skip
"""What only the journal tells, not a snapshot of version 1: it counts from the upgrade on."""


def plain(one: Any) -> Any:
    """Records as JSON has them, by the names of their fields."""
    if isinstance(one, msgspec.Struct):
        return {name: plain(getattr(one, name)) for name in one.__struct_fields__}
    if isinstance(one, dict):
        return {key: plain(value) for key, value in one.items()}
    return [plain(value) for value in one] if isinstance(one, list | tuple) else one


def call_as_1(call: Call) -> dict[str, Any]:
    """The call as version 1 would name it."""
    fields = plain(call)
    fields.update(expires_at_ms=0, agent_gone_until_ms=0)
    for asked in call.reservations:
        fields.update(
            reservation_id=asked.id,
            agent_id=asked.agent_id,
            cost_units=asked.cost_units,
            expires_at_ms=asked.expires_at_ms,
            agent_gone_until_ms=asked.agent_gone_until_ms,
        )
    return fields


def answer_as_1(one: Remembered) -> dict[str, Any]:
    value = msgspec.msgpack.decode(one.value) if one.value else None
    return {"reason": one.reason, "value": value, "fingerprint": one.fingerprint, "at_ms": one.at_ms}


def only(wanted: Iterable[str], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in wanted}


def test_the_hall_has_something_of_everything() -> None:
    """Given the hall of version 1, then no record and no state of one is missing in it: nothing below compares nothing."""
    calls, agents = RECORDS["calls"], RECORDS["agents"]
    assert {call["state"] for call in calls} == {"waiting", "reserved", "connecting", "connected", "ended"}
    assert {room["state"] for call in calls for room in call["rooms"]} == {"requested", "assigned", "open", "closing"}
    assert {one for agent in agents for one in agent["engagements"].values()} == {"reserved", "in_call", "wrap_up"}
    assert {agent["activity"] for agent in agents} == set(lc.ACTIVITIES)
    for records, absent in ((calls, set()), (agents, set()), (RECORDS["recipients"], {"id"})):
        for name in set(records[0]) - absent:
            assert len({json.dumps(one[name]) for one in records}) > 1, f"{name} is the same everywhere"
    happened = {type(event) for entry in JOURNAL for event in decode_events(entry)}
    happened |= {getattr(ev, name) for step in ONWARDS for event in step["events"] for name in event}
    assert len(happened) == 27
    assert RECORDS["retired_plans"] == ["old"]


def test_every_call_is_what_it_was() -> None:
    """Given a snapshot of version 1, when restored, then each call has each field that version 1 knew, as it was."""
    state = Engine.restore("d", SNAPSHOT).state
    assert len(state.calls) == len(RECORDS["calls"])
    for was in RECORDS["calls"]:
        assert only(was, call_as_1(state.calls[was["id"]])) == was
    assert state.call_by_customer == RECORDS["call_by_customer"]
    assert state.calls_admitted_count == RECORDS["calls_admitted_count"]


def test_every_agent_and_client_is_what_it_was() -> None:
    """Given a snapshot of version 1, when restored, then agents, clients, answers and plans are as they were."""
    state = Engine.restore("d", SNAPSHOT).state
    for was in RECORDS["agents"]:
        assert only(was, plain(state.agents[was["id"]])) == was
    for was in RECORDS["recipients"]:
        is_now = {**plain(state.recipients[was["id"]]), "kept": [seq for seq, _ in state.recipients[was["id"]].kept]}
        assert is_now == was
    assert {who: {one.id: answer_as_1(one) for one in given} for who, given in state.answers.items()} == RECORDS[
        "answers"
    ]
    assert {key: answer_as_1(one) for key, one in state.keys.items()} == RECORDS["keys"]
    assert list(state.retired_plans) == RECORDS["retired_plans"]
    assert (state.plan_digest, state.forgotten_seq_max) == (RECORDS["plan_digest"], RECORDS["forgotten_seq_max"])
    for queue_id, was in RECORDS["paces"].items():
        assert only(was, plain(state.paces[queue_id])) == was


def test_it_wakes_in_peace() -> None:
    """Given a settled hall of version 1, when restored, then nothing is decided anew, and places and deadlines are the same."""
    engine = Engine.restore("d", SNAPSHOT)
    assert engine.expire(RECORDS["now_ms"]) == ([], [])
    check(engine)
    assert engine.next_deadline_ms() == RECORDS["next_deadline_ms"]
    for queue_id, line in RECORDS["lines"].items():
        assert waiting_in(engine.state, queue_id) == line
    effects = [{type(one).__name__: plain(one)} for one in engine.pending_effects()]
    assert effects == RECORDS["effects"]
    assert Engine.restore("d", engine.snapshot()).digest() == engine.digest()


def waiting_in(state: State, queue_id: str) -> list[str]:
    """The queue's calls that have a place, by their keys, and each at the place that the queue gives it."""
    calls = [call for call in state.calls.values() if call.queue_id == queue_id and state.may_stand(call)]
    return [call.id for call in sorted(calls, key=lambda call: call.key)]


def test_the_snapshot_counts_from_the_upgrade_on() -> None:
    """Given agents signed in, busy and resting, when upgraded, then their times begin at the snapshot's instant."""
    agents, now_ms = Engine.restore("d", SNAPSHOT).state.agents, RECORDS["now_ms"]
    talking, resting, ringing, absent = agents["kim"], agents["pia"], agents["emil"], agents["anna"]
    assert (talking.signed_in_at_ms, talking.busy_since_ms, talking.not_ready_since_ms) == (now_ms, now_ms, 0)
    assert (resting.signed_in_at_ms, resting.busy_since_ms, resting.not_ready_since_ms) == (now_ms, 0, now_ms)
    assert (ringing.signed_in_at_ms, ringing.busy_since_ms, ringing.not_ready_since_ms) == (now_ms, 0, 0)
    (asked,) = Engine.restore("d", SNAPSHOT).state.calls["l2"].reservations
    assert (asked.made_at_ms, asked.rule) == (now_ms, "")
    assert (absent.signed_in_at_ms, absent.busy_since_ms, absent.not_ready_since_ms) == (0, 0, 0)
    paces = Engine.restore("d", SNAPSHOT).state.paces
    standing = {call["queue_id"] for call in RECORDS["calls"] if call["state"] == "waiting"}
    assert {queue_id for queue_id, pace in paces.items() if pace.line_since_ms == now_ms} == standing
    assert {queue_id for queue_id, pace in paces.items() if pace.line_since_ms == 0} == set(paces) - standing


def replayed(journal: list[bytes]) -> Engine:
    engine = Engine("d")
    for entry in journal:
        engine.replay(decode_events(entry))
    return engine


def known_to_1(state: State) -> dict[str, Any]:
    """All records without what a snapshot of version 1 cannot tell, and clients without their numbers.

    Customers' answers are left out: version 1 forgot them with the customer, version 2 knows only customers who were connected.
    """

    def known(one: Call | Agent | Recipient | Pace | Reservation) -> dict[str, Any]:
        unknown = UNKNOWN_TO_1.get(type(one).__name__, set())
        fields = {name: plain(getattr(one, name)) for name in one.__struct_fields__ if name not in unknown}
        if isinstance(one, Call):
            fields["reservations"] = [known(asked) for asked in one.reservations]
        return fields

    return {
        "calls": [known(call) for call in state.calls.values()],
        "agents": [known(agent) for agent in state.agents.values()],
        "clients": [
            {**known(one), "seq": 0, "kept": []}
            for one in state.recipients.values()
            if one.connection_id or one.grace_until_ms
        ],
        "answers": {who: plain(given) for who, given in state.answers.items() if not who.startswith("customer:")},
        "keys": plain(state.keys),
        "paces": {queue_id: known(pace) for queue_id, pace in state.paces.items() if pace.answered_at_ms},
        "others": plain(
            [state.plan, state.plan_digest, state.retired_plans, state.call_by_customer, state.last_agents]
        ),
        "calls_admitted_count": state.calls_admitted_count,
    }


def onward_entries() -> list[bytes]:
    """The events of `hall-1-onwards.jsonl` as journal entries."""
    steps = [[getattr(ev, name)(**f) for event in step["events"] for name, f in event.items()] for step in ONWARDS]
    return [encode_events(events) for events in steps if events]


@pytest.mark.parametrize("later", [0, 1, 40, 1_000], ids=lambda later: f"{later}-later-entries")
def test_snapshot_and_journal_of_version_1_agree(later: int) -> None:
    """Given snapshot and journal, and entries after the snapshot, when either is read, then the records are the same."""
    tail = onward_entries()[:later]
    from_snapshot = Engine.restore("d", SNAPSHOT)
    for entry in tail:
        from_snapshot.replay(decode_events(entry))
    assert known_to_1(replayed(JOURNAL + tail).state) == known_to_1(from_snapshot.state)


def test_it_goes_on_as_version_1_did() -> None:
    """Given the hall, when what came next in version 1 comes next, then every answer and decision is the same."""
    engine, journal = Engine.restore("d", SNAPSHOT), list(JOURNAL)
    for number, step in enumerate(ONWARDS):
        if step["command"]:
            ((name, fields),) = step["command"].items()
            events, effects = engine.step(getattr(cm, name)(**fields), step["at_ms"])
            assert isinstance(effects[-1], Reply)
            assert plain(effects[-1]) == step["reply"], f"step {number}: {step['command']}"
        else:
            events, _ = engine.expire(step["at_ms"])
        assert [decided(event, was) for event, was in zip(events, step["events"], strict=False)] == step["events"]
        assert len(events) == len(step["events"])
        journal.append(encode_events(events))
        check(engine)
    assert engine.state.calls == {}
    assert not any(agent.used_units for agent in engine.state.agents.values())


def decided(event: ev.Event, was: dict[str, Any]) -> dict[str, Any]:
    """The event with the fields that version 1 gave to its own, but for the words of `why`."""
    ((_, fields),) = was.items()
    return {
        type(event).__name__: {name: plain(getattr(event, name, None)) for name in fields}
        | only({"why"} & set(fields), fields)
    }
