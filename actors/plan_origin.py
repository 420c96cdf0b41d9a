"""Where the plan in force came from, and what a start makes of the file's (SAFETY.md 20: the journal is the one truth).

The digest of a plan, as it stands in the journal, says both:
- `<sha>`: the plan came from the configuration file;
- `rest:<sha>:<sha of the file>`: it came over REST, and the last plan that the file gave is named after it.

A start offers the file's plan. It is taken where nothing was changed over REST since; a file that is as it was then is old
news and is passed over; a file that is new as well is a conflict, which people decide (`tellerhall up --apply`).

Not here: computing a plan's SHA-256 (`configuration.plan_digest`), taking a plan (`dispatch/planning`).
"""

from typing import Literal

REST = "rest:"

AtStart = Literal["take", "pass_over", "conflict"]


def over_rest(sha: str, in_force: str) -> str:
    """Return the digest of a plan that comes over REST and follows the one in force."""
    return f"{REST}{sha}:{file_sha_of(in_force)}"


def is_over_rest(digest: str) -> bool:
    return digest.startswith(REST)


def sha_of(digest: str) -> str:
    """Return the SHA-256 of the plan itself."""
    return digest.removeprefix(REST).partition(":")[0]


def file_sha_of(digest: str) -> str:
    """Return the SHA-256 of the last plan that came from the file; empty when none did."""
    return digest.removeprefix(REST).partition(":")[2] if is_over_rest(digest) else digest


def at_start(in_force: str, file_sha: str, *, is_insisted: bool) -> AtStart:
    """Say what becomes of the file's plan. `is_insisted`: whoever starts the hall wants it whatever REST has changed."""
    if not is_over_rest(in_force) or sha_of(in_force) == file_sha or is_insisted:
        return "take"
    return "pass_over" if file_sha_of(in_force) == file_sha else "conflict"
