"""Events from a division to the clients of one gateway: one long-poll, and each client's place in its own numbers.

Rules: a client sees each number once, in order. A number that came too early (its predecessors were dropped at a bound)
or a new incarnation of the shard makes the feed subscribe again from the last number delivered; what is no longer kept
comes as a reset. A renewal never takes a client back from a newer connection. A subscription counts only at the incarnation
that is polled: one that has been followed answers under its lease for up to a second more, and would tell nobody. A
connection that is gone is reported until the division has heard it, since nothing else would ever end it while this gateway
lives.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import Any

import structlog

from actors.items import HallUnavailable, Subscribe, Subscribed, Unsubscribe, decode_answer, decode_polled
from actors.mailbox import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    NOT_OWNER_PAUSE_MAX_S,
    Mailbox,
    NotOwner,
    PeerGone,
    answered_or_replaced,
)
from actors.network import PollablePeer
from actors.subscription import Subscription

POLL_S = (1.0, 2.0)
"""Randomised, so that gateways do not poll in step; below a third of the gateway's lease."""
AGAIN_AT_ONCE = 500
"""Subscriptions renewed, or ends repeated, at a time after a failover or a move: half a batch, so that commands pass between.

With 2,000 a command waited 0.16 to 0.54 s for the 7,400 subscriptions of a division that moved, with 500 0.09 to 0.15 s.
"""
LEAVES_MAX = 100_000
"""Ends of connections that the division has not heard of yet: as many as a gateway sees in the longest outage."""

log = structlog.get_logger()


