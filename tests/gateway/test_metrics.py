"""Metrics by Prometheus' own conventions: names, units, labels, and a number of series that nobody outside can make grow."""

import re
from collections.abc import Callable

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Gateway
from gateway.client_messages import ALL_CLIENT_TYPES
from gateway.metrics import METHODS, Metrics
from gateway.refusals import KNOWN_REASONS
from tests.gateway.client import JSON, Visitor
from tests.gateway.test_status import status

Token = Callable[..., str]
LABELS = {
    "division", "queue", "state", "shard", "slot", "worker", "node", "disk", "name", "build", "reason", "role", "type", "code",
    "route", "method", "status", "bound", "gateway",
}  # fmt: skip
"""Each has few values, known beforehand or by configuration; no call, agent, customer, connection or address."""
UNITS = ("_seconds", "_bytes", "_ratio", "_per_second", "_total")
NOT_BASE_UNITS = re.compile(r"_(ms|millis|milliseconds|us|s|secs|minutes|hours|kb|kib|mb|mib|percent|pct)(_|$)")
TIMES = re.compile(r"(age|wait|lag|latency|duration|round_trip|jitter|setup|turn|append|command)(_|$)")


def families(text: str) -> list[Metric]:
    found = text_string_to_metric_families(text)
    # When a series began, which the library adds by a convention of its own.
    return [one for one in found if one.name.startswith("tellerhall_") and not one.name.endswith("_created")]


@pytest.fixture
def scraped() -> list[Metric]:
    """All that a gateway shows of a whole hall and of itself."""
    metrics = Metrics()
    metrics.hall.status = status()
    metrics.count_received("call.request")
    metrics.count_refusal("not_yours")
    metrics.count_close(4001)
    metrics.count_request("/v1/calls/{id}", "GET", 200)
    metrics.connections.labels("agent").inc()
    metrics.observe_stats({"round_trip_ms": 250.0, "loss_ratio": 0.02, "setup_ms": 700.0})
    return families(metrics.text().decode())


def test_names_and_units(scraped: list[Metric]) -> None:
    """prometheus.io, metric naming: one prefix, snake case, base units at the end, `_total` on counters and nowhere else."""
    assert len(scraped) > 40
    for family in scraped:
        full = f"{family.name}_total" if family.type == "counter" else family.name
        assert re.fullmatch(r"tellerhall_[a-z][a-z0-9]*(_[a-z0-9]+)*", full), full
        assert not NOT_BASE_UNITS.search(full), full
        assert family.type in ("counter", "gauge", "histogram"), full
        assert family.documentation, full
        assert not family.documentation.endswith("."), full
        assert not re.search(r"_(total|count|sum|bucket|info)$", family.name), full
        if family.type == "histogram":
            assert full.endswith(UNITS), full
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name == full


def test_times_are_seconds(scraped: list[Metric]) -> None:
    """Given metrics whose name says that they measure time; then their unit is the second."""
    for family in scraped:
        stem = family.name.removeprefix("tellerhall_")
        if (
            TIMES.search(stem)
            and not re.search(r"(batches|letters|items|calls|turns|bytes)$", stem)
            and family.type != "counter"
        ):
            assert stem.endswith("_seconds"), family.name


def test_a_reported_time_is_converted(scraped: list[Metric]) -> None:
    """Given a round trip of 250 ms; then it is a quarter of a second."""
    [family] = [one for one in scraped if one.name == "tellerhall_rtc_round_trip_seconds"]
    assert {sample.name: sample.value for sample in family.samples}["tellerhall_rtc_round_trip_seconds_sum"] == 0.25


def test_labels_are_from_the_list(scraped: list[Metric]) -> None:
    """Given every sample; then its labels are from the list, and no value looks like an entity's id."""
    for family in scraped:
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= LABELS, sample
            for name, value in sample.labels.items():
                assert len(value) <= 80, sample
                assert name == "build" or not re.search(r"[0-9a-f]{12,}|@", value), sample


async def test_nobody_outside_makes_series(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given a client that sends made-up methods, paths, types, reasons, queries and names; then no series of it comes up."""
    await visit(visitor, token, "one")
    before = series(gateway)
    for number in range(20):
        await visit(visitor, token, f"made-up-{number}")
    assert series(gateway) == before
    text = gateway._services.metrics.text().decode()
    assert "made" not in text
    for name, allowed in (("method", METHODS | {"other"}), ("reason", KNOWN_REASONS | {"other"})):
        assert set(re.findall(rf'{name}="([^"]*)"', text)) <= allowed
    assert set(re.findall(r'type="([^"]*)"', text)) <= ALL_CLIENT_TYPES | {"unknown"}


def series(gateway: Gateway) -> int:
    return sum(len(one.samples) for one in families(gateway._services.metrics.text().decode()))


async def visit(visitor: Visitor, token: Token, word: str) -> None:
    mine = token("customer", word)
    for method, path in (
        ("GET", f"/{word}"), ("GET", f"/v1/calls/{word}"), (word.upper().replace("-", ""), "/v1/calls"),
        ("GET", f"/v1/queues?{word}={word}"), ("GET", f"/pages/{word}.js"),
    ):  # fmt: skip
        headers = {"Authorization": f"Bearer {mine}"}
        async with visitor.http.request(method, visitor.base + path, headers=headers) as response:
            await response.read()
    client = await visitor.greeted(mine)
    await client.ask(f"{word}.type", {word: word})
    await client.ask("rtc.stats", {"call_id": word, "stats": {"jitter_ms": 1.0}})
    await client.socket.close()
    assert client.socket.protocol == JSON
