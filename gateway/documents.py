"""What REST answers to questions: views as documents, by role.

Rules: a customer learns nothing of the hall's staff beyond the name of the agent who serves them. A field that is `UNSET` is
not in the document: it is not for that role. Recordings are found by the call's id alone; no path of a client reaches the
file system.

Not here: a call's history (`gateway/histories.py`), answers to commands (`gateway/answers.py`), the same views as WebSocket
messages (`gateway/translation.py`), bodies of requests (beside their handlers).
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

from dispatch import views
from gateway.alerts import Alert
from media.evidence import MANIFEST_FILE, Manifest, is_room_id


class RoomDocument(Struct):
    attempt: int
    is_open: bool


class PartyDocument(Struct):
    """A further agent in a call, or asked for it while it talks."""

    agent_id: str
    role: str
    """`consult`, `expert` or `third`."""
    is_ringing: bool


class ScriptDocument(Struct):
    """The step of a script that the customer is shown."""

    number: int
    """Of the steps shown in this call, from 1."""
    step_id: str
    text: str
    answers: list[str]
    answer: str
    """Empty: not answered."""


class CallDocument(Struct, kw_only=True):
    """One call as it is now."""

    call_id: str
    state: str
    queue_id: str
    queued_at_ms: int
    business_reference: str
    position: int | None
    """1 = next."""
    media: str
    recording: str
    is_recording: bool
    room: RoomDocument | None
    connected_at_ms: int | None
    ended_at_ms: int | None
    end_reason: str
    is_callback: bool
    invited_until_ms: int | None
    on_hold_until_ms: int | None
    script: ScriptDocument | None
    agent_name: str
    """For a customer empty until somebody has accepted."""
    agent_id: str | UnsetType = UNSET
    """Not for customers."""
    parties: list[PartyDocument] | UnsetType = UNSET
    """Not for customers."""
    customer_id: str | UnsetType = UNSET
    """For staff; so are those that follow."""
    attempt: int | UnsetType = UNSET
    """Reservations made so far."""
    supervisors: dict[str, str] | UnsetType = UNSET
    """Supervisor id -> `monitor`, `whisper` or `barge`."""
    credit_ms: int | UnsetType = UNSET
    is_absolute: bool | UnsetType = UNSET


class QueueDocument(Struct, kw_only=True):
    """One queue as it is now."""

    queue_id: str
    name: dict[str, str]
    """By language."""
    waiting_count: int
    longest_wait_ms: int | UnsetType = UNSET
    """Not for customers; so are those that follow."""
    agents: dict[str, int] | UnsetType = UNSET
    """Counts of the queue's qualified agents by what they do."""
    live_calls: dict[str, int] | UnsetType = UNSET
    """Counts of its calls by state."""
    estimate_ms: int | UnsetType | None = UNSET
    """Estimated wait of a call that would join now; null where nothing is known yet."""


class QueueList(Struct):
    queues: list[QueueDocument]


class WrapUpDocument(Struct):
    call_id: str
    until_ms: int
    kind: str
    """`timed` or `until_done`."""


class AgentDocument(Struct):
    """One agent as it is now."""

    agent_id: str
    name: str
    skills: dict[str, int]
    activity: str
    """`offline`, `ready` or `not_ready`."""
    reason: str
    occupation: str
    """`idle`, `reserved`, `in_call` or `wrap_up`: the first that applies of in_call, reserved, wrap_up."""
    is_connected: bool
    misses: int
    used_units: int
    capacity_units: int
    call_ids: list[str]
    reservation_ids: list[str]
    wrap_ups: list[WrapUpDocument]
    idle_since_ms: int


class AgentList(Struct):
    """In the order of their ids."""

    agents: list[AgentDocument]
    next: str | None = None
    """For `after`: there are more; null: that was all."""


class RecordingDocument(Struct):
    call_id: str
    manifests: list[Manifest]
    """One an attempt whose recording is sealed."""


class StatusDocument(Struct, kw_only=True):
    """The whole hall: what runs where, and what an operator must look at."""

    at_ms: int
    is_healthy: bool
    alerts: list[Alert]
    divisions: dict[str, dict[str, Any]]
    shards: dict[str, dict[str, Any]]
    parts: dict[str, dict[str, Any]]
    follower: dict[str, Any]
    media: dict[str, dict[str, Any]]
    gateways: dict[str, dict[str, Any]]
    """By slot: connections by role, ports, machine; empty where one does not answer."""
    gateway: dict[str, Any]
    """The one that answers."""
    webhooks: dict[str, Any]
    """Where there are any: when their sender last gave a sign of life, and how each endpoint goes."""
    store: str
    """Empty: it answers; otherwise why not."""
    store_facts: dict[str, Any]
    disks: list[dict[str, Any]]
    builds: dict[str, list[str]]
    """Build -> the parts that run it."""


def call_document(view: views.CallView, role: str) -> CallDocument:
    """Return the call now. Staff see who, a customer only the agent's name once there is one."""
    is_customer = role == "customer"
    is_matched = view.state in ("invited", "connecting", "connected", "ended")
    document = CallDocument(
        call_id=view.call_id,
        state=view.state,
        queue_id=view.queue_id,
        queued_at_ms=view.queued_at_ms,
        business_reference=view.business_reference,
        position=view.position or None,
        media=view.media,
        recording=view.recording,
        is_recording=bool(view.recording_parties),
        room=RoomDocument(view.room.attempt, view.room.is_open) if view.room is not None else None,
        connected_at_ms=view.connected_at_ms or None,
        ended_at_ms=view.ended_at_ms or None,
        end_reason=view.end_reason,
        is_callback=view.is_callback,
        invited_until_ms=view.invited_until_ms or None,
        on_hold_until_ms=view.on_hold_until_ms or None,
        script=ScriptDocument(*astuple(view.script_step)) if view.script_step is not None else None,
        agent_name=view.agent_name if not is_customer or is_matched else "",
    )
    if not is_customer:
        document.agent_id = view.agent_id
        document.parties = [PartyDocument(one.agent_id, one.role, one.is_ringing) for one in view.parties]
    if role in ("supervisor", "operator"):
        document.customer_id = view.customer_id
        document.attempt = view.attempt
        document.supervisors = view.supervisors
        document.credit_ms = view.credit_ms
        document.is_absolute = view.is_absolute
    return document


def queue_document(view: views.QueueView, role: str) -> QueueDocument:
    """Return the queue now; a customer sees its name and how many wait."""
    document = QueueDocument(queue_id=view.queue_id, name=view.name, waiting_count=view.waiting_count)
    if role != "customer":
        document.longest_wait_ms = view.longest_wait_ms
        document.agents = view.agents
        document.live_calls = view.live_calls
        document.estimate_ms = view.estimate_ms
    return document


def agent_document(view: views.AgentView) -> AgentDocument:
    """Return the agent now."""
    return msgspec.convert(view, AgentDocument, from_attributes=True)


def read_manifests(folder: Path, call_id: str, division_id: str) -> list[Manifest]:
    """Return the sealed recordings of a call of `division_id`, one an attempt, in order. Reads files; O(days kept)."""
    if not is_room_id(call_id):
        return []
    # An id that passed holds nothing that a pattern or a path would read as anything but itself.
    paths = folder.glob(f"????-??-??/{call_id}/attempt-*/{MANIFEST_FILE}")
    manifests = [msgspec.json.decode(path.read_bytes(), type=Manifest) for path in paths]
    own = [one for one in manifests if one.labels.get("division") == division_id]
    return sorted(own, key=lambda manifest: manifest.attempt)
