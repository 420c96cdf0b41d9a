"""Commands: wishes put to a division's engine, imperative.

Each carries its `principal` (who wishes) and its `id` (chosen by the sender, unique for that principal). The engine
remembers the answer to (principal, id), so a repeat through any gateway after any failover gets the same answer
(SAFETY.md 6). An empty id means: not remembered; only the shell's own reports use it, and each of them is
harmless when repeated.

Principals: `customer:<id>`, `agent:<id>`, `supervisor:<id>`, `operator:<id>`, `system:<part>`. Whether a principal may
give a command is checked by the engine where ownership is state (whose call, whose reservation), and by the
gateway where it is the role alone.
"""

from msgspec import Struct, field

from dispatch.command import FromPrincipal
from dispatch.commands_rooms import (
    AssignRoom,
    LoseWorker,
    ReportPartyJoined,
    ReportPartyLeft,
    ReportRecordingFailed,
    ReportRecordingSealed,
    ReportRecordingStarted,
    ReportRoomClosed,
    ReportRoomFailed,
    ReportRoomOpened,
)
from dispatch.handing_facts import HandedCall
from dispatch.plan import Plan
from dispatch.wishes import Wishes

MAX_TEXT = 200
"""Longest free text in a command (reasons, business references), characters; longer is refused at the gateway."""


class PlanTerms(Struct, array_like=True, gc=False, frozen=True):
    """On which terms a plan is to be taken."""

    expected_digest: str = ""
    """Of the plan that it is to follow; refused as `plan_changed` where neither that nor it itself is in force. Empty: any."""
    is_dry_run: bool = False
    """Say what would become of it, and change nothing."""


class _OnTerms(FromPrincipal, kw_only=True):
    terms: PlanTerms | None = None
    """Stands last, so that commands of earlier versions are still read."""


class ApplyPlan(_OnTerms, tag=1):
    """Make `plan` the configuration. Refused where it would strand waiting calls."""

    plan: Plan
    digest: str


class Connect(FromPrincipal, tag=2):
    """`recipient` has a live connection through `gateway_id`; a later connection replaces an earlier one."""

    recipient: str
    gateway_id: str
    connection_id: str


class Disconnect(FromPrincipal, tag=3):
    """The connection is gone; grace starts. Ignored when `connection_id` has been replaced meanwhile."""

    recipient: str
    connection_id: str


class LoseGateway(FromPrincipal, tag=4):
    """A gateway stopped answering: all connections through it are gone."""

    gateway_id: str


class SetActivity(FromPrincipal, tag=5):
    """Agent: `ready`, `not_ready` (with a reason) or `offline`. A call in progress is finished first."""

    agent_id: str
    activity: str
    reason: str = ""


class RequestCall(FromPrincipal, tag=6):
    """Admit a call of `customer_id` to `queue_id`. One live call a customer; a second is refused with the first's id."""

    call_id: str
    customer_id: str
    queue_id: str
    business_reference: str = ""
    is_consented: bool = False
    """The customer agreed to be recorded; a queue whose recording is `required` refuses without."""
    wishes: Wishes | None = None
    """What this call asks for beyond its queue; None: nothing."""


class AcceptReservation(FromPrincipal, tag=7):
    """The agent takes the call. Late: refused with the reason, changes nothing."""

    reservation_id: str
    agent_id: str


class DeclineReservation(FromPrincipal, tag=8):
    """The agent gives the call back to its old place."""

    reservation_id: str
    agent_id: str
    reason: str = ""
    is_busy: bool = False
    """Busy elsewhere (a telephone, a visitor): counted apart, and followed by `busy_delay_ms`."""


class HangUp(FromPrincipal, tag=9):
    """End the call. `reason` defaults to who did it."""

    call_id: str
    reason: str = ""


class FinishWrapUp(FromPrincipal, tag=10):
    """The agent has done the work after the call."""

    agent_id: str
    call_id: str


class ExtendWrapUp(FromPrincipal, tag=11):
    """Make a timed wrap-up longer, up to the queue's `wrap_up_ms_max` since its start."""

    agent_id: str
    call_id: str
    extra_ms: int


class ReportConnected(FromPrincipal, tag=12):
    """Only for queues with `media = external`: the other system has connected the two."""

    call_id: str


class SetPriority(FromPrincipal, tag=40):
    """Change a waiting or ringing call's priority; its place changes at once. Not for customers and agents."""

    call_id: str
    credit_ms: int
    is_absolute: bool = False


class RequestCallback(FromPrincipal, tag=41):
    """The waiting customer need not stay: the call keeps its place, and the customer is called back."""

    call_id: str


class InviteCustomer(FromPrincipal, tag=42):
    """An agent invites a customer (a visit to a merchant's shop, say): the call begins when the customer accepts."""

    call_id: str
    customer_id: str
    agent_id: str
    queue_id: str
    business_reference: str = ""
    valid_ms: int = 0
    """0: the plan's `invitation_ms`; never more than that."""


class AcceptInvitation(FromPrincipal, tag=43):
    """The customer comes: the call waits for the agent who invited, and nobody else."""

    call_id: str
    customer_id: str
    is_consented: bool = False


