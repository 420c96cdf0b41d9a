"""Boards: versions and deltas as pure values, and who is told what, through a real gateway before a real hall."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import to_builtins

from actors import reading
from actors.hall import Hall
from actors.local import LocalHall
from gateway import boards as boards_module
from gateway.app import Gateway
from gateway.board import ROWS_MAX, Board, call_row
from gateway.messages_watching import AgentRow, Row
from tests.gateway.client import MSGPACK, TIMEOUT_S, Client, Visitor
from tests.gateway.stub_hall import StubHall, unavailable
from tests.gateway.test_call_life import REQUEST, hall, local
from tests.gateway.test_session import agent_view, call_view

__all__ = ["hall", "local"]
Token = Callable[..., str]


def row(number: int, activity: str = "ready") -> Row:
    return AgentRow(f"a-{number}", "", activity, "", "idle", True, 0, [])


def shown(board: Board) -> dict[str, Any]:
    return {one["agent_id"]: one for one in to_builtins(board.snapshot().rows)}


def test_deltas_add_up_to_the_snapshot() -> None:
    """Given 300 random readings; when each delta is applied to what was shown before; then it is the snapshot, each time."""
    chance, board, copy = random.Random(5), Board("agents", "main"), dict[str, Any]()
    for _ in range(300):
        numbers = chance.sample(range(12), chance.randrange(12))
        version = board.version
        is_new = board.take([row(one, chance.choice(["ready", "offline"])) for one in numbers])
        assert board.version == version + is_new
        if is_new:
            delta = to_builtins(board.delta())
            copy = {key: one for key, one in copy.items() if key not in delta["gone"]}
            copy |= {one["agent_id"]: one for one in delta["rows"]}
        assert copy == shown(board)


def test_nothing_new_is_no_version() -> None:
    """Given a board; when the same is read again, it stays; a loss and the return after it are versions, once each."""
    board = Board("agents", "main")
    assert board.take([])  # that nobody is there is worth saying once
    assert not board.take([])
    assert board.take([row(1)])
    assert not board.take([row(1)])
    assert board.lose()
    assert not board.lose()
    assert (board.snapshot().is_stale, list(shown(board))) == (True, ["a-1"])
    assert board.take([row(1)])
    assert (board.delta().is_stale, board.delta().rows) == (False, [])


@pytest.mark.parametrize(("count", "is_cut"), [(ROWS_MAX, False), (ROWS_MAX + 1, True)])
def test_a_board_is_bounded(count: int, is_cut: bool) -> None:
    """Given as many rows as a board shows, and one more; then it shows so many, and says where it is cut."""
    board = Board("agents", "main")
    board.take([row(number) for number in range(count)])
    assert (len(board.snapshot().rows), board.snapshot().is_cut, len(board.delta().rows)) == (
        ROWS_MAX,
        is_cut,
        ROWS_MAX,
    )


def test_a_call_on_the_board_names_no_customer() -> None:
    """Given a call with a customer and a supervisor; then the row has a stand-in for one and the wire's word for the other."""
    made = to_builtins(call_row(call_view(customer_id="customer-4711", supervisors={"s-1": "monitor"})))
    assert (made["customer"], made["supervisors"]) == ("***11", {"s-1": "listen"})
    assert "customer-4711" not in str(made)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


async def watching(visitor: Visitor, token: str, board: str, **options: Any) -> tuple[Client, dict[str, Any]]:
    """Connect and watch: (client, the snapshot)."""
    client = await visitor.greeted(token, **options)
    ack = await client.ask("watch.subscribe", {"board": board})
    assert ack["data"]["value"] == {"board": board, "division_id": "main"}, ack
    assert [one["type"] for one in client.messages if one["type"].startswith("board.")] == []  # the answer comes first
    return client, (await client.until("board.snapshot"))["data"]


