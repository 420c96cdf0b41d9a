"""Bytes of the journal: what was written must be readable for ever, what a newer program wrote is refused by name.

The golden files of a version hold one event of every kind and a snapshot with something of every record (`samples`). When they
no longer *read*, the change breaks every journal in the field: see the rules at the head of `dispatch/upgrading.py`. Those of a
version that is still in work may be written anew:

    python -m tests.engine.test_codec
"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import model
from dispatch.codec import (
    ENTRY_VERSION,
    SNAPSHOT_VERSION,
    UnknownVersion,
    decode_command,
    decode_events,
    decode_snapshot,
    encode_command,
    encode_events,
    fingerprint,
)
from dispatch.engine import Engine
from dispatch.hours import Hours
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.busy_hall import busy_hall
from tests.engine.samples import AT, EACH, EACH_COMMAND, EACH_COMMAND_OF_2, EACH_OF_1, EACH_OF_2
from tests.engine.scene import agent, plan, queue

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / name).read_text())


def fields_at_their_default(one: object) -> list[str]:
    """`Kind.field` of each field in a record, and in the records in it, that says no more than its default."""
    if isinstance(one, dict):
        return [name for value in one.values() for name in fields_at_their_default(value)]
    if isinstance(one, list | tuple):
        return [name for value in one for name in fields_at_their_default(value)]
    if not isinstance(one, msgspec.Struct):
        return []
    found = []
    for field in msgspec.structs.fields(one):
        value = getattr(one, field.name)
        if value == default_of(field):
            found.append(f"{type(one).__name__}.{field.name}")
        found += fields_at_their_default(value)
    return found


def default_of(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def plan_defaults() -> dict[str, dict[str, object]]:
    """Kind -> field -> default, of everything in a plan that may be left out."""
    kinds = (Plan, QueuePlan, AgentPlan, Relaxation, Way, Hours)
    return {
        kind.__name__: {one.encode_name: default_of(one) for one in msgspec.structs.fields(kind) if not one.required}
        for kind in kinds
    }


def test_an_entry_of_version_1_is_read() -> None:
    """Given one event of every kind of version 1 as it wrote them, then each is what it was, new fields at their defaults."""
    assert decode_events(golden("entry-1.hex")) == EACH_OF_1


def test_an_entry_of_version_2_is_read() -> None:
    """Given one event of every kind of version 2 as it wrote them, then each is what it was, new fields at their defaults."""
    assert decode_events(golden("entry-2.hex")) == EACH_OF_2


def test_an_entry_of_version_3_is_read_and_written_the_same() -> None:
    """Given one event of every kind, all fields set, then they read as they were and are written the same."""
    assert [type(event) for event in EACH] == list(dict.fromkeys(type(event) for event in EACH))
    assert {type(event) for event in EACH} == set(ev.Event.__args__)
    assert fields_at_their_default(EACH) == []
    assert decode_events(golden("entry-3.hex")) == EACH
    assert encode_events(EACH) == golden("entry-3.hex")


def test_commands_are_read_and_written_the_same() -> None:
    """Given one command of every kind, all fields set, then they read as they were, with the same fingerprint."""
    assert {type(command) for command in EACH_COMMAND} == set(cm.Command.__args__)
    assert fields_at_their_default(EACH_COMMAND) == []
    of_version_2 = msgspec.msgpack.decode(golden("commands-2.hex"), type=list[bytes])
    assert [decode_command(data) for data in of_version_2] == EACH_COMMAND_OF_2
    written = msgspec.msgpack.decode(golden("commands-3.hex"), type=list[bytes])
    assert [decode_command(data) for data in written] == EACH_COMMAND
    assert [encode_command(command) for command in EACH_COMMAND] == written
    assert [fingerprint(decode_command(data)) for data in written] == [fingerprint(one) for one in EACH_COMMAND]


def test_defaults_of_the_plan_stay() -> None:
    """Given what a plan's absent keys have meant so far, then they mean it still: they are absent from old journals."""
    meant = json.loads((GOLDEN / "plan-defaults.json").read_text())
    for kind, defaults in plan_defaults().items():
        assert {name: defaults[name] for name in meant[kind]} == meant[kind]
        assert set(defaults) == set(meant[kind]), "write the golden files anew"


