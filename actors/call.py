"""The virtual actor of one customer's video contact."""

from typing import TYPE_CHECKING

from actors.items import ReadCall
from dispatch.commands import HangUp, ReportConnected, RequestCall
from dispatch.effects import Reply
from dispatch.events import Event
from dispatch.views import CallView

if TYPE_CHECKING:
    from actors.hall import Hall


class CallHandle:
    """Speaks to one call's actor. The id is the caller's to choose: the same id again is the same call."""

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
        *,
        principal: str = "",
        command_id: str = "",
    ) -> Reply:
        """Ask for an agent. Accepted: the call waits, durably, or rings already."""
        command = RequestCall(
            principal=principal or f"customer:{customer_id}",
            id=command_id,
            call_id=self.call_id,
            customer_id=customer_id,
            queue_id=queue_id,
            business_reference=business_reference,
            is_consented=is_consented,
        )
        return await self._hall.submit(command, self._division_id)

    async def hang_up(self, reason: str = "", *, principal: str = "system:hall", command_id: str = "") -> Reply:
        command = HangUp(principal=principal, id=command_id, call_id=self.call_id, reason=reason)
        return await self._hall.submit(command, self._division_id)

    async def report_connected(self, *, principal: str = "system:hall", command_id: str = "") -> Reply:
        """Only where another system carries the media."""
        command = ReportConnected(principal=principal, id=command_id, call_id=self.call_id)
        return await self._hall.submit(command, self._division_id)

    async def view(self) -> CallView | None:
        """The call while it is in memory, that is until `ended_retention_ms` after its end; None later."""
        view: CallView | None = await self._hall.ask(ReadCall(self._division_id, self.call_id))
        return view

    async def history(self) -> list[Event]:
        """Every event of the call in order, for as long as the archive keeps them; empty for an unknown one."""
        return await self._hall.history(self.call_id, self._division_id)