class TransferCall(FromPrincipal, tag=44):
    """Blind transfer by the call's agent: to a queue (`to_queue_id`) or to an agent who is free now (`to_agent_id`)."""

    call_id: str
    to_queue_id: str = ""
    """Of another division: `division/queue`."""
    to_agent_id: str = ""
    credit_ms: int = -1
    """Priority in the target; -1: its `transfer_credit_ms`. 0 to its `priority_credit_ms_max`."""
    reason: str = ""


class InviteParty(FromPrincipal, tag=45):
    """Ask one more agent into a call that talks: `to_agent_id`, or whoever `to_queue_id`'s strategy names among the free."""

    call_id: str
    role: str
    """`consult` (the customer does not hear it), `expert` or `third`."""
    to_agent_id: str = ""
    to_queue_id: str = ""


class RemoveParty(FromPrincipal, tag=46):
    """A further agent leaves the call, or is asked to (also while it still rings)."""

    call_id: str
    agent_id: str


class CompleteTransfer(FromPrincipal, tag=47):
    """Consulted transfer: a party of the call becomes its owner, the owner goes into wrap-up; one step, one holder."""

    call_id: str
    to_agent_id: str


class TakeOver(FromPrincipal, tag=48):
    """A supervisor puts an agent (most often the supervisor, as the agent of that id) in place of the call's owner."""

    call_id: str
    agent_id: str


class Supervise(FromPrincipal, tag=49):
    """Listen (`monitor`), speak to the agent alone (`whisper`), to all (`barge`), or leave (empty); ownership stays."""

    call_id: str
    supervisor_id: str
    mode: str


class SetHold(FromPrincipal, tag=50):
    """The call's agent puts the customer on hold or takes the customer back."""

    call_id: str
    is_held: bool


class ShowScriptStep(FromPrincipal, tag=51):
    """The call's agent shows the customer a step of a script: a text, and the answers to choose from."""

    call_id: str
    step_id: str
    """The bank's own name of it (and its version, say)."""
    text: str
    answers: list[str] = field(default_factory=list)
    """None: the step is only shown."""


class AnswerScriptStep(FromPrincipal, tag=52):
    """The customer answers the step that is shown."""

    call_id: str
    number: int
    """Which showing is meant: another one may have taken its place meanwhile."""
    answer: str


class AdmitHandOver(FromPrincipal, tag=60):
    """Another division hands a call over. Admitted or refused once for (call, version); a repeat gets the same answer."""

    call: HandedCall


class RevokeHandOver(FromPrincipal, tag=61):
    """The origin wants the call back if it has not been admitted; with a `reason` it is to end here if it has."""

    call_id: str
    version: int
    from_division: str
    valid_until_ms: int
    reason: str = ""


class EndHandedCall(FromPrincipal, tag=62):
    """A call that was handed over from here has ended where it went."""

    call_id: str
    version: int
    reason: str


class ReportHandOver(FromPrincipal, tag=63):
    """What the target answered to `version`; an empty `reason`: it has the call."""

    call_id: str
    version: int
    reason: str = ""
    seq: int = 0


class ReportEndTold(FromPrincipal, tag=64):
    """The origin knows that the call has ended."""

    call_id: str
    version: int


class Resume(FromPrincipal, tag=30):
    """The shell comes back after `outage_ms` in which nobody could be heard (SAFETY.md 8)."""

    outage_ms: int


Command = (
    ApplyPlan
    | Connect
    | Disconnect
    | LoseGateway
    | SetActivity
    | RequestCall
    | AcceptReservation
    | DeclineReservation
    | HangUp
    | FinishWrapUp
    | ExtendWrapUp
    | ReportConnected
    | AssignRoom
    | ReportRoomOpened
    | ReportRoomFailed
    | ReportRoomClosed
    | ReportPartyJoined
    | ReportPartyLeft
    | ReportRecordingStarted
    | ReportRecordingFailed
    | ReportRecordingSealed
    | LoseWorker
    | SetPriority
    | RequestCallback
    | InviteCustomer
    | AcceptInvitation
    | TransferCall
    | InviteParty
    | RemoveParty
    | CompleteTransfer
    | TakeOver
    | Supervise
    | SetHold
    | ShowScriptStep
    | AnswerScriptStep
    | AdmitHandOver
    | RevokeHandOver
    | EndHandedCall
    | ReportHandOver
    | ReportEndTold
    | Resume
)

__all__ = [
    "AcceptInvitation",
    "AcceptReservation",
    "AdmitHandOver",
    "AnswerScriptStep",
    "ApplyPlan",
    "AssignRoom",
    "Command",
    "CompleteTransfer",
    "Connect",
    "DeclineReservation",
    "Disconnect",
    "EndHandedCall",
    "ExtendWrapUp",
    "FinishWrapUp",
    "HangUp",
    "InviteCustomer",
    "InviteParty",
    "LoseGateway",
    "LoseWorker",
    "MAX_TEXT",
    "PlanTerms",
    "RemoveParty",
    "ReportConnected",
    "ReportEndTold",
    "ReportHandOver",
    "ReportPartyJoined",
    "ReportPartyLeft",
    "ReportRecordingFailed",
    "ReportRecordingSealed",
    "ReportRecordingStarted",
    "ReportRoomClosed",
    "ReportRoomFailed",
    "ReportRoomOpened",
    "RequestCall",
    "RequestCallback",
    "Resume",
    "RevokeHandOver",
    "SetActivity",
    "SetHold",
    "SetPriority",
    "ShowScriptStep",
    "Supervise",
    "TakeOver",
    "TransferCall",
]
