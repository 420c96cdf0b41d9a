"""Events about rooms, parties' media and recordings."""

from msgspec import field

from dispatch.fact import Fact


class RoomAssigned(Fact, tag=20, frozen=True):
    """The shell chose this worker; the room may open now."""

    call_id: str
    attempt: int
    worker_id: str
    worker_epoch: int


class RoomOpened(Fact, tag=21, frozen=True):
    """Parties may send their SDP offer for (call, attempt) now."""

    call_id: str
    attempt: int
    worker_id: str


class RoomLost(Fact, tag=22, frozen=True):
    """The room is gone; a new one is asked for under `attempt` + 1 unless the call ended."""

    call_id: str
    attempt: int
    reason: str
    reconnecting_until_ms: int = 0


class PartyJoined(Fact, tag=23, frozen=True):
    """The party's media arrive in the room."""

    call_id: str
    attempt: int
    party: str


class PartyLeft(Fact, tag=24, frozen=True):
    """The party's media are gone while the room stays; `rejoin_until_ms` is when the call is given up."""

    call_id: str
    attempt: int
    party: str
    rejoin_until_ms: int = 0


class RecordingStarted(Fact, tag=25, frozen=True):
    """The party's log has confirmed bytes."""

    call_id: str
    attempt: int
    party: str


class RecordingFailed(Fact, tag=26, frozen=True):
    """The party is not recorded any more."""

    call_id: str
    attempt: int
    party: str
    reason: str


class RecordingSealed(Fact, tag=27, frozen=True):
    """Files and manifest of the attempt are complete on disk."""

    call_id: str
    attempt: int
    manifest_sha256: str
    files: list[dict[str, str | int]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


class RoomClosed(Fact, tag=29, frozen=True):
    """The worker let go of the room; its recording is sealed apart."""

    call_id: str
    attempt: int


class RecordingMissing(Fact, tag=28, frozen=True):
    """A required recording was not sealed in time: an alert, never silence."""

    call_id: str
    attempt: int
