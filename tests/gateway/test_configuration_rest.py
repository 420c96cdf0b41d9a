"""A division's configuration over REST, and what a start makes of the file afterwards: SAFETY.md 20."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from actors.audit import StoreAudit, decode_line
from actors.configuration import plan_digest
from actors.hall import Hall
from actors.local import LocalHall, local_hall
from actors.store_client import StoreClient
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.app import Gateway
from gateway.configured_plans import ConfiguredPlans
from gateway.rest_configuration import MISTAKES_MAX, PLAN_BYTES_MAX
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.journal.conftest import client, store

__all__ = ["client", "store"]
Token = Callable[..., str]
URL = "/v1/divisions/main/configuration"
LOANS, CARDS = (QueuePlan(id, media="external", recording="off") for id in ("loans", "cards"))
FILE = Plan("main", [LOANS], [AgentPlan("a-1", skills={"loans": 5})])
OTHER_FILE = Plan("main", [CARDS], [AgentPlan("a-1")])
CHANGED = Plan("main", [LOANS, CARDS], [AgentPlan("a-1", skills={"loans": 5}), AgentPlan("a-2")])


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(FILE, others=(Plan(division_id="other"),)) as local:
        yield local


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    yield hall
    await hall.close()


@pytest.fixture
async def visitor(hall: Hall, tmp_path: Path) -> AsyncIterator[Visitor]:
    gateway = Gateway(hall, Settings(keys_folder=tmp_path / "keys", stop_ms=200))
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()


def as_json(plan: Plan) -> Any:
    return msgspec.json.decode(msgspec.json.encode(plan))


async def show(visitor: Visitor, operator: str) -> tuple[Any, str]:
    status, shown, headers = await visitor.request("GET", URL, operator)
    assert status == 200
    return shown, headers["Etag"]


async def change(
    visitor: Visitor, operator: str, plan: Any, tag: str | None, query: str = "", **headers: str
) -> tuple[int, Any, Any]:
    sent = {**headers, **({"If-Match": tag} if tag is not None else {})}
    return await visitor.request("PUT", URL + query, operator, json=plan, headers=sent)


async def test_what_is_shown_may_be_sent_back_changed(visitor: Visitor, token: Token) -> None:
    """Given a configuration; when it is fetched, changed and sent back; then it is in force, under a new tag."""
    operator = token("operator", "o-1")
    shown, tag = await show(visitor, operator)
    assert msgspec.convert(shown, Plan) == FILE
    shown["agents"].append({"id": "a-2"})
    shown["queues"].append(as_json(CARDS))
    status, taken, headers = await change(visitor, operator, shown, tag)
    assert (status, taken) == (200, {"is_changed": True, "is_dry_run": False})
    assert await show(visitor, operator) == (as_json(CHANGED), headers["Etag"])
    status, queues, _ = await visitor.request("GET", "/v1/queues", operator)
    assert [one["queue_id"] for one in queues["queues"]] == ["loans", "cards"]


async def test_a_change_says_what_it_follows(visitor: Visitor, token: Token) -> None:
    """Given two operators with the same tag; then the first change is taken, the second refused; without a tag none is."""
    operator, second = token("operator", "o-1"), token("operator", "o-2")
    _, tag = await show(visitor, operator)
    assert (await change(visitor, operator, as_json(CHANGED), tag))[0] == 200
    status, problem, _ = await change(visitor, second, as_json(OTHER_FILE), tag)
    assert (status, problem["reason"]) == (412, "plan_changed")
    for wrong, expected in ((None, 428), ("", 412), ('"', 412), ("W/" + tag, 412), ('"' + "x" * 300 + '"', 412)):
        assert (await change(visitor, operator, as_json(FILE), wrong))[0] == expected, wrong
    assert (await show(visitor, operator))[0] == as_json(CHANGED)
    assert (await change(visitor, operator, as_json(FILE), "*"))[0] == 200


async def test_a_repeat_is_answered_as_the_first(visitor: Visitor, token: Token) -> None:
    """Given a change whose answer was lost; when it is repeated, with its key or without; then it is done once, and said so."""
    operator = token("operator", "o-1")
    _, tag = await show(visitor, operator)
    key = {"Idempotency-Key": "k-1"}
    first = await change(visitor, operator, as_json(CHANGED), tag, **key)
    again = await change(visitor, operator, as_json(CHANGED), tag, **key)
    assert first[:2] == again[:2] == (200, {"is_changed": True, "is_dry_run": False})
    assert first[2]["Etag"] == again[2]["Etag"]
    status, taken, headers = await change(visitor, operator, as_json(CHANGED), tag)
    assert (status, taken["is_changed"], headers["Etag"]) == (200, False, first[2]["Etag"])


async def test_a_dry_run(visitor: Visitor, token: Token) -> None:
    """Given a change; when it is tried; then the answer is that of the change, and nothing is changed."""
    operator = token("operator", "o-1")
    before = await show(visitor, operator)
    status, taken, headers = await change(visitor, operator, as_json(CHANGED), before[1], "?dry_run=true")
    assert (status, taken, headers["Etag"]) == (200, {"is_changed": True, "is_dry_run": True}, before[1])
    stranger = {**as_json(CHANGED), "division_id": "elsewhere"}
    status, problem, _ = await change(visitor, operator, stranger, before[1], "?dry_run=true")
    assert (status, problem["reason"]) == (400, "bad_value")
    assert await show(visitor, operator) == before


async def test_all_mistakes_are_named(visitor: Visitor, token: Token) -> None:
    """Given a plan with several mistakes; then each is named with its place, those of types and those of sense."""
    operator = token("operator", "o-1")
    _, tag = await show(visitor, operator)
    queues = [{"id": "loans", "need": {"fx": 11}}, {"id": "", "unknown": 1}]
    queues.append({"id": "cards", "hours": {"time_zone": "Nowhere/Atall"}})
    status, problem, _ = await change(visitor, operator, {"division_id": "main", "queues": queues}, tag)
    assert (status, problem["reason"]) == (400, "bad_value")
    paths = {one["path"] for one in problem["problems"]}
    assert {"queues[0].need.fx", "queues[1].id", "queues[1].unknown", "queues[2].hours.time_zone"} <= paths
    twice = {"division_id": "main", "queues": [as_json(LOANS)] * 2, "retired": {"old": "nowhere"}}
    status, problem, _ = await change(visitor, operator, twice, tag)
    assert (status, problem["reason"]) == (400, "bad_value")
    assert {one["path"] for one in problem["problems"]} == {"queues[1].id", "retired.old"}
    many = {"division_id": "main", "agents": [{"id": ""}] * (MISTAKES_MAX + 1)}
    assert len((await change(visitor, operator, many, tag))[1]["problems"]) == MISTAKES_MAX
    assert (await change(visitor, operator, [1], tag))[1]["reason"] == "bad_value"


async def test_time_zones_by_name(visitor: Visitor, token: Token) -> None:
    """Given opening hours with a time zone's name; then it is looked up as in the file."""
    operator = token("operator", "o-1")
    _, tag = await show(visitor, operator)
    plan = as_json(FILE)
    plan["queues"][0]["hours"] = {"time_zone": "Asia/Shanghai", "weekly": [[[540, 1080]]] * 7}
    status, _, _ = await change(visitor, operator, plan, tag)
    assert status == 200
    assert (await show(visitor, operator))[0]["queues"][0]["hours"]["offset_minutes"] == 480


