"""Reports over REST: real calls through a real gateway and the real engine, counted from a real archive."""

import csv
import io
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.local import LocalHall, local_hall
from dispatch.counts import AgentCounts, QueueCounts
from dispatch.measures import INTERVAL_MS, INTERVALS_MAX
from dispatch.plan import Plan
from gateway.report_documents import ReportDocument, ReportLine, report_csv
from tests.gateway.archiving import ArchivingFollower
from tests.gateway.client import Visitor
from tests.gateway.test_call_life import PLAN, REQUEST, hall, ready_agent, visitor
from tests.gateway.test_talking import done

__all__ = ["hall", "visitor"]
Token = Callable[..., str]
DAY_MS = 86_400_000


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, others=(Plan(division_id="other"),)) as local:
        follower = ArchivingFollower(local, tmp_path / "archive")
        yield local
        await follower.close()


async def talk(visitor: Visitor, token: Token) -> None:
    """A call that is answered by a-1 and ended by its customer."""
    agent = await ready_agent(visitor, token)
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await done(customer, "call.request", REQUEST))["call_id"]
    new = (await agent.until("reservation.new"))["data"]
    await done(agent, "reservation.accept", {"reservation_id": new["reservation_id"]})
    await done(agent, "call.connected", {"call_id": call_id})
    await done(customer, "call.hang_up", {"call_id": call_id})


async def test_a_talk_is_in_both_reports(visitor: Visitor, token: Token) -> None:
    """Given a talk; then its queue has it answered within T, its agent has the reservation, and definitions stand beside."""
    await talk(visitor, token)
    query = "/v1/reports/queues?service_level_ms=30000"
    status, report, headers = await visitor.request("GET", query, token("supervisor", "s-1"))
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    [row], [total] = report["rows"], report["totals"]
    assert (row["id"], row["counts"]["offered_count"], row["counts"]["answered_count"]) == ("loans", 1, 1)
    assert row["figures"]["service_level_30s"] == total["figures"]["service_level_30s"] == 1.0
    assert "answered within 30000 ms" in report["definitions"]["service_level_30s"]
    assert report["is_caught_up"]
    assert not row["is_final"]
    assert total["start_ms"] is None
    status, report, _ = await visitor.request("GET", "/v1/reports/agents", token("operator", "o-1"))
    agents = {one["id"]: one["counts"] for one in report["totals"]}
    assert agents["a-1"]["accepted_count"] == 1
    assert "occupancy" in report["definitions"]


async def test_csv_by_accept(visitor: Visitor, token: Token) -> None:
    """Given `Accept: text/csv`; then the same rows as CSV, with the definition in each; JSON first is JSON."""
    await talk(visitor, token)
    staff = token("supervisor", "s-1")
    headers = {"Accept": "text/csv, application/json;q=0.5"}
    async with visitor.http.get(
        f"{visitor.base}/v1/reports/queues", headers={**headers, "Authorization": f"Bearer {staff}"}
    ) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/csv")
        assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["start"] == "total", row["id"], row["answered_count"]) for row in rows] == [
        (False, "loans", "1"),
        (True, "loans", "1"),
    ]
    assert rows[0]["ended.customer_hung_up"] == "1"
    assert rows[0]["service_level_20s"] == "1.0"
    assert "service_level_20s: answered within 20000 ms" in rows[0]["definitions"]
    first = {"Accept": "application/json, text/csv"}
    status, report, _ = await visitor.request("GET", "/v1/reports/queues", staff, headers=first)
    assert (status, report["kind"]) == (200, "queues")


async def test_a_division_sees_its_own(visitor: Visitor, token: Token) -> None:
    """Given a talk in one division; then another division's staff see a report of theirs, without it."""
    await talk(visitor, token)
    status, report, _ = await visitor.request(
        "GET", "/v1/reports/queues", token("operator", "o-1", division_id="other")
    )
    assert (status, report["division_id"], report["totals"]) == (200, "other", [])


NOW_MS = time.time_ns() // 1_000_000 // INTERVAL_MS * INTERVAL_MS


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"from_ms={NOW_MS - INTERVALS_MAX * INTERVAL_MS}&to_ms={NOW_MS}", 200),
        (f"from_ms={NOW_MS - (INTERVALS_MAX + 1) * INTERVAL_MS}&to_ms={NOW_MS}", 400),
        (f"from_ms={NOW_MS}&to_ms={NOW_MS}", 400),
        (f"from_ms={NOW_MS + 1}", 400),
        ("interval_ms=1800000", 200),
        ("interval_ms=900001", 400),
        ("interval_ms=899999", 400),
        (f"interval_ms={31 * DAY_MS}", 200),
        (f"interval_ms={31 * DAY_MS + INTERVAL_MS}", 400),
        ("service_level_ms=86400000", 200),
        ("service_level_ms=20001", 400),
        ("from_ms=x", 400),
        ("till_ms=0", 400),
    ],
)
async def test_the_bounds_of_a_report(visitor: Visitor, token: Token, query: str, status: int) -> None:
    """Given a stretch, step or T at its bound; then a report; one past it, or no multiple of 15 minutes: `bad_value`."""
    got, answer, _ = await visitor.request("GET", f"/v1/reports/agents?{query}", token("supervisor", "s-1"))
    assert got == status, answer
    assert answer.get("reason", "bad_value") == "bad_value"


def document(counts: dict[str, Any]) -> ReportDocument:
    line = ReportLine(start_ms=0, id="a", is_final=True, counts=counts, figures={"occupancy": None})
    return ReportDocument(
        kind="agents", division_id="main", from_ms=0, to_ms=1, interval_ms=1, as_of_ms=1, floor_ms=0,
        is_caught_up=True, definitions={"occupancy": "busy / all"}, rows=[line], totals=[],
    )  # fmt: skip


def test_staffs_own_words_stay_in_their_cell() -> None:
    """Given a reason with a comma, quotes, a new line and a formula; then CSV reads back as what it was, behind its counter."""
    reason = '=1+1,"x"\ny'
    text = report_csv(document({"not_ready_ms": {reason: 5}, "ready_ms": 7}))
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert (row[f"not_ready_ms.{reason}"], row["ready_ms"], row["occupancy"]) == ("5", "7", "")
    assert text.splitlines()[0].startswith("start,start_ms,id,is_final,")


def test_every_counter_has_a_place() -> None:
    """Given the counters; then none of their names could be taken for a figure or be spread over columns twice."""
    for counts in (QueueCounts, AgentCounts):
        assert not any("." in name or name.startswith("service_level") for name in counts.__struct_fields__)
