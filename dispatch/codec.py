"""Bytes of commands, events and snapshots: MessagePack, versioned.

An entry and a snapshot are arrays that begin with the version, in byte 1, for ever: so any program can tell what is too new
for it. Entries of all versions so far are read alike (events only grow at their ends); snapshots of earlier versions become
today's in `dispatch/upgrading.py`.

msgspec is the one package beside the standard library that `dispatch/` uses: it decodes straight into checked types,
and its structs are what makes an event cost 0.1 us instead of 1 (docs/DECISIONS.md, 2026-11-23).
"""

import hashlib
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Final, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from dispatch import commands as cm
from dispatch.commands import Command
from dispatch.events import Event
from dispatch.handing_facts import HandedIn
from dispatch.model import Agent, Call, LastAgent, Pace, Recipient, Remembered
from dispatch.plan import Plan, QueuePlan
from dispatch.state import State
from dispatch.upgrading import upgraded

ENTRY_VERSION: Final = 3
"""2: events of the whole routing engine (2026-11). 3: calls that go to another division."""
SNAPSHOT_VERSION: Final = 3
"""2: several reservations a call, wishes, parties; answers in lists. 3: calls that go to another division."""

T = TypeVar("T")

_encoder: Final = msgspec.msgpack.Encoder()
_command_decoder: Final[msgspec.msgpack.Decoder[Command]] = msgspec.msgpack.Decoder(Command)


class UnknownVersion(Exception):
    """Written by a newer Tellerhall: install that version, or restore a backup of this one."""


class Entry(Struct, array_like=True):
    """One journal entry: the events of one batch of a division, in order."""

    version: Annotated[int, Meta(ge=1, le=ENTRY_VERSION)]
    events: list[Event]


class Records(Struct, array_like=True):
    """What a division remembers. New fields only with a new version."""

    division_id: str
    now_ms: int
    calls_admitted_count: int
    reservations_count: int
    plan: Plan
    plan_digest: str
    retired_plans: dict[str, QueuePlan]
    paces: dict[str, Pace]
    calls: list[Call]
    call_by_customer: dict[str, str]
    last_agents: dict[str, LastAgent]
    agents: list[Agent]
    recipients: list[Recipient]
    answers: dict[str, list[Remembered]]
    keys: dict[str, Remembered]
    forgotten_seq_max: int
    handed_in: dict[str, HandedIn] = msgspec.field(default_factory=dict)


class Snapshot(Struct, array_like=True):
    """A division's records as of one instant."""

    version: Annotated[int, Meta(ge=SNAPSHOT_VERSION, le=SNAPSHOT_VERSION)]
    records: Records


_entry_decoder: Final[msgspec.msgpack.Decoder[Entry]] = msgspec.msgpack.Decoder(Entry)
_snapshot_decoder: Final[msgspec.msgpack.Decoder[Snapshot]] = msgspec.msgpack.Decoder(Snapshot)


# -- commands


def encode_command(command: Command) -> bytes:
    """One command as bytes, for `decode_command`."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` for what is not a command."""
    return _decode(_command_decoder.decode, data)


_TAKEN_WHOLE = frozenset({cm.ApplyPlan, cm.AdmitHandOver})


def is_writable(command: Command) -> bool:
    """Can the command be journaled, and read back?

    Numbers have 64 bits, texts no lone surrogates, and what is taken over whole (wishes, a plan) is within its bounds.
    """
    try:
        data = _encoder.encode(command)
        if type(command) in _TAKEN_WHOLE or (type(command) is cm.RequestCall and command.wishes is not None):
            _command_decoder.decode(data)
    except (OverflowError, UnicodeEncodeError, msgspec.ValidationError):
        return False
    return True


_ADDED: Final[dict[type[Struct], tuple[str, object, Callable[[Struct], tuple[object, ...]]]]] = {
    kind: (added, default, attrgetter(*(name for name in kind.__struct_fields__ if name != added)))
    for kind, added, default in (
        (cm.ApplyPlan, "terms", None),
        (cm.RequestCall, "wishes", None),
        (cm.DeclineReservation, "is_busy", False),
    )
}
"""Commands that were given a field since version 1: the field, its default, what reads the fields of version 1."""


