"""The arms of `apply` that concern remembered answers, and time that nobody could be heard in."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from dispatch import events as ev
from dispatch.model import ANSWERS_MAX, KEY_PREFIX, KEY_RETENTION_MS, Remembered
from dispatch.state import State

_encoder: Final = msgspec.msgpack.Encoder()

_decoder: Final[msgspec.msgpack.Decoder[dict[str, Any]]] = msgspec.msgpack.Decoder(dict[str, Any])


def decode_value(data: bytes) -> dict[str, Any] | None:
    """A remembered reply's value."""
    return _decoder.decode(data) if data else None


SCANNED_MAX: Final = 8
"""Answers of one principal that are looked through; a dictionary for fewer would cost more memory than it saves time."""


def answer_to(state: State, principal: str, command_id: str) -> Remembered | None:
    """What this principal was answered under this id, or None. O(1)."""
    answers = state.answers.get(principal)
    if answers is None:
        return None
    if len(answers) <= SCANNED_MAX:
        for one in answers:
            if one.id == command_id:
                return one
        return None
    by_id = state.answers_by_id.get(principal)
    if by_id is None or len(by_id) != len(answers):
        by_id = state.answers_by_id[principal] = {one.id: one for one in answers}
    return by_id.get(command_id)


def _answered(state: State, event: ev.Answered) -> None:
    value = b"" if event.value is None else _encoder.encode(event.value)
    remembered = Remembered(event.reason, value, event.fingerprint, event.at_ms, event.id)
    if event.id.startswith(KEY_PREFIX):
        keys = state.keys
        while keys and next(iter(keys.values())).at_ms < event.at_ms - KEY_RETENTION_MS:
            del keys[next(iter(keys))]
        keys[f"{event.principal}|{event.id}"] = remembered
        return
    answers = state.answers.get(event.principal)
    if answers is None:
        if len(state.answers) >= state.plan.idempotency_keys_max:
            oldest = next(iter(state.answers))
            del state.answers[oldest]
            state.answers_by_id.pop(oldest, None)
        state.answers[event.principal] = [remembered]
        return
    answers.append(remembered)
    by_id = state.answers_by_id.get(event.principal)
    if by_id is not None:
        by_id[event.id] = remembered
    if len(answers) > ANSWERS_MAX:
        if by_id is not None:
            by_id.pop(answers[0].id, None)
        del answers[0]


def _resumed(state: State, event: ev.Resumed) -> None:
    """Leases, graces, reservations, holds and wrap-up move; patience, places, relaxation and opening hours do not."""
    moved = event.outage_ms
    for call in state.calls.values():
        for name in ("media_until_ms", "on_hold_until_ms", "held_until_ms"):
            if getattr(call, name):
                setattr(call, name, getattr(call, name) + moved)
        if call.handing is not None:
            call.handing = replace(call.handing, until_ms=call.handing.until_ms + moved)
        if call.invited_until_ms:
            call.invited_until_ms += moved
        for reservation in call.reservations:
            reservation.expires_at_ms += moved
            if reservation.agent_gone_until_ms:
                reservation.agent_gone_until_ms += moved
    for agent in state.agents.values():
        for work in agent.wrap_ups.values():
            work.until_ms += moved
    for recipient in state.recipients.values():
        if recipient.grace_until_ms:
            recipient.grace_until_ms += moved
    state.rebuild()


ANSWER_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.Answered: _answered,
    ev.Resumed: _resumed,
}
