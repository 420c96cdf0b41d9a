"""Who is told what: which gateway holds which client's connection, and the notices on their way there.

This is the shard's memory only; the truth about connections is in the engine. After a failover every gateway subscribes its
clients again, each with its last event number, and gets what was missed, or a snapshot where that is no longer kept.
A gateway proves its life by polling and subscribing; one that stops is lost after `GATEWAY_LEASE_MS` (SAFETY.md 9, 11).

A `gateway_id` here is a gateway's feed of one division (`feed`): each has an outbox of its own, so none confirms what
another waits for.
"""

from actors.items import Notice, Polled, Subscribe, Subscribed, Unsubscribe
from actors.outbox import Outbox
from dispatch.effects import Notify, Reply
from dispatch.events import CallHandedOver, Connected, HandedCallEnded
from dispatch.model import Recipient
from dispatch.state import State
from dispatch.viewing import session_view

GATEWAY_LEASE_MS = 6_000
"""RAY.md: heartbeats of 1 to 2 s with a lease of 5 to 6 s. A poll takes at most 2 s."""


def division_of(gateway_id: str) -> str:
    """Return the division that a gateway's feed is of: `g-1/main` is of `main` (no id of a division has a slash)."""
    return gateway_id.rpartition("/")[2]


class Audience:
    def __init__(self) -> None:
        self._outboxes: dict[str, Outbox] = {}
        self._seen_at_ms: dict[str, int] = {}
        self._gateway_by_client: dict[tuple[str, str], tuple[str, str]] = {}
        """(division, recipient) -> (gateway id, connection id). Two divisions may each have an agent `a-1`."""
        self._number = 0
        """No outbox that is gone gave a higher one to a notice: a cursor never means another notice than it did."""

    def __repr__(self) -> str:
        return f"<Audience gateways={len(self._outboxes)} clients={len(self._gateway_by_client)}>"

    def expect(self, gateway_ids: list[str], now_ms: int) -> None:
        """After a recovery: these held connections; each has one lease's time to show that it still lives."""
        for gateway_id in gateway_ids:
            self._seen_at_ms[gateway_id] = now_ms

    def forgive(self, outage_ms: int, now_ms: int) -> None:
        """Nobody could be heard meanwhile: leases move, at most to now (SAFETY.md 9)."""
        for gateway_id, seen_at_ms in self._seen_at_ms.items():
            self._seen_at_ms[gateway_id] = min(seen_at_ms + outage_ms, now_ms)

    def lost(self, now_ms: int) -> list[str]:
        """Return the gateways whose lease has ended, and forget them with their clients."""
        lost = [one for one, seen_at_ms in self._seen_at_ms.items() if now_ms - seen_at_ms > GATEWAY_LEASE_MS]
        self._forget(lost)
        return lost

    def drop(self, division_id: str) -> None:
        """The division lives elsewhere: its feeds end here, and subscribe again there."""
        gateway_ids = [one for one in self._seen_at_ms if division_of(one) == division_id]
        for gateway_id in gateway_ids:
            if gateway_id in self._outboxes:
                self._outboxes[gateway_id].close()
        self._forget(gateway_ids)

    def _forget(self, gateway_ids: list[str]) -> None:
        for gateway_id in gateway_ids:
            del self._seen_at_ms[gateway_id]
            outbox = self._outboxes.pop(gateway_id, None)
            if outbox is not None:
                self._number = max(self._number, outbox.newest)
        if gateway_ids:
            gone, held = set(gateway_ids), self._gateway_by_client
            self._gateway_by_client = {one: where for one, where in held.items() if where[0] not in gone}

    async def poll(self, gateway_id: str, cursor: int, wait_s: float, now_ms: int) -> Polled:
        return await self._outbox(gateway_id, now_ms).poll(cursor, wait_s)

    def _outbox(self, gateway_id: str, now_ms: int) -> Outbox:
        """The gateway's outbox; whoever asks for it has just shown life."""
        self._seen_at_ms[gateway_id] = now_ms
        outbox = self._outboxes.get(gateway_id)
        if outbox is None:
            outbox = self._outboxes[gateway_id] = Outbox(self._number + 1)
        return outbox

    def tell(self, division_id: str, notices: list[Notify]) -> None:
        """Put notices on their way to those who are connected; the others find them in their kept events."""
        for notice in notices:
            where = self._gateway_by_client.get((division_id, notice.recipient))
            if where is not None and (outbox := self._outboxes.get(where[0])) is not None:
                outbox.put(Notice(notice.recipient, notice.seq, notice.event))

    def subscribe(self, state: State, item: Subscribe, reply: Reply, now_ms: int) -> Subscribed:
        """Answer with what the client missed; from here on its notices go to this gateway.

        The gateway of an earlier connection is told by a notice without a number that it has been replaced.
        """
        if reply.reason:
            return Subscribed("refused", 0, None, [], reply.reason)
        client = (item.division_id, item.recipient)
        before = self._gateway_by_client.get(client)
        if before is not None and before[1] != item.connection_id and before[0] in self._outboxes:
            replaced = Connected(state.now_ms, item.recipient, item.gateway_id, item.connection_id)
            self._outboxes[before[0]].put(Notice(item.recipient, 0, replaced))
        self._outbox(item.gateway_id, now_ms)
        self._gateway_by_client[client] = (item.gateway_id, item.connection_id)
        # None: a customer without a call who is gone again, by another item of this very turn.
        recipient = state.recipients.get(item.recipient) or Recipient(id=item.recipient)
        if item.after is None:
            return Subscribed("welcome", recipient.seq, session_view(state, item.recipient), [])
        missed = _missed(recipient, item.after)
        if missed is None:
            return Subscribed("reset", recipient.seq, session_view(state, item.recipient), [])
        # A renewal goes on where it was, and after a move or a failover everybody renews at once.
        session = None if item.is_renewal else session_view(state, item.recipient)
        return Subscribed("resumed", recipient.seq, session, missed)

    def unsubscribe(self, item: Unsubscribe) -> None:
        client = (item.division_id, item.recipient)
        where = self._gateway_by_client.get(client)
        if where is not None and where[1] == item.connection_id:
            del self._gateway_by_client[client]


def is_replaced(state: State, item: Subscribe) -> bool:
    """Say whether a renewal comes too late: a newer connection of the same client lives (and must not be thrown out)."""
    recipient = state.recipients.get(item.recipient)
    return item.is_renewal and recipient is not None and recipient.connection_id not in ("", item.connection_id)


def _missed(recipient: Recipient, after: int) -> list[Notice] | None:
    """Return the events after number `after`, or None when they are no longer (or were never) kept."""
    if after > recipient.seq or after < 0 or _is_of_elsewhere(recipient, after):
        return None
    if after == recipient.seq:
        return []
    if not recipient.kept or recipient.kept[0][0] > after + 1:
        return None
    return [Notice(recipient.id, seq, event) for seq, event in recipient.kept if seq > after]


def _is_of_elsewhere(recipient: Recipient, after: int) -> bool:
    """May number `after` be another division's? There a customer's numbers go on after that of `CallHandedOver`."""
    for seq, event in recipient.kept if recipient.id.startswith("customer:") else ():
        if isinstance(event, CallHandedOver):
            return after > seq
        if isinstance(event, HandedCallEnded):
            return after >= seq
    return False
