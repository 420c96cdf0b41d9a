"""The virtual actor of one customer's video contact."""

from typing import TYPE_CHECKING

from actors.items import ReadCall
from dispatch.commands import (
    AcceptInvitation,
    AnswerScriptStep,
    Command,
    CompleteTransfer,
    HangUp,
    InviteParty,
    RemoveParty,
    ReportConnected,
    RequestCall,
    RequestCallback,
    SetHold,
    SetPriority,
    ShowScriptStep,
    Supervise,
    TakeOver,
    TransferCall,
)
from dispatch.effects import Reply
from dispatch.events import Event
from dispatch.handing_facts import HOPS_MAX
from dispatch.lifecycle import HANDED_OVER
from dispatch.views import CallView
from dispatch.wishes import Wishes

if TYPE_CHECKING:
    from actors.hall import Hall

HALL = "system:hall"
"""Who acts where nobody is named."""


class CallHandle:
    """Speaks to one call's actor. The id is the caller's to choose: the same id again is the same call.

    Commands return once their outcome is durable; a refusal is a `Reply` with a reason. All raise HallUnavailable: repeat with
    the same `command_id`. Who may do what is the engine's to say, by `principal`.
    """

    def __init__(self, hall: "Hall", division_id: str, call_id: str) -> None:
        self._hall = hall
        self._division_id = division_id
        self.call_id = call_id

    def __repr__(self) -> str:
        return f"<call {self.call_id} of {self._division_id}>"

    async def request(
        self,
        customer_id: str,
        queue_id: str,
        business_reference: str = "",
        is_consented: bool = False,
        wishes: Wishes | None = None,
        *,
        principal: str = "",
        command_id: str = "",
    ) -> Reply:
        """Ask for an agent. Accepted: the call waits, durably, or rings already. `wishes`: beyond what the queue says."""
        command = RequestCall(
            principal=principal or f"customer:{customer_id}",
            id=command_id,
            call_id=self.call_id,
            customer_id=customer_id,
            queue_id=queue_id,
            business_reference=business_reference,
            is_consented=is_consented,
            wishes=wishes,
        )
        return await self._submit(command)

    async def accept_invitation(
        self, customer_id: str, is_consented: bool = False, *, principal: str = "", command_id: str = ""
    ) -> Reply:
        """The invited customer comes: the call waits for the agent who invited."""
        command = AcceptInvitation(
            principal=principal or f"customer:{customer_id}",
            id=command_id,
            call_id=self.call_id,
            customer_id=customer_id,
            is_consented=is_consented,
        )
        return await self._submit(command)

    # -- while it waits

    async def set_priority(
        self, credit_ms: int, is_absolute: bool = False, *, principal: str = HALL, command_id: str = ""
    ) -> Reply:
        """Change its place at once; both values replace what they were."""
        command = SetPriority(
            principal=principal, id=command_id, call_id=self.call_id, credit_ms=credit_ms, is_absolute=is_absolute
        )
        return await self._submit(command)

    async def request_callback(self, *, principal: str = HALL, command_id: str = "") -> Reply:
        """The customer need not stay; the call keeps its place."""
        return await self._submit(RequestCallback(principal=principal, id=command_id, call_id=self.call_id))

    # -- while it talks

    async def transfer(
        self,
        *,
        to_queue_id: str = "",
        to_agent_id: str = "",
        credit_ms: int = -1,
        reason: str = "",
        principal: str = HALL,
        command_id: str = "",
    ) -> Reply:
        """Blind transfer, to a queue or to an agent. `credit_ms` -1: what the target says."""
        command = TransferCall(
            principal=principal,
            id=command_id,
            call_id=self.call_id,
            to_queue_id=to_queue_id,
            to_agent_id=to_agent_id,
            credit_ms=credit_ms,
            reason=reason,
        )
        return await self._submit(command)

    async def invite_party(
        self, role: str, *, to_agent_id: str = "", to_queue_id: str = "", principal: str = HALL, command_id: str = ""
    ) -> Reply:
        """Ask one more agent into it, as `consult`, `expert` or `third`; the answer says whom."""
        command = InviteParty(
            principal=principal,
            id=command_id,
            call_id=self.call_id,
            role=role,
            to_agent_id=to_agent_id,
            to_queue_id=to_queue_id,
        )
        return await self._submit(command)

    async def remove_party(self, agent_id: str, *, principal: str = HALL, command_id: str = "") -> Reply:
        """Let a further agent out of it, also while it still rings there."""
        command = RemoveParty(principal=principal, id=command_id, call_id=self.call_id, agent_id=agent_id)
        return await self._submit(command)

    async def complete_transfer(self, to_agent_id: str, *, principal: str = HALL, command_id: str = "") -> Reply:
        """Consulted transfer: a party becomes the owner."""
        command = CompleteTransfer(principal=principal, id=command_id, call_id=self.call_id, to_agent_id=to_agent_id)
        return await self._submit(command)

    async def take_over(self, agent_id: str, *, principal: str = HALL, command_id: str = "") -> Reply:
        """A supervisor puts this agent in the owner's place."""
        return await self._submit(TakeOver(principal=principal, id=command_id, call_id=self.call_id, agent_id=agent_id))

    async def supervise(self, supervisor_id: str, mode: str, *, principal: str = HALL, command_id: str = "") -> Reply:
        """`monitor`, `whisper`, `barge`, or empty to leave."""
        command = Supervise(
            principal=principal, id=command_id, call_id=self.call_id, supervisor_id=supervisor_id, mode=mode
        )
        return await self._submit(command)

    async def set_hold(self, is_held: bool, *, principal: str = HALL, command_id: str = "") -> Reply:
        """Put the customer on hold, or take the customer back."""
        return await self._submit(SetHold(principal=principal, id=command_id, call_id=self.call_id, is_held=is_held))

    async def show_script_step(
        self, step_id: str, text: str, answers: list[str], *, principal: str = HALL, command_id: str = ""
    ) -> Reply:
        """Show the customer a step of a script; the value says its `number`."""
        command = ShowScriptStep(
            principal=principal, id=command_id, call_id=self.call_id, step_id=step_id, text=text, answers=answers
        )
        return await self._submit(command)

    async def answer_script_step(
        self, number: int, answer: str, *, principal: str = HALL, command_id: str = ""
    ) -> Reply:
        """The customer answers the step that is shown, once."""
        command = AnswerScriptStep(
            principal=principal, id=command_id, call_id=self.call_id, number=number, answer=answer
        )
        return await self._submit(command)

    async def report_connected(self, *, principal: str = HALL, command_id: str = "") -> Reply:
        """Only where another system carries the media."""
        return await self._submit(ReportConnected(principal=principal, id=command_id, call_id=self.call_id))

    async def hang_up(self, reason: str = "", *, principal: str = HALL, command_id: str = "") -> Reply:
        return await self._submit(HangUp(principal=principal, id=command_id, call_id=self.call_id, reason=reason))

    # -- reading

    async def view(self, *, is_followed: bool = True) -> CallView | None:
        """The call while it is in memory, that is until `ended_retention_ms` after its end; None later.

        One that went to another division is looked for there, unless it is not `is_followed`: for those whom only this
        division knows. What is not there yet, or any more, is seen from here.
        """
        view: CallView | None = await self._hall.ask(ReadCall(self._division_id, self.call_id))
        for _ in range(HOPS_MAX if is_followed else 0):
            if view is None or view.state != HANDED_OVER or view.division_id not in self._hall.division_ids:
                break
            there: CallView | None = await self._hall.ask(ReadCall(view.division_id, self.call_id))
            if there is None:
                break
            view = there
        return view

    async def history(self) -> list[Event]:
        """Every event of the call in order, for as long as the archive keeps them; empty for an unknown one."""
        return await self._hall.history(self.call_id, self._division_id)

    async def _submit(self, command: Command) -> Reply:
        return await self._hall.submit(command, self._division_id)