@pytest.mark.parametrize(
    ("command", "known"),
    [
        (cm.RequestCall("c1", "zoe", "loans", "ref", True, principal="customer:zoe", id="m1"), 3_049_475_161),
        (cm.DeclineReservation("c1.1", "anna", "ill", principal="agent:anna", id="m1"), 1_158_146_507),
        (cm.HangUp("c1", "done", principal="customer:zoe", id="m1"), 3_180_433_050),
        (cm.ApplyPlan(plan(queue(), agent("anna")), "digest", principal="operator:olga", id="key:1"), 2_622_602_563),
    ],
    ids=lambda one: type(one).__name__,
)
def test_fingerprints_of_version_1(command: cm.Command, known: int) -> None:
    """Given commands that version 1 knew, then their fingerprints are those that its journals remember."""
    assert fingerprint(command) == known


def test_new_fields_are_part_of_the_fingerprint() -> None:
    """Given the same command with and without what is new, then a repeat is not mistaken for the other."""
    plain = cm.RequestCall("c1", "zoe", "loans")
    assert fingerprint(plain) != fingerprint(cm.RequestCall("c1", "zoe", "loans", wishes=Wishes(credit_ms=1)))
    assert fingerprint(plain) != fingerprint(cm.RequestCall("c1", "zoe", "loans", wishes=Wishes()))
    reload = cm.ApplyPlan(plan(queue()), "digest")
    assert fingerprint(reload) != fingerprint(
        cm.ApplyPlan(plan(queue()), "digest", terms=cm.PlanTerms(is_dry_run=True))
    )
    decline = cm.DeclineReservation("c1.1", "anna")
    assert fingerprint(decline) != fingerprint(cm.DeclineReservation("c1.1", "anna", is_busy=True))


def test_a_newer_entry_is_refused_by_name() -> None:
    """Given an entry one version ahead, when read, then the error says both versions; given ours, it is read."""
    newer = msgspec.msgpack.encode((ENTRY_VERSION + 1, ["what", "ever"]))
    with pytest.raises(UnknownVersion, match=f"journal entry of version {ENTRY_VERSION + 1}; .* up to {ENTRY_VERSION}"):
        decode_events(newer)
    assert decode_events(msgspec.msgpack.encode((ENTRY_VERSION, []))) == []


def test_a_newer_snapshot_is_refused_by_name() -> None:
    """Given a snapshot one version ahead, when restored, then the error says both versions."""
    newer = msgspec.msgpack.encode((SNAPSHOT_VERSION + 1, ["what", "ever"]))
    with pytest.raises(
        UnknownVersion, match=f"snapshot of version {SNAPSHOT_VERSION + 1}; .* up to {SNAPSHOT_VERSION}"
    ):
        Engine.restore("d", newer)


def test_version_1_can_refuse_ours_by_name() -> None:
    """Given what is written today, then the version stands in byte 1, where every program so far looks for it."""
    assert encode_events(EACH)[:2] == bytes([0x92, ENTRY_VERSION])
    assert Engine("d").snapshot()[:2] == bytes([0x92, SNAPSHOT_VERSION])
    assert (golden("entry-1.hex")[1], golden("snapshot-1.hex")[1]) == (1, 1)


