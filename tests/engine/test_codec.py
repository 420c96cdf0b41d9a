"""Bytes of the journal: what was written must be readable for ever, what a newer program wrote is refused by name.

The golden files hold one event of every kind and a snapshot with something of every record. When they no longer *read*, the
change breaks every journal in the field: append fields with defaults, or raise the version and read both. When they only are
no longer *written the same*, keep the old file as one more that must read, and write the new one:

    python -m tests.engine.test_codec
"""

from pathlib import Path

import msgspec
import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.codec import (
    ENTRY_VERSION,
    SNAPSHOT_VERSION,
    UnknownVersion,
    decode_command,
    decode_events,
    encode_command,
    encode_events,
    fingerprint,
)
from dispatch.engine import Engine
from tests.engine.scene import Scene, agent, plan, queue, room_queue

GOLDEN = Path(__file__).parent / "golden"
AT = 1_700_000_000_000

ONE_OF_EACH: list[ev.Event] = [
    ev.PlanApplied(AT, plan(queue(need={"fx": 3}), agent("anna", skills={"fx": 5})), "digest"),
    ev.Connected(AT, "agent:anna", "g1", "k1"),
    ev.Disconnected(AT, "agent:anna", "k1", AT + 1),
    ev.AgentActivityChanged(AT, "anna", "not_ready", "lunch"),
    ev.CallQueued(AT, "c1", "zoe", "loans", AT, AT + 1, "ref", True, "optional", "room"),
    ev.CallReserved(AT, "c1", "c1.1", "anna", "zoe", "loans", 1, AT + 1, 2, "longest_idle", "ref"),
    ev.ReservationAccepted(AT, "c1", "c1.1", "anna", AT + 1, 1),
    ev.ReservationClosed(AT, "c1", "c1.1", "anna", "declined", "busy", AT + 1),
    ev.CallConnected(AT, "c1", "anna", "zoe"),
    ev.CallRequeued(AT, "c1", "anna", "agent_lost", AT + 1),
    ev.CallEnded(AT, "c1", "zoe", "loans", "customer_hung_up", "anna", 1, 2, "timed", AT + 3, AT + 4),
    ev.WrapUpExtended(AT, "c1", "anna", AT + 1),
    ev.WrapUpEnded(AT, "c1", "anna", "done"),
    ev.CallForgotten(AT, "c1", "zoe"),
    ev.CallMoved(AT, "c1", "cards", "loans", AT + 1),
    ev.RoomAssigned(AT, "c1", 1, "w1", 7),
    ev.RoomOpened(AT, "c1", 1, "w1"),
    ev.RoomLost(AT, "c1", 1, "worker_lost", AT + 1),
    ev.PartyJoined(AT, "c1", 1, "customer"),
    ev.PartyLeft(AT, "c1", 1, "customer", AT + 1),
    ev.RecordingStarted(AT, "c1", 1, "customer"),
    ev.RecordingFailed(AT, "c1", 1, "customer", "disk_full"),
    ev.RecordingSealed(AT, "c1", 1, "ab", [{"party": "agent", "bytes": 9}], ["gap"]),
    ev.RecordingMissing(AT, "c1", 1),
    ev.RoomClosed(AT, "c1", 1),
    ev.Answered(AT, "customer:zoe", "m1", "queue_full", {"waiting_max": 1}, 42),
    ev.Resumed(AT, 60_000),
]


def golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / name).read_text())


def busy_hall() -> Scene:
    """A hall with something in every kind of record."""
    scene = Scene(queue(), room_queue("rooms"), queue("old"), *(agent(f"a{number}") for number in range(4)))
    scene.connect("customer:zoe")
    scene.connect("agent:a0")
    scene.ready("a0", "a1", "a2", "a3")
    scene.request("talks", "rooms", "zoe")
    scene.accept("talks")
    scene.do(cm.AssignRoom("talks", 1, "w1", 1))
    scene.request("works")
    scene.talk("works")
    scene.do(cm.HangUp("works", principal="customer:of-works", id="m1"))
    scene.request("rings", "old")
    scene.decline("rings")
    scene.replan(
        plan(queue(), room_queue("rooms"), *(agent(f"a{number}") for number in range(4)), retired={"old": "loans"})
    )
    scene.do(cm.RequestCall("waits", "yan", "loans", principal="operator:olga", id="key:1"))
    scene.disconnect("customer:zoe")
    return scene


