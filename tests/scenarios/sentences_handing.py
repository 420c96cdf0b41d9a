"""The sentences for calls that go to another division or come from one; as `sentences.py`."""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch.effects import Effect, HandOver, TakeBack, TellEnd
from tests.scenarios.times import Clock, in_words


def _handing_over(event: ev.CallHandingOver, clock: Clock) -> str:
    priority = f" with priority {in_words(event.credit_ms)}" if event.credit_ms > 0 else ""
    return (
        f"{event.call_id} is offered to {event.to_division}/{event.queue_id} ({event.cause}){priority}, "
        f"out of the line of {event.from_queue_id}, answer by {clock.tell(event.until_ms)}"
    )


def _revoked(event: ev.HandOverRevoked, clock: Clock) -> str:
    what = f"is to end wherever it is ({event.reason})" if event.reason else "is asked back"
    return f"{event.call_id} {what}, answer by {clock.tell(event.until_ms)}"


def _admitted(event: ev.HandOverAdmitted, clock: Clock) -> str:
    came = event.call
    parts = [
        f"{event.call_id} of {event.customer_id} comes from {came.from_division} ({came.cause}), hop {came.hops}, "
        f"and waits in {event.queue_id}, queued {clock.tell(event.queued_at_ms)}, due {clock.tell(event.due_at_ms)}",
        f"numbers go on after {event.seq}" if event.seq else "",
        f"to be connected by {clock.tell(event.grace_until_ms)}" if event.grace_until_ms else "",
        f"recording {event.recording}" if event.recording != "off" else "",
    ]
    return ", ".join(part for part in parts if part)


def _handed_over(event: ev.CallHandedOver, clock: Clock) -> str:
    numbers = f", numbers go on after {event.seq}" if event.seq else ""
    until = clock.tell(event.until_ms)
    return f"{event.call_id} goes on in {event.to_division}/{event.queue_id}{numbers}; said here until {until}"


HANDING: dict[type[Any], Callable[[Any, Clock], str]] = {
    ev.CallHandingOver: _handing_over,
    ev.HandOverRevoked: _revoked,
    ev.HandOverRefused: lambda event, clock: (
        f"{event.to_division}/{event.queue_id} does not take {event.call_id} ({event.reason}), it is back at its old place"
    ),
    ev.CallHandedOver: _handed_over,
    ev.HandedCallEnded: lambda event, clock: f"{event.call_id} has ended elsewhere: {event.reason}",
    ev.HandOverAdmitted: _admitted,
    ev.HandOverDeclined: lambda event, clock: (
        f"{event.call_id} from {event.from_division} is not taken ({event.reason}), "
        f"and never will be: kept until {clock.tell(event.until_ms)}"
    ),
    ev.OriginTold: lambda event, clock: f"the other division knows that {event.call_id} has ended",
}


def asked_of_a_division(effect: Effect) -> str:
    """What the courier is to carry; empty for what is no errand."""
    if isinstance(effect, HandOver):
        call = effect.call
        return (
            f"asked of division {effect.to_division}: take {call.call_id} into {call.queue_id} (version {call.version})"
        )
    if isinstance(effect, TakeBack):
        wish = f"end {effect.call_id} ({effect.reason})" if effect.reason else f"give {effect.call_id} back"
        return f"asked of division {effect.to_division}: {wish} (version {effect.version})"
    if isinstance(effect, TellEnd):
        return f"told to division {effect.to_division}: {effect.call_id} has ended ({effect.reason})"
    return ""
