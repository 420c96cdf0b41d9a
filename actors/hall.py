"""The hall: what a gateway, a load driver or a media worker holds to speak with every agent, call and skill queue.

    hall.agent("a-17").set_ready()
    hall.call(call_id).hang_up()
    hall.skill_queue("loans").depth()

One mailbox a division carries commands and reads in self-clocked batches; one feed a division brings events back.
Where a division lives now is found in the directory, and found again after a failover; callers see a pause, not a loss.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import structs

from actors.agent import AgentHandle
from actors.call import CallHandle
from actors.directory import PartEntry
from actors.feed import Feed
from actors.history_items import HistoryItem
from actors.items import (
    Drain,
    HallUnavailable,
    Notice,
    ReadAgents,
    ReadCalls,
    ReadHistory,
    ReadPart,
    ReadPositions,
    ReadQueues,
    ReadStatus,
    Submit,
    Subscribed,
    Unsubscribe,
    WorkerHello,
    decode_answer,
)
from actors.mailbox import LETTER_S, Mailbox, PeerGone
from actors.media_items import Candidates, LeaveOrder, MediaAnswer, SdpOffer, decode_media_answer
from actors.moving import MoveDirectory, MoveRefused, move
from actors.network import Network, PollablePeer
from actors.people import People
from actors.performer import media_actor_name
from actors.skill_queue import SkillQueueHandle
from actors.store_client import StoreUnavailable
from actors.subscription import Deliver, OnReset, Subscription
from actors.tracing import current_traceparent
from actors.webhook_book import WebhookBook
from dispatch.commands import Command
from dispatch.effects import Reply
from dispatch.events import Event
from dispatch.handing import MOVED
from dispatch.handing_facts import HOPS_MAX
from dispatch.views import AgentView, CallView, PositionView, QueueView

FOLLOWER_NAME = "follower"
"""Its slot."""
FOLLOWING = frozenset({"customer", "system"})
"""Roles that mean the same in every division: their commands follow a call that was handed over."""
PART_MAILBOXES_MAX = 1_000
STORE_S = 1.0
"""A store that answers takes milliseconds; whoever asks has waited long enough already."""

ReadParts = Callable[[], Awaitable[dict[str, PartEntry]]]
"""What runs in each slot, as the supervisor noted it. Raises StoreUnavailable."""
FindOwner = Callable[[str], Awaitable[str]]
"""Division -> name of the shard actor that owns it now. Raises PeerGone while nobody does."""

__all__ = [
    "FOLLOWER_NAME",
    "FindOwner",
    "Hall",
    "HallUnavailable",
    "MediaRefused",
    "MoveRefused",
    "Notice",
    "Subscribed",
]


class MediaRefused(Exception):
    """The media worker does not take this offer; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Hall:
    """Create it inside a running loop; `close` ends its tasks."""

    def __init__(
        self,
        network: Network,
        division_ids: list[str],
        find_owner: FindOwner,
        people: People | None = None,
        gateway_id: str = "",
        read_parts: ReadParts | None = None,
        directory: MoveDirectory | None = None,
        webhooks: WebhookBook | None = None,
    ) -> None:
        """`gateway_id`: this incarnation's own id, where clients are to be subscribed. `directory`: for `move` alone."""
        self.webhooks = webhooks
        """Who is told of what happens to calls; None: this hall has no store."""
        self.division_ids = division_ids
        self._network = network
        self._find_owner = find_owner
        self._people = people
        self._gateway_id = gateway_id
        self._read_parts = read_parts
        self._directory = directory
        self._mailboxes = {one: Mailbox(one, self._resolver(one)) for one in division_ids}
        self._feeds: dict[str, Feed] = {}
        self._parts_mailboxes: dict[str, Mailbox] = {}
        self._follower: Mailbox | None = None
        self._closing: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<Hall {list(self._mailboxes.values())} {list(self._feeds.values())}>"

    def _resolver(self, division_id: str) -> Callable[[], Awaitable[PollablePeer]]:
        async def resolve() -> PollablePeer:
            return await self._network.peer(await self._find_owner(division_id))

        return resolve

    def _division(self, division_id: str) -> str:
        chosen = division_id or self.division_ids[0]
        if chosen not in self._mailboxes:
            raise HallUnavailable("unknown_division")
        return chosen

    # -- virtual actors

    def agent(self, agent_id: str, division_id: str = "") -> AgentHandle:
        return AgentHandle(self, self._division(division_id), agent_id)

    def call(self, call_id: str, division_id: str = "") -> CallHandle:
        return CallHandle(self, self._division(division_id), call_id)

    def skill_queue(self, queue_id: str, division_id: str = "") -> SkillQueueHandle:
        return SkillQueueHandle(self, self._division(division_id), queue_id)

    # -- commands and reads

    async def submit(self, command: Command, division_id: str = "") -> Reply:
        """Return the engine's answer once it is durable. Raises HallUnavailable: repeat with the same command id.

        A call that went to another division is followed there, as often as it may be handed over: for its customer and for the
        shell. Ids of agents, supervisors and operators are another division's own: they are told `moved`.
        """
        where = self._division(division_id)
        reply: Reply = await self.ask(Submit(where, command, current_traceparent()))
        for _ in range(HOPS_MAX):
            if reply.reason != MOVED or command.principal.partition(":")[0] not in FOLLOWING:
                break
            where = self._division((reply.value or {})["division_id"])
            reply = await self.ask(Submit(where, command, current_traceparent()))
        return reply

    async def ask(self, item: Any) -> Any:
        """Send one item to its division and return its typed answer. Raises HallUnavailable."""
        body = await self._mailboxes[self._division(item.division_id)].send(item)
        return decode_answer(type(item), body)

    async def positions(self, call_ids: list[str], division_id: str = "") -> list[PositionView]:
        views: list[PositionView] = await self.ask(ReadPositions(self._division(division_id), call_ids))
        return views

    async def queues(self, division_id: str = "") -> list[QueueView]:
        views: list[QueueView] = await self.ask(ReadQueues(self._division(division_id)))
        return views

    async def agents(self, division_id: str = "") -> list[AgentView]:
        views: list[AgentView] = await self.ask(ReadAgents(self._division(division_id)))
        return views

    async def calls(self, states: list[str], count_max: int, division_id: str = "") -> list[CallView]:
        """Calls in these states, in the order in which they came, at most `count_max` (and `reading.CALLS_MAX`) of them."""
        views: list[CallView] = await self.ask(ReadCalls(self._division(division_id), states, count_max))
        return views

    async def history(self, call_id: str, division_id: str = "") -> list[Event]:
        """Every event of a call, from the archive; what is durable now is in it."""
        events: list[Event] = await self.ask_follower(ReadHistory(self._division(division_id), call_id))
        return events

    async def ask_follower(self, item: ReadHistory | HistoryItem) -> Any:
        """Return the typed answer of the follower. Raises HallUnavailable."""
        self._division(item.division_id)
        return decode_answer(type(item), await self._follower_mailbox().send(item))

    def _follower_mailbox(self) -> Mailbox:
        if self._follower is None:
            self._follower = Mailbox(FOLLOWER_NAME, self._meet_follower)
        return self._follower

    async def _meet_follower(self) -> PollablePeer:
        """Its present incarnation, as the supervisor noted it. Raises PeerGone."""
        try:
            parts = await self._read_parts() if self._read_parts is not None else {}
        except StoreUnavailable as error:
            raise PeerGone(f"the directory does not answer: {error.reason}") from error
        return await self._network.peer(parts[FOLLOWER_NAME].name if FOLLOWER_NAME in parts else FOLLOWER_NAME)

    async def part_status(self, name: str) -> dict[str, Any]:
        """What the follower, or the media worker or gateway of that actor name, says of itself. Raises HallUnavailable."""
        mailbox = self._follower_mailbox() if name == FOLLOWER_NAME else self._part_mailbox(name)
        answer: dict[str, Any] = decode_answer(ReadPart, await mailbox.send(ReadPart()))
        return answer

    def waiting_letters(self) -> dict[str, int]:
        """Division -> letters that wait here for its shard."""
        return {division_id: mailbox.waiting_count for division_id, mailbox in self._mailboxes.items()}

    async def status(self, within_s: float = LETTER_S) -> dict[str, Any]:
        """What each division's shard says of itself, or `unavailable`; what runs; whether the store answers. In `within_s`."""

        async def one(division_id: str) -> dict[str, Any]:
            try:
                async with asyncio.timeout(within_s):
                    answer: dict[str, Any] = await self.ask(ReadStatus(division_id))
            except HallUnavailable as error:
                return {"unavailable": error.reason}
            except TimeoutError:
                return {"unavailable": "not_ready"}
            return answer

        async def parts() -> dict[str, Any]:
            try:
                async with asyncio.timeout(within_s):
                    return await self._parts()
            except TimeoutError:
                return {"store": "timeout", "parts": {}}

        found, *answers = await asyncio.gather(parts(), *(one(division_id) for division_id in self.division_ids))
        return {"divisions": dict(zip(self.division_ids, answers, strict=True)), **found}

    async def why_silent(self, otherwise: str = "overloaded") -> str:
        """After something that was not answered in time: name the store if that is silent too. Takes at most `STORE_S`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_S):
                return "store_unavailable" if (await self._parts())["store"] else otherwise
        return "store_unavailable"

    async def _parts(self) -> dict[str, Any]:
        """The list of parts lies in the store: reading it also shows whether that answers."""
        try:
            parts = await self._read_parts() if self._read_parts is not None else {}
        except StoreUnavailable as error:
            return {"store": error.reason, "parts": {}}
        return {"store": "", "parts": {slot: structs.asdict(part) for slot, part in parts.items()}}

    # -- clients of a gateway

    async def subscribe(
        self,
        recipient: str,
        connection_id: str,
        after: int | None,
        deliver: Deliver,
        on_reset: OnReset,
        division_id: str = "",
    ) -> Subscribed:
        """Connect a client: journals the connection, returns what it missed or a snapshot, then delivers event by event.

        `deliver` and `on_reset` are called in this loop and must not block. A notice with number 0 says that a newer
        connection of the same client has replaced this one. Raises HallUnavailable.
        """
        division = self._division(division_id)
        feed = self._feeds.get(division)
        if feed is None:
            feed = self._feeds[division] = Feed(
                division, self._gateway_id, self._mailboxes[division], self._resolver(division)
            )
        return await feed.subscribe(Subscription(recipient, connection_id, deliver, on_reset), after)

    async def unsubscribe(self, recipient: str, connection_id: str, division_id: str = "") -> None:
        """The connection is gone: grace begins. Raises HallUnavailable; it will be told all the same, once it listens."""
        division = self._division(division_id)
        if division in self._feeds:
            await self._feeds[division].leave(recipient, connection_id)
        else:
            await self.ask(Unsubscribe(division, recipient, connection_id))

    # -- media

    async def rtc_answer(
        self, worker_id: str, worker_epoch: int, call_id: str, attempt: int, party: str, sdp_offer: str
    ) -> str:
        """Return the media worker's SDP answer for one party. Raises MediaRefused, HallUnavailable."""
        return (await self.ask_media(worker_id, worker_epoch, SdpOffer(call_id, attempt, party, sdp_offer))).sdp

    async def ask_media(
        self, worker_id: str, worker_epoch: int, item: SdpOffer | Candidates | LeaveOrder
    ) -> MediaAnswer:
        """Return what a media worker answers to a party's wish. Raises MediaRefused, HallUnavailable."""
        mailbox = self._part_mailbox(media_actor_name(worker_id, worker_epoch))
        answer = decode_media_answer(await mailbox.send(item))
        if answer.reason:
            raise MediaRefused(answer.reason)
        return answer

    def _part_mailbox(self, name: str) -> Mailbox:
        mailbox = self._parts_mailboxes.pop(name, None) or Mailbox(name, lambda: self._network.peer(name))
        self._parts_mailboxes[name] = mailbox
        if len(self._parts_mailboxes) > PART_MAILBOXES_MAX:
            # The one that was not used for longest: its part has most likely gone.
            closing = asyncio.ensure_future(self._parts_mailboxes.pop(next(iter(self._parts_mailboxes))).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return mailbox

    async def hello(self, item: WorkerHello) -> list[tuple[str, int]]:
        """A media worker's word to one division; returns its rooms that the division disowns."""
        reply: Reply = await self.ask(item)
        return [(call_id, attempt) for call_id, attempt in (reply.value or {}).get("disowned", [])]

    # -- operators

    async def move(self, division_id: str, slot_id: str) -> None:
        """Let the shard in `slot_id` (`shard-1`) host the division; its calls go on, and wait for some tens of ms.

        Raises MoveRefused with the reason, after which it is where it was; HallUnavailable, StoreUnavailable.
        """
        if self._directory is None:
            raise HallUnavailable("not_ready")
        if division_id not in self.division_ids:
            raise MoveRefused("unknown_division")
        await move(self._network, self._directory, division_id, slot_id)

    async def drain(self, slot_id: str) -> int:
        """Let the gateway in that slot send its clients to the others and end; returns how many it has. A successor follows.

        Raises MoveRefused (`unknown_slot`), HallUnavailable.
        """
        part = (await self._parts())["parts"].get(slot_id)
        if part is None or not slot_id.startswith("gateway-"):
            raise MoveRefused("unknown_slot")
        count: int = decode_answer(Drain, await self._part_mailbox(part["name"]).send(Drain()))
        return count

    # -- people

    async def remember_person(self, reference: str, fields: dict[str, str]) -> None:
        """Keep personal fields apart from the journal, erasable. Raises StoreUnavailable."""
        if self._people is not None:
            await self._people.put(reference, fields)

    async def person(self, reference: str) -> dict[str, str]:
        """Return the personal fields; empty when there are none."""
        return await self._people.get(reference) if self._people is not None else {}

    async def forget_person(self, reference: str) -> bool:
        """Erase the personal fields; say whether there were any. Raises StoreUnavailable; HallUnavailable with no store."""
        if self._people is None:
            raise HallUnavailable("not_ready")
        return await self._people.erase(reference)

    async def close(self) -> None:
        """End mailboxes and feeds; whoever still waits is told `not_ready`."""
        parts: list[Feed | Mailbox] = [
            *self._feeds.values(),
            *self._mailboxes.values(),
            *self._parts_mailboxes.values(),
        ]
        if self._follower is not None:
            parts.append(self._follower)
        await asyncio.gather(*(part.close() for part in parts), *self._closing)


def owner_from(directory_read: Callable[[str], Awaitable[Any]]) -> FindOwner:
    """Make `FindOwner` from a directory's `read_owner`."""

    async def find(division_id: str) -> str:
        try:
            owner = await directory_read(division_id)
        except StoreUnavailable as error:
            raise PeerGone(f"the directory does not answer: {error.reason}") from error
        if owner is None:
            raise PeerGone(f"nobody owns {division_id}")
        return str(owner.actor_name)

    return find
