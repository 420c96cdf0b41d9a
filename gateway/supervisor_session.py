"""A supervisor's or an operator's session: a session like any other, that watches boards and, for operators, hears alerts.

Rules: staff watch the division of their token and no other. What is told of boards and alerts has no event number: it is not
resumed but begins anew. Events of calls that a supervisor is in have numbers, and are resumed as for everybody.

Not here: commands (`gateway/supervisor.py`), what a board holds and costs (`gateway/boards.py`).
"""

from typing import Any

from gateway import client_messages as said
from gateway import client_messages_staff as staff
from gateway.auditing import references
from gateway.codec import Codec
from gateway.customer import Handler
from gateway.identity import Identity
from gateway.refusals import Refused
from gateway.session import Session
from gateway.speaker import Services, Speaker


class StaffSession(Session):
    """A session with boards."""

    def __init__(self, services: Services, identity: Identity, codec: Codec, address: str = "") -> None:
        super().__init__(services, identity, codec, address)
        self._boards = services.boards
        self._handlers = {
            **{kind: self._recorded(kind, handler) for kind, handler in self._handlers.items()},
            staff.WatchSubscribe: self._watch,
            staff.WatchUnsubscribe: self._unwatch,
        }

    def _recorded(self, kind: type[said.FromClient], handler: Handler) -> Handler:
        """What staff do is recorded before and after (`gateway/auditing.py`)."""

        async def carried_out(speaker: Speaker, message_id: str, data: Any) -> dict[str, Any]:
            about, identity = references(data), speaker.identity
            return await speaker.services.auditor.carried_out(
                kind.TYPE, identity, about, message_id, lambda: handler(speaker, message_id, data)
            )

        return carried_out

    async def _open(self, after: int | None) -> bool:
        is_open = await super()._open(after)
        if is_open and self.identity.role == "operator":
            self._boards.watch_alerts(self.connection)
        return is_open

    async def _leave(self) -> None:
        await self._boards.leave(self.connection)
        await super()._leave()

    async def _watch(self, speaker: Speaker, message_id: str, data: staff.WatchSubscribe) -> dict[str, Any]:
        division_id = self._own_division(data.division_id)
        self._boards.watch(data.board, division_id, self.connection)
        return {"board": data.board, "division_id": division_id}

    async def _unwatch(self, speaker: Speaker, message_id: str, data: staff.WatchUnsubscribe) -> dict[str, Any]:
        await self._boards.unwatch(data.board, self._own_division(data.division_id), self.connection)
        return {}

    def _own_division(self, wanted: str) -> str:
        own = self.identity.division_id or self._services.hall.division_ids[0]
        if wanted not in ("", own):
            raise Refused("not_yours", "a token of staff is good for one division")
        return own
