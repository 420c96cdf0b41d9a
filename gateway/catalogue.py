"""Who gets which message of the server, and which of them have event numbers: what AsyncAPI is made of, beside the types.

Rules: a test holds this list to what `gateway/translation.py` says, and that every message stands in it.

Not here: who may send what (`gateway/client_messages.py`), the types (`gateway/messages.py` and its neighbours).
"""

from gateway import messages as wire
from gateway import messages_talking as talking
from gateway import messages_watching as watching

_COMMON: tuple[type[wire.FromServer], ...] = (
    wire.SessionWelcome,
    wire.SessionResumed,
    wire.SessionReset,
    wire.SessionPing,
    wire.SessionToken,
    wire.SessionNote,
    wire.SessionGoaway,
    wire.Ack,
    wire.Error,
)
_TALK: tuple[type[wire.FromServer], ...] = (
    wire.RtcRoom,
    wire.RtcRoomLost,
    wire.CallParty,
    wire.RecordState,
    wire.CallConnected,
    talking.CallHold,
    talking.ScriptStep,
    talking.ScriptAnswer,
    talking.CallOwner,
    talking.CallTransferred,
    talking.PartyAdded,
    talking.PartyRemoved,
    wire.CallEnded,
)
_INVITED: tuple[type[wire.FromServer], ...] = (talking.CallInvited, talking.InvitationAccepted)
_WATCHED: tuple[type[wire.FromServer], ...] = (watching.BoardSnapshot, watching.BoardDelta)

SERVER_TYPES: dict[wire.Role, tuple[type[wire.FromServer], ...]] = {
    "customer": (
        *_COMMON,
        *_INVITED,
        wire.CallQueued,
        wire.CallCallback,
        wire.CallRinging,
        wire.CallWaiting,
        wire.CallMoved,
        talking.CallHandingOver,
        talking.CallHandedOver,
        wire.CallMatched,
        wire.QueueUpdate,
        wire.RtcRestart,
        *_TALK,
    ),
    "agent": (
        *_COMMON,
        wire.AgentState,
        wire.ReservationNew,
        wire.ReservationAccepted,
        wire.ReservationJoint,
        wire.ReservationClosed,
        *_INVITED,
        talking.PartyRinging,
        wire.CallRequeued,
        wire.RtcRestart,
        *_TALK,
        wire.WrapUpExtended,
        wire.WrapUpEnded,
    ),
    "supervisor": (
        *_COMMON,
        *_WATCHED,
        watching.CallMonitored,
        talking.InvitationAccepted,
        wire.CallRequeued,
        *_TALK,
    ),
    "operator": (*_COMMON, *_WATCHED, watching.Alert),
}
"""Role -> what it may get."""

UNNUMBERED: frozenset[type[wire.FromServer]] = frozenset(
    {
        *(one for one in _COMMON if one is not wire.SessionNote),
        *_WATCHED,
        watching.Alert,
        wire.QueueUpdate,
        wire.RtcRestart,
    }
)
"""No events: without `seq`, and not told again after a reconnect."""