async def test_waiting_calls_are_not_stranded(visitor: Visitor, token: Token, hall: Hall) -> None:
    """Given a call that waits; when its queue is to go without saying where the call goes; then refused."""
    operator = token("operator", "o-1")
    assert (await hall.call("c-1", "main").request("kim", "loans")).is_accepted
    _, tag = await show(visitor, operator)
    plan = {"division_id": "main", "queues": [as_json(CARDS)]}
    status, problem, _ = await change(visitor, operator, plan, tag)
    assert (status, problem["reason"]) == (409, "calls_would_be_stranded")
    assert (await change(visitor, operator, {**plan, "retired": {"loans": "cards"}}, tag))[0] == 200


async def test_sizes(visitor: Visitor, token: Token) -> None:
    """Given bodies at the bound and beyond; then one is read and the other refused; a stranger's is not even read."""
    operator = token("operator", "o-1")
    _, tag = await show(visitor, operator)
    head, tail = b'{"division_id":"main","agents":[{"id":"a-1"}]', b"}"

    async def send(content: bytes, who: str) -> int:
        headers = {"Authorization": f"Bearer {who}", "If-Match": tag}
        async with visitor.http.put(visitor.base + URL, data=content, headers=headers) as response:
            return response.status

    whole = head + b" " * (PLAN_BYTES_MAX - len(head) - len(tail)) + tail
    assert len(whole) == PLAN_BYTES_MAX
    assert await send(whole, operator) == 200
    try:
        assert await send(whole + b" ", operator) == 413
        assert await send(whole, token("supervisor", "s-1")) == 403
    except aiohttp.ClientConnectionError:
        pass  # The server has answered and closed while the rest was still being sent.


@pytest.mark.parametrize(
    ("offered", "is_insisted", "kept", "says"),
    [
        (FILE, False, CHANGED, "the file is as it was"),
        (OTHER_FILE, False, CHANGED, "--apply"),
        (OTHER_FILE, True, OTHER_FILE, ""),
        (CHANGED, False, CHANGED, ""),
    ],
)
async def test_the_next_start(
    visitor: Visitor,
    token: Token,
    hall: Hall,
    client: StoreClient,
    offered: Plan,
    is_insisted: bool,
    kept: Plan,
    says: str,
) -> None:
    """Given a plan from the file and another over REST; when the hall starts again; then the journal's plan stays unless the
    operator insists, and what is in the way is said."""
    operator, said = token("operator", "o-1"), []
    await ConfiguredPlans(hall, client, said.append, is_insisted=False).offer(FILE)
    _, tag = await show(visitor, operator)
    assert tag == f'"{plan_digest(FILE)}"'
    assert (await change(visitor, operator, as_json(CHANGED), tag))[0] == 200
    assert not said
    await ConfiguredPlans(hall, client, said.append, is_insisted=is_insisted).offer(offered)
    assert (await show(visitor, operator))[0] == as_json(kept)
    assert (says in "".join(said)) if says else not said
    again = await show(visitor, operator)
    status, taken, headers = await change(visitor, operator, *again)
    assert (status, taken["is_changed"], headers["Etag"]) == (200, False, again[1])
    if kept is offered:
        assert (await show(visitor, operator))[1] == f'"{plan_digest(offered)}"'
        lines = [decode_line(line) for line in await StoreAudit(client).read(0, 100)]
        assert (lines[-1].what, lines[-1].who, lines[-1].about) == (
            "apply_plan",
            "operator:up",
            {"plan_digest": plan_digest(offered)},
        )
