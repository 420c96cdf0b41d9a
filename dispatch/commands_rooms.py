"""Commands about rooms and recordings: what the shell and the media workers report."""

from msgspec import field

from dispatch.command import FromPrincipal


class AssignRoom(FromPrincipal, tag=20):
    """The shell chose a media worker for (call, attempt); journaled before the room opens (SAFETY.md 16)."""

    call_id: str
    attempt: int
    worker_id: str
    worker_epoch: int


class ReportRoomOpened(FromPrincipal, tag=21):
    """The media worker holds the room and waits for the parties."""

    call_id: str
    attempt: int


class ReportRoomFailed(FromPrincipal, tag=22):
    """The room could not be opened, or is gone with its worker."""

    call_id: str
    attempt: int
    reason: str


class ReportRoomClosed(FromPrincipal, tag=29):
    """The worker closed the room (or never had it)."""

    call_id: str
    attempt: int


class ReportPartyJoined(FromPrincipal, tag=23):
    """`party` (`customer` or `agent`) sends media into the room."""

    call_id: str
    attempt: int
    party: str


class ReportPartyLeft(FromPrincipal, tag=24):
    """The party's peer connection ended while the room stays."""

    call_id: str
    attempt: int
    party: str


class ReportRecordingStarted(FromPrincipal, tag=25):
    """The party's capture log has confirmed bytes on disk."""

    call_id: str
    attempt: int
    party: str


class ReportRecordingFailed(FromPrincipal, tag=26):
    """The party's capture log cannot be written any more (disk full, I/O error)."""

    call_id: str
    attempt: int
    party: str
    reason: str


class ReportRecordingSealed(FromPrincipal, tag=27):
    """Files and manifest of (call, attempt) are complete on disk."""

    call_id: str
    attempt: int
    manifest_sha256: str
    files: list[dict[str, str | int]] = field(default_factory=list)
    """One a playable file: `party, path, sha256, duration_ms, bytes`; paths relative to the recordings folder."""
    gaps: list[str] = field(default_factory=list)


class LoseWorker(FromPrincipal, tag=28):
    """A media worker died: every room of epochs up to `worker_epoch` on it is gone."""

    worker_id: str
    worker_epoch: int
