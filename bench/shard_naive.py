"""The naive twin of `bench/shard.py`: one Ray call a command and one an event, nothing batched, the same shard code.

Clients speak to the shard without a mailbox: each command is a Ray call of its own, at once. Events come by polls that carry
one each; so that the way there and back is not what is measured, the agents are spread over many feeds, each with a
poll of its own in flight. The shard goes on to make one turn of what has arrived, with one append: so this baseline is
kinder than one in which each command also waits for an fsync of its own.
"""

import asyncio
from itertools import count
from typing import Any

from msgspec import Raw, structs

from actors import outbox, wiring
from actors.agent import AgentHandle
from actors.call import CallHandle
from actors.feed import Feed
from actors.items import HallUnavailable, Submit, Subscribed, decode_answer, decode_bodies, encode
from actors.mailbox import PeerGone
from actors.network import Network, PollablePeer
from actors.parts import ShardPart
from actors.subscription import Deliver, OnReset, Subscription
from actors.supervisor import Slot
from bench.shard_hall import SHARD, BenchHall
from dispatch.commands import Command
from dispatch.effects import Reply

FEEDS = 32


class NaiveShardPart(ShardPart):
    """The real shard, whose polls carry one event."""

    def __init__(self, settings: bytes, network: Network) -> None:
        outbox.POLL_MAX = 1
        super().__init__(settings, network)


def naive(slot: Slot) -> Slot:
    """Put the naive shard into its slot."""
    if slot.id != SHARD:
        return slot
    return structs.replace(slot, class_path="bench.shard_naive:NaiveShardPart")


class RayCalls:
    """A shard that is spoken with by Ray's own calls."""

    def __init__(self, handle: wiring.Handle) -> None:
        self.name = handle.name
        self._actor = handle.actor

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Raises PeerGone."""
        answer: bytes = await wiring.answered(self._actor.receive.remote(sender, number, payload))
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Raises PeerGone."""
        answer: bytes = await wiring.answered(self._actor.poll.remote(gateway_id, cursor, wait_s))
        return answer


class DirectPost:
    """In a mailbox's place: every letter is a Ray call."""

    def __init__(self, peer: "RayCalls") -> None:
        self._peer = peer
        self._numbers = count()

    async def send(self, item: Any) -> Raw:
        """Raises HallUnavailable."""
        try:
            answer = await self._peer.receive(f"naive-{next(self._numbers)}", 0, encode([item]))
        except PeerGone as error:
            raise HallUnavailable("not_ready") from error
        [body] = decode_bodies(answer)
        return body


class NaiveHall:
    """As much of a `Hall` as handles and desktops need."""

    def __init__(self, division_id: str, peer: RayCalls) -> None:
        self._division_id = division_id
        self._post: Any = DirectPost(peer)

        async def resolve() -> PollablePeer:
            return peer

        self._feeds = [Feed(division_id, f"naive-{number}", self._post, resolve) for number in range(FEEDS)]
        self._turns = count()

    def agent(self, agent_id: str) -> AgentHandle:
        return AgentHandle(self, self._division_id, agent_id)  # type: ignore[arg-type]

    def call(self, call_id: str) -> CallHandle:
        return CallHandle(self, self._division_id, call_id)  # type: ignore[arg-type]

    async def submit(self, command: Command, division_id: str) -> Reply:
        reply: Reply = decode_answer(Submit, await self._post.send(Submit(division_id, command)))
        return reply

    async def subscribe(
        self, recipient: str, connection_id: str, after: int | None, deliver: Deliver, on_reset: OnReset
    ) -> Subscribed:
        feed = self._feeds[next(self._turns) % FEEDS]
        return await feed.subscribe(Subscription(recipient, connection_id, deliver, on_reset), after)

    async def close(self) -> None:
        await asyncio.gather(*(feed.close() for feed in self._feeds))


async def naive_hall(one: BenchHall) -> NaiveHall:
    """Find the shard that runs, and speak to it without batches."""
    parts = (await one.hall.status())["parts"]
    handle = await asyncio.to_thread(wiring.find, parts[SHARD]["name"])
    return NaiveHall(one.plan.division_id, RayCalls(handle))
