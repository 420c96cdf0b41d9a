"""Events from a division to the clients of one gateway: one long-poll, and each client's place in its own numbers.

Rules: a client sees each number once, in order. A number that came too early (its predecessors were dropped at a bound)
or a new incarnation of the shard makes the feed subscribe again from the last number delivered; what is no longer kept
comes as a reset.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from actors.items import HallUnavailable, Notice, Subscribe, Subscribed, decode_answer, decode_polled
from actors.mailbox import BACKOFF_FIRST_S, BACKOFF_MAX_S, Mailbox, PeerGone, answered_or_replaced
from actors.network import PollablePeer

POLL_S = (1.0, 2.0)
"""Randomised, so that gateways do not poll in step; below a third of the gateway's lease."""
EARLY_MAX = 1_000
"""Notices that may wait for the answer to their subscription."""
AGAIN_AT_ONCE = 2_000
"""Subscriptions renewed at a time after a failover: two batches."""

log = structlog.get_logger()

Deliver = Callable[[list[Notice]], None]
OnReset = Callable[[Subscribed], None]


class Subscription:
    """One client of this gateway."""

    __slots__ = ("connection_id", "deliver", "early", "last_seq", "on_reset", "recipient")

    def __init__(self, recipient: str, connection_id: str, deliver: Deliver, on_reset: OnReset) -> None:
        self.recipient = recipient
        self.connection_id = connection_id
        self.deliver = deliver
        self.on_reset = on_reset
        self.last_seq = 0
        self.early: list[Notice] | None = []
        """Notices that overtook the answer to the subscription; None once that has come."""

    def take(self, notice: Notice) -> bool:
        """Deliver what is next. False: a number is missing, subscribe again."""
        if notice.seq == 0:
            if getattr(notice.event, "connection_id", "") != self.connection_id:
                self.deliver([notice])
            return True
        if self.early is not None:
            self.early.append(notice)
            return len(self.early) <= EARLY_MAX
        if notice.seq <= self.last_seq:
            return True
        if notice.seq != self.last_seq + 1:
            return False
        self.last_seq = notice.seq
        self.deliver([notice])
        return True


class Feed:
    """All subscriptions of one gateway at one division. Create it inside a running loop; `close` ends its task."""

    def __init__(
        self, division_id: str, gateway_id: str, mailbox: Mailbox, resolve: Callable[[], Awaitable[PollablePeer]]
    ) -> None:
        self._division_id = division_id
        self._gateway_id = gateway_id
        self._mailbox = mailbox
        self._resolve = resolve
        self._subscriptions: dict[str, Subscription] = {}
        self._task = asyncio.create_task(self._run(), name=f"feed {division_id}")

    def __repr__(self) -> str:
        return f"<Feed {self._division_id} subscriptions={len(self._subscriptions)}>"

    async def subscribe(self, subscription: Subscription, after: int | None) -> Subscribed:
        """Begin to deliver; an earlier subscription of the same client ends. Raises HallUnavailable."""
        self._subscriptions[subscription.recipient] = subscription
        try:
            subscribed = await self._ask(subscription, after)
        except HallUnavailable:
            self.forget(subscription.recipient, subscription.connection_id)
            raise
        if subscribed.kind == "refused":
            self.forget(subscription.recipient, subscription.connection_id)
        else:
            self._settle(subscription, subscribed.seq)
        return subscribed

    def forget(self, recipient: str, connection_id: str) -> None:
        """Deliver nothing more to that connection."""
        subscription = self._subscriptions.get(recipient)
        if subscription is not None and subscription.connection_id == connection_id:
            del self._subscriptions[recipient]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, subscription: Subscription, after: int | None) -> Subscribed:
        item = Subscribe(self._division_id, subscription.recipient, subscription.connection_id, self._gateway_id, after)
        answer: Subscribed = decode_answer(Subscribe, await self._mailbox.send(item))
        return answer

    def _settle(self, subscription: Subscription, seq: int) -> None:
        """The answer has come: what overtook it is delivered after it."""
        subscription.last_seq = seq
        early, subscription.early = subscription.early or [], None
        for notice in early:
            subscription.take(notice)

    async def _run(self) -> None:
        name, cursor, backoff_s = "", 0, BACKOFF_FIRST_S
        must_renew = False
        while True:
            try:
                peer = await self._resolve()
                if peer.name != name:
                    name, cursor, must_renew = peer.name, 0, bool(name)
                if must_renew:
                    await self._renew(list(self._subscriptions.values()))
                    must_renew = False
                poll = peer.poll(self._gateway_id, cursor, random.uniform(*POLL_S))
                polled = decode_polled(await answered_or_replaced(peer, poll, self._resolve))
                cursor = polled.cursor
                backoff_s = BACKOFF_FIRST_S
                missing = self._deliver(polled.notices)
                must_renew = polled.is_lost
                await self._renew(missing)
            except (PeerGone, HallUnavailable) as error:
                log.info("feed.interrupted", division=self._division_id, reason=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _deliver(self, notices: list[Notice]) -> list[Subscription]:
        """Hand notices to their clients; return the clients who miss a number."""
        missing: dict[str, Subscription] = {}
        for notice in notices:
            subscription = self._subscriptions.get(notice.recipient)
            if subscription is not None and not subscription.take(notice):
                missing[notice.recipient] = subscription
        return list(missing.values())

    async def _renew(self, subscriptions: list[Subscription]) -> None:
        """Subscribe again from the last number delivered."""
        for start in range(0, len(subscriptions), AGAIN_AT_ONCE):
            some = [one for one in subscriptions[start : start + AGAIN_AT_ONCE] if one.early is None]
            for one in some:
                one.early = []
            await asyncio.gather(*(self._renew_one(one) for one in some))

    async def _renew_one(self, subscription: Subscription) -> None:
        try:
            subscribed = await self._ask(subscription, subscription.last_seq)
        except HallUnavailable:
            subscription.early = None
            raise
        if self._subscriptions.get(subscription.recipient) is not subscription:
            return
        if subscribed.kind == "resumed" and subscribed.missed:
            subscription.deliver(subscribed.missed)
        elif subscribed.kind == "reset":
            subscription.on_reset(subscribed)
        elif subscribed.kind == "refused":
            self.forget(subscription.recipient, subscription.connection_id)
        self._settle(subscription, subscribed.seq)
