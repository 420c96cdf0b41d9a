"""Agents: they sign in, answer what rings (or do not), talk, hold, transfer, wrap up, and come back."""

import asyncio
from typing import Any

from actors.items import Subscribed
from dispatch import events as ev
from dispatch.commands import (
    AcceptReservation,
    DeclineReservation,
    FinishWrapUp,
    HangUp,
    ReportConnected,
    SetActivity,
    SetHold,
    ShowScriptStep,
    TransferCall,
)
from dispatch.events import Event
from tests.simulation.people import Person

LONGEST_S = (30.0, 60.0)
"""Then an agent ends a call that nobody else has ended; what is over by then is not touched by that."""
LOOK_S = 2.0
"""How often an agent looks whether it is still signed in."""


class Staff(Person):
    """One agent."""

    def __init__(self, floor: Any, agent_id: str, division_id: str, queue_ids: list[str], chance: Any) -> None:
        super().__init__(floor, f"agent:{agent_id}", division_id, chance)
        self.agent_id = agent_id
        self.queue_ids = queue_ids
        self.activity = ""
        self._wants_ready = True

    async def live(self) -> None:
        """Work until the hall closes: be ready, except for a break now and then while faults are about."""
        self.floor.begin(self.keep_connected())
        await self.is_greeted.wait()
        while not self.is_leaving:
            is_break = not self.floor.is_healed and self.chance.random() < 0.05
            if is_break:
                await self._be("not_ready", "break")
                await asyncio.sleep(self.chance.uniform(0, 5))
            elif self.activity != "ready":
                await self._be("ready")
            await asyncio.sleep(self.chance.uniform(0.5, LOOK_S))

    async def _be(self, activity: str, reason: str = "") -> None:
        """What comes of it is told as an event: the answer may be overtaken by later ones."""
        await self.command(SetActivity, agent_id=self.agent_id, activity=activity, reason=reason)

    # -- what happens to an agent

    def on_event(self, event: Event) -> None:
        mine = getattr(event, "agent_id", "") == self.agent_id
        if isinstance(event, ev.AgentActivityChanged) and mine:
            self.activity = event.activity
        elif isinstance(event, ev.CallReserved) and mine:
            self.floor.begin(self._answer(event.reservation_id))
        elif isinstance(event, ev.ReservationAccepted) and mine and not event.room_attempt:
            self.floor.begin(self._connect(event.call_id))
        elif isinstance(event, ev.RoomOpened):
            self.floor.begin(self._offer(event.call_id))
        elif isinstance(event, ev.CallConnected) and mine:
            self.floor.begin(self._talk(event.call_id))
        elif isinstance(event, ev.CallEnded) and mine and event.wrap_up != "none":
            self.floor.begin(self._wrap_up(event.call_id))

    def on_session(self, subscribed: Subscribed) -> None:
        session = subscribed.session
        if session is None or session.agent is None:
            return
        self.activity = session.agent.activity
        if subscribed.kind == "resumed":
            return
        if session.reservation is not None:
            self.floor.begin(self._answer(session.reservation.reservation_id))
        if session.wrap_up is not None:
            self.floor.begin(self._wrap_up(session.wrap_up.call_id))
        call = session.call
        if call is not None and call.state == "connecting" and call.media == "external":
            self.floor.begin(self._connect(call.call_id))
        elif call is not None and call.room is not None and call.room.is_open:
            self.floor.begin(self._offer(call.call_id))

    # -- what an agent does

    async def _answer(self, reservation_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0.05, 3.0))
        mood = 0.0 if self.floor.is_healed else self.chance.random()
        if mood < 0.8:
            await self.command(AcceptReservation, agent_id=self.agent_id, reservation_id=reservation_id)
        elif mood < 0.9:
            await self.command(DeclineReservation, agent_id=self.agent_id, reservation_id=reservation_id, reason="no")

    async def _connect(self, call_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        await self.command(ReportConnected, call_id=call_id)

    async def _offer(self, call_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await self._ask_once("rtc", (call_id, "agent"))

    async def _talk(self, call_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0.5, 5))
        mood = self.chance.random()
        if mood < 0.3:
            await self.command(HangUp, call_id=call_id, reason="done")
        elif mood < 0.4:
            await self.command(SetHold, call_id=call_id, is_held=True)
            await self.command(
                ShowScriptStep, call_id=call_id, step_id="risk", text="It may lose value.", answers=["yes", "no"]
            )
        elif mood < 0.5 and not self.floor.is_healed:
            await self.command(TransferCall, call_id=call_id, to_queue_id=self.chance.choice(self.queue_ids))
        await asyncio.sleep(self.chance.uniform(*LONGEST_S))
        # A customer who never came, or has gone without a word.
        await self.command(HangUp, call_id=call_id, reason="nobody there")

    async def _wrap_up(self, call_id: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, 4))
        await self.command(FinishWrapUp, agent_id=self.agent_id, call_id=call_id)
