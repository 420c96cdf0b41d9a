"""One signed-in principal's conversation: subscribe, tell every event in order, carry out what is asked, unsubscribe.

Rules: events leave in the order of their numbers, without a gap and never twice; a gap closes the connection with 1011, and
the client resumes. Each message is answered exactly once. Messages of one client are carried out one after the other, so a
client cannot overtake itself nor fill the hall. Whatever goes wrong has a reason on the wire and a line in the log,
never a stack trace to the client.

Theory: what comes from the hall (snapshots and events) passes an inbox. Mostly it is empty: an event is translated and
written at once. Only when a message shows a name that is not known yet, one task looks it up while the inbox holds the order.

A customer whose call goes on in another division is subscribed there from then on, after the number that was named; a new call
is asked for at home, in the division of the token.

Not here: the socket (`gateway/connection.py`), the meaning of messages (`gateway/customer.py`, `gateway/agent.py`).
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable

import structlog
from msgspec import UNSET

from actors.hall import HallUnavailable, Notice, Subscribed
from actors.logs import write_lines
from actors.spans import begin_request, end_request
from dispatch import events, views
from dispatch.handing_facts import HOPS_MAX
from gateway import agent, customer, supervisor, translation
from gateway import client_messages as said
from gateway import messages as wire
from gateway.codec import Codec
from gateway.connection import Connection
from gateway.greeting import greeting_of
from gateway.identity import Identity
from gateway.limits import INBOX_EVENTS_MAX, MISUNDERSTANDINGS_MAX
from gateway.people import LOOKUP_MS_MAX
from gateway.refusals import EXPECTED, Refused, refused_by
from gateway.speaker import Services, Speaker
from gateway.translation import Known

TOKEN_WARNING_MS = 60_000
"""How long before its end a client hears of it: enough to fetch a fresh token and resume."""
SPANNED = said.ALL_CLIENT_TYPES - {said.SessionAck.TYPE, said.RtcStats.TYPE}
"""What is worth a span; a type that nobody knows names none."""
MISUNDERSTOOD = frozenset({"malformed", "unknown_type", "bad_value"})
STAFF_HANDLERS = dict.fromkeys(supervisor.ROLES, supervisor.HANDLERS)
HANDLERS = {"customer": customer.HANDLERS, "agent": agent.HANDLERS, **STAFF_HANDLERS}

log = structlog.get_logger("gateway.session")


class Session:
    """A session over one connection; of supervisors and operators there is more in `gateway/supervisor_session.py`."""

    def __init__(self, services: Services, identity: Identity, codec: Codec, address: str = "") -> None:
        self.identity = identity
        self.connection = Connection(codec, services.settings.ping_ms)
        self.connection_id = uuid.uuid4().hex
        self.waiting_call_id = ""
        """The customer's call that is in a waiting line; `gateway/rounds.py` tells its position."""
        self._services = services
        self._codec = codec
        self._speaker = Speaker(services, identity, address)
        self._handlers = HANDLERS[identity.role]
        self._inbox: deque[Notice | Subscribed] = deque()
        self._seq = 0
        self._known: Known | None = None
        """What was looked up for the inbox's first item."""
        self._lookup: asyncio.Task[None] | None = None
        self._is_subscribed = False
        self.division_id = identity.division_id
        """Where the events come from: the token's division, or where the customer's call went on."""
        self._is_call_over = False
        """The call that went on elsewhere has ended there."""
        self._move: asyncio.Task[None] | None = None
        self._is_warned = False
        self._restart: wire.RtcRestart | None = None
        """A wish that is still to be told: this client's media have left the room."""
        self._misunderstanding_count = 0
        self._told: views.PositionView | None = None

    async def run(self, after: int | None, greeted: Callable[[], None]) -> None:
        """Hold the conversation until the connection ends, after the upgrade; `greeted`: called when it begins."""
        try:
            is_open = await self._open(after)
            greeted()
            async for payload in self.connection.payloads():
                if is_open:
                    await self._take(payload)
        finally:
            await self._leave()

    async def _open(self, after: int | None) -> bool:
        """Subscribe and greet; False when the hall does not have us now."""
        try:
            subscribed = await self._subscribe(after)
            for _ in range(HOPS_MAX):
                elsewhere = customer.went_on(subscribed) if self.identity.role == "customer" else ""
                if elsewhere not in self._services.hall.division_ids:
                    break
                subscribed = await self._subscribe_elsewhere(elsewhere, after)
        except EXPECTED as error:
            refused = refused_by(error)
            self._refuse(refused)
            self.connection.close(1011)
            return False
        if subscribed.kind == "refused":
            # The division does not know this agent: its plan, not this connection, must change.
            self._refuse(Refused(subscribed.reason))
            self.connection.close(4003)
            return False
        self._seq = after or 0
        self._inbox.extendleft(reversed(subscribed.missed))
        self._inbox.appendleft(subscribed)
        self._is_subscribed = True
        self._flush()
        return True

    async def _subscribe(self, after: int | None) -> Subscribed:
        """Raises one of `EXPECTED`."""
        async with asyncio.timeout(self._services.settings.command_timeout_ms / 1000):
            return await self._services.hall.subscribe(
                self.identity.principal, self.connection_id, after, self._deliver, self._reset, self.division_id
            )

    async def _subscribe_elsewhere(self, division_id: str, after: int | None) -> Subscribed:
        """Leave one division for another. Raises one of `EXPECTED`."""
        await self._unsubscribe()
        self.division_id = division_id
        self._inbox.clear()
        return await self._subscribe(after)

    async def _go(self, division_id: str, after: int | None) -> None:
        """Have the events from another division from now on; where that fails the client comes again, and is led there."""
        self._is_subscribed = self._is_call_over = False
        try:
            subscribed = await self._subscribe_elsewhere(division_id, after)
        except EXPECTED:
            self.connection.close(1011)
            return
        if subscribed.kind == "refused":
            self.connection.close(1011)
            return
        self._seq = after or 0
        self._inbox.extendleft(reversed(subscribed.missed))
        if subscribed.kind != "resumed":
            self._inbox.appendleft(subscribed)
        self._is_subscribed = True
        self._flush()

    @property
    def _is_elsewhere(self) -> bool:
        return self.division_id != self.identity.division_id

    async def _leave(self) -> None:
        self._forget_lookup()
        if self._move is not None:
            self._move.cancel()
            await asyncio.gather(self._move, return_exceptions=True)
        self._inbox.clear()
        await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        try:
            async with asyncio.timeout(self._services.settings.command_timeout_ms / 1000):
                await self._services.hall.unsubscribe(self.identity.principal, self.connection_id, self.division_id)
        except (HallUnavailable, TimeoutError) as error:
            # The shard notices by the gateway's lease; the grace of this client then starts a little later.
            log.warning("unsubscribe_failed", connection_id=self.connection_id, error=type(error).__name__)

    # -- what the hall tells

    def _deliver(self, notices: list[Notice]) -> None:
        if notices and notices[0].seq == 0:
            # Not an event: the hall says that a newer connection, through whatever gateway, has taken this one's place.
            self.connection.close(4004)
            return
        self._inbox.extend(notices)
        if len(self._inbox) > INBOX_EVENTS_MAX:
            self._inbox.clear()
            self.connection.close(1011)
        self._flush()

    def _reset(self, subscribed: Subscribed) -> None:
        """A snapshot replaces whatever was still to be told."""
        self._forget_lookup()
        self._inbox.clear()
        self._inbox.append(subscribed)
        self._flush()

    def _flush(self) -> None:
        """Translate and write what the inbox holds, up to the first name that must be looked up."""
        if not self._is_subscribed or self._lookup is not None:
            return
        batch: list[wire.Outgoing] = []
        while self._inbox and self.connection.is_open and self._is_subscribed:
            head = self._inbox[0]
            if isinstance(head, Notice) and self._is_out_of_turn(head):
                continue
            known = self._known_for(head)
            if known is None:
                break
            self._inbox.popleft()
            self._known = None
            batch.append(self._greeting(head, known.name) if isinstance(head, Subscribed) else self._event(head, known))
        if batch:
            # Asked for after all that there is to tell: of a party who has come back since, nothing is wanted.
            if self._restart is not None:
                batch.append(self.connection.outgoing(self._restart))
                self._restart = None
            self.connection.send(batch)

    def _is_out_of_turn(self, notice: Notice) -> bool:
        """Drop what was told already; end the connection where a number is missing. True: the inbox was changed."""
        if notice.seq == self._seq + 1:
            return False
        self._inbox.popleft()
        if notice.seq > self._seq + 1:
            log.error("gap", connection_id=self.connection_id, expected=self._seq + 1, seq=notice.seq)
            self.connection.close(1011)
        return True

    def _known_for(self, item: Notice | Subscribed) -> Known | None:
        """Return what the message shows beside the item; None when it has to be looked up first, which is then under way."""
        if self._known is not None:
            return self._known
        role, own_id, needed = self.identity.role, self.identity.subject, None
        if isinstance(item, Notice):
            needed = translation.needed(role, item.event, own_id)
        elif item.session is not None:
            needed = translation.needed_in(role, item.session)
        if needed is None:
            return Known(own_id)
        kind, reference = needed
        if kind == "agent":
            name = self._services.people.known_agent_name(reference, self.division_id)
            if name is not None:
                return Known(own_id, name)
        self._lookup = asyncio.get_running_loop().create_task(self._look_up(kind, reference))
        return None

    async def _look_up(self, kind: str, reference: str) -> None:
        people, known = self._services.people, Known(self.identity.subject)
        try:
            if kind == "agent":
                known = known._replace(name=await people.agent_name(reference, self.division_id))
            elif kind == "customer":
                known = known._replace(name=await people.masked_customer(reference))
            else:
                known = known._replace(call=await self._call_of(reference))
        except Exception:
            # A bug in a look-up costs the name, never the events that wait behind it.
            log.exception("lookup_failed", connection_id=self.connection_id)
        self._known = known
        self._lookup = None
        self._flush()

    async def _call_of(self, call_id: str) -> wire.Call | None:
        """Return a call that came to this agent as it is now; None where that cannot be had in time."""
        try:
            async with asyncio.timeout(LOOKUP_MS_MAX / 1000):
                view = await self._services.hall.call(call_id, self.division_id).view()
        except (HallUnavailable, TimeoutError) as error:
            log.warning("call_not_found", call_id=call_id, error=type(error).__name__)
            return None
        if view is None:
            return None
        customer_name = await self._services.people.masked_customer(view.customer_id)
        return translation.call_of(self.identity.role, view, customer_name)

    def _forget_lookup(self) -> None:
        """What was looked up was for an item that is not to be told any more."""
        if self._lookup is not None:
            self._lookup.cancel()
        self._lookup = self._known = None

    def _event(self, notice: Notice, known: Known) -> wire.Outgoing:
        self._seq = notice.seq
        if self.identity.role == "customer":
            self._track(customer.waiting_after(self.waiting_call_id, notice.event))
            self._follow(notice.event)
        if isinstance(notice.event, events.PartyJoined | events.PartyLeft):
            self._heed_party(notice.event)
        data = translation.message_of(self.identity.role, notice.event, known)
        return self.connection.outgoing(data, seq=notice.seq, at_ms=notice.event.at_ms)

    def _heed_party(self, event: events.PartyJoined | events.PartyLeft) -> None:
        """Remember whether this client's own media are gone, as far as it was told."""
        if event.party == self.identity.role:
            has_left = isinstance(event, events.PartyLeft)
            self._restart = wire.RtcRestart(event.call_id, event.attempt, "party_left") if has_left else None

    def _follow(self, event: events.Event) -> None:
        if isinstance(event, events.CallHandedOver) and event.to_division in self._services.hall.division_ids:
            # What is told here from now on is not the customer's any more.
            self._is_subscribed = False
            self._move = asyncio.get_running_loop().create_task(self._go(event.to_division, event.seq or None))
        elif isinstance(event, events.CallEnded):
            self._is_call_over = self._is_elsewhere

    def _greeting(self, subscribed: Subscribed, name: str) -> wire.Outgoing:
        if subscribed.session is not None and self.identity.role == "customer":
            self._track(customer.waiting_in(subscribed.session))
            self._is_call_over = self._is_elsewhere and customer.is_over(subscribed.session)
        if subscribed.kind != "resumed":
            self._seq = subscribed.seq
        return self.connection.outgoing(greeting_of(self._services.settings, self.identity, subscribed, name))

    def _track(self, call_id: str) -> None:
        if call_id != self.waiting_call_id:
            self.waiting_call_id, self._told = call_id, None

    def tell_position(self, view: views.PositionView) -> None:
        """Send `queue.update` where it says something new. Between two reads the call may have left the line."""
        if view.call_id != self.waiting_call_id or view.position < 1 or view == self._told:
            return
        self._told = view
        self.connection.say(wire.QueueUpdate(view.call_id, view.position, view.estimate_ms))

    @property
    def told_position(self) -> int:
        """The position the client knows; 0 when it knows none."""
        return self._told.position if self._told is not None else 0

    # -- what the client says

    async def _take(self, payload: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if not self._services.rates.takes_message_of(self.identity):
            self.connection.close(4008)
            return
        re, reason, span = "", "", None
        try:
            if payload is None:
                raise Refused(
                    "malformed", f"{self._codec.name} uses {'text' if self._codec.is_text else 'binary'} frames"
                )
            envelope = self._codec.envelope(payload)
            re = envelope.id
            self._services.metrics.count_received(envelope.type)
            if envelope.type == said.SessionPong.TYPE:
                return  # Most of what comes: it has said all by coming, and gets no trace of its own.
            span = begin_request(envelope.type if envelope.type in SPANNED else "", envelope.traceparent)
            data = self._codec.data(envelope, self.identity.role)
            if isinstance(data, said.SessionAck):
                return
            if self._is_call_over and isinstance(data, said.CallRequest):
                await self._go(self.identity.division_id, None)
            value = await self._handlers[type(data)](self._speaker, envelope.id, data)
            self._note(envelope.type, getattr(data, "call_id", "") or value.get("call_id", ""))
        except Refused as refused:
            reason = self._refuse(refused, re)
        except EXPECTED as error:
            reason = self._refuse(refused_by(error), re)
        except Exception as error:
            log.exception("message_failed", connection_id=self.connection_id, message_id=re)
            reason = self._refuse(refused_by(error), re)
        except asyncio.CancelledError:
            reason = "left"
            raise
        else:
            self._misunderstanding_count = 0
            self.connection.say(wire.Ack(value), re=re)
        finally:
            end_request(span, reason, role=self.identity.role)
        self._services.metrics.command_s.observe(loop.time() - began_s)

    def _refuse(self, refused: Refused, re: str = "") -> str:
        """Tell the client why, and return the reason."""
        self._services.metrics.count_refusal(refused.reason)
        self._note("refused", "", refused.reason)
        error = wire.Error(refused.reason, refused.detail, refused.then or UNSET, refused.retry_after_ms or UNSET)
        self.connection.say(error, re=re or refused.re)
        if refused.reason in MISUNDERSTOOD:
            self._misunderstanding_count += 1
            if self._misunderstanding_count >= MISUNDERSTANDINGS_MAX:
                self.connection.close(4000)
        return refused.reason

    def _note(self, what: str, call_id: str, reason: str = "") -> None:
        """Log what was done: `rtc.stats` come every few seconds from everybody and are measured instead."""
        if what != said.RtcStats.TYPE:
            ids = {"connection_id": self.connection_id, **({"call_id": call_id} if call_id else {})}
            write_lines([{"event": f"client.{what}", **ids, **({"reason": reason} if reason else {})}])

    # -- what time does

    def check(self, now_s: float, now_ms: int) -> None:
        """Look after the connection and the token; called about once a second."""
        left_ms = self.identity.expires_at_s * 1000 - now_ms
        if left_ms <= 0:
            self.connection.close(4002)
        elif left_ms < TOKEN_WARNING_MS and not self._is_warned:
            self._is_warned = True
            self.connection.say(wire.SessionToken(int(self.identity.expires_at_s * 1000)))
        self.connection.check(now_s, now_ms)
