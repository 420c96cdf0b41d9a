"""Supervisors and operators over a WebSocket: boards of a real hall, commands over its agents and calls, alerts, resume."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from actors.hall import Hall
from actors.local import LocalHall, local_hall
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway import boards as boards_module
from gateway.app import Gateway
from gateway.client_messages import CLIENT_TYPES
from gateway.settings import Settings
from tests.gateway.client import Client, Visitor
from tests.gateway.stub_hall import StubHall
from tests.gateway.test_board import watching
from tests.gateway.test_call_life import PLAN, ready_agent, ringing
from tests.gateway.test_talking import connected, done

Token = Callable[..., str]
NORTH = Plan(
    division_id="north",
    queues=[QueuePlan(id="loans", media="external", recording="off")],
    agents=[AgentPlan(id="a-1", name="Zoe")],
)


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, others=(NORTH,)) as local:
        yield local


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    yield hall
    await hall.close()


@pytest.fixture
async def bank(hall: Hall, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visitor]:
    """A gateway before a real hall of two divisions; boards are read ten times as often."""
    monkeypatch.setattr(boards_module, "ROUND_MS", 100)
    gateway = Gateway(hall, settings)
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()


class Shown:
    """What a page shows of one board: the snapshot, and every delta after it."""

    def __init__(self, client: Client, snapshot: dict[str, Any]) -> None:
        self.client = client
        self.version = snapshot["version"]
        self.rows = {next(iter(row.values())): row for row in snapshot["rows"]}

    async def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Take deltas until the rows are so."""
        while not is_so(self.rows):
            delta = (await self.client.until("board.delta"))["data"]
            assert delta["version"] == self.version + 1
            self.version = delta["version"]
            for key in delta["gone"]:
                del self.rows[key]
            self.rows |= {next(iter(row.values())): row for row in delta["rows"]}
        return self.rows


async def shows(visitor: Visitor, token: str, board: str) -> Shown:
    return Shown(*await watching(visitor, token, board))


@pytest.mark.parametrize("role", ["supervisor", "operator"])
async def test_staff_are_welcome(bank: Visitor, token: Token, role: str) -> None:
    """Given staff; when they connect; then the welcome says what can be watched, and no other role's message is theirs."""
    client = await bank.greeted(token(role, "s-1"))
    welcome = client.messages[0]["data"]
    assert (welcome["role"], welcome["principal"]) == (role, f"{role}:s-1")
    assert welcome["session"] == {"boards": ["queues", "agents", "calls"]}
    await client.send("session.pong")
    refused = await client.ask("reservation.accept", {"reservation_id": "r"})
    assert refused["data"]["reason"] == "wrong_role"


@pytest.mark.parametrize("role", ["customer", "agent"])
async def test_others_watch_and_command_nothing(bank: Visitor, token: Token, role: str) -> None:
    """Given a customer and an agent; when they send what only staff may; then it is refused, each."""
    client = await bank.greeted(token(role, "a-1"))
    for type_ in CLIENT_TYPES["supervisor"].keys() - CLIENT_TYPES[role].keys():
        answer = await client.ask(type_, {"board": "agents"})
        assert answer["data"]["reason"] == "wrong_role", type_


async def test_boards_follow_a_call(bank: Visitor, token: Token) -> None:
    """Given a supervisor who watches all three boards; when a call comes, talks and ends; then each board follows it."""
    queues = await shows(bank, token("supervisor", "s-1"), "queues")
    agents = await shows(bank, token("supervisor", "s-2"), "agents")
    calls = await shows(bank, token("supervisor", "s-3"), "calls")
    assert (set(queues.rows), set(agents.rows), calls.rows) == ({"loans", "cards"}, {"a-1", "a-2"}, {})
    customer, agent, call_id = await connected(bank, token)
    row = (await calls.until(lambda rows: rows.get(call_id, {}).get("state") == "connected"))[call_id]
    assert (row["agent_id"], row["agent_name"], row["customer"], row["media"]) == ("a-1", "Li Na", "***", "external")
    assert row["connected_at_ms"] > 0
    row = (await agents.until(lambda rows: rows["a-1"]["occupation"] == "in_call"))["a-1"]
    assert (row["activity"], row["call_ids"], row["is_connected"]) == ("ready", [call_id], True)
    await queues.until(lambda rows: rows["loans"]["live_calls"]["connected"] == 1)
    await customer.ask("call.hang_up", {"call_id": call_id})
    await calls.until(lambda rows: not rows)
    await agents.until(lambda rows: rows["a-1"]["occupation"] == "wrap_up")
    await queues.until(lambda rows: rows["loans"]["agents"]["wrap_up"] == 1)
    await agent.socket.close()