async def test_one_reading_and_one_frame_for_all_who_watch(
    gateway: Gateway, visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given ten who watch the same board; when an agent changes; then each gets the same delta, encoded once, read once."""
    monkeypatch.setattr(boards_module, "ROUND_MS", 50)
    built = []
    real = boards_module.built_frame
    monkeypatch.setattr(boards_module, "built_frame", lambda codec, one: built.append(one.id) or real(codec, one))
    stub.views["agent", "a-1"] = agent_view()
    clients = [(await watching(visitor, token("supervisor", f"s-{number}"), "agents"))[0] for number in range(10)]
    assert len(built) == 1
    rounds_count = gateway._services.boards.rounds_count
    stub.views["agent", "a-1"] = agent_view(name="Li Nan")
    deltas = [await client.until("board.delta") for client in clients]
    assert all(one == deltas[0] for one in deltas)
    assert deltas[0]["data"]["rows"][0]["name"] == "Li Nan"
    assert len(built) == 2
    assert gateway._services.boards.rounds_count > rounds_count
    assert repr(gateway._services.boards).count("watchers=10") == 1
    for client in clients:
        await client.socket.close()


async def test_a_board_is_read_while_somebody_watches(gateway: Gateway, visitor: Visitor, token: Token) -> None:
    """Given two watchers; when one unsubscribes and the other leaves; then nothing is read any more, and no task is left."""
    boards = gateway._services.boards
    first, _ = await watching(visitor, token("supervisor", "s-1"), "queues")
    second, _ = await watching(visitor, token("supervisor", "s-2"), "queues", subprotocol=MSGPACK)
    assert (await first.ask("watch.unsubscribe", {"board": "queues"}))["type"] == "ack"
    assert (await first.ask("watch.unsubscribe", {"board": "queues"}))["type"] == "ack"  # harmless
    assert "watchers=1" in repr(boards)
    await second.socket.close()
    await first.socket.close()
    await until(lambda: "watchers" not in repr(boards))
    rounds_count = boards.rounds_count
    await asyncio.sleep(1.1 * boards_module.ROUND_MS / 1000)
    assert boards.rounds_count == rounds_count


async def test_a_watcher_who_is_behind_gets_the_whole_and_no_queue(
    visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a watcher who does not read; when versions go by; then none queues for it, and then one snapshot brings it up."""
    monkeypatch.setattr(boards_module, "ROUND_MS", 20)
    stub.views["agent", "a-1"] = agent_view()
    client, snapshot = await watching(visitor, token("supervisor", "s-1"), "agents")
    monkeypatch.setattr(boards_module, "BEHIND_BYTES", -1)
    other, _ = await _version_after(visitor, stub, token, monkeypatch, snapshot["version"])
    late = await client.until(lambda one: one["type"].startswith("board."))
    assert (late["type"], late["data"]["rows"][0]["name"]) == ("board.snapshot", "third")
    await other.socket.close()


async def _version_after(
    visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch, version: int
) -> tuple[Client, int]:
    """Let two versions pass while nobody is told, then tell again."""
    boards = boards_module.Boards
    seen: list[int] = []
    real = boards._tell_one
    monkeypatch.setattr(boards, "_tell_one", lambda *one: seen.append(one[1].board.version) or real(*one))
    for name in ("second", "third"):
        version += 1
        stub.views["agent", "a-1"] = agent_view(name=name)
        await until(lambda wanted=version: wanted in seen)
    monkeypatch.setattr(boards_module, "BEHIND_BYTES", 65_536)
    return await visitor.greeted(token("supervisor", "s-2")), version


async def test_a_division_that_does_not_answer_is_shown_as_it_was(
    visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a board; when the division is away and back; then it is stale and fresh again, once each, its rows unchanged."""
    monkeypatch.setattr(boards_module, "ROUND_MS", 20)
    client, snapshot = await watching(visitor, token("operator", "o-1"), "queues")
    assert (snapshot["is_stale"], snapshot["rows"]) == (False, [])
    stub.fault = unavailable("not_ready")
    stale = (await client.until("board.delta"))["data"]
    assert (stale["is_stale"], stale["gone"], stale["version"]) == (True, [], snapshot["version"] + 1)
    stub.fault = None
    fresh = (await client.until("board.delta"))["data"]
    assert (fresh["is_stale"], fresh["version"]) == (False, snapshot["version"] + 2)


def test_a_large_board_is_read_more_seldom() -> None:
    """Given the pauses between two readings; then 1,000 rows are read each second, and one more a millisecond later."""
    assert [boards_module.pause_ms(rows) for rows in (0, 1_000, 1_001, 5_000)] == [1_000, 1_000, 1_001, 5_000]


async def test_calls_are_read_by_state_and_bounded(
    hall: Hall, local: LocalHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given five calls, one of them ended; then those of a state come in order, at most so many, never beyond the bound."""
    for number in range(5):
        reply = await hall.call(f"k-{number}").request(f"c-{number}", REQUEST["queue_id"], is_consented=True)
        assert not reply.reason, reply
    await hall.call("k-1").hang_up(principal="customer:c-1")
    assert [view.call_id for view in await hall.calls(["waiting"], 3)] == ["k-0", "k-2", "k-3"]
    assert [view.call_id for view in await hall.calls(["ended"], 3)] == ["k-1"]
    assert await hall.calls(["waiting"], -1) == []
    monkeypatch.setattr(reading, "CALLS_MAX", 4)
    assert len(await hall.calls(["waiting", "ended"], 1_000)) == 4
