"""A status as plain tables, for people at a terminal. Pure.

Not here: the status itself (`status`).
"""

from collections.abc import Iterator
from typing import Any

from dispatch.lifecycle import LIVE_STATES

MIB = 1024 * 1024


def status_text(url: str, status: dict[str, Any]) -> str:
    """Alerts first, then what runs where, then how much."""
    lines = [f"{url}: {'healthy' if status['is_healthy'] else 'NOT HEALTHY'}"]
    lines += [f"  {one['severity']}: {one['name']} ({one['where']}): {one['text']}" for one in status["alerts"]]
    for title, table in (
        ("shards", _shards(status)),
        ("divisions", _divisions(status)),
        ("calls", _calls(status)),
        ("media workers", _media(status)),
        ("gateways", _gateways(status)),
        ("parts", _parts(status)),
        ("disks", _disks(status)),
    ):
        lines += ["", title, *_aligned(list(table))]
    return "\n".join([*lines, "", *_store(status), *_builds(status)])


def _shards(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["slot", "actor", "machine", "pid", "divisions", "waiting", "turns"]
    for name, one in status["shards"].items():
        facts = [one["slot"], name, one.get("node"), one.get("pid"), len(one["divisions"])]
        yield [_shown(fact) for fact in (*facts, one.get("waiting_items"), one.get("turns_count"))]


def _divisions(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["division", "owner", "epoch", "batch", "behind", "snapshot at", "snapshot age", "state"]
    for division_id, one in status["divisions"].items():
        age_s = one.get("snapshot_age_s")
        state = one.get("unavailable") or one.get("stopped_reason") or "serving"
        facts = [division_id, one.get("shard"), one.get("epoch"), one.get("batch"), one.get("lag_batches")]
        yield [
            _shown(fact)
            for fact in (*facts, one.get("snapshot_batch"), None if age_s is None else f"{age_s:.0f} s", state)
        ]


def _calls(status: dict[str, Any]) -> Iterator[list[str]]:
    states = [one for one in LIVE_STATES if any(f"live_{one}" in each for each in status["divisions"].values())]
    yield ["division", *states, "in memory", "admitted"]
    for division_id, one in status["divisions"].items():
        counts = [one.get(f"live_{state}") for state in states]
        yield [_shown(fact) for fact in (division_id, *counts, one.get("calls_in_memory"), one.get("admitted_count"))]


def _media(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["slot", "machine", "rooms", "of", "parties", "to seal"]
    for slot, one in status["media"].items():
        measures = one.get("measures", {})
        facts = [slot, one.get("node", "silent"), measures.get("rooms"), one.get("rooms_max"), measures.get("parties")]
        yield [_shown(fact) for fact in (*facts, measures.get("recordings_to_seal"))]


def _gateways(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["slot", "machine", "port", "metrics", "customers", "agents", "staff", "of", "state"]
    for slot, one in status["gateways"].items():
        counts: dict[str, int] = one.get("connections", {})
        staff = sum(count for role, count in counts.items() if role not in ("customer", "agent")) if one else None
        roles = [counts.get(role, 0) if one else None for role in ("customer", "agent")]
        facts = [slot, one.get("node", "silent"), one.get("port"), one.get("metrics_port") or None, *roles, staff]
        state = "-" if not one else "draining" if one["is_draining"] else "serving"
        yield [*(_shown(fact) for fact in (*facts, one.get("connections_max"))), state]


def _parts(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["slot", "actor", "pid", "restarts"]
    for slot, part in status["parts"].items():
        yield [_shown(fact) for fact in (slot, part["name"], part["pid"], part["restarts_count"])]


def _disks(status: dict[str, Any]) -> Iterator[list[str]]:
    yield ["machine", "holds", "free MiB", "floor MiB"]
    for disk in status["disks"]:
        free = disk["free_bytes"] // MIB if disk["free_bytes"] >= 0 else None
        yield [_shown(fact) for fact in (disk["node"], "+".join(disk["names"]), free, disk["floor_bytes"] // MIB)]


def _store(status: dict[str, Any]) -> Iterator[str]:
    facts = status["store_facts"]
    answers = f"does not answer ({status['store']})" if status["store"] else "answers"
    yield f"store: {facts.get('server', 'unknown')}, {answers}"
    if facts:
        yield f"  append-only {facts['append_only']}, fsync {facts['fsync']}, eviction {facts['eviction']}"


def _builds(status: dict[str, Any]) -> Iterator[str]:
    for build, parts in status["builds"].items():
        yield f"build {build}: {', '.join(parts)}"


def _shown(fact: object) -> str:
    return "-" if fact is None else str(fact)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
