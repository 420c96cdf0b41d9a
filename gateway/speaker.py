"""Somebody signed in who wants something done: what WebSocket messages and REST requests have in common.

Rules: every command carries the principal and the sender's own id, so a repeat through any gateway gets the first answer
(SAFETY.md 6). Whose call or reservation it is, the engine decides, except for SDP, which never reaches it:
there `own_call` asks first. No wait is without a bound.

Not here: what may be wanted (`gateway/talk.py`, `gateway/customer.py`, `gateway/agent.py`).
"""

import asyncio
import uuid
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from actors.audit import Audit
from actors.hall import Hall, HallUnavailable
from actors.tickets import Tickets
from dispatch.effects import Reply
from dispatch.views import CallView
from gateway.admission import Admission
from gateway.auditing import Auditor
from gateway.boards import Boards
from gateway.identity import Identity
from gateway.metrics import Metrics
from gateway.people import People
from gateway.rates import Rates
from gateway.refusals import Mistake, Refused
from gateway.settings import Settings
from gateway.status import Overview

CALL_NAMESPACE = uuid.UUID("6f1c5d0e-64f3-4c0a-9a63-0f6f6d1a7a10")
"""Makes call ids out of (division, principal, message id). Changing it would make repeats into new calls."""

SHOWN = ("call_id", "text", "allowed", "division_id")
"""Of a refusal's value, the first of these that is there is told: what is in the way, is said, may be, or whom to ask."""

HIDDEN = frozenset({"unknown_call", "unknown_reservation"})
"""Told to staff alone. A call's id follows from customer and message id, so whoever guesses those could ask whether there is
such a call; to customers and agents what is not there is therefore answered like what is not theirs."""

T = TypeVar("T")


class Services:
    """What all speakers of one gateway share."""

    __slots__ = (
        "admission",
        "auditor",
        "boards",
        "hall",
        "metrics",
        "overview",
        "people",
        "rates",
        "settings",
        "tickets",
    )

    def __init__(self, hall: Hall, settings: Settings, tickets: Tickets, audit: Audit) -> None:
        self.auditor = Auditor(audit, settings.gateway_id)
        self.tickets = tickets
        self.hall = hall
        self.settings = settings
        self.people = People(hall)
        self.metrics = Metrics()
        self.overview = Overview(hall, settings)
        self.boards = Boards(hall, self.overview, settings)
        self.rates = Rates(settings)
        self.admission = Admission(settings.admission_target_ms)


class Speaker:
    """One identity with the means to act on it."""

    __slots__ = ("address", "checked_call_id", "identity", "services")

    def __init__(self, services: Services, identity: Identity, address: str = "") -> None:
        self.services = services
        self.identity = identity
        self.address = address
        """Where the connection or request comes from, as this process sees it."""
        self.checked_call_id = ""
        """The last call that proved to be the speaker's own."""

    @property
    def hall(self) -> Hall:
        return self.services.hall

    @property
    def division_id(self) -> str:
        """The division that the token is good for: the hall's first where it names none."""
        return self.identity.division_id or self.hall.division_ids[0]

    def call_id_for(self, message_id: str) -> str:
        """Return the id of the call that `message_id` asks for: the same for every repeat, through any gateway."""
        name = f"{self.identity.division_id}\n{self.identity.principal}\n{message_id}"
        return str(uuid.uuid5(CALL_NAMESPACE, name))

    async def within_time(self, work: Awaitable[T]) -> T:
        """Wait for `work` at most `command_timeout_ms`; raises HallUnavailable, by the store's name if that is why."""
        try:
            async with asyncio.timeout(self.services.settings.command_timeout_ms / 1000):
                return await work
        except TimeoutError:
            raise HallUnavailable(await self.hall.why_silent()) from None
        except HallUnavailable as error:
            if error.reason != "not_ready":
                raise
            raise HallUnavailable(await self.hall.why_silent("not_ready")) from None

    async def value_of(self, work: Awaitable[Reply]) -> dict[str, Any]:
        """Return what the command answered; raises `Refused` where it said no."""
        reply = await self.services.admission.measured(self.identity.division_id, self.within_time(work))
        value = reply.value or {}
        if reply.reason:
            # `already_in_call` and `call_exists` name the call that is in the way; a page shows that one instead. A limit says
            # what the customer is told, and whether a message is asked for; otherwise what would be allowed is said.
            detail = next((value[one] for one in SHOWN if value.get(one)), "")
            reason = self._told(reply.reason)
            problems = [Mistake(*str(one).partition(": ")[::2]) for one in value.get("problems", [])]
            then = "message" if value.get("then") == "message" else ""
            raise Refused(reason, str(detail), then=then, problems=problems)
        return value

    def beginning_call(self) -> AbstractAsyncContextManager[None]:
        """Hold a place among those who begin a call; entering raises `Refused` where there are too many."""
        return self.services.admission.newcomer(self.identity.division_id, self.identity.principal)

    def _told(self, reason: str) -> str:
        return "not_yours" if reason in HIDDEN and self.identity.role in ("customer", "agent") else reason

    async def remember_customer(self, customer_id: str, display_name: str) -> None:
        """Keep the name that a customer gave, if any, where it can be erased. Raises StoreUnavailable."""
        if display_name.strip():
            await self.within_time(self.services.people.remember_customer(customer_id, display_name.strip()))

    async def own_call(self, call_id: str) -> CallView:
        """Return the call as it is now, if the speaker is its customer or its owner; raises `Refused`."""
        view = await self.seen_call(call_id)
        owner = view.customer_id if self.identity.role == "customer" else view.agent_id
        if owner != self.identity.subject:
            raise Refused("not_yours", call_id)
        self.checked_call_id = call_id
        return view

    async def seen_call(self, call_id: str) -> CallView:
        """Return the call as it is now, if the speaker may see it: staff, and whoever is in it or asked for it.

        Only a customer sees it in the division that it went to: a token of staff is good for one division, and the same
        agent's id is somebody else's there.
        """
        is_followed = self.identity.role == "customer"
        call = self.hall.call(call_id, self.identity.division_id)
        view = await self.within_time(call.view(is_followed=is_followed))
        if view is None:
            raise Refused(self._told("unknown_call"), call_id)
        inside = {"customer": [view.customer_id], "agent": [view.agent_id, *(one.agent_id for one in view.parties)]}
        if self.identity.subject not in inside.get(self.identity.role, [self.identity.subject]):
            raise Refused("not_yours", call_id)
        return view