class Feed:
    """All subscriptions of one gateway at one division. Create it inside a running loop; `close` ends its tasks."""

    def __init__(
        self, division_id: str, gateway_id: str, mailbox: Mailbox, resolve: Callable[[], Awaitable[PollablePeer]]
    ) -> None:
        self._division_id = division_id
        self._gateway_id = f"{gateway_id}/{division_id}"
        """A shard may host several divisions: what this feed confirms must be its own."""
        self._mailbox = mailbox
        self._resolve = resolve
        self._subscriptions: dict[str, Subscription] = {}
        self._torn: dict[str, Subscription] = {}
        """Those to be renewed, by recipient."""
        self._losses_count = 0
        self._leaves: dict[tuple[str, str], None] = {}
        """(recipient, connection) of ends that were not heard, oldest first."""
        self._has_leaves = asyncio.Event()
        self._peer: PollablePeer | None = None
        self._peer_name = ""
        self._cursor = 0
        self._epoch = 0
        """Under which the shard that was polled last owns the division."""
        self._tasks = [
            asyncio.create_task(_kept_up(self._poll), name=f"feed {division_id}"),
            asyncio.create_task(_kept_up(self._repeat_leaves), name=f"leaves {division_id}"),
        ]

    def __repr__(self) -> str:
        return f"<Feed {self._division_id} subscriptions={len(self._subscriptions)} torn={len(self._torn)}>"

    # -- one client

    async def subscribe(self, subscription: Subscription, after: int | None) -> Subscribed:
        """Begin to deliver; an earlier subscription of the same client ends. Raises HallUnavailable.

        Notices that overtook the answer are delivered before this returns; they come after what it holds.
        """
        earlier = self._subscriptions.get(subscription.recipient)
        self._subscriptions[subscription.recipient] = subscription
        if earlier is not None:
            earlier.end(subscription.connection_id)
        losses_count = self._losses_count
        try:
            subscribed = await self._ask(subscription, after)
        except BaseException:
            self.forget(subscription.recipient, subscription.connection_id)
            raise
        if subscribed.kind == "refused":
            self.forget(subscription.recipient, subscription.connection_id)
        elif not subscription.settle(subscribed.seq) or losses_count != self._losses_count:
            # It may be the answer of an incarnation that was replaced meanwhile.
            self._tear(subscription)
        return subscribed

    def forget(self, recipient: str, connection_id: str) -> None:
        """Deliver nothing more to that connection."""
        subscription = self._subscriptions.get(recipient)
        if subscription is not None and subscription.connection_id == connection_id:
            del self._subscriptions[recipient]

    async def leave(self, recipient: str, connection_id: str) -> None:
        """The connection is gone. Raises HallUnavailable; the division is told all the same, as soon as it listens."""
        self.forget(recipient, connection_id)
        try:
            await self._say_left(recipient, connection_id)
        except BaseException:
            if len(self._leaves) < LEAVES_MAX:
                self._leaves[recipient, connection_id] = None
                self._has_leaves.set()
            raise

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, subscription: Subscription, after: int | None, *, is_renewal: bool = False) -> Subscribed:
        recipient, connection_id = subscription.recipient, subscription.connection_id
        item = Subscribe(self._division_id, recipient, connection_id, self._gateway_id, after, is_renewal)
        answer: Subscribed = decode_answer(Subscribe, await self._mailbox.send(item))
        if answer.epoch < self._epoch:
            # A predecessor of the shard that is polled: it has not heard of its end yet.
            raise HallUnavailable("not_ready")
        return answer

    async def _say_left(self, recipient: str, connection_id: str) -> None:
        item = Unsubscribe(self._division_id, recipient, connection_id)
        decode_answer(Unsubscribe, await self._mailbox.send(item))

    # -- notices

    async def _poll(self) -> None:
        """Poll once, deliver what came, and renew what is torn. Raises PeerGone, HallUnavailable."""
        peer = await self._meet_peer()
        wait_s = 0.0 if self._torn else random.uniform(*POLL_S)
        poll = peer.poll(self._gateway_id, self._cursor, wait_s)
        try:
            polled = decode_polled(await answered_or_replaced(peer, poll, self._resolve))
        except PeerGone:
            self._peer = None
            raise
        self._cursor, self._epoch = polled.cursor, polled.epoch
        for notice in polled.notices:
            subscription = self._subscriptions.get(notice.recipient)
            if subscription is not None and not subscription.take(notice):
                self._tear(subscription)
        if polled.is_lost:
            self._losses_count += 1
            self._torn = dict(self._subscriptions)
        await self._renew_torn()

    async def _meet_peer(self) -> PollablePeer:
        """Keep to the incarnation that answers, also while the directory does not."""
        if self._peer is None:
            self._peer = await self._resolve()
            if self._peer.name != self._peer_name:
                self._peer_name, self._cursor = self._peer.name, 0
        return self._peer

    def _tear(self, subscription: Subscription) -> None:
        self._torn[subscription.recipient] = subscription

    async def _renew_torn(self) -> None:
        """Subscribe again from the last number delivered. Raises HallUnavailable; what is not renewed stays torn."""
        while self._torn:
            some = [self._torn.pop(recipient) for recipient in list(islice(self._torn, AGAIN_AT_ONCE))]
            outcomes = await asyncio.gather(*(self._renew(one) for one in some), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def _renew(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.recipient) is not subscription or subscription.early is not None:
            return
        subscription.early = []
        try:
            subscribed = await self._ask(subscription, subscription.last_seq, is_renewal=True)
        except BaseException:
            subscription.early = None
            self._tear(subscription)
            raise
        if self._subscriptions.get(subscription.recipient) is not subscription:
            return
        if subscribed.kind == "refused":
            self.forget(subscription.recipient, subscription.connection_id)
            subscription.end(subscribed.reason)
        elif not subscription.renewed(subscribed):
            self._tear(subscription)

    # -- connections that are gone

    async def _repeat_leaves(self) -> None:
        """Tell the division of ends that it has not heard of. Raises HallUnavailable."""
        await self._has_leaves.wait()
        while self._leaves:
            some = list(islice(self._leaves, AGAIN_AT_ONCE))
            outcomes = await asyncio.gather(*(self._say_left(*one) for one in some), return_exceptions=True)
            for one, outcome in zip(some, outcomes, strict=True):
                if outcome is None:
                    del self._leaves[one]
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        self._has_leaves.clear()


async def _kept_up(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do `work` again and again, ever more slowly while it fails: whatever fails here would silence every client."""
    backoff_s = BACKOFF_FIRST_S
    while True:
        try:
            await work()
            backoff_s = BACKOFF_FIRST_S
            continue
        except NotOwner:
            # Its division is on its way; who waits for events should not wait for a pause besides.
            await asyncio.sleep(min(backoff_s, NOT_OWNER_PAUSE_MAX_S))
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            continue
        except (PeerGone, HallUnavailable) as error:
            log.info("feed.interrupted", reason=str(error))
        except Exception:
            log.exception("feed.failed")
        await asyncio.sleep(backoff_s)
        backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
