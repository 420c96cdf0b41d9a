"""The status of a hall: what the parts said, put together; what is wrong with it; and how people and Prometheus see it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts import ERROR_NAMES, NAMES, WARNING_NAMES, alerts_of
from gateway.hall_metrics import HallMetrics
from gateway.metrics import Metrics
from gateway.status import assembled
from gateway.status_text import status_text
from tests.gateway.client import Visitor
from tests.gateway.stub_hall import StubHall, unavailable

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
NOW_MS = 2_000_000
Token = Callable[..., str]

HISTOGRAM = {"bounds": [0.1, 1.0], "counts": [3, 2, 1], "sum": 4.5}
MEASURES = {"turn_s": HISTOGRAM, "append_s": HISTOGRAM, "refused": {"queue_full": 2}, "store_retries_count": 1}
LIVE = {"live_waiting": 3, "live_connected": 2}
DISK = {"names": ["archive", "store"], "free_bytes": 900, "total_bytes": 2_000, "floor_bytes": 100, "is_low": False}


def division(**changes: Any) -> dict[str, Any]:
    """What a shard says of a division."""
    return {
        "shard": "shard-0-e7",
        "epoch": 9,
        "batch": 120,
        "stopped_reason": "",
        "is_clock_behind": False,
        "plan_digest": "p",
        "journal_batches": 20,
        "journal_bytes": 4_000,
        "admitted_count": 44,
        "calls_in_memory": 8,
        **LIVE,
        "waiting_items": 4,
        "turns_count": 100,
        "items_count": 250,
        "disk": [DISK],
        "measures": MEASURES,
        "build": "abc",
        "node": "one",
        "pid": 17,
        **changes,
    }


def follower(**changes: Any) -> dict[str, Any]:
    own = {"archive_batch": 110, "snapshot_batch": 100, "snapshot_at_ms": NOW_MS - 60_000, "failure": ""}
    store = {
        "server": "valkey 9.1",
        "append_only": "yes",
        "fsync": "always",
        "eviction": "noeviction",
        "weaknesses": [],
    }
    main = {**own, "is_stopped": False, **changes}
    return {"divisions": {"main": main}, "store": store, "disk": [DISK], "build": "abc", "node": "one", "pid": 18}


def worker() -> dict[str, Any]:
    names = ("rooms", "parties", "capture_backlog_bytes", "recordings_to_seal", "packets_in", "packets_out", "bytes_in")
    measures = dict.fromkeys((*names, "bytes_out", "drops", "loop_lag_ms_p99"), 5)
    return {"measures": measures, "disk": [], "rooms_max": 60, "build": "abc", "node": "two", "pid": 19}


def door(**changes: Any) -> dict[str, Any]:
    own = {"connections": {"customer": 3, "agent": 2, "operator": 1}, "connections_max": 18_000, "is_draining": False}
    return {**own, "port": 8080, "metrics_port": 9464, "build": "abc", "node": "two", "pid": 20, **changes}


def status(
    *,
    divisions: dict[str, Any] | None = None,
    followed: dict[str, Any] | None = None,
    media: dict[str, Any] | None = None,
    gateways: dict[str, Any] | None = None,
    store: str = "",
    webhooks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The status of a healthy hall, but for what is given."""
    part = {"name": "shard-0-e7", "pid": 17, "started_at_ms": 1, "restarts_count": 6}
    said = {"divisions": {"main": division()} if divisions is None else divisions, "store": store}
    own = {"name": "gateway-1-e1", "build": "abc", "waiting_letters": {"main": 2}}
    doors = {"gateway-1": door()} if gateways is None else gateways
    parts = {"shard-0": part, **{slot: {**part, "name": f"{slot}-e1"} for slot in doors}}
    whole = {"media-1": worker()} if media is None else media
    followed = follower() if followed is None else followed
    return assembled({**said, "parts": parts}, followed, whole, doors, own, NOW_MS, webhooks)


def names(found: dict[str, Any]) -> list[str]:
    return [one["name"] for one in found["alerts"]]


def test_a_healthy_hall_is_put_together() -> None:
    """Given the words of all parts, then shards, lag, snapshot, disks and builds stand where an operator looks for them."""
    found = status()
    assert found["is_healthy"]
    assert found["alerts"] == []
    [shard] = found["shards"].values()
    assert (shard["slot"], shard["divisions"], shard["waiting_items"]) == ("shard-0", ["main"], 4)
    main = found["divisions"]["main"]
    assert (main["lag_batches"], main["unsaved_batches"], main["snapshot_age_s"]) == (10, 20, 60.0)
    assert (main["epoch"], main["live_waiting"]) == (9, 3)
    assert "measures" not in main
    assert [(disk["node"], disk["names"]) for disk in found["disks"]] == [("one", ["archive", "store"])]
    assert found["builds"] == {"abc": ["gateway-1-e1", "shard-0-e7", "follower", "media-1"]}


