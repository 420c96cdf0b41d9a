"""Every message that the server sends, version 1 of the wire protocol: the one source of their types.

Rules: `docs/protocol.md` says when each is sent; a class names exactly the fields of the page. Fields marked `UNSET` are left
out when they have no meaning. `TYPE` is the name on the wire.

Not here: the envelope and what snapshots are made of (`gateway/server_fields.py`), messages about who is in a call
(`gateway/messages_talking.py`), boards and alerts (`gateway/messages_watching.py`), who gets which (`gateway/catalogue.py`),
what clients send (`gateway/client_messages.py`), bytes (`gateway/codec.py`), events turned into messages
(`gateway/translation.py`).
"""

from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.server_fields import VERSION as VERSION
from gateway.server_fields import AgentCard as AgentCard
from gateway.server_fields import Call as Call
from gateway.server_fields import FromServer as FromServer
from gateway.server_fields import Outgoing as Outgoing
from gateway.server_fields import Party as Party
from gateway.server_fields import Role as Role
from gateway.server_fields import Room as Room
from gateway.server_fields import Script as Script
from gateway.server_fields import WrapUp as WrapUp


class ReservationNew(FromServer):
    """A ringing reservation; also the form of a reservation in a snapshot."""

    TYPE: ClassVar[str] = "reservation.new"

    reservation_id: str
    call_id: str
    queue_id: str
    expires_at_ms: int
    attempt: int
    waited_ms: int
    customer: str
    business_reference: str
    why: str
    media: str
    key: int = 0
    """The agent's under the rule `why`: for `longest_idle` since when (ms)."""
    party_role: str | UnsetType = UNSET
    """`expert`, `third` or `consult`, where the agent is not to own the call. Not `role`: the first pages took any `role` for
    that of the session."""


class CustomerSnapshot(Struct):
    """What a customer's page shows."""

    call: Call | None


class AgentSnapshot(Struct):
    """What an agent's page shows."""

    activity: str
    reason: str
    agent: AgentCard
    reservation: ReservationNew | None
    call: Call | None
    wrap_up: WrapUp | None


class StaffSnapshot(Struct):
    """Of a supervisor or an operator, who watch: what they see comes by `watch.subscribe`."""

    boards: list[str]
    """What can be watched."""


Snapshot = CustomerSnapshot | AgentSnapshot | StaffSnapshot


class SessionWelcome(FromServer):
    """The first message after a connect without `resume`: all that a page needs to draw itself."""

    TYPE: ClassVar[str] = "session.welcome"

    session: Snapshot
    seq: int
    server_ms: int
    ping_ms: int
    ice_servers: list[dict[str, Any]]
    principal: str
    role: str
    gateway_id: str
    ice_transport_policy: Literal["all", "relay"] = "all"
    ice_until_ms: int = 0
    """When the credentials in `ice_servers` end; 0: they do not."""


class SessionReset(SessionWelcome):
    """As `session.welcome`: the events since `resume` are no longer kept, or a snapshot must be taken anew."""

    TYPE: ClassVar[str] = "session.reset"


class SessionResumed(FromServer):
    """The answer to `resume`: `missed_count` events follow, in order."""

    TYPE: ClassVar[str] = "session.resumed"

    seq: int
    missed_count: int
    server_ms: int
    ping_ms: int
    ice_servers: list[dict[str, Any]]
    ice_transport_policy: Literal["all", "relay"] = "all"
    ice_until_ms: int = 0


class SessionPing(FromServer):
    """Every `ping_ms`; answer with `session.pong` (page scripts cannot see PING frames)."""

    TYPE: ClassVar[str] = "session.ping"

    server_ms: int


class SessionToken(FromServer):
    """The token ends soon: fetch a fresh one and connect with it, or be closed with 4002 at that instant."""

    TYPE: ClassVar[str] = "session.token"

    expires_at_ms: int


class SessionGoaway(FromServer):
    """This gateway is closing: connect again after a random part of `after_ms`, and resume."""

    TYPE: ClassVar[str] = "session.goaway"

    action: str
    after_ms: int


class SessionNote(FromServer):
    """An event without words for this client: it only keeps the numbers without a gap. `event` is empty where the client is
    not to know what it was."""

    TYPE: ClassVar[str] = "session.note"

    event: str


class Ack(FromServer):
    """The message `re` was carried out, durably. What is in `value` says the message that it answers."""

    TYPE: ClassVar[str] = "ack"

    value: dict[str, Any]