async def test_waiting_calls_and_their_priority(bank: Visitor, token: Token) -> None:
    """Given two calls that wait; when a supervisor makes the second an emergency; then it rings first."""
    calls = await shows(bank, token("supervisor", "s-1"), "calls")
    ids = {}
    for number in (1, 2):
        customer = await bank.greeted(token("customer", f"c-{number}"))
        ids[number] = (await done(customer, "call.request", {"queue_id": "loans", "is_consented": True}))["call_id"]
    rows = await calls.until(lambda rows: len(rows) == 2)
    assert {row["state"] for row in rows.values()} == {"waiting"}
    await done(calls.client, "call.priority", {"call_id": ids[2], "is_absolute": True})
    await calls.until(lambda rows: rows[ids[2]]["is_absolute"])
    agent = await ready_agent(bank, token)
    assert (await agent.until("reservation.new"))["data"]["call_id"] == ids[2]


async def test_a_supervisor_in_a_call(bank: Visitor, token: Token) -> None:
    """Given a call; when a supervisor listens and leaves; then both are told with a number, and neither party hears of it."""
    customer, agent, call_id = await connected(bank, token)
    staff = await bank.greeted(token("supervisor", "s-1"))
    for mode in ("listen", "whisper", "barge"):
        await done(staff, "call.monitor", {"call_id": call_id, "mode": mode})
        told = await staff.until("call.monitored")
        assert told["data"] == {"call_id": call_id, "supervisor_id": "s-1", "mode": mode}
        assert told["seq"] > 0
    other = await staff.ask("call.monitor", {"call_id": call_id, "mode": "listen", "supervisor_id": "s-2"})
    assert other["data"]["reason"] == "not_yours"
    await done(agent, "call.hold", {"call_id": call_id, "is_held": True})
    assert (await staff.until("call.hold"))["data"]["is_held"]
    await done(staff, "call.monitor", {"call_id": call_id, "mode": "leave"})
    assert (await staff.until("call.monitored"))["data"]["mode"] == "leave"
    for client in (customer, agent):
        assert "call.monitored" not in [one["type"] for one in client.messages]


async def test_an_operator_says_whom_they_speak_for(bank: Visitor, token: Token) -> None:
    """Given an operator; when a supervisor or an agent is not named, it is refused; named, it is done, and that one is told."""
    _, _, call_id = await connected(bank, token)
    supervisor = await bank.greeted(token("supervisor", "s-1"))
    operator = await bank.greeted(token("operator", "o-1"))
    for mode in ("listen", "take_over"):
        answer = await operator.ask("call.monitor", {"call_id": call_id, "mode": mode})
        assert answer["data"]["reason"] == "bad_value"
    await done(operator, "call.monitor", {"call_id": call_id, "mode": "whisper", "supervisor_id": "s-1"})
    assert (await supervisor.until("call.monitored"))["data"]["mode"] == "whisper"


async def test_take_over_transfer_and_end(bank: Visitor, token: Token) -> None:
    """Given a call; when a supervisor gives it to a-2, back to the queue, and ends it; then each party is told each time."""
    customer, agent, call_id = await connected(bank, token)
    other = await bank.greeted(token("agent", "a-2"))
    await done(other, "agent.state", {"activity": "not_ready", "reason": "standby"})
    staff = await bank.greeted(token("supervisor", "s-1"))
    nobody = await staff.ask("call.monitor", {"call_id": call_id, "mode": "take_over"})
    assert nobody["data"]["reason"] == "unknown_agent"  # the supervisor is no agent
    await done(staff, "call.monitor", {"call_id": call_id, "mode": "take_over", "agent_id": "a-2"})
    assert (await other.until("call.owner"))["data"]["to_agent_id"] == "a-2"
    assert (await agent.until("call.owner"))["data"]["reason"] == "taken_over"
    assert await done(staff, "call.transfer", {"call_id": call_id, "to_queue_id": "loans"}) == {"queue_id": "loans"}
    await other.until("call.transferred")
    await customer.until("call.transferred")
    await done(staff, "call.hang_up", {"call_id": call_id, "reason": "drill"})
    assert (await customer.until("call.ended"))["data"]["reason"] == "drill"


async def test_an_agents_state_is_forced(bank: Visitor, token: Token) -> None:
    """Given a ringing agent; when a supervisor makes them not ready; then the call goes back, and their page says why."""
    customer, agent, _, _ = await ringing(bank, token)
    staff = await bank.greeted(token("supervisor", "s-1"))
    await done(staff, "agent.force_state", {"agent_id": "a-1", "activity": "not_ready", "reason": "coaching"})
    assert (await agent.until("reservation.closed"))["data"]["outcome"] == "agent_left"
    state = (await agent.until("agent.state"))["data"]
    assert state == {"activity": "not_ready", "reason": "coaching"}
    await customer.until("call.waiting")
    unknown = await staff.ask("agent.force_state", {"agent_id": "a-9", "activity": "ready"})
    assert unknown["data"]["reason"] == "unknown_agent"


