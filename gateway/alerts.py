"""What an operator must look at, worked out from one status: pure, no clock, no I/O.

Rules: an alert has a name from this file, says where and what in words, and is an `error` (the hall, or a part of it, does not
do what it should: unhealthy) or a `warning` (it does, with less behind it). docs/operating.md says what to do about each.
"""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

LAG_BATCHES_MAX = 10_000
"""Some 20 s of a busy shard; a follower reads every half second."""
WEBHOOKS_SILENT_MS = 30_000
"""The sender gives a sign of life every second; a successor is there within seconds."""
WEBHOOK_FAILING_MS = 300_000
"""Shorter troubles of a receiver mend themselves."""
SNAPSHOT_AGE_S_MAX = 900.0
"""Snapshots are taken every five minutes where anything happens."""

ERROR_NAMES = (
    "store_unavailable",
    "division_unavailable",
    "division_stopped",
    "clock_behind",
    "journal_full",
    "disk_low",
    "disk_unknown",
    "follower_silent",
    "follower_stopped",
    "audit_stopped",
    "media_silent",
    "gateway_silent",
    "build_differs",
    "webhook_dead_letters",
)
WARNING_NAMES = (
    "weaker_durability",
    "follower_behind",
    "snapshot_old",
    "reports_behind",
    "webhooks_silent",
    "webhook_failing",
)
NAMES = ERROR_NAMES + WARNING_NAMES


class Alert(Struct, frozen=True):
    name: str
    where: str
    """A division, a part, a disk; `store` or `hall`."""
    text: str
    severity: Literal["error", "warning"] = "error"


def alerts_of(status: dict[str, Any]) -> list[Alert]:
    """Every alert of a status that `gateway/status` gathered, errors first."""
    found = [
        *_store(status),
        *(alert for division_id, one in status["divisions"].items() for alert in _division(division_id, one)),
        *_disks(status["disks"]),
        *_parts(status),
        *_builds(status["builds"]),
        *_webhooks(status.get("webhooks", {}), status["at_ms"]),
    ]
    return sorted(found, key=lambda one: NAMES.index(one.name))


def _store(status: dict[str, Any]) -> Iterator[Alert]:
    if status["store"]:
        yield Alert("store_unavailable", "store", f"the store does not answer: {status['store']}")
    facts = status["store_facts"]
    for weakness in facts.get("weaknesses", []):
        yield Alert("weaker_durability", "store", f"accepted by configuration: {weakness}", "warning")


def _division(division_id: str, one: dict[str, Any]) -> Iterator[Alert]:
    if "unavailable" in one:
        yield Alert("division_unavailable", division_id, f"its shard does not answer: {one['unavailable']}")
        return
    if one.get("stopped_reason"):
        yield Alert(
            "division_stopped", division_id, f"{one['stopped_reason']}: its journal cannot be replayed or stepped"
        )
    if one.get("is_clock_behind"):
        yield Alert("clock_behind", division_id, "this machine's clock is behind the journal: no new calls are taken")
    if one.get("is_journal_full"):
        yield Alert("journal_full", division_id, "too much since the last snapshot: no new calls are taken")
    if one["follower_failure"]:
        name: Any = "follower_stopped" if one["is_follower_stopped"] else "follower_behind"
        yield Alert(name, division_id, one["follower_failure"], "error" if one["is_follower_stopped"] else "warning")
    elif one["lag_batches"] is not None and one["lag_batches"] > LAG_BATCHES_MAX:
        yield Alert("follower_behind", division_id, f"{one['lag_batches']} batches are not archived yet", "warning")
    if one["reports_failure"] or one.get("reports_lag_batches", 0) > LAG_BATCHES_MAX:
        behind = f"{one.get('reports_lag_batches', 0)} batches of the archive are not counted yet"
        yield Alert("reports_behind", division_id, one["reports_failure"] or behind, "warning")
    age_s = one["snapshot_age_s"]
    if one["unsaved_batches"] and age_s is not None and age_s > SNAPSHOT_AGE_S_MAX:
        text = f"the last snapshot is {age_s:.0f} s old, and {one['unsaved_batches']} batches came since"
        yield Alert("snapshot_old", division_id, text, "warning")


def _disks(disks: list[dict[str, Any]]) -> Iterator[Alert]:
    for disk in disks:
        where = f"{disk['node']}: {', '.join(disk['names'])}"
        if disk["free_bytes"] < 0:
            yield Alert("disk_unknown", where, "the disk does not answer, or the folder cannot be reached")
        elif disk["is_low"]:
            text = f"{disk['free_bytes']} bytes are free, the floor is {disk['floor_bytes']}: no new calls are taken"
            yield Alert("disk_low", where, text)


def _parts(status: dict[str, Any]) -> Iterator[Alert]:
    if failure := status["follower"].get("audit", {}).get("failure"):
        yield Alert("audit_stopped", "follower", f"the audit log is not archived: {failure}")
    if not status["follower"]:
        yield Alert("follower_silent", "follower", "histories and snapshots wait for it")
    for slot, worker in status["media"].items():
        if not worker:
            yield Alert("media_silent", slot, "the media worker does not answer")
    for slot, gateway in status["gateways"].items():
        if not gateway:
            yield Alert("gateway_silent", slot, "the gateway does not answer; its clients go to the others")


def _builds(builds: dict[str, list[str]]) -> Iterator[Alert]:
    if len(builds) > 1:
        where = "; ".join(f"{build}: {', '.join(parts)}" for build, parts in builds.items())
        yield Alert("build_differs", "hall", f"parts run different code: {where}")


def _webhooks(webhooks: dict[str, Any], now_ms: int) -> Iterator[Alert]:
    if not webhooks:
        return
    if now_ms - webhooks["beat_at_ms"] > WEBHOOKS_SILENT_MS:
        yield Alert("webhooks_silent", "webhooks", "nothing is sent: the sender gives no sign of life", "warning")
    for one in webhooks["endpoints"]:
        if one["dead_letters_count"]:
            lost = f", {one['dropped_count']} older ones are lost" if one["dropped_count"] else ""
            text = (
                f"{one['dead_letters_count']} events were given up{lost}; the last failure was: {one['last_failure']}"
            )
            yield Alert("webhook_dead_letters", one["id"], text)
        since_ms = one["failing_since_ms"]
        if since_ms and now_ms - since_ms > WEBHOOK_FAILING_MS:
            text = f"fails for {(now_ms - since_ms) // 1000} s: {one['last_failure']}"
            yield Alert("webhook_failing", one["id"], text, "warning")
