"""The virtual actor of a bank employee."""

from typing import TYPE_CHECKING

from actors.items import ReadAgent
from dispatch.commands import (
    AcceptReservation,
    DeclineReservation,
    ExtendWrapUp,
    FinishWrapUp,
    InviteCustomer,
    SetActivity,
)
from dispatch.effects import Reply
from dispatch.views import AgentView

if TYPE_CHECKING:
    from actors.hall import Hall


class AgentHandle:
    """Speaks to one agent's actor. Exists as soon as it is addressed; costs nothing to make.

    Each method returns once its outcome is durable; a refusal is a `Reply` with a reason. All raise HallUnavailable:
    repeat with the same `command_id`. `principal` defaults to the agent itself.
    """

    def __init__(self, hall: "Hall", division_id: str, agent_id: str) -> None:
        self._hall = hall
        self._division_id = division_id
        self.agent_id = agent_id

    def __repr__(self) -> str:
        return f"<agent {self.agent_id} of {self._division_id}>"

    async def set_ready(self, *, principal: str = "", command_id: str = "") -> Reply:
        return await self.set_activity("ready", principal=principal, command_id=command_id)

    async def set_not_ready(self, reason: str, *, principal: str = "", command_id: str = "") -> Reply:
        return await self.set_activity("not_ready", reason, principal=principal, command_id=command_id)

    async def sign_out(self, *, principal: str = "", command_id: str = "") -> Reply:
        return await self.set_activity("offline", principal=principal, command_id=command_id)

    async def set_activity(
        self, activity: str, reason: str = "", *, principal: str = "", command_id: str = ""
    ) -> Reply:
        """`activity`: `ready`, `not_ready` or `offline`."""
        command = SetActivity(
            principal=self._by(principal), id=command_id, agent_id=self.agent_id, activity=activity, reason=reason
        )
        return await self._hall.submit(command, self._division_id)

    async def accept(self, reservation_id: str, *, principal: str = "", command_id: str = "") -> Reply:
        """Take the call. Late: refused with `not_pending`, nothing changes."""
        command = AcceptReservation(
            principal=self._by(principal), id=command_id, reservation_id=reservation_id, agent_id=self.agent_id
        )
        return await self._hall.submit(command, self._division_id)

    async def decline(
        self,
        reservation_id: str,
        reason: str = "",
        *,
        is_busy: bool = False,
        principal: str = "",
        command_id: str = "",
    ) -> Reply:
        """Give the call back to its old place. `is_busy`: busy elsewhere, so that nobody asks for a while."""
        command = DeclineReservation(
            principal=self._by(principal),
            id=command_id,
            reservation_id=reservation_id,
            agent_id=self.agent_id,
            reason=reason,
            is_busy=is_busy,
        )
        return await self._hall.submit(command, self._division_id)

    async def invite(
        self,
        call_id: str,
        customer_id: str,
        queue_id: str,
        business_reference: str = "",
        valid_ms: int = 0,
        *,
        principal: str = "",
        command_id: str = "",
    ) -> Reply:
        """Invite a customer to a call that belongs to this agent. `valid_ms` 0: as long as the plan says."""
        command = InviteCustomer(
            principal=self._by(principal),
            id=command_id,
            call_id=call_id,
            customer_id=customer_id,
            agent_id=self.agent_id,
            queue_id=queue_id,
            business_reference=business_reference,
            valid_ms=valid_ms,
        )
        return await self._hall.submit(command, self._division_id)

    async def finish_wrap_up(self, call_id: str, *, principal: str = "", command_id: str = "") -> Reply:
        command = FinishWrapUp(principal=self._by(principal), id=command_id, agent_id=self.agent_id, call_id=call_id)
        return await self._hall.submit(command, self._division_id)

    async def extend_wrap_up(self, call_id: str, extra_ms: int, *, principal: str = "", command_id: str = "") -> Reply:
        command = ExtendWrapUp(
            principal=self._by(principal), id=command_id, agent_id=self.agent_id, call_id=call_id, extra_ms=extra_ms
        )
        return await self._hall.submit(command, self._division_id)

    async def view(self) -> AgentView | None:
        """What the agent is doing; None when the plan has no such agent."""
        view: AgentView | None = await self._hall.ask(ReadAgent(self._division_id, self.agent_id))
        return view

    def _by(self, principal: str) -> str:
        return principal or f"agent:{self.agent_id}"