def fingerprint(command: Command) -> int:
    """Tell a repeat from another command under the same id.

    A command that uses nothing which version 1 did not know has the fingerprint that version 1 gave it: who repeats it after
    an upgrade must find its answer.
    """
    added = _ADDED.get(type(command))
    if added is not None and getattr(command, added[0]) == added[1]:
        return crc32(_encoder.encode((command.__struct_config__.tag, *added[2](command))))
    return crc32(_encoder.encode(command))


# -- journal entries


def encode_events(events: list[Event]) -> bytes:
    """One batch of one division as a journal entry."""
    return _encoder.encode((ENTRY_VERSION, events))


def decode_events(data: bytes) -> list[Event]:
    """Read a journal entry back. Raises `UnknownVersion`, or msgspec's errors for a damaged one."""
    _check_version(data, ENTRY_VERSION, "journal entry")
    return _decode(_entry_decoder.decode, data).events


# -- snapshots


def encode_snapshot(state: State) -> bytes:
    """The records of a division; what is derived is left out."""
    return _encoder.encode(Snapshot(SNAPSHOT_VERSION, _records(state, state.now_ms)))


def _records(state: State, now_ms: int) -> Records:
    return Records(
        state.division_id,
        now_ms,
        state.calls_admitted_count,
        state.reservations_count,
        state.plan,
        state.plan_digest,
        state.retired_plans,
        state.paces,
        list(state.calls.values()),
        state.call_by_customer,
        state.last_agents,
        list(state.agents.values()),
        list(state.recipients.values()),
        state.answers,
        state.keys,
        state.forgotten_seq_max,
        state.handed_in,
    )


def decode_snapshot(data: bytes) -> State:
    """Make a state from a snapshot of any version so far, its indexes rebuilt. Raises `UnknownVersion`, or msgspec's errors."""
    version = _check_version(data, SNAPSHOT_VERSION, "snapshot")
    if 1 <= version < SNAPSHOT_VERSION:
        data = _decode(lambda old: upgraded(old, version, SNAPSHOT_VERSION), data)
    records = _decode(_snapshot_decoder.decode, data).records
    state = State(records.division_id)
    state.now_ms = records.now_ms
    state.calls_admitted_count, state.reservations_count = records.calls_admitted_count, records.reservations_count
    state.plan, state.plan_digest = records.plan, records.plan_digest
    state.retired_plans, state.paces = records.retired_plans, records.paces
    state.calls = {call.id: call for call in records.calls}
    state.call_by_customer, state.last_agents = records.call_by_customer, records.last_agents
    state.agents = {agent.id: agent for agent in records.agents}
    state.recipients = {recipient.id: recipient for recipient in records.recipients}
    state.answers, state.keys = records.answers, records.keys
    state.forgotten_seq_max, state.handed_in = records.forgotten_seq_max, records.handed_in
    state.rebuild()
    return state


def digest(state: State) -> str:
    """SHA-256 of the records: equal for the live state and its replay, in any process.

    Without the clock: a step that decided nothing moves it too and leaves no event for the replay to know it by.
    """
    return hashlib.sha256(_encoder.encode(_records(state, 0))).hexdigest()


def _check_version(data: bytes, known: int, what: str) -> int:
    """Return the version, or 0 where there is none to be read (then the decoder says what is wrong)."""
    is_array, version = data[:1] >= b"\x90" and data[:1] < b"\xa0", data[1] if len(data) > 1 else 0
    if not is_array or version > 0x7F:
        return 0
    if version > known:
        raise UnknownVersion(f"{what} of version {version}; this program reads up to {known}")
    return version


def _decode(read: Callable[[bytes], T], data: bytes) -> T:
    """Damaged bytes raise msgspec's error, also where it lets Python's own through: wrong UTF-8, nesting beyond the stack."""
    try:
        return read(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"damaged: {error}") from error
