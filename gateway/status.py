"""One status of the whole hall: gathered from the parts over the same batches that carry everything else.

Rules: each part is asked once, all at the same time, and waited for `ANSWER_S` at most: what does not answer is named as such,
and the rest is shown all the same. A status is kept for `KEPT_S`, so that several who watch cost the hall one reading.

Not here: what is wrong (`alerts`), the tables for people (`status_text`), the metrics (`hall_metrics`).
"""

import asyncio
import time
from typing import Any

import msgspec

from actors.build import build_id
from actors.hall import FOLLOWER_NAME, Hall, HallUnavailable
from actors.store_client import StoreUnavailable
from gateway.alerts import alerts_of
from gateway.settings import Settings

ANSWER_S = 4.0
"""A part that lives answers in milliseconds, on a machine that is far too busy in a second or two; a scraper waits 10 s."""
KEPT_S = 1.0
ASKED = ("media-", "gateway-")
"""Slots whose parts are asked by name."""


class Overview:
    """Of one gateway."""

    def __init__(self, hall: Hall, settings: Settings) -> None:
        self._hall = hall
        self._settings = settings
        self._kept: dict[str, Any] = {}
        self._kept_at_s = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> dict[str, Any]:
        """The status, at most `KEPT_S` old. Takes at most twice `ANSWER_S`, whatever is down; a silent part raises nothing."""
        async with self._lock:
            if not self._kept or time.monotonic() - self._kept_at_s > KEPT_S:
                self._kept = await self._gather()
                self._kept_at_s = time.monotonic()
        return self._kept

    async def _gather(self) -> dict[str, Any]:
        status, follower, webhooks = await asyncio.gather(
            self._hall.status(ANSWER_S), self._ask(FOLLOWER_NAME), self._webhooks()
        )
        names = {slot: part["name"] for slot, part in status["parts"].items() if slot.startswith(ASKED)}
        answers = dict(zip(names, await asyncio.gather(*(self._ask(name) for name in names.values())), strict=True))
        media = {slot: answer for slot, answer in answers.items() if slot.startswith("media-")}
        gateways = {slot: answer for slot, answer in answers.items() if slot.startswith("gateway-")}
        own = {"name": self._settings.gateway_id, "build": build_id(), "waiting_letters": self._hall.waiting_letters()}
        return assembled(status, follower, media, gateways, own, time.time_ns() // 1_000_000, webhooks)

    async def _webhooks(self) -> dict[str, Any]:
        """How the sending of webhooks goes; empty where there are none, or the store does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._hall.webhooks.summary() if self._hall.webhooks is not None else {}
        except (StoreUnavailable, TimeoutError):
            return {}

    async def _ask(self, name: str) -> dict[str, Any]:
        """What a part says of itself; empty when it does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._hall.part_status(name)
        except (HallUnavailable, TimeoutError):
            return {}


def assembled(
    status: dict[str, Any],
    follower: dict[str, Any],
    media: dict[str, Any],
    gateways: dict[str, Any],
    own: dict[str, Any],
    now_ms: int,
    webhooks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Put the answers together. `status`: as `Hall.status` gives it; `media` and `gateways` by slot: empty where silent."""
    shards: dict[str, dict[str, Any]] = {}
    divisions = {}
    for division_id, one in status["divisions"].items():
        division = dict(one)
        if "shard" in one:
            shard = shards.setdefault(one["shard"], {"slot": one["shard"].rpartition("-e")[0], "divisions": []})
            shard["divisions"].append(division_id)
            for name in ("waiting_items", "turns_count", "items_count", "measures", "disk", "build", "node", "pid"):
                if name in division:
                    shard[name] = division.pop(name)
        divisions[division_id] = division | _followed(one, follower.get("divisions", {}).get(division_id), now_ms)
    answered = {**shards, **({FOLLOWER_NAME: follower} if follower else {}), **{k: v for k, v in media.items() if v}}
    whole = {
        "at_ms": now_ms,
        "divisions": divisions,
        "shards": shards,
        "parts": status["parts"],
        "follower": {name: value for name, value in follower.items() if name not in ("divisions", "store", "disk")},
        "media": media,
        "gateways": gateways,
        "gateway": own,
        "webhooks": webhooks or {},
        "store": status["store"],
        "store_facts": follower.get("store", {}),
        "disks": _disks(answered),
        "builds": _builds({own["name"]: own, **answered, **_named(gateways, status["parts"])}),
    }
    alerts = alerts_of(whole)
    is_healthy = not any(one.severity == "error" for one in alerts)
    return {**whole, "alerts": msgspec.to_builtins(alerts), "is_healthy": is_healthy}


def _followed(one: dict[str, Any], followed: dict[str, Any] | None, now_ms: int) -> dict[str, Any]:
    """How far archive and snapshot are behind the division; None where nobody says."""
    if followed is None or "batch" not in one:
        nothing = dict.fromkeys(("lag_batches", "snapshot_batch", "unsaved_batches", "snapshot_age_s"))
        return {**nothing, "follower_failure": "", "is_follower_stopped": False, "reports_failure": ""}
    snapshot_at_ms = followed["snapshot_at_ms"]
    return {
        "lag_batches": max(0, one["batch"] - followed["archive_batch"]),
        "snapshot_batch": followed["snapshot_batch"],
        "unsaved_batches": max(0, one["batch"] - followed["snapshot_batch"]),
        "snapshot_age_s": max(0, now_ms - snapshot_at_ms) / 1000 if snapshot_at_ms else None,
        "follower_failure": followed["failure"],
        "is_follower_stopped": followed["is_stopped"],
        "reports_failure": followed.get("reports_failure", ""),
        "reports_lag_batches": max(0, followed["archive_batch"] - followed.get("reports_batch", one["batch"])),
    }


def _disks(answered: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each disk of each machine once, as the part with the least to say of it sees it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for part in answered.values():
        for disk in part.get("disk", []):
            key = (part["node"], *disk["names"])
            if key not in found or disk["free_bytes"] < found[key]["free_bytes"]:
                found[key] = {"node": part["node"], **disk}
    return list(found.values())


def _named(gateways: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Under their actors' names, as this one knows itself."""
    return {parts[slot]["name"]: said for slot, said in gateways.items() if said}


def _builds(parts: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Build -> the parts that run it."""
    builds: dict[str, list[str]] = {}
    for name, part in parts.items():
        if part.get("build"):
            builds.setdefault(part["build"], []).append(name)
    return builds
