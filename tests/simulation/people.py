"""People with books of their own: each holds every number against the one before, and every answer against what is durable.

A person is outside of all processes: it has one socket at a time to some gateway, comes back through another with its last
event number when that breaks, and repeats a command under its id until it is answered.

Not here: what customers and agents want (`customers`, `staff`).
"""

import asyncio
import random
from typing import Any

from actors.items import Notice, Subscribed
from dispatch.commands import Command
from dispatch.effects import Reply
from dispatch.events import Event
from tests.simulation.clockwork import Violation
from tests.simulation.gateways import HALF_OPEN_S, Socket

ANSWER_S = 20.0
"""Longer than a mailbox lets a letter wait (15 s)."""
TRIES_MAX = 400
REPEATED_RATIO = 0.1


class Person:
    """One client. `floor` is where gateways are found; `chance` is this person's own."""

    def __init__(self, floor: Any, recipient: str, division_id: str, chance: random.Random) -> None:
        self.floor = floor
        self.recipient = recipient
        self.division_id = division_id
        self.chance = chance
        self.seq: int | None = None
        self.socket: Socket | None = None
        self.is_greeted = asyncio.Event()
        self.is_leaving = False
        self.events: list[Event] = []
        self.resets_count = 0
        self.answered_count = 0
        self._connections = 0
        self._number = 0
        self._commands = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.recipient} seq={self.seq} events={len(self.events)}>"

    # -- connection

    async def keep_connected(self) -> None:
        """Come back, through whatever gateway there is, for as long as this person stays."""
        while not self.is_leaving:
            if self.socket is None:
                self._call_in()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self.is_greeted.wait()
            except TimeoutError:
                self.cut()
            while self.is_greeted.is_set() and not self.is_leaving:  # noqa: ASYNC110 - it ends by either of two
                await asyncio.sleep(0.25)
            await asyncio.sleep(self.chance.uniform(0.05, 1.0))

    def _call_in(self) -> None:
        gateway = self.floor.any_gateway(self.chance)
        if gateway is None:
            return
        self._connections += 1
        self.socket = gateway.connect(self)
        self.socket.send("hello", self.recipient, f"{self.recipient}/{self._connections}", self.seq, self.division_id)

    def cut(self) -> None:
        """The line breaks; the gateway may believe in it for a while."""
        if self.socket is not None:
            self.socket.cut(self.chance.uniform(0, HALF_OPEN_S))

    def go_to(self, division_id: str, seq: int | None) -> None:
        """The call goes on in another division: come there, after that number."""
        self.floor.trace(self.recipient, "goes to", division_id, seq)
        socket = self.socket
        self.cut()
        if socket is not None:
            self.lose(socket)
        self.division_id, self.seq = division_id, seq

    def lose(self, socket: Socket) -> None:
        """The socket is gone: whoever waits for an answer on it asks again."""
        if socket is not self.socket:
            return
        self.socket = None
        self.is_greeted.clear()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(None)

    # -- what is heard

    def hear(self, socket: Socket, kind: str, body: Any) -> None:
        if socket is not self.socket:
            return
        if kind == "subscribed":
            self._greet(body)
        elif kind == "notices":
            self._take(body)
        elif kind == "unavailable":
            self.cut()
        else:
            number, answer = body
            asked = self._asked.get(number)
            if asked is not None and not asked.done():
                asked.set_result(answer if kind == "answer" else None)

    def _greet(self, subscribed: Subscribed) -> None:
        self.floor.trace(self.recipient, subscribed.kind, subscribed.seq)
        if subscribed.kind == "refused":
            raise Violation(f"{self.recipient} was refused as {subscribed.reason}")
        socket = self.socket
        if subscribed.kind == "resumed":
            self._take(subscribed.missed)
            if self.socket is not socket:
                return
            if self.seq != subscribed.seq:
                raise Violation(f"{self.recipient} was resumed up to {subscribed.seq} and has {self.seq}")
        else:
            self.resets_count += subscribed.kind == "reset"
            self.seq = subscribed.seq
        self.is_greeted.set()
        self.on_session(subscribed)

    def _take(self, notices: list[Notice]) -> None:
        socket = self.socket
        for notice in notices:
            if self.socket is not socket:
                return  # What comes after it is no longer this person's.
            if notice.seq == 0:
                self.cut()
                continue
            if self.seq is None or notice.seq != self.seq + 1:
                raise Violation(f"{self.recipient} got number {notice.seq} after {self.seq}: {notice.event}")
            self.floor.truth.check_notice(self.division_id, notice)
            self.seq = notice.seq
            self.events.append(notice.event)
            self.floor.trace(self.recipient, notice.seq, type(notice.event).__name__)
            self.on_event(notice.event)

    def on_event(self, event: Event) -> None:
        """What this person makes of it."""

    def on_session(self, subscribed: Subscribed) -> None:
        """The page is drawn anew."""

    # -- what is asked

    async def command(self, kind: type[Command], **fields: Any) -> Reply:
        """Give a command, under one id, until it is answered; check the answer, and now and then ask again."""
        self._commands += 1
        command: Any = kind(principal=self.recipient, id=f"{self.recipient}.{self._commands}", **fields)
        reply: Reply = await self.ask("command", command)
        await self._check_reply(command, reply)
        return reply

    async def _check_reply(self, command: Any, reply: Reply) -> None:
        self.answered_count += 1
        self.floor.trace(self.recipient, type(command).__name__, reply.reason)
        self.floor.truth.check_reply(self.recipient, command.id, reply)
        division_id = self.division_id
        if reply.is_accepted and self.chance.random() < REPEATED_RATIO:
            again = await self.ask("command", command)
            if again != reply and self.division_id == division_id:
                raise Violation(f"{command} was answered {reply}, and then {again}")

    async def ask(self, kind: str, body: Any) -> Any:
        """Ask until somebody answers."""
        for _ in range(TRIES_MAX):
            answer = await self._ask_once(kind, body)
            if answer is not None:
                return answer
            await asyncio.sleep(self.chance.uniform(0.1, 1.0))
        raise Violation(f"{self.recipient} was never answered: {kind} {body}")

    async def _ask_once(self, kind: str, body: Any) -> Any:
        """Ask once; None: nobody answered."""
        if self.socket is None:
            return None
        self._number += 1
        number = self._number
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self.socket.send(kind, number, body, self.division_id)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asked
        except TimeoutError:
            return None
        finally:
            del self._asked[number]