def test_a_snapshot_of_version_2_becomes_one_of_today() -> None:
    """Given a busy hall's snapshot as version 2 wrote it, then all of it is in today's, and only defaults are new."""
    restored = Engine.restore("d", golden("snapshot-2.hex"))
    was, now = (msgspec.msgpack.decode(data)[1] for data in (golden("snapshot-2.hex"), restored.snapshot()))
    assert begins_with(now, was)
    assert [call.id for call in restored.state.calls.values()] == [call[0] for call in was[8]]
    for call in restored.state.calls.values():
        assert (call.handing, call.version, call.hops, call.origins) == (None, 0, 0, ())
    assert restored.state.handed_in == {}
    assert Engine.restore("d", restored.snapshot()).digest() == restored.digest()


def begins_with(now: object, was: object) -> bool:
    """Is all that was there, in its place, with new fields only behind it?"""
    if isinstance(was, list) and isinstance(now, list):
        return len(now) >= len(was) and all(begins_with(*pair) for pair in zip(now, was, strict=False))
    if isinstance(was, dict) and isinstance(now, dict):
        return set(now) == set(was) and all(begins_with(now[key], was[key]) for key in was)
    return now == was


def test_a_snapshot_of_version_3_is_read_and_written_the_same() -> None:
    """Given a busy hall's snapshot as version 3 wrote it, then it restores to that hall and is written the same."""
    restored, live = Engine.restore("d", golden("snapshot-3.hex")), busy_hall().engine.state
    assert [(call.id, call.state, call.queue_id) for call in restored.state.calls.values()] == [
        (call.id, call.state, call.queue_id) for call in live.calls.values()
    ]
    assert (list(restored.state.keys), list(restored.state.answers)) == (list(live.keys), list(live.answers))
    assert list(restored.state.handed_in) == list(live.handed_in)
    assert restored.snapshot() == golden("snapshot-3.hex")


def test_the_golden_snapshot_has_something_in_every_field() -> None:
    """Given the golden snapshot, then for each field of each record some record has more than the default: none is missed."""
    state = decode_snapshot(golden("snapshot-3.hex"))
    said: dict[str, set[str]] = {}
    for record in records_in([state.calls, state.agents, state.recipients, state.keys, state.answers, state.paces]):
        fields = said.setdefault(type(record).__name__, set())
        fields |= {
            field.name for field in msgspec.structs.fields(record) if getattr(record, field.name) != default_of(field)
        }
    assert set(said) >= {
        "Call",
        "Agent",
        "Recipient",
        "Remembered",
        "Pace",
        "Reservation",
        "Party",
        "Room",
        "WrapUpWork",
    }
    for kind, fields in said.items():
        if kind in vars(model):
            assert fields == set(vars(model)[kind].__struct_fields__), kind
    assert {one.reason for one in state.handed_in.values()} == {"", "unknown_queue"}
    assert all([state.last_agents, state.retired_plans, state.forgotten_seq_max, state.reservations_count])


def records_in(one: object) -> Iterator[msgspec.Struct]:
    """Yield every record in a value, however deep."""
    if isinstance(one, dict):
        one = list(one.values())
    if isinstance(one, msgspec.Struct):
        yield one
        one = [getattr(one, name) for name in one.__struct_fields__]
    if isinstance(one, list | tuple):
        for value in one:
            yield from records_in(value)


def test_another_divisions_snapshot_is_refused() -> None:
    """Given a snapshot of one division, when another restores it, then it is refused (5.33)."""
    with pytest.raises(ValueError, match="snapshot of division 'd', wanted 'e'"):
        Engine.restore("e", golden("snapshot-1.hex"))


DEEP = b"\x91" * 100_000
ENTRY_START = b"\x92\x01\x91\x97\x1e\x01\xa1p\xa1i\xa0"
"""An entry with `Answered`, up to its value."""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92",
        b"\x92\x01",
        b"not msgpack",
        b"\x92\x00\x90",
        b"\x92\xcc\x09\x90",
        b"\xdc\x00\x02\x09\x90",
        b"\x92\x01\x91\x92\xcc\xfe\x00",
        b"\x92\x01\xdd\xff\xff\xff\xff",
        ENTRY_START + b"\xc0\x00\x00",
        ENTRY_START + b"\x81\xa1a\xa1\xff\x00",
        ENTRY_START + b"\x81\xa1a" + DEEP,
    ],
    ids=[
        "empty", "array", "no-events", "foreign", "version-0", "long-version", "long-array", "unknown-tag", "long-list",
        "bytes-behind", "not-utf-8", "too-deep",
    ],
)  # fmt: skip
def test_damaged_entries_raise(data: bytes) -> None:
    """Given bytes cut short, of an unknown kind or foreign, when read, then msgspec's error and never half an entry."""
    with pytest.raises(msgspec.DecodeError):
        decode_events(data)


