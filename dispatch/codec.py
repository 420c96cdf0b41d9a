"""Bytes of commands, events and snapshots: MessagePack, versioned.

msgspec is the one package beside the standard library that `dispatch/` uses: it decodes straight into checked types,
and its structs are what makes an event cost 0.1 us instead of 1 (docs/DECISIONS.md, 2026-11-23).
"""

import hashlib
from zlib import crc32

import msgspec
from msgspec import Struct

from dispatch.commands import Command
from dispatch.events import Event
from dispatch.model import Agent, Call, Pace, Recipient, Remembered
from dispatch.plan import Plan, QueuePlan
from dispatch.state import State

ENTRY_VERSION = 1
SNAPSHOT_VERSION = 1

_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


class UnknownVersion(Exception):
    """Written by a newer Tellerhall: install that version, or restore a backup of this one."""


class Entry(Struct, array_like=True):
    """One journal entry: the events of one batch of a division, in order."""

    version: int
    events: list[Event]


class Snapshot(Struct, array_like=True):
    """A division's records as of one instant."""

    version: int
    division_id: str
    now_ms: int
    calls_admitted_count: int
    plan: Plan
    plan_digest: str
    retired_plans: dict[str, QueuePlan]
    paces: dict[str, Pace]
    calls: list[Call]
    call_by_customer: dict[str, str]
    agents: list[Agent]
    recipients: list[Recipient]
    answers: dict[str, dict[str, Remembered]]
    keys: dict[str, Remembered]
    forgotten_seq_max: int = 0


_entry_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
_snapshot_decoder: msgspec.msgpack.Decoder[Snapshot] = msgspec.msgpack.Decoder(Snapshot)


def encode_command(command: Command) -> bytes:
    """One command as bytes, for `decode_command`."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` for what is not a command."""
    return _command_decoder.decode(data)


def fingerprint(command: Command) -> int:
    """Tell a repeat from another command under the same id."""
    return crc32(_encoder.encode(command))


def encode_events(events: list[Event]) -> bytes:
    """One batch of one division as a journal entry."""
    return _encoder.encode((ENTRY_VERSION, events))


def decode_events(data: bytes) -> list[Event]:
    """Read a journal entry back. Raises `UnknownVersion`, or msgspec's errors for a damaged one."""
    _check_version(data, ENTRY_VERSION, "journal entry")
    return _entry_decoder.decode(data).events


def encode_snapshot(state: State) -> bytes:
    """The records of a division; what is derived is left out."""
    return _records_as_of(state, state.now_ms)


def _records_as_of(state: State, now_ms: int) -> bytes:
    return _encoder.encode(
        Snapshot(
            SNAPSHOT_VERSION,
            state.division_id,
            now_ms,
            state.calls_admitted_count,
            state.plan,
            state.plan_digest,
            state.retired_plans,
            state.paces,
            list(state.calls.values()),
            state.call_by_customer,
            list(state.agents.values()),
            list(state.recipients.values()),
            state.answers,
            state.keys,
            state.forgotten_seq_max,
        )
    )


def decode_snapshot(data: bytes) -> State:
    """Make a state from a snapshot, its indexes rebuilt. Raises `UnknownVersion`, or msgspec's errors."""
    _check_version(data, SNAPSHOT_VERSION, "snapshot")
    snapshot = _snapshot_decoder.decode(data)
    state = State(snapshot.division_id)
    state.now_ms, state.calls_admitted_count = snapshot.now_ms, snapshot.calls_admitted_count
    state.plan, state.plan_digest = snapshot.plan, snapshot.plan_digest
    state.retired_plans, state.paces = snapshot.retired_plans, snapshot.paces
    state.calls = {call.id: call for call in snapshot.calls}
    state.call_by_customer = snapshot.call_by_customer
    state.agents = {agent.id: agent for agent in snapshot.agents}
    state.recipients = {recipient.id: recipient for recipient in snapshot.recipients}
    state.answers, state.keys = snapshot.answers, snapshot.keys
    state.forgotten_seq_max = snapshot.forgotten_seq_max
    state.rebuild()
    return state


def digest(state: State) -> str:
    """SHA-256 of the records: equal for the live state and its replay, in any process.

    Without the clock: a step that decided nothing moves it too and leaves no event for the replay to know it by.
    """
    return hashlib.sha256(_records_as_of(state, 0)).hexdigest()


def _check_version(data: bytes, known: int, what: str) -> None:
    version = data[1] if len(data) > 1 else 0
    if version > known:
        raise UnknownVersion(f"{what} of version {version}; this program reads up to {known}")