def webhooks(**changes: int) -> dict[str, Any]:
    """One endpoint at the bound of everything that is no trouble, but for what is given."""
    one = {"id": "e-1", "last_failure": "status 500", "failing_since_ms": NOW_MS - 300_000, "dropped_count": 0}
    return {"beat_at_ms": NOW_MS - 30_000, "endpoints": [{**one, "dead_letters_count": 0, **changes}]}


def test_webhooks_at_their_bounds_are_no_trouble() -> None:
    """Given a sender that was heard 30 s ago and a receiver that fails for 5 minutes; then nothing is said yet."""
    assert names(status(webhooks=webhooks())) == []


LOW = {**DISK, "is_low": True, "free_bytes": 50}
WEAK = follower()
WEAK["store"] = {**WEAK["store"], "weaknesses": ["appendfsync is 'everysec', needed is 'always'"]}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("store_unavailable", {"store": "timeout"}),
        ("division_unavailable", {"divisions": {"main": {"unavailable": "not_ready"}}}),
        ("division_stopped", {"divisions": {"main": division(stopped_reason="division_stopped")}}),
        ("clock_behind", {"divisions": {"main": division(is_clock_behind=True)}}),
        ("journal_full", {"divisions": {"main": division(is_journal_full=True)}}),
        ("disk_low", {"divisions": {"main": division(disk=[LOW])}}),
        ("disk_unknown", {"divisions": {"main": division(disk=[{**DISK, "free_bytes": -1}])}}),
        ("follower_silent", {"followed": {}}),
        ("follower_stopped", {"followed": follower(failure="batch 7 cannot be replayed", is_stopped=True)}),
        ("audit_stopped", {"followed": {**follower(), "audit": {"archived": 3, "failure": "disk full"}}}),
        ("media_silent", {"media": {"media-1": {}}}),
        ("gateway_silent", {"gateways": {"gateway-1": door(), "gateway-2": {}}}),
        ("build_differs", {"divisions": {"main": division(build="other")}}),
        ("weaker_durability", {"followed": WEAK}),
        ("follower_behind", {"followed": follower(archive_batch=110, failure="disk full")}),
        ("follower_behind", {"divisions": {"main": division(batch=120 + 10_000)}}),
        ("reports_behind", {"followed": follower(reports_batch=120, reports_failure="disk full")}),
        ("webhook_dead_letters", {"webhooks": webhooks(dead_letters_count=1)}),
        ("webhooks_silent", {"webhooks": {**webhooks(), "beat_at_ms": NOW_MS - 30_001}}),
        ("webhook_failing", {"webhooks": webhooks(failing_since_ms=NOW_MS - 300_001)}),
        ("snapshot_old", {"followed": follower(snapshot_at_ms=NOW_MS - 900_001)}),
    ],
)
def test_each_trouble_has_its_name(name: str, changes: dict[str, Any]) -> None:
    """Given one trouble, then that alert alone is raised, and only an error makes the hall unhealthy."""
    found = status(**changes)
    assert names(found) == [name]
    assert found["is_healthy"] is (name in WARNING_NAMES)
    assert f"{found['alerts'][0]['severity']}: {name}" in status_text("http://x", found)


def test_every_alert_has_a_case_above_and_a_line_in_the_page() -> None:
    """Given the names of all alerts, then each is tried, and docs/operating.md says what to do about it."""
    tried = {mark.args[1][i][0] for mark in test_each_trouble_has_its_name.pytestmark for i in range(len(mark.args[1]))}  # type: ignore[attr-defined]
    assert tried == set(NAMES) == {*ERROR_NAMES, *WARNING_NAMES}
    page = OPERATING.read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"followed": follower(archive_batch=120 - 10_000)},
        {"followed": follower(snapshot_at_ms=NOW_MS - 900_000)},
        {"followed": follower(snapshot_at_ms=1, snapshot_batch=120)},
    ],
)
def test_at_the_bound_there_is_no_alert_yet(changes: dict[str, Any]) -> None:
    """Given a follower or a snapshot exactly at its bound, or an old snapshot that nothing came after, then all is well."""
    assert alerts_of(status(**changes)) == []


def test_people_read_tables(visitor: Visitor) -> None:
    """Given a status with a part that is silent, then each table has its row, and what is not known is a dash."""
    text = status_text("http://x", status(media={"media-1": worker(), "media-2": {}}))
    assert text.splitlines()[0] == "http://x: NOT HEALTHY"
    assert re.search(r"shard-0 +shard-0-e7 +one +17 +1 +4 +100", text)
    assert re.search(r"main +shard-0-e7 +9 +120 +10 +100 +60 s +serving", text)
    assert re.search(r"media-2 +silent +- +- +- +-", text)
    assert "store: valkey 9.1, answers" in text