@pytest.mark.parametrize("name", ["entry-1.hex", "entry-2.hex", "entry-3.hex"])
def test_truncated_entries_raise(name: str) -> None:
    """Given an entry cut anywhere, when read, then msgspec's error."""
    data = golden(name)
    for end in range(len(data)):
        with pytest.raises(msgspec.DecodeError):
            decode_events(data[:end])


@pytest.mark.parametrize("name", ["snapshot-1.hex", "snapshot-2.hex", "snapshot-3.hex"])
def test_truncated_snapshots_raise(name: str) -> None:
    """Given a snapshot cut anywhere, when read, then msgspec's error."""
    data = golden(name)
    for end in range(len(data)):
        with pytest.raises(msgspec.DecodeError):
            decode_snapshot(data[:end])


@given(
    st.sampled_from(["entry-1.hex", "entry-2.hex", "entry-3.hex"]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=9),
)
def test_entries_with_wrong_bytes(name: str, wrong: list[tuple[int, int]]) -> None:
    """Given an entry with bytes changed, when read, then events or msgspec's error; a newer version only where one stands."""
    data = bytearray(golden(name))
    for at, byte in wrong:
        data[at % len(data)] = byte
    try:
        assert all(isinstance(event, ev.Event) for event in decode_events(bytes(data)))
    except msgspec.DecodeError:
        pass
    except UnknownVersion:
        assert data[0] >> 4 == 9
        assert ENTRY_VERSION < data[1] < 0x80


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_version(tail: bytes) -> None:
    """Given any bytes as an entry of a version we know, when read, then events or msgspec's error."""
    try:
        assert isinstance(decode_events(b"\x92\x03" + tail), list)
    except msgspec.DecodeError:
        pass


def test_a_field_appended_later_has_its_default_in_old_bytes() -> None:
    """Given an event written before its last field existed, when read, then the default stands there."""
    event = ev.WrapUpEnded(AT, "c1", "anna", "done")
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(ev.RoomLost(AT, "c1", 1, "x")))
    old = msgspec.msgpack.encode((ENTRY_VERSION, [written[:-1], event]))
    assert decode_events(old) == [ev.RoomLost(AT, "c1", 1, "x", 0), event]


def test_what_is_not_a_command() -> None:
    """Given bytes that are no command, when decoded, then msgspec's error."""
    for data in (b"", b"\x91\xcc\xff", b"\x93\x04\xa1\xff\xa0", msgspec.msgpack.encode([6, "p", "i", 1, 2, 3])):
        with pytest.raises(msgspec.DecodeError):
            decode_command(data)


def write_golden() -> None:
    golden_of_version_3 = {
        "entry-3.hex": encode_events(EACH),
        "snapshot-3.hex": busy_hall().engine.snapshot(),
        "commands-3.hex": msgspec.msgpack.encode([encode_command(command) for command in EACH_COMMAND]),
    }
    defaults, path = plan_defaults(), GOLDEN / "plan-defaults.json"
    meant = json.loads(path.read_text()) if path.exists() else {}
    kept = {kind: {**defaults[kind], **meant.get(kind, {})} for kind in defaults}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    for name, data in golden_of_version_3.items():
        lines = [data.hex()[at : at + 120] for at in range(0, 2 * len(data), 120)]
        (GOLDEN / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_golden()
