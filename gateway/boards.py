"""Who watches what, and the rounds in which each watched board is read once and told to all who watch it.

Rules: nothing is read that nobody watches, no board more than once in `ROUND_MS`, and a large one more seldom still (`ROW_MS`).
What a round brings is encoded once a codec and written to all, so its cost grows with the rows, and with the watchers by one
write each. A watcher who does not keep up is left out until its buffer is clear, and then gets the whole board: nothing
queues up for it.

Theory: one task a watched board, and one for the alerts while an operator is connected; each ends with its last watcher.

Not here: rows and versions (`gateway/board.py`), who may watch (`gateway/supervisor_session.py`).
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from actors.hall import Hall
from dispatch import lifecycle as lc
from gateway import messages as wire
from gateway.alerts import Alert
from gateway.board import ROWS_MAX, Board, agent_row, call_row, queue_row
from gateway.codec import Codec
from gateway.connection import Connection, built_frame
from gateway.messages_watching import Alert as AlertMessage
from gateway.messages_watching import Row
from gateway.refusals import EXPECTED
from gateway.settings import Settings
from gateway.status import Overview

ROUND_MS = 1_000
ROW_MS = 1
"""Pause a row read: 5,000 agents are read every 5 s. A shard makes and sends a view in some microseconds."""
ALERTS_MS = 5_000
"""A status asks every part of the hall."""
ALERTS_MAX = 200
"""Told at a time, errors first: a hall in which more is wrong needs its status, not a longer list."""
BEHIND_BYTES = 65_536
"""A watcher with so much unread gets no more of this, until it has read."""
TALKING = [lc.CONNECTED, lc.CONNECTING, lc.RESERVED]
WAITING = [lc.WAITING]

log = structlog.get_logger("gateway.boards")


class _Shared:
    """One message for many: built once a codec."""

    def __init__(self, data: wire.FromServer, number: int, at_ms: int) -> None:
        self._message = wire.Outgoing(wire.VERSION, f"b{number}", data.TYPE, data, at_ms=at_ms)
        self._frame_by_codec: dict[str, bytes] = {}

    def send(self, connection: Connection) -> None:
        codec: Codec = connection.codec
        if codec.name not in self._frame_by_codec:
            self._frame_by_codec[codec.name] = built_frame(codec, self._message)
        connection.send_built(self._frame_by_codec[codec.name])


class _Watch:
    """One board and who watches it."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.told: dict[Connection, int] = {}
        """Connection -> the version it has; 0: none."""
        self.at_ms = 0
        """When the board's version was read."""
        self.delta: _Shared | None = None
        self.snapshot: _Shared | None = None
        """Of the board's version, once somebody needed it."""
        self.task: asyncio.Task[None] | None = None