def test_golden_journal_entry() -> None:
    """Given one event of every kind as version 1 wrote it, then it reads as it was and is written the same."""
    assert {type(event) for event in ONE_OF_EACH} == set(ev.Event.__args__)
    assert decode_events(golden("entry-1.hex")) == ONE_OF_EACH
    assert encode_events(ONE_OF_EACH) == golden("entry-1.hex")


def test_golden_snapshot() -> None:
    """Given a busy hall's snapshot as version 1 wrote it, then it restores to that hall and is written the same."""
    restored = Engine.restore("d", golden("snapshot-1.hex"))
    live = busy_hall().engine.state
    assert [(call.id, call.state) for call in restored.state.calls.values()] == [
        (call.id, call.state) for call in live.calls.values()
    ]
    assert (list(restored.state.keys), list(restored.state.answers)) == (list(live.keys), list(live.answers))
    assert restored.snapshot() == golden("snapshot-1.hex")


def test_a_newer_entry_is_refused_by_name() -> None:
    """Given an entry one version ahead, when read, then the error says both versions."""
    newer = msgspec.msgpack.encode((ENTRY_VERSION + 1, ["what", "ever"]))
    with pytest.raises(UnknownVersion, match=f"journal entry of version {ENTRY_VERSION + 1}; .* up to {ENTRY_VERSION}"):
        decode_events(newer)


def test_a_newer_snapshot_is_refused_by_name() -> None:
    """Given a snapshot one version ahead, when restored, then the error says both versions."""
    fields = msgspec.msgpack.decode(golden("snapshot-1.hex"))
    newer = msgspec.msgpack.encode([SNAPSHOT_VERSION + 1, *fields[1:]])
    with pytest.raises(UnknownVersion, match=f"snapshot of version {SNAPSHOT_VERSION + 1}"):
        Engine.restore("d", newer)


def test_another_divisions_snapshot_is_refused() -> None:
    """Given a snapshot of one division, when another restores it, then it is refused (5.33)."""
    with pytest.raises(ValueError, match="snapshot of division 'd', wanted 'e'"):
        Engine.restore("e", golden("snapshot-1.hex"))


@pytest.mark.parametrize(
    "data", [b"", b"\x92", b"\x92\x01\x91\x92\xcc\xfe\x00", b"not msgpack", golden("entry-1.hex")[:-1]]
)
def test_damaged_entries_raise(data: bytes) -> None:
    """Given bytes cut short, of an unknown kind or foreign, when read, then an error and never half an entry."""
    with pytest.raises((msgspec.DecodeError, UnknownVersion)):
        decode_events(data)


def test_a_field_appended_later_has_its_default_in_old_bytes() -> None:
    """Given an event written before its last field existed, when read, then the default stands there."""
    event = ev.WrapUpEnded(AT, "c1", "anna", "done")
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(ev.RoomLost(AT, "c1", 1, "x")))
    old = msgspec.msgpack.encode((ENTRY_VERSION, [written[:-1], event]))
    assert decode_events(old) == [ev.RoomLost(AT, "c1", 1, "x", 0), event]


@pytest.mark.parametrize(
    "command",
    [
        cm.RequestCall("c1", "zoe", "loans", "ref", True, principal="customer:zoe", id="m1"),
        cm.ApplyPlan(plan(queue(), agent("anna")), "digest", principal="operator:olga"),
        cm.ReportRecordingSealed("c1", 1, "ab", [{"party": "agent", "bytes": 9}], ["gap"]),
        cm.Resume(5),
    ],
    ids=lambda command: type(command).__name__,
)
def test_commands_there_and_back(command: cm.Command) -> None:
    """Given a command, when encoded and decoded, then it is the same, with the same fingerprint."""
    assert decode_command(encode_command(command)) == command
    assert fingerprint(decode_command(encode_command(command))) == fingerprint(command)


def test_what_is_not_a_command() -> None:
    """Given bytes that are no command, when decoded, then msgspec's error."""
    for data in (b"", b"\x91\xcc\xff", msgspec.msgpack.encode([6, "p", "i", 1, 2, 3])):
        with pytest.raises(msgspec.DecodeError):
            decode_command(data)


def write_golden() -> None:
    for name, data in (("entry-1.hex", encode_events(ONE_OF_EACH)), ("snapshot-1.hex", busy_hall().engine.snapshot())):
        lines = [data.hex()[at : at + 100] for at in range(0, 2 * len(data), 100)]
        (GOLDEN / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_golden()