async def test_a_repeated_command_does_nothing_twice(bank: Visitor, token: Token) -> None:
    """Given a command; when it is sent again under its id over a new connection; then the answer is the first one."""
    _, agent, call_id = await connected(bank, token)
    staff = await bank.greeted(token("supervisor", "s-1"))
    body = {"agent_id": "a-1", "activity": "not_ready", "reason": "coaching"}
    first = await staff.ask("agent.force_state", body, id_="once")
    await done(agent, "agent.state", {"activity": "ready"})
    again = await (await bank.greeted(token("supervisor", "s-1"))).ask("agent.force_state", body, id_="once")
    assert again["data"] == first["data"]
    _, shown, _ = await bank.request("GET", "/v1/agents/a-1", token("supervisor", "s-1"))
    assert (shown["activity"], shown["call_ids"]) == ("ready", [call_id])


async def test_events_are_resumed_and_boards_begin_anew(bank: Visitor, token: Token) -> None:
    """Given a supervisor in a call whose network is gone; when they resume; then the missed events come, and no board does."""
    customer, _, call_id = await connected(bank, token)
    staff, _ = await watching(bank, token("supervisor", "s-1"), "calls")
    await done(staff, "call.monitor", {"call_id": call_id, "mode": "listen"})
    seq = (await staff.until("call.monitored"))["seq"]
    await staff.socket.close()
    await customer.ask("call.hang_up", {"call_id": call_id})
    back = await bank.greeted(token("supervisor", "s-1"), resume=seq)
    assert (back.messages[0]["type"], back.messages[0]["data"]["missed_count"]) == ("session.resumed", 1)
    ended = await back.until("call.ended")
    assert (ended["seq"], ended["data"]["reason"]) == (seq + 1, "customer_hung_up")
    await done(back, "watch.subscribe", {"board": "calls"})
    assert (await back.until(lambda one: one["type"].startswith("board.")))["type"] == "board.snapshot"


async def test_staff_are_of_one_division(bank: Visitor, token: Token) -> None:
    """Given staff of two divisions with the same ids; then each sees and reaches their own calls and agents alone."""
    _, _, call_id = await connected(bank, token)
    north = await bank.greeted(token("supervisor", "s-1", division_id="north"))
    for board in ("queues", "agents", "calls"):
        for type_ in ("watch.subscribe", "watch.unsubscribe"):
            answer = await north.ask(type_, {"board": board, "division_id": "main"})
            assert answer["data"]["reason"] == "not_yours"
    assert (await north.ask("watch.subscribe", {"board": "agents", "division_id": "north"}))["type"] == "ack"
    [row] = (await north.until("board.snapshot"))["data"]["rows"]
    assert (row["agent_id"], row["name"], row["call_ids"]) == ("a-1", "Zoe", [])
    reach: dict[str, dict[str, Any]] = {
        "call.monitor": {"mode": "listen"},
        "call.transfer": {"to_queue_id": "loans"},
        "call.hang_up": {},
        "call.priority": {"is_absolute": True},
    }
    for type_, data in reach.items():
        answer = await north.ask(type_, {"call_id": call_id, **data})
        assert answer["data"]["reason"] == "unknown_call", type_
    await done(north, "agent.force_state", {"agent_id": "a-1", "activity": "not_ready", "reason": "north"})
    _, shown, _ = await bank.request("GET", "/v1/agents/a-1", token("supervisor", "s-1"))
    assert (shown["activity"], shown["reason"]) == ("ready", "")


async def test_operators_hear_alerts(
    visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stopped division; then an operator is told at once, a later one too, and when it is over; a supervisor is not."""
    monkeypatch.setattr(boards_module, "ALERTS_MS", 20)
    monkeypatch.setattr("gateway.status.KEPT_S", 0.0)
    stub.status_value = {"divisions": {"main": {"epoch": 1, "stopped_reason": "poison"}}}
    supervisor = await visitor.greeted(token("supervisor", "s-1"))

    def is_stop(one: dict[str, Any]) -> bool:
        return bool(one["type"] == "alert" and one["data"]["name"] == "division_stopped")

    operators = []
    for number in (1, 2):
        operators.append(await visitor.greeted(token("operator", f"o-{number}")))
        raised = (await operators[-1].until(is_stop))["data"]
        assert (raised["where"], raised["severity"], raised["is_raised"]) == ("main", "error", True)
    stub.status_value = {"divisions": {"main": {"epoch": 1, "stopped_reason": ""}}}
    for operator in operators:
        assert not (await operator.until(is_stop))["data"]["is_raised"]
    assert (await supervisor.ask("watch.unsubscribe", {"board": "calls"}))["type"] == "ack"
    assert "alert" not in [one["type"] for one in supervisor.messages]
