"""Views as REST documents: plain dictionaries, by role.

Rules: a customer learns nothing of the hall's staff beyond the name of the agent who serves them. Recordings are found by the
call's id alone; no path of a client reaches the file system.

Not here: the same views as WebSocket messages (`gateway/translation.py`).
"""

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from dispatch import events, views
from media.evidence import MANIFEST_FILE, Manifest, is_room_id

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def call_document(view: views.CallView, role: str) -> dict[str, Any]:
    """Return the call now. Staff see who, a customer only the agent's name once there is one."""
    document: dict[str, Any] = {
        "call_id": view.call_id,
        "state": view.state,
        "queue_id": view.queue_id,
        "queued_at_ms": view.queued_at_ms,
        "business_reference": view.business_reference,
        "position": view.position or None,
        "media": view.media,
        "recording": view.recording,
        "is_recording": bool(view.recording_parties),
        "room": {"attempt": view.room.attempt, "is_open": view.room.is_open} if view.room is not None else None,
        "connected_at_ms": view.connected_at_ms or None,
        "ended_at_ms": view.ended_at_ms or None,
        "end_reason": view.end_reason,
        "is_callback": view.is_callback,
        "invited_until_ms": view.invited_until_ms or None,
        "on_hold_until_ms": view.on_hold_until_ms or None,
    }
    if role == "customer":
        is_matched = view.state in ("invited", "connecting", "connected", "ended")
        document["agent_name"] = view.agent_name if is_matched else ""
    else:
        document["agent_id"] = view.agent_id
        document["agent_name"] = view.agent_name
        document["parties"] = [structs.asdict(one) for one in view.parties]
    if role in ("supervisor", "operator"):
        document["customer_id"] = view.customer_id
        document["attempt"] = view.attempt
        document["supervisors"] = view.supervisors
        document["credit_ms"] = view.credit_ms
        document["is_absolute"] = view.is_absolute
    return document


def queue_document(view: views.QueueView, role: str) -> dict[str, Any]:
    document: dict[str, Any] = {"queue_id": view.queue_id, "name": view.name, "waiting_count": view.waiting_count}
    if role != "customer":
        document["longest_wait_ms"] = view.longest_wait_ms
        document["agents"] = view.agents
        document["live_calls"] = view.live_calls
        document["estimate_ms"] = view.estimate_ms
    return document


def agent_document(view: views.AgentView) -> dict[str, Any]:
    document = structs.asdict(view)
    document["wrap_ups"] = [structs.asdict(one) for one in view.wrap_ups]
    return document


def event_document(event: events.Event) -> dict[str, Any]:
    """Return the event with its name as `type`: `CallQueued` is `call_queued`."""
    return {"type": _WORD.sub("_", type(event).__name__).lower(), **structs.asdict(event)}


def read_manifests(folder: Path, call_id: str, division_id: str) -> list[Manifest]:
    """Return the sealed recordings of a call of `division_id`, one an attempt, in order. Reads files; O(days kept)."""
    if not is_room_id(call_id):
        return []
    # An id that passed holds nothing that a pattern or a path would read as anything but itself.
    paths = folder.glob(f"????-??-??/{call_id}/attempt-*/{MANIFEST_FILE}")
    manifests = [msgspec.json.decode(path.read_bytes(), type=Manifest) for path in paths]
    own = [one for one in manifests if one.labels.get("division") == division_id]
    return sorted(own, key=lambda manifest: manifest.attempt)