def exposed(found: dict[str, Any]) -> dict[str, float]:
    metrics = Metrics()
    metrics.hall.status = found
    lines = metrics.text().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_prometheus_reads_the_hall() -> None:
    """Given a status, then its counts, durations and alerts have conventional names and labels from lists."""
    values = exposed(status())
    assert values['tellerhall_calls_live{division="main",state="waiting"}'] == 3
    assert values['tellerhall_turn_seconds_bucket{le="0.1",shard="shard-0"}'] == 3
    assert values['tellerhall_turn_seconds_bucket{le="1.0",shard="shard-0"}'] == 5
    assert values['tellerhall_turn_seconds_bucket{le="+Inf",shard="shard-0"}'] == 6
    assert values['tellerhall_append_seconds_sum{shard="shard-0"}'] == 4.5
    assert values['tellerhall_shard_refused_total{reason="queue_full",shard="shard-0"}'] == 2
    assert values['tellerhall_follower_lag_batches{division="main"}'] == 10
    assert values['tellerhall_snapshot_age_seconds{division="main"}'] == 60
    assert values['tellerhall_journal_kept_bytes{division="main"}'] == 4_000
    assert values['tellerhall_mailbox_waiting_letters{division="main"}'] == 2
    assert values['tellerhall_disk_free_bytes{disk="archive+store",node="one"}'] == 900
    assert values['tellerhall_part_restarts_total{slot="shard-0"}'] == 6
    assert values["tellerhall_healthy"] == 1


def test_what_is_gone_vanishes_from_the_metrics() -> None:
    """Given a division without a shard and a silent worker, then no figure of yesterday is shown as today's."""
    values = exposed(status(divisions={"main": {"unavailable": "not_ready"}}, media={"media-1": {}}))
    assert values['tellerhall_division_up{division="main"}'] == 0
    assert values['tellerhall_alerts{name="division_unavailable"}'] == 1
    assert not [name for name in values if name.startswith(("tellerhall_calls_live", "tellerhall_media_rooms"))]


def test_every_metric_stands_in_the_page() -> None:
    """Given all metrics of a gateway, then docs/operating.md has a row for each."""
    metrics = Metrics()
    metrics.hall.status = status()
    page = OPERATING.read_text()
    families = {family.name for family in metrics.registry.collect()}
    assert len(families) > 30
    assert sorted(name for name in families if f"`{name}" not in page) == []


def test_without_a_status_nothing_is_claimed() -> None:
    """Given a gateway that has not asked yet, then the hall's metrics are absent, not zero."""
    assert list(HallMetrics().collect()) == []


async def test_operators_read_the_status_over_rest(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a follower that answers and media that do not, when an operator asks, then the whole is told."""
    stub.status_value = {
        "divisions": {"main": division()},
        "parts": {"media-1": {"name": "media-1-e2", "pid": 1, "started_at_ms": 1, "restarts_count": 1}},
    }
    stub.part_values = {"follower": follower()}
    code, found, _ = await visitor.request("GET", "/v1/status", token("operator", "o-1"))
    assert code == 200
    assert {"media_silent", "build_differs"} <= set(names(found))
    assert found["is_healthy"] is False
    assert found["divisions"]["main"]["batch"] == 120


async def test_metrics_go_out_while_the_hall_is_silent(visitor: Visitor, stub: StubHall) -> None:
    """Given a hall that does not answer at all, when Prometheus scrapes, then the gateway's own figures go out."""
    stub.fault = unavailable("not_ready")
    async with visitor.http.get(f"{visitor.base}/metrics") as response:
        assert response.status == 200
        assert "tellerhall_gateway_connections" in await response.text()


def test_each_gateway_tells_its_connections() -> None:
    """Given a gateway that serves, one that drains and a silent one; then tables and metrics show what each holds."""
    found = status(gateways={"gateway-1": door(), "gateway-2": door(is_draining=True, connections={}), "gateway-3": {}})
    rows = [line.split() for line in status_text("http://one", found).splitlines()]
    assert ["gateway-1", "two", "8080", "9464", "3", "2", "1", "18000", "serving"] in rows
    assert ["gateway-2", "two", "8080", "9464", "0", "0", "0", "18000", "draining"] in rows
    assert ["gateway-3", "silent", *["-"] * 7] in rows
    assert found["builds"]["abc"].count("gateway-1-e1") == 1
    metrics = HallMetrics()
    metrics.status = found
    [held] = [one for one in metrics.collect() if one.name == "tellerhall_connections"]
    assert {tuple(one.labels.values()): one.value for one in held.samples} == {
        ("gateway-1", "customer"): 3, ("gateway-1", "agent"): 2, ("gateway-1", "operator"): 1,
    }  # fmt: skip
