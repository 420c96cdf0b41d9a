"""Lists of many calls over REST: live ones and ended ones page by page, and histories that go."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from actors.hall import Hall
from actors.local import LocalHall, local_hall
from dispatch import events
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.rest_call_lists import LIMIT_MAX
from gateway.rest_hall import AGENTS_MAX
from tests.gateway.archiving import ArchivingFollower
from tests.gateway.client import Visitor
from tests.gateway.test_call_life import hall, visitor

__all__ = ["hall", "visitor"]
Token = Callable[..., str]
QUEUES = [QueuePlan(one, media="external", recording="off") for one in ("loans", "cards")]
PLAN = Plan("main", QUEUES, [AgentPlan(f"a-{number:02}") for number in range(25)])


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, others=(Plan("other", QUEUES),)) as local:
        yield local


@pytest.fixture(autouse=True)
async def follower(local: LocalHall, tmp_path: Path) -> AsyncIterator[ArchivingFollower]:
    made = ArchivingFollower(local, tmp_path / "archive")
    yield made
    await made.close()


async def ask(visitor: Visitor, token: str, path: str, **query: Any) -> Any:
    status, answer, _ = await visitor.request("GET", f"{path}?{urlencode(query)}", token)
    assert status == 200, answer
    return answer


async def pages(visitor: Visitor, token: str, path: str, limit: int, **query: Any) -> list[list[Any]]:
    """Each page's rows, until there is no `next`."""
    found, after = [], None
    while True:
        page = await ask(visitor, token, path, limit=limit, **({"after": after} if after else {}), **query)
        found.append(page["calls"] if "calls" in page else page["agents"])
        after = page["next"]
        if after is None:
            return found


async def wait_in_line(hall: Hall, count: int, queue_id: str = "loans", prefix: str = "c") -> list[str]:
    call_ids = [f"{prefix}-{number}" for number in range(count)]
    for call_id in call_ids:
        assert (await hall.call(call_id, "main").request(f"k-{call_id}", queue_id)).is_accepted
    return call_ids


def ids(rows: list[Any]) -> list[str]:
    return [one["call_id"] for one in rows]


async def test_pages_of_live_calls(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given calls that wait; when they are listed page by page; then each is there once, in the order in which they came."""
    supervisor = token("supervisor", "s-1")
    call_ids = await wait_in_line(hall, 7)
    assert [ids(page) for page in await pages(visitor, supervisor, "/v1/calls", 3)] == [
        call_ids[:3],
        call_ids[3:6],
        call_ids[6:],
    ]
    assert [ids(page) for page in await pages(visitor, supervisor, "/v1/calls", 7)] == [call_ids]
    assert (await ask(visitor, supervisor, "/v1/calls"))["calls"][0]["customer_id"] == "k-c-0"


async def test_a_page_goes_on_after_a_call_that_is_gone(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given a first page; when its last call ends and others come; then the next page misses and repeats nothing."""
    supervisor = token("supervisor", "s-1")
    call_ids = await wait_in_line(hall, 4)
    first = await ask(visitor, supervisor, "/v1/calls", limit=2)
    for call_id in call_ids[:2]:
        assert (await hall.call(call_id, "main").hang_up(principal=f"customer:k-{call_id}")).is_accepted
    late = await wait_in_line(hall, 1, prefix="late")
    second = await ask(visitor, supervisor, "/v1/calls", after=first["next"])
    assert (ids(second["calls"]), second["next"]) == ([*call_ids[2:], *late], None)


async def test_live_calls_by_state_and_queue(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given calls of two queues, one at an agent; then filters take those that they name, and the other division has none."""
    loans, cards = await wait_in_line(hall, 2), await wait_in_line(hall, 2, "cards", "d")
    await hall.subscribe("agent:a-01", "desk", None, lambda _: None, lambda _: None, "main")
    assert (await hall.agent("a-01", "main").set_ready()).is_accepted
    operator = token("operator", "o-1")
    assert ids((await ask(visitor, operator, "/v1/calls", queue_id="cards"))["calls"]) == cards
    assert ids((await ask(visitor, operator, "/v1/calls", state="reserved"))["calls"]) == loans[:1]
    waiting = await ask(visitor, operator, "/v1/calls", state="waiting", queue_id="loans")
    assert ids(waiting["calls"]) == loans[1:]
    assert (await ask(visitor, token("operator", "o-1", 600, "other"), "/v1/calls"))["calls"] == []


async def test_calls_that_ended(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given calls that ended today; then the day's pages hold each once, by filter too, and another day none."""
    call_ids = await wait_in_line(hall, 5)
    for call_id in call_ids:
        assert (await hall.call(call_id, "main").hang_up(principal=f"customer:k-{call_id}")).is_accepted
    operator, today = token("operator", "o-1"), datetime.now(UTC).date()
    found = await pages(visitor, operator, "/v1/ended-calls", 2)
    assert [call_id for page in found for call_id in ids(page)] == call_ids
    assert [len(page) for page in found] == [2, 2, 1]
    one = found[0][0]
    assert (one["customer_id"], one["queue_id"], one["agent_id"], one["talked_ms"]) == ("k-c-0", "loans", "", 0)
    assert one["ended_at_ms"] > 0
    mine = await ask(visitor, operator, "/v1/ended-calls", day=today.isoformat(), customer_id="k-c-3")
    assert (mine["day"], ids(mine["calls"]), mine["next"]) == (today.isoformat(), ["c-3"], None)
    assert (await ask(visitor, operator, "/v1/ended-calls", reason="nothing"))["calls"] == []
    assert (await ask(visitor, operator, "/v1/ended-calls", day="2020-02-29"))["calls"] == []
    assert (await ask(visitor, token("operator", "o-1", 600, "other"), "/v1/ended-calls"))["calls"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"day": "2026-02-30"},
        {"day": "today"},
        {"after": "12"},
        {"after": "1-2-3"},
        {"limit": 0},
        {"limit": LIMIT_MAX + 1},
        {"color": "red"},
    ],
)
async def test_questions_that_make_no_sense(visitor: Visitor, token: Token, query: dict[str, Any]) -> None:
    """Given a day, a place or a limit that is none; then refused by name."""
    path = f"/v1/ended-calls?{urlencode(query)}"
    status, problem, _ = await visitor.request("GET", path, token("operator", "o-1"))
    assert (status, problem["reason"]) == (400, "bad_value")


