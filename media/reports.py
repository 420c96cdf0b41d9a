"""What a media worker is told and what it says back.

Orders come in as arguments of `MediaWorker`, reports leave through its `report` callback. Both are plain values: whoever
hosts the worker translates them. Receivers ignore repeats, and a worker may repeat any report.
"""

from typing import Literal

from msgspec import Struct, field

RecordingRule = Literal["required", "optional", "off"]
"""`required`: nothing is forwarded before every party's capture log has confirmed bytes (SAFETY.md 16)."""

RoomFailure = Literal[
    "bad_room_id",
    "bad_order",
    "stale_attempt",
    "room_closed",
    "rooms_full",
    "parties_full",
    "disk_low",
    "disk_failed",
    "not_ready",
]
"""Why a room did not open. `room_closed`: this very attempt has ended already. `not_ready`: not started, or stopping."""

AnswerRefusal = Literal[
    "bad_sdp", "unknown_room", "stale_attempt", "unknown_party", "not_ready", "unknown_link", "ice_restart", "too_many"
]
"""`ice_restart`: the candidates are of another ICE session than the link's, and a restart is a new offer here."""

RecordingFailure = Literal["disk_full", "disk_failed", "writer_too_slow"]


class MediaRefused(Exception):
    """An SDP offer got no answer, or candidates no link. `reason` is an `AnswerRefusal`; the party may offer again."""

    def __init__(self, reason: AnswerRefusal) -> None:
        super().__init__(reason)
        self.reason: str = reason


class MediaSettings(Struct, kw_only=True, frozen=True):
    """One worker's settings. Durations in ms."""

    worker_id: str
    epoch: int = 0
    recordings_folder: str
    host: str = "127.0.0.1"
    """IPv4 address that the one UDP port is bound to; `0.0.0.0` for all."""
    advertised_addresses: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    """IPv4 addresses offered to clients as host candidates, best first, all with the one port."""
    port: int = 0
    """0: any free port."""
    rooms_max: int = 60
    """Twice the 30 recorded one-to-one calls that a core is planned for: a bound, not a plan."""
    parties_max: int = 120
    connect_timeout_ms: int = 15_000
    """From the answer to a secured link; then the link is given up."""
    silence_timeout_ms: int = 10_000
    """A connected party from whom nothing arrived for so long has left. Browsers send a check every 2.5 s."""
    single_kind_grace_ms: int = 3_000
    """How long a party's second kind of media may lag behind before it counts as joined with one."""
    free_disk_floor_bytes: int = 256 * 1024 * 1024
    """A room that records is not opened with less free."""
    capture_backlog_bytes_max: int = 64 * 1024 * 1024
    """Captured bytes that may wait for the disk, over all logs."""
    is_contract_checked: bool = True
    """Whether `start` proves the aiortc internals on a loopback call (0.2 s)."""


class RoomOrder(Struct, kw_only=True, frozen=True):
    """The wish for one room: one attempt at one call's media."""

    room_id: str
    attempt: int
    parties: list[str]
    recording: RecordingRule = "required"
    business_reference: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    """Copied into the manifest (division, queue)."""


class RoomOpened(Struct, frozen=True, tag=True):
    """Offers may be sent now."""

    room_id: str
    attempt: int


class RoomFailed(Struct, frozen=True, tag=True):
    """The room does not exist; `reason` is a `RoomFailure`."""

    room_id: str
    attempt: int
    reason: str


class PartyJoined(Struct, frozen=True, tag=True):
    """The first packets of every kind that the party sends arrived, or of one kind and the grace is over."""

    room_id: str
    attempt: int
    party: str


class PartyLeft(Struct, frozen=True, tag=True):
    """The party's connection closed, failed or fell silent. It may offer again at any time."""

    room_id: str
    attempt: int
    party: str


class RecordingStarted(Struct, frozen=True, tag=True):
    """The party's capture log has bytes on the disk (fsynced)."""

    room_id: str
    attempt: int
    party: str


class RecordingFailed(Struct, frozen=True, tag=True):
    """The party's capture log takes no more bytes; `reason` is a `RecordingFailure`."""

    room_id: str
    attempt: int
    party: str
    reason: str


class SealedFile(Struct, frozen=True):
    """One file of a sealed recording; `path` is relative to the recordings folder."""

    party: str
    path: str
    sha256: str
    duration_ms: int
    bytes: int


class RecordingSealed(Struct, frozen=True, tag=True):
    """The attempt's recording is complete as far as it ever will be; `gaps` says in words what is missing."""

    room_id: str
    attempt: int
    manifest_sha256: str
    files: list[SealedFile]
    gaps: list[str]


Report = RoomOpened | RoomFailed | PartyJoined | PartyLeft | RecordingStarted | RecordingFailed | RecordingSealed