class Boards:
    """Of one gateway."""

    def __init__(self, hall: Hall, overview: Overview, settings: Settings) -> None:
        self._hall = hall
        self._overview = overview
        self._within_s = settings.command_timeout_ms / 1000
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._numbers = 0
        self._operators: dict[Connection, None] = {}
        self._alerts: dict[tuple[str, str], AlertMessage] = {}
        self._alerts_task: asyncio.Task[None] | None = None
        self.rounds_count = 0
        """Readings of boards so far."""

    def __repr__(self) -> str:
        watches = [f"{watch.board!r} watchers={len(watch.told)}" for watch in self._watches.values()]
        return f"<Boards {watches} operators={len(self._operators)} alerts={len(self._alerts)}>"

    # -- who watches

    def watch(self, name: str, division_id: str, connection: Connection) -> None:
        """Show the board to `connection` from now on; its snapshot comes in a later turn of the loop, so after an answer."""
        watch = self._watches.get((division_id, name))
        if watch is None:
            watch = self._watches[division_id, name] = _Watch(Board(name, division_id))
        watch.told[connection] = 0
        if watch.task is None:
            watch.task = self._begin(self._repeat(watch))
        else:
            asyncio.get_running_loop().call_soon(self._tell_one, watch, connection)

    async def unwatch(self, name: str, division_id: str, connection: Connection) -> None:
        """Show it no more; harmless when it was not watched."""
        watch = self._watches.get((division_id, name))
        if watch is None or watch.told.pop(connection, None) is None or watch.told:
            return
        del self._watches[division_id, name]
        await _end(watch.task)

    def watch_alerts(self, connection: Connection) -> None:
        """Tell what is raised now, and whatever is raised or cleared from now on."""
        self._operators[connection] = None
        if self._alerts_task is None:
            self._alerts_task = self._begin(self._repeat_alerts())
        else:
            for alert in self._alerts.values():
                self._share(alert, _now_ms()).send(connection)

    async def leave(self, connection: Connection) -> None:
        """The connection is gone: it watches nothing any more."""
        for division_id, name in [key for key, watch in self._watches.items() if connection in watch.told]:
            await self.unwatch(name, division_id, connection)
        if self._operators.pop(connection, False) is None and not self._operators:
            task, self._alerts_task = self._alerts_task, None
            self._alerts.clear()
            await _end(task)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    # -- boards

    async def _repeat(self, watch: _Watch) -> None:
        while True:
            rows_count = await self._round(watch)
            await asyncio.sleep(pause_ms(rows_count) / 1000)

    async def _round(self, watch: _Watch) -> int:
        """Read the board and tell its watchers; returns how many rows the division had to say."""
        board, rows = watch.board, list[Row]()
        self.rounds_count += 1
        try:
            async with asyncio.timeout(self._within_s):
                rows = await self._read(board.name, board.division_id)
            is_new = board.take(rows)
        except EXPECTED as error:
            log.warning("board_not_read", board=board.name, division_id=board.division_id, error=type(error).__name__)
            is_new = board.lose()
        except Exception:
            log.exception("board_not_read", board=board.name, division_id=board.division_id)
            is_new = board.lose()
        if is_new:
            watch.at_ms = _now_ms()
            watch.delta, watch.snapshot = self._share(board.delta(), watch.at_ms), None
        for connection in list(watch.told):
            try:
                self._tell_one(watch, connection)
            except Exception:
                # Otherwise this board's task would end, and all its watchers see a picture that stands still.
                log.exception("board_not_told", board=board.name, division_id=board.division_id)
        return len(rows)

    async def _read(self, name: str, division_id: str) -> list[Row]:
        if name == "queues":
            return [queue_row(view) for view in await self._hall.queues(division_id)]
        if name == "agents":
            # Who is away is what a board that is cut can best do without.
            agents = sorted(await self._hall.agents(division_id), key=lambda view: view.activity == lc.OFFLINE)
            return [agent_row(view) for view in agents]
        calls = await self._hall.calls(TALKING, ROWS_MAX + 1, division_id)
        if len(calls) <= ROWS_MAX:
            calls += await self._hall.calls(WAITING, ROWS_MAX + 1 - len(calls), division_id)
        # A call that left the line between the two reads is in both.
        return [call_row(view) for view in {view.call_id: view for view in calls}.values()]

    def _tell_one(self, watch: _Watch, connection: Connection) -> None:
        """Bring one watcher to the board's version, if it is not there and reads what it gets."""
        told, version = watch.told.get(connection), watch.board.version
        if told is None or told == version or connection.unsent_bytes > BEHIND_BYTES:
            return
        watch.told[connection] = version
        if told and told == version - 1 and watch.delta is not None:
            watch.delta.send(connection)
            return
        if watch.snapshot is None:
            watch.snapshot = self._share(watch.board.snapshot(), watch.at_ms)
        watch.snapshot.send(connection)

    # -- alerts

    async def _repeat_alerts(self) -> None:
        while True:
            try:
                status = await self._overview.read()
                self._take_alerts([Alert(**alert) for alert in status["alerts"]])
            except Exception:
                log.exception("alerts_not_read")
            await asyncio.sleep(ALERTS_MS / 1000)

    def _take_alerts(self, alerts: list[Alert]) -> None:
        """Tell every operator what is raised and what is over. An alert is the same for as long as name and place are."""
        found = {(one.name, one.where): one for one in alerts[:ALERTS_MAX]}
        for key in [key for key in self._alerts if key not in found]:
            over = self._alerts.pop(key)
            self._tell_operators(AlertMessage(over.name, over.where, over.text, over.severity, is_raised=False))
        for key, one in found.items():
            if key not in self._alerts:
                self._alerts[key] = AlertMessage(one.name, one.where, one.text, one.severity, is_raised=True)
                self._tell_operators(self._alerts[key])

    def _tell_operators(self, alert: AlertMessage) -> None:
        shared = self._share(alert, _now_ms())
        for connection in self._operators:
            shared.send(connection)

    def _share(self, data: wire.FromServer, at_ms: int) -> _Shared:
        self._numbers += 1
        return _Shared(data, self._numbers, at_ms)


def pause_ms(rows_count: int) -> int:
    """How long a board of so many rows is left alone before it is read again."""
    return max(ROUND_MS, ROW_MS * rows_count)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