async def test_histories_that_go(visitor: Visitor, token: Token, hall: Hall, local: LocalHall) -> None:
    """Given a call's history; when days before today go, it stays; a day in the future is refused, and who may not drop."""
    [call_id] = await wait_in_line(hall, 1)
    operator, today = token("operator", "o-1"), datetime.now(UTC).date()
    path = "/v1/histories?before="
    assert (await visitor.request("DELETE", path + today.isoformat(), operator))[:2] == (200, {"days": []})
    assert (await visitor.request("GET", f"/v1/calls/{call_id}/history", operator))[0] == 200
    tomorrow = (today + timedelta(days=1)).isoformat()
    for wrong in (tomorrow, "yesterday", "2026-13-01"):
        assert (await visitor.request("DELETE", path + wrong, operator))[0] == 400
    assert (await visitor.request("DELETE", path + tomorrow, token("supervisor", "s-1")))[0] == 403


async def test_histories_of_old_days_go_and_newer_ones_stay(
    visitor: Visitor, hall: Hall, token: Token, follower: ArchivingFollower
) -> None:
    """Given calls of two old days and one of today; when the days before the second go; then the first's alone is gone."""
    old = [datetime.now(UTC) - timedelta(days=days) for days in (3, 2)]
    for number, day in enumerate(old):
        at_ms = int(day.timestamp() * 1_000)
        queued = events.CallQueued(at_ms, f"old-{number}", "c-9", "loans", at_ms, at_ms)
        await follower.archives["main"].add([(0, [queued])])
    [call_id] = await wait_in_line(hall, 1)
    operator, path = token("operator", "o-1"), f"/v1/histories?before={old[1].date().isoformat()}"
    assert (await visitor.request("GET", "/v1/calls/old-0/history", operator))[0] == 200
    assert (await visitor.request("DELETE", path, operator))[:2] == (200, {"days": [old[0].date().isoformat()]})
    assert (await visitor.request("DELETE", path, operator))[:2] == (200, {"days": []})
    found = [
        (await visitor.request("GET", f"/v1/calls/{one}/history", operator))[0] for one in ("old-0", "old-1", call_id)
    ]
    assert found == [404, 200, 200]


async def test_pages_are_bounded(visitor: Visitor, token: Token) -> None:
    """Given a page of the largest size; then it is given; one row more, or none, is refused."""
    supervisor = token("supervisor", "s-1")
    for path, limit_max in (("/v1/calls", LIMIT_MAX), ("/v1/ended-calls", LIMIT_MAX), ("/v1/agents", AGENTS_MAX)):
        for limit, status in ((limit_max, 200), (limit_max + 1, 400), (0, 400)):
            assert (await visitor.request("GET", f"{path}?limit={limit}", supervisor))[0] == status, (path, limit)


async def test_pages_of_agents(visitor: Visitor, token: Token) -> None:
    """Given 25 agents; when they are listed ten by ten; then each is there once, in the order of their ids."""
    found = await pages(visitor, token("supervisor", "s-1"), "/v1/agents", 10)
    assert [len(page) for page in found] == [10, 10, 5]
    assert [one["agent_id"] for page in found for one in page] == [f"a-{number:02}" for number in range(25)]
