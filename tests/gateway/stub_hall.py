"""A stub of the hall's interface, for what a real hall does too rarely to test: faults, floods, gaps, odd answers.

It decides nothing: a test says what each command is answered and which events are delivered. The life of a call is tested
against the real engine (`test_call_life.py`).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from actors.hall import HallUnavailable, MoveRefused, Notice, Subscribed
from actors.media_items import MediaAnswer
from dispatch import events, views
from dispatch.effects import Reply


class StubHandle:
    """Stands for every typed handle: each command is recorded, options last, and answered by the hall's script."""

    def __init__(self, hall: "StubHall", kind: str, key: str) -> None:
        self._hall, self._kind, self._key = hall, kind, key

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def command(*args: Any, principal: str = "", command_id: str = "", **options: Any) -> Reply:
            if options:
                args = (*args, options)
            self._hall.commands.append((self._kind, self._key, name, args, principal, command_id))
            return await self._hall.answer(name)

        return command

    async def view(self, **_: Any) -> Any:
        if self._hall.fault is not None:
            raise self._hall.fault
        return self._hall.views.get((self._kind, self._key))

    async def history(self) -> list[events.Event]:
        return self._hall.histories.get(self._key, [])


class StubHall:
    """The hall as a script."""

    def __init__(self) -> None:
        self.division_ids = ["main"]
        self.commands: list[tuple[str, str, str, tuple[Any, ...], str, str]] = []
        self.replies: dict[str, Reply | Exception] = {}
        self.views: dict[tuple[str, str], Any] = {}
        self.histories: dict[str, list[events.Event]] = {}
        self.people: dict[str, dict[str, str]] = {}
        self.moves: list[tuple[str, str]] = []
        self.drained: list[str] = []
        self.fault: Exception | None = None
        self.subscribed: dict[str, Callable[[int | None], Subscribed]] = {}
        self.listeners: dict[str, tuple[str, Callable[..., None], Callable[..., None]]] = {}
        self.seq: dict[str, int] = {}
        self.position_views: list[views.PositionView] = []
        self.status_value: dict[str, Any] = {"divisions": {"main": {"epoch": 1, "stopped_reason": ""}}}
        self.part_values: dict[str, dict[str, Any]] = {}
        """What follower and media workers answer, by actor name; who is not here is silent."""
        self.webhooks = None
        """A stub has no store, and so no book of webhooks."""
        self.delay_s = 0.0
        self.unsubscribed: list[str] = []
        self.subscribed_event = asyncio.Event()

    async def why_silent(self, otherwise: str = "overloaded") -> str:
        return otherwise

    async def answer(self, name: str) -> Reply:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        reply = self.replies.get(name, Reply())
        if isinstance(reply, Exception):
            raise reply
        return reply

    def agent(self, agent_id: str, division_id: str = "") -> StubHandle:
        return StubHandle(self, "agent", agent_id)

    def call(self, call_id: str, division_id: str = "") -> StubHandle:
        return StubHandle(self, "call", call_id)

    def skill_queue(self, queue_id: str, division_id: str = "") -> StubHandle:
        return StubHandle(self, "queue", queue_id)

    async def subscribe(
        self,
        recipient: str,
        connection_id: str,
        after: int | None,
        deliver: Any,
        on_reset: Any,
        *rest: Any,
        **more: Any,
    ) -> Subscribed:
        if self.fault is not None:
            raise self.fault
        self.listeners[recipient] = (connection_id, deliver, on_reset)
        self.subscribed_event.set()
        script = self.subscribed.get(recipient)
        seq = self.seq.get(recipient, 0)
        if script is not None:
            return script(after)
        if after is not None:
            return Subscribed(kind="resumed", seq=seq, session=None, missed=[])
        return Subscribed(kind="welcome", seq=seq, session=views.SessionView(recipient, seq), missed=[])

    async def unsubscribe(self, recipient: str, connection_id: str, division_id: str = "") -> None:
        self.unsubscribed.append(recipient)
        if self.listeners.get(recipient, ("",))[0] == connection_id:
            del self.listeners[recipient]

    def tell(self, recipient: str, *facts: events.Event) -> None:
        """Deliver `facts` to the recipient's connection under the next numbers."""
        notices = []
        for fact in facts:
            self.seq[recipient] = self.seq.get(recipient, 0) + 1
            notices.append(Notice(recipient, self.seq[recipient], fact))
        self.listeners[recipient][1](notices)

    def reset(self, recipient: str, session: views.SessionView) -> None:
        self.seq[recipient] = session.seq
        self.listeners[recipient][2](Subscribed(kind="reset", seq=session.seq, session=session, missed=[]))

    async def positions(self, call_ids: list[str], division_id: str = "") -> list[views.PositionView]:
        return [view for view in self.position_views if view.call_id in call_ids]

    async def queues(self, division_id: str = "") -> list[views.QueueView]:
        if self.fault is not None:
            raise self.fault
        return [view for (kind, _), view in self.views.items() if kind == "queue"]

    async def agents(self, division_id: str = "") -> list[views.AgentView]:
        return [view for (kind, _), view in self.views.items() if kind == "agent"]

    async def calls(self, states: list[str], count_max: int, division_id: str = "") -> list[views.CallView]:
        found = [view for (kind, _), view in self.views.items() if kind == "call" and view.state in states]
        return found[:count_max]

    async def rtc_answer(self, *args: Any) -> str:
        self.commands.append(("rtc", str(args[2]), "rtc_answer", args, "", ""))
        reply = self.replies.get("rtc_answer")
        if isinstance(reply, Exception):
            raise reply
        return "v=0 answer"

    async def ask_media(self, worker_id: str, worker_epoch: int, item: Any) -> Any:
        self.commands.append(("media", worker_id, type(item).__name__, (worker_epoch, item), "", ""))
        reply = self.replies.get(type(item).__name__)
        if isinstance(reply, Exception):
            raise reply
        return MediaAnswer("", "v=0 answer", "link-1")

    async def remember_person(self, reference: str, fields: dict[str, str]) -> None:
        self.people[reference] = fields

    async def person(self, reference: str) -> dict[str, str]:
        return self.people.get(reference, {})

    async def status(self, within_s: float = 0.0) -> dict[str, Any]:
        if self.fault is not None:
            raise self.fault
        return {"store": "", "parts": {}, **self.status_value}

    async def move(self, division_id: str, slot_id: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.moves.append((division_id, slot_id))

    async def drain(self, slot_id: str) -> int:
        if not slot_id.startswith("gateway-"):
            raise MoveRefused("unknown_slot")
        self.drained.append(slot_id)
        return 7

    async def part_status(self, name: str) -> dict[str, Any]:
        if name not in self.part_values:
            raise HallUnavailable("not_ready")
        return self.part_values[name]

    def waiting_letters(self) -> dict[str, int]:
        return dict.fromkeys(self.division_ids, 0)

    async def close(self) -> None:
        return None


def unavailable(reason: str) -> HallUnavailable:
    return HallUnavailable(reason, 2_000)
