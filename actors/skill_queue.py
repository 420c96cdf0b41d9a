"""The virtual actor of one skill queue."""

from typing import TYPE_CHECKING

from actors.items import ReadQueue
from dispatch.views import QueueView

if TYPE_CHECKING:
    from actors.hall import Hall


class SkillQueueHandle:
    """Reads one skill queue."""

    def __init__(self, hall: "Hall", division_id: str, queue_id: str) -> None:
        self._hall = hall
        self._division_id = division_id
        self.queue_id = queue_id

    def __repr__(self) -> str:
        return f"<skill queue {self.queue_id} of {self._division_id}>"

    async def depth(self) -> int:
        """Calls that wait; 0 for a queue that does not exist."""
        view = await self.view()
        return view.waiting_count if view is not None else 0

    async def view(self) -> QueueView | None:
        view: QueueView | None = await self._hall.ask(ReadQueue(self._division_id, self.queue_id))
        return view
