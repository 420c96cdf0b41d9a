"""The only state tables: call, reservation, an agent's activity, an agent's engagement, a room.

Read a table as: in this state, this fact may happen, and then the state is that. What is not in the table cannot happen:
`apply` raises `ImpossibleEvent`, which stops the division rather than guess (SAFETY.md 4). Commands that come late are no
exceptions: the engine looks here first and refuses them by name, so a late accept is an ordinary entry
in the life of a call.

    call         invited -> waiting -> reserved -> connecting -> connected -> ended
                               ^----------'------------'------------'   (back to the old place)
                    waiting -> handing_over -> handed_over -> ended         (elsewhere; refused: back to the old place)
    reservation  pending -> accepted | declined | busy | expired | agent_lost | agent_left | rescinded
    engagement   (none) -> reserved -> in_call -> wrap_up -> (none)
    activity     offline <-> ready <-> not_ready <-> offline
    room         (none) -> requested -> assigned -> open -> closing -> (none)
"""

from typing import Final

from dispatch import events as ev

INVITED: Final = "invited"
WAITING: Final = "waiting"
RESERVED: Final = "reserved"
CONNECTING: Final = "connecting"
CONNECTED: Final = "connected"
HANDING_OVER: Final = "handing_over"
HANDED_OVER: Final = "handed_over"
ENDED: Final = "ended"
LIVE_STATES: Final = (INVITED, WAITING, RESERVED, CONNECTING, CONNECTED, HANDING_OVER)
OVER: Final = (HANDED_OVER, ENDED)
"""Nothing is decided about the call here any more: it has ended, or another division decides."""
CALL_STATES: Final = (*LIVE_STATES, *OVER)

OFFLINE: Final = "offline"
READY: Final = "ready"
NOT_READY: Final = "not_ready"
ACTIVITIES: Final = (OFFLINE, READY, NOT_READY)

IDLE: Final = "idle"
IN_CALL: Final = "in_call"
WRAP_UP: Final = "wrap_up"

REQUESTED: Final = "requested"
ASSIGNED: Final = "assigned"
OPEN: Final = "open"
CLOSING: Final = "closing"

PENDING: Final = "pending"
ACCEPTED: Final = "accepted"
RESERVATION_OUTCOMES: Final = ("declined", "busy", "expired", "agent_lost", "agent_left", "rescinded")


class ImpossibleEvent(Exception):
    """An event met a state in which it cannot happen: the journal or the engine is wrong, and guessing would lose a call."""


TALKING: Final = (CONNECTING, CONNECTED)
"""The call has an owner: exactly one, at every instant."""

CALL: Final[dict[str, dict[type[ev.Event], str]]] = {
    INVITED: {
        ev.InvitationAccepted: WAITING,
        ev.CallEnded: ENDED,
    },
    WAITING: {
        ev.CallReserved: RESERVED,
        ev.CallMoved: WAITING,
        ev.NeedRelaxed: WAITING,
        ev.CallPrioritised: WAITING,
        ev.FavouriteReleased: WAITING,
        ev.CallbackArranged: WAITING,
        ev.JointHeld: WAITING,
        ev.JointReleased: WAITING,
        ev.CallHandingOver: HANDING_OVER,
        ev.CallEnded: ENDED,
    },
    RESERVED: {
        ev.CallReserved: RESERVED,
        ev.JointAccepted: RESERVED,
        ev.NeedRelaxed: RESERVED,
        ev.CallPrioritised: RESERVED,
        ev.FavouriteReleased: RESERVED,
        ev.ReservationAccepted: CONNECTING,
        ev.ReservationClosed: WAITING,
    },
    CONNECTING: {
        ev.CallConnected: CONNECTED,
        ev.NeedRelaxed: CONNECTING,
        ev.PartyAdded: CONNECTING,
        ev.PartyRemoved: CONNECTING,
        ev.SupervisionChanged: CONNECTING,
        ev.CallRequeued: WAITING,
        ev.CallEnded: ENDED,
        ev.RoomLost: CONNECTING,
    },
    CONNECTED: {
        ev.CallReserved: CONNECTED,
        ev.ReservationClosed: CONNECTED,
        ev.NeedRelaxed: CONNECTED,
        ev.PartyAdded: CONNECTED,
        ev.PartyRemoved: CONNECTED,
        ev.OwnershipMoved: CONNECTED,
        ev.SupervisionChanged: CONNECTED,
        ev.HoldChanged: CONNECTED,
        ev.ScriptStepShown: CONNECTED,
        ev.ScriptStepAnswered: CONNECTED,
        ev.CallTransferred: WAITING,
        ev.CallRequeued: WAITING,
        ev.CallEnded: ENDED,
        ev.RoomLost: CONNECTED,
    },
    HANDING_OVER: {
        ev.HandOverRevoked: HANDING_OVER,
        ev.HandOverRefused: WAITING,
        ev.CallHandedOver: HANDED_OVER,
        ev.CallEnded: ENDED,
    },
    HANDED_OVER: {
        ev.HandOverAdmitted: WAITING,
        ev.HandedCallEnded: ENDED,
    },
    ENDED: {
        ev.OriginTold: ENDED,
        ev.CallForgotten: ENDED,
    },
}
"""A hang-up while it rings first closes the reservations (rescinded), in the same step, then ends the waiting call. While
several agents are asked, closing one leaves the call `reserved`; the table names what follows the last one. Whoever
else is in a call (parties, reservations for them) is let go, in the same step, before the call leaves `connected`."""

