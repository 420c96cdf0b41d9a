"""Customers: one call each, with patience and a plan; some leave without a word."""

import asyncio
from typing import Any

from actors.items import Subscribed
from dispatch import events as ev
from dispatch.commands import AnswerScriptStep, HangUp, RequestCall
from dispatch.effects import Reply
from dispatch.events import Event
from gateway.customer import went_on
from tests.simulation.clockwork import Violation
from tests.simulation.people import Person

PATIENCE_S = (3.0, 40.0)
TALK_S = (0.5, 15.0)
VANISH_RATIO = 0.1
HANG_UP_RATIO = 0.5
READ_RATIO = 0.3
REQUEST_S = 20.0
"""Shorter than an ended call is remembered (`plans.RETENTION_MS`)."""


class Customer(Person):
    """Asks for one call and sees it through."""

    def __init__(self, floor: Any, name: str, division_id: str, queue_id: str, chance: Any) -> None:
        super().__init__(floor, f"customer:{name}", division_id, chance)
        self.customer_id = name
        self.call_id = f"call-{name}"
        self.is_late = False
        """Comes after all faults have stopped."""
        self.queue_id = queue_id
        self.is_acknowledged = False
        self.refused_reason = ""
        self.is_over = False
        """Saw the end of its call, or will not look any more."""
        self.has_vanished = False
        self._told = asyncio.Event()
        self.call_state = ""

    async def live(self, arrive_s: float) -> None:
        """Come, ask, wait, talk, go."""
        await asyncio.sleep(arrive_s)
        self.floor.begin(self.keep_connected())
        reply = await self._request()
        if reply is None:
            self._leave()
            return
        if not reply.is_accepted:
            self.refused_reason = reply.reason
            self._leave()
            return
        self.is_acknowledged = True
        if self.chance.random() < READ_RATIO:
            await self._look()
        if self.chance.random() < VANISH_RATIO:
            await asyncio.sleep(self.chance.uniform(0, 20))
            self.has_vanished = True
            self._leave()
            return
        await self._see_through()
        if self.chance.random() < READ_RATIO:
            await self._look_back()
        await asyncio.sleep(self.chance.uniform(0, 3))
        self._leave()

    async def _request(self) -> Reply | None:
        """Ask for the call as long as a repeat is known as one; None: nobody said whether there is one."""
        fields = {"call_id": self.call_id, "customer_id": self.customer_id, "queue_id": self.queue_id}
        try:
            async with asyncio.timeout(REQUEST_S):
                return await self.command(RequestCall, is_consented=True, **fields)
        except TimeoutError:
            return None

    def _leave(self) -> None:
        self.is_leaving = self.is_over = True
        self.cut()

    async def _look(self) -> None:
        view = await self._ask_once("view", self.call_id)
        if view is not None:
            self.floor.truth.check_view(view)

    async def _look_back(self) -> None:
        """What the archive says of the call; now and then there is none to ask."""
        division_id, truth = self.division_id, self.floor.truth
        count = len(truth.divisions[division_id].call_events.get(self.call_id, ()))
        events = await self._ask_once("history", self.call_id)
        if events is not None:
            truth.check_history(division_id, self.call_id, events, count)

    async def _see_through(self) -> None:
        """Wait within one's patience, talk as long as there is something to say, and hang up in the end."""
        if not await self._until(("connected", "ended"), self.chance.uniform(*PATIENCE_S)):
            await self._hang_up("impatient")
        elif self.call_state != "ended":
            is_first = self.chance.random() < HANG_UP_RATIO
            await self._until(("ended",), self.chance.uniform(*TALK_S) if is_first else 4 * TALK_S[1])
            await self._hang_up("done")
        if not await self._until(("ended",), self.floor.bound_s):
            raise Violation(f"{self.recipient} hung up and never heard that {self.call_id} ended")

    async def _hang_up(self, reason: str) -> None:
        if self.call_state == "ended":
            return
        reply = await self.command(HangUp, call_id=self.call_id, reason=reason)
        if reply.reason not in ("", "wrong_state", "unknown_call"):
            raise Violation(f"{self.recipient} may not hang up its own call: {reply}")

    async def _until(self, states: tuple[str, ...], wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                while self.call_state not in states:
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            return False
        return True

    def _set_state(self, state: str) -> None:
        self.call_state = state
        self._told.set()

    def on_event(self, event: Event) -> None:
        if isinstance(event, ev.CallConnected):
            self._set_state("connected")
        elif isinstance(event, ev.CallEnded | ev.HandedCallEnded):
            self._set_state("ended")
        elif isinstance(event, ev.CallHandedOver):
            self._set_state("waiting")
            self.go_to(event.to_division, event.seq or None)
        elif isinstance(event, ev.RoomOpened):
            self.floor.begin(self._offer(event.call_id))
        elif isinstance(event, ev.ScriptStepShown):
            self.floor.begin(self._answer(event))

    async def _answer(self, event: ev.ScriptStepShown) -> None:
        reply = await self.command(
            AnswerScriptStep, call_id=event.call_id, number=event.number, answer=event.answers[0]
        )
        # The call may be over by then, or go on elsewhere.
        if reply.reason not in ("", "wrong_state", "unknown_call", "moved", "step_replaced"):
            raise Violation(f"{self.recipient} may not answer {event}: {reply}")

    async def _offer(self, call_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await self._ask_once("rtc", (call_id, "customer"))

    def on_session(self, subscribed: Subscribed) -> None:
        """A snapshot replaces what was believed; without a call in it, an admitted one has ended and been forgotten."""
        if elsewhere := went_on(subscribed):
            self.go_to(elsewhere, self.seq)
            return
        if subscribed.kind == "resumed" or subscribed.session is None:
            return
        call = subscribed.session.call
        if call is not None:
            self._set_state(call.state)
            if call.room is not None and call.room.is_open:
                self.floor.begin(self._offer(call.call_id))
        elif self.is_acknowledged:
            self._set_state("ended")
