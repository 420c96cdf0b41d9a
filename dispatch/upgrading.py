"""Snapshots that earlier versions wrote, made into what the next version would have written; a chain, one step a version.

To add version 4:
1. copy the records that change, as version 3 has them, to here (`Call3`, ...); the step before builds those, not the model's;
2. write `_from_3(data) -> bytes` in a section of its own, enter it in `STEPS`, and raise `SNAPSHOT_VERSION` in `codec.py`;
3. events have no steps: append fields, a default means what was before; never reuse a tag; a new tag raises `ENTRY_VERSION`;
4. a default of the plan never changes: what equals it is not written, so old bytes would read as the new one;
5. keep every golden file, and add a hall that the last program of version 3 made: snapshot, journal, and how it went on.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import asdict

from dispatch import lifecycle as lc
from dispatch.model import KEY_PREFIX, Agent, Call, Pace, Remembered, Reservation, Room, WrapUpWork

NIL = b"\xc0"

_encode = msgspec.msgpack.Encoder().encode


def upgraded(data: bytes, version: int, wanted: int) -> bytes:
    """Take a snapshot of an earlier `version` through its steps to the `wanted` one. Raises msgspec's errors."""
    for one in range(version, wanted):
        data = STEPS[one](data)
    return data


# -- version 1 (2026-11): one reservation a call, no wishes, answers by their ids


class Call1(Struct, array_like=True, gc=False, frozen=True):
    """A call whose agent is the one who is asked, or the one who talks."""

    id: str
    customer_id: str
    queue_id: str
    order: int
    queued_at_ms: int
    due_at_ms: int
    business_reference: str
    is_consented: bool
    recording: str
    media: str
    state: str
    attempt: int
    reservation_id: str
    agent_id: str
    expires_at_ms: int
    cost_units: int
    agent_gone_until_ms: int
    media_until_ms: int
    refused_until_ms: dict[str, int] | None
    requeued_count: int
    room_attempt: int
    rooms: tuple[Room, ...]
    joined: tuple[str, ...]
    recording_parties: tuple[str, ...]
    unsealed: tuple[int, ...]
    is_customer_gone: bool
    connected_at_ms: int
    ended_at_ms: int
    end_reason: str
    forget_at_ms: int


class Agent1(Struct, array_like=True, frozen=True):
    """An agent without counters."""

    id: str
    order: int
    name: str
    skills: dict[str, int]
    capacity_units: int
    activity: str
    reason: str
    used_units: int
    idle_since_ms: int
    not_before_ms: int
    misses: int
    is_gone: bool
    is_retired: bool
    engagements: dict[str, str]
    wrap_ups: dict[str, WrapUpWork]


class Pace1(Struct, array_like=True, gc=False, frozen=True):
    """A queue's pace by its answers alone."""

    answered_at_ms: int
    gap_ms: int


class Remembered1(Struct, array_like=True, gc=False, frozen=True):
    """An answer with its value in place, or nil."""

    reason: str
    value: Raw
    fingerprint: int
    at_ms: int


class Snapshot1(Struct, array_like=True, frozen=True):
    """The records of a division; what version 2 takes over unchanged is not even read."""

    version: int
    division_id: Raw
    now_ms: int
    calls_admitted_count: Raw
    plan: Raw
    plan_digest: Raw
    retired_plans: Raw
    paces: dict[str, Pace1]
    calls: list[Call1]
    call_by_customer: Raw
    agents: list[Agent1]
    recipients: Raw
    answers: dict[str, dict[str, Remembered1]]
    keys: dict[str, Remembered1]
    forgotten_seq_max: Raw


_decoder_1 = msgspec.msgpack.Decoder(Snapshot1)


def _from_1(data: bytes) -> bytes:
    old = _decoder_1.decode(data)
    answers = {
        principal: [_remembered_from_1(one, id) for id, one in by_id.items()]
        for principal, by_id in old.answers.items()
    }
    records: tuple[object, ...] = (
        old.division_id,
        old.now_ms,
        old.calls_admitted_count,
        0,
        old.plan,
        old.plan_digest,
        old.retired_plans,
        _paces_from_1(old),
        [_call_from_1(call, old.now_ms) for call in old.calls],
        old.call_by_customer,
        {},
        [_agent_from_1(agent, old.now_ms) for agent in old.agents],
        old.recipients,
        answers,
        {
            key: _remembered_from_1(one, KEY_PREFIX + key.partition("|" + KEY_PREFIX)[2])
            for key, one in old.keys.items()
        },
        old.forgotten_seq_max,
    )
    return _encode((2, records))


def _call_from_1(old: Call1, now_ms: int) -> Call:
    """When and why a ringing agent was asked was not kept: as if now, for no rule."""
    fields = asdict(old)
    expires_at_ms, gone_until_ms = fields.pop("expires_at_ms"), fields.pop("agent_gone_until_ms")
    if old.state == lc.RESERVED:
        asked = Reservation(
            old.reservation_id,
            old.agent_id,
            expires_at_ms,
            old.cost_units,
            agent_gone_until_ms=gone_until_ms,
            made_at_ms=now_ms,
        )
        fields.update(agent_id="", reservation_id="", cost_units=0, reservations=(asked,))
    return Call(**fields)


def _paces_from_1(old: Snapshot1) -> dict[str, Pace]:
    """How long a line has stood was not kept: where one stands it begins now."""
    paces = {queue_id: Pace(pace.answered_at_ms, pace.gap_ms) for queue_id, pace in old.paces.items()}
    for call in old.calls:
        if call.state == lc.WAITING:
            paces.setdefault(call.queue_id, Pace()).line_since_ms = old.now_ms
    return paces


def _agent_from_1(old: Agent1, now_ms: int) -> Agent:
    """Times since sign-in were not kept: for who is signed in they begin now."""
    is_busy = any(one != lc.RESERVED for one in old.engagements.values())
    is_resting = old.activity == lc.NOT_READY and not is_busy
    return Agent(
        **asdict(old),
        signed_in_at_ms=now_ms if old.activity != lc.OFFLINE else 0,
        busy_since_ms=now_ms if is_busy else 0,
        not_ready_since_ms=now_ms if is_resting else 0,
    )


def _remembered_from_1(old: Remembered1, id: str) -> Remembered:
    value = bytes(old.value)
    return Remembered(old.reason, b"" if value == NIL else value, old.fingerprint, old.at_ms, id)


# -- version 2 (2026-11): no calls in other divisions; version 3 only appended fields, and a default means what was before


class Snapshot2(Struct, array_like=True, frozen=True):
    """The records of a division, as they are."""

    version: int
    records: Raw


_decoder_2 = msgspec.msgpack.Decoder(Snapshot2)


def _from_2(data: bytes) -> bytes:
    return _encode((3, _decoder_2.decode(data).records))


STEPS: dict[int, Callable[[bytes], bytes]] = {1: _from_1, 2: _from_2}
"""Version -> how its snapshots become the next version's."""