class Error(FromServer):
    """The message `re` was refused; without `re`, what was received made no sense."""

    TYPE: ClassVar[str] = "error"

    reason: str
    detail: str
    then: str | UnsetType = UNSET
    """`message`: a limit refused the call, and the customer is asked for a message; `detail` is what to tell."""
    retry_after_ms: int | UnsetType = UNSET
    """Sooner it would be refused again."""


class CallQueued(FromServer):
    """The call waits in the line of its queue."""

    TYPE: ClassVar[str] = "call.queued"

    call_id: str
    queue_id: str
    queued_at_ms: int
    media: str
    is_callback: bool | UnsetType = UNSET


class CallCallback(FromServer):
    """The customer need not stay: asked for, or a limit; the call keeps its place."""

    TYPE: ClassVar[str] = "call.callback"

    call_id: str
    cause: str


class CallRinging(FromServer):
    """An agent is being asked, or several."""

    TYPE: ClassVar[str] = "call.ringing"

    call_id: str


class CallWaiting(FromServer):
    """Nobody took it: the call waits again, at its old place."""

    TYPE: ClassVar[str] = "call.waiting"

    call_id: str
    reason: str


class CallMoved(FromServer):
    """The call waits in another queue now, at the same queued-at time."""

    TYPE: ClassVar[str] = "call.moved"

    call_id: str
    queue_id: str
    reason: str


class CallMatched(FromServer):
    """An agent has accepted; the room opens."""

    TYPE: ClassVar[str] = "call.matched"

    call_id: str
    agent_name: str


class RtcRoom(FromServer):
    """The room is open: send `rtc.sdp_offer` for this attempt; a higher attempt replaces a lower one."""

    TYPE: ClassVar[str] = "rtc.room"

    call_id: str
    attempt: int


class RtcRoomLost(FromServer):
    """The room is gone; a new `rtc.room` follows, or `call.ended`."""

    TYPE: ClassVar[str] = "rtc.room_lost"

    call_id: str
    attempt: int
    reason: str


class RtcRestart(FromServer):
    """The worker hears nothing of this party any more: make a new peer connection, and offer for the same attempt."""

    TYPE: ClassVar[str] = "rtc.restart"

    call_id: str
    attempt: int
    reason: Literal["party_left"]


class CallParty(FromServer):
    """A party has joined the room, or has left it."""

    TYPE: ClassVar[str] = "call.party"

    call_id: str
    party: str
    is_joined: bool


class RecordState(FromServer):
    """`party` is empty for `sealed` and `missing`, which speak of the whole recording."""

    TYPE: ClassVar[str] = "record.state"

    call_id: str
    party: str
    state: Literal["started", "failed", "sealed", "missing"]


class CallConnected(FromServer):
    """Both parties are there, and what must be recorded is being recorded."""

    TYPE: ClassVar[str] = "call.connected"

    call_id: str


class CallEnded(FromServer):
    """The call is over."""

    TYPE: ClassVar[str] = "call.ended"

    call_id: str
    reason: str
    waited_ms: int
    talked_ms: int
    wrap_up: str | UnsetType = UNSET
    wrap_up_until_ms: int | UnsetType = UNSET
    then: str | UnsetType = UNSET
    """`message`: the customer is asked for one."""


class QueueUpdate(FromServer):
    """Where the call stands in its line, at most every 2 s; no event."""

    TYPE: ClassVar[str] = "queue.update"

    call_id: str
    position: int
    estimate_ms: int | None


class AgentState(FromServer):
    """The agent is ready, not ready or offline from now on."""

    TYPE: ClassVar[str] = "agent.state"

    activity: str
    reason: str


class ReservationAccepted(FromServer):
    """The call is this agent's; it is being connected."""

    TYPE: ClassVar[str] = "reservation.accepted"

    reservation_id: str
    call_id: str
    connecting_until_ms: int


class ReservationJoint(FromServer):
    """One of the two people of a joint need has accepted; the other is still asked."""

    TYPE: ClassVar[str] = "reservation.joint"

    reservation_id: str
    call_id: str
    agent_id: str


class ReservationClosed(FromServer):
    """It rings here no more."""

    TYPE: ClassVar[str] = "reservation.closed"

    reservation_id: str
    call_id: str
    outcome: str
    reason: str


class CallRequeued(FromServer):
    """The call left this agent and waits again."""

    TYPE: ClassVar[str] = "call.requeued"

    call_id: str
    reason: str


class WrapUpExtended(FromServer):
    """There is more time for the work after the call."""

    TYPE: ClassVar[str] = "wrapup.extended"

    call_id: str
    until_ms: int


class WrapUpEnded(FromServer):
    """The work after the call is done, or its time is over."""

    TYPE: ClassVar[str] = "wrapup.ended"

    call_id: str
    how: str