RESERVATION: Final[dict[str, dict[type[ev.Event], tuple[str, ...]]]] = {
    PENDING: {
        ev.ReservationAccepted: (ACCEPTED,),
        ev.PartyAdded: (ACCEPTED,),
        ev.ReservationClosed: RESERVATION_OUTCOMES,
    },
    ACCEPTED: {},
    **{outcome: {} for outcome in RESERVATION_OUTCOMES},
}
"""One terminal state a reservation. `PartyAdded` is how a further agent's one is accepted; the first of a joint pair to accept
stays pending (`is_accepted`) until the other does."""

ENGAGEMENT: Final[dict[str, dict[type[ev.Event], str]]] = {
    IDLE: {ev.CallReserved: RESERVED, ev.OwnershipMoved: IN_CALL},
    RESERVED: {
        ev.ReservationAccepted: IN_CALL,
        ev.PartyAdded: IN_CALL,
        ev.JointAccepted: RESERVED,
        ev.ReservationClosed: IDLE,
    },
    IN_CALL: {
        ev.CallEnded: WRAP_UP,
        ev.PartyRemoved: WRAP_UP,
        ev.OwnershipMoved: WRAP_UP,
        ev.CallTransferred: WRAP_UP,
        ev.CallRequeued: IDLE,
    },
    WRAP_UP: {ev.WrapUpExtended: WRAP_UP, ev.WrapUpEnded: IDLE},
}
"""What one call does to its agent. With wrap_up `none` the events that lead to wrap-up lead straight back to idle. In
`OwnershipMoved` the row is the former owner's; the new one comes from idle or stays in the call."""

ACTIVITY: Final[dict[str, tuple[str, ...]]] = {
    OFFLINE: (READY, NOT_READY, OFFLINE),
    READY: (READY, NOT_READY, OFFLINE),
    NOT_READY: (READY, NOT_READY, OFFLINE),
}
"""Every change is allowed at any time; a call in progress is finished first, whatever the activity becomes."""

ROOM: Final[dict[str, dict[type[ev.Event], str]]] = {
    REQUESTED: {ev.RoomAssigned: ASSIGNED},
    ASSIGNED: {ev.RoomOpened: OPEN},
    OPEN: {},
    CLOSING: {},
}
"""Leaving a call makes its room `closing`; `RoomLost` removes the one that counts, `RoomClosed` a closing one."""


def call_after(state: str, event: ev.Event) -> str:
    """Return the call's next state; raise `ImpossibleEvent` where the table has none."""
    after = CALL[state].get(type(event))
    if after is None:
        raise ImpossibleEvent(f"{type(event).__name__} cannot happen to a call that is {state}: {event!r}")
    return after


def reservation_after(state: str, event: ev.Event) -> None:
    """Raise `ImpossibleEvent` where a reservation in this state cannot end so."""
    kind = type(event)
    outcomes = RESERVATION[state].get(kind)
    if outcomes is None and kind is not ev.JointAccepted:
        raise ImpossibleEvent(f"{kind.__name__} cannot happen to a reservation that is {state}: {event!r}")
    if type(event) is ev.ReservationClosed and event.outcome not in (outcomes or ()):
        raise ImpossibleEvent(f"{event.outcome!r} is no way for a reservation to end: {event!r}")


def room_after(state: str, event: ev.Event) -> str:
    """Return the room's next state; raise `ImpossibleEvent` where the table has none."""
    after = ROOM[state].get(type(event))
    if after is None:
        raise ImpossibleEvent(f"{type(event).__name__} cannot happen to a room that is {state}: {event!r}")
    return after


def engagement_after(state: str, event: ev.Event) -> str:
    """Return the engagement's next state; raise `ImpossibleEvent` where the table has none."""
    after = ENGAGEMENT[state].get(type(event))
    if after is None:
        raise ImpossibleEvent(f"{type(event).__name__} cannot happen to an agent who is {state} with it: {event!r}")
    return after
