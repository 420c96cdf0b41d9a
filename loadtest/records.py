"""What virtual customers and agents write down about their own calls: the clients' side of the accounts.

Rules: each record is written by the one who lived it, from what that connection sent and received, and never mended with
knowledge of the other side. Instants are milliseconds since the run's start on one monotonic clock; None: it did not happen.

Not here: comparing with the server (`loadtest/accounting.py`), figures (`loadtest/measures.py`).
"""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

Outcome = Literal["answered", "abandoned", "refused", "failed", "live", "never_sent"]
LIMITS = frozenset({"waited_too_long", "queue_closed", "no_agents"})
"""Reasons by which a hall ends a call that waits: a limit of its queue, as a refusal is at the door."""


class CallRecord(Struct):
    """One arrival, told by its customer."""

    number: int
    queue_id: str
    intended_ms: float
    customer_id: str = ""
    call_id: str = ""
    sent_ms: float | None = None
    refusal: str = ""
    gave_up_ms: float | None = None
    connected_ms: float | None = None
    hung_up_ms: float | None = None
    ended_ms: float | None = None
    end_reason: str = ""

    @property
    def outcome(self) -> Outcome:
        """How it went. `abandoned` needs that the customer gave up; a limit's end of a call that waited is `refused`; any other
        end without an answer is `failed`."""
        if self.sent_ms is None:
            return "never_sent"
        if self.refusal:
            return "refused"
        if self.ended_ms is None:
            return "live"
        if self.connected_ms is not None:
            return "answered"
        if self.gave_up_ms is not None:
            return "abandoned"
        return "refused" if self.end_reason in LIMITS else "failed"

    @property
    def refused_as(self) -> str:
        """The name of the limit; empty for a call that was not refused."""
        return (self.refusal or self.end_reason) if self.outcome == "refused" else ""


class Engagement(Struct):
    """One reservation and what came of it, told by its agent. `began_seq` and `over_seq` are the agent's event numbers."""

    agent_id: str
    call_id: str
    reservation_id: str
    number: int
    attempt: int
    waited_ms: int
    """How long the call had waited according to the hall: 0 means that it found a free agent."""
    reserved_ms: float
    began_seq: int
    outcome: str = ""
    """`accepted`, or why the reservation closed; empty while it rings."""
    accepted_ms: float | None = None
    connected_ms: float | None = None
    ended_ms: float | None = None
    over_ms: float | None = None
    over_seq: int | None = None


class Records(Struct):
    """Everything that was written down in one run."""

    started_at_ms: int = 0
    """Wall clock at the run's start."""
    calls: list[CallRecord] = field(default_factory=list)
    engagements: list[Engagement] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What should not have happened to a client: a lost connection, a message about somebody else's call."""


def write(path: Path, records: Records) -> None:
    """Replace `path` by `records`, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(records))
    draft.replace(path)


def read(path: Path) -> Records:
    """Read what `write` wrote; raises OSError where the run did not come to its end."""
    return msgspec.json.decode(path.read_bytes(), type=Records)
