"""One log line for each step in a call's life, written once it is durable.

Rules: a line holds ids, states and reasons from a list; nothing that a person wrote, so also no reason in free words. It is
written with its turn's others in one go: a line costs about a microsecond, a line of its own sixteen (structlog, measured).

Not here: the histories that people ask for (`archive`), which hold everything.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from actors.logs import write_lines
from actors.tracing import CALLS, trace_id_of
from dispatch import events as ev
from dispatch import events_handing as handing
from dispatch import events_rooms as rooms
from dispatch import events_talking as talking

LATE_S = 0.002

_TOLD: dict[type[Any], tuple[str, tuple[str, ...]]] = {
    ev.CallQueued: ("call.queued", ("queue_id",)),
    ev.CallRefused: ("call.refused", ("queue_id", "reason")),
    ev.CallReserved: ("call.reserved", ("agent_id", "role", "attempt")),
    ev.ReservationAccepted: ("call.accepted", ("agent_id",)),
    ev.ReservationClosed: ("call.not_accepted", ("agent_id", "outcome")),
    ev.CallConnected: ("call.connected", ("agent_id",)),
    ev.CallRequeued: ("call.requeued", ("agent_id", "reason")),
    ev.CallMoved: ("call.moved", ("queue_id", "reason")),
    ev.CallEnded: ("call.ended", ("agent_id", "reason", "waited_ms", "talked_ms")),
    talking.CallInvited: ("call.invited", ("agent_id",)),
    talking.InvitationAccepted: ("call.invitation_accepted", ()),
    talking.CallTransferred: ("call.transferred", ("from_agent_id", "queue_id")),
    talking.OwnershipMoved: ("call.owner_moved", ("to_agent_id",)),
    handing.CallHandingOver: ("call.handing_over", ("to_division", "queue_id", "version", "cause")),
    handing.CallHandedOver: ("call.handed_over", ("to_division", "version")),
    handing.HandOverRefused: ("call.hand_over_refused", ("to_division", "version", "reason")),
    handing.HandOverAdmitted: ("call.admitted_from_division", ("queue_id",)),
    handing.HandOverDeclined: ("call.hand_over_declined", ("from_division", "version", "reason")),
    rooms.RoomAssigned: ("room.assigned", ("worker_id", "worker_epoch", "attempt")),
    rooms.RoomLost: ("room.lost", ("attempt", "reason")),
    rooms.RecordingFailed: ("recording.failed", ("attempt", "party", "reason")),
    rooms.RecordingSealed: ("recording.sealed", ("attempt",)),
    rooms.RecordingMissing: ("recording.missing", ("attempt",)),
}
_NAMED = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
"""A reason that the code gave. What staff may write in its place is for the history alone."""


def told() -> dict[type[Any], tuple[str, tuple[str, ...]]]:
    """Event -> the name of its line, and the fields that it shows."""
    return dict(_TOLD)


def lines_of(division_id: str, events: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the lines for these events, in order. Calls that were forgotten give their trace back."""
    lines = []
    for event in events:
        told = _TOLD.get(type(event))
        if told is None:
            if type(event) is ev.CallForgotten:
                CALLS.forget(event.call_id)
            continue
        line: dict[str, Any] = {"event": told[0], "call_id": event.call_id, "division": division_id}
        for name in told[1]:
            value = getattr(event, name)
            if name != "reason" or _NAMED.match(value):
                line[name] = value
        line["trace_id"] = trace_id_of(CALLS.of(event.call_id))
        lines.append(line)
    return lines


class LateLines:
    """Writes the lines a moment after what they tell became visible: they are for people, and no answer waits for them.

    At 1,000 calls/s they are an eighth of a shard's work, and would stand between a durable decision and its answers. A kill
    takes the lines of the last `LATE_S` along; the journal has what they told.
    """

    def __init__(self) -> None:
        self._events: list[tuple[str, list[Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, division_id: str, events: list[Any]) -> None:
        """Events that are durable, in their order."""
        if not events:
            return
        self._events.append((division_id, events))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE_S, self.write)

    def write(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._events = self._events, []
        write_lines([line for division_id, events in waiting for line in lines_of(division_id, events)])
