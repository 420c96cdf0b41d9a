"""What a customer may do, and which call of theirs waits.

Rules: a customer acts for themselves alone. The call's id is made from the message's id, so that a repeated request,
through whatever gateway, is the same call.

Not here: hanging up and media (`gateway/talk.py`), what the customer is told (`gateway/translation.py`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from actors.hall import Subscribed
from dispatch import events, views
from dispatch.wishes import Wishes
from gateway import client_messages as said
from gateway import parties, talk
from gateway.speaker import Speaker

Handler = Callable[[Speaker, str, Any], Awaitable[dict[str, Any]]]

NO_WISHES = Wishes()


def wishes_of(data: said.CallRequest) -> Wishes | None:
    """What a customer may ask for beyond the queue; None where it is nothing, as in most calls."""
    wishes = Wishes(
        need=data.need,
        preferred_agent_id=data.preferred_agent_id,
        region=data.region,
        carrier=data.carrier,
        is_callback=data.is_callback,
    )
    return wishes if wishes != NO_WISHES else None


async def request_call(
    speaker: Speaker, message_id: str, data: said.CallRequest, customer_id: str = "", wishes: Wishes | None = None
) -> dict[str, Any]:
    """Admit a call; return its id and, where a limit led it elsewhere, where it waits and why.

    `customer_id` is for staff, who ask on behalf of somebody; `wishes` replaces what `data` wishes.
    """
    customer_id = customer_id or speaker.identity.subject
    call_id = speaker.call_id_for(message_id)
    async with speaker.beginning_call():
        # Before the command: the name must be there when the reservation rings, which may be in the very same step.
        await speaker.remember_customer(customer_id, data.display_name)
        value = await speaker.value_of(
            speaker.hall.call(call_id, speaker.identity.division_id).request(
                customer_id,
                data.queue_id,
                data.business_reference,
                data.is_consented,
                wishes or wishes_of(data),
                principal=speaker.identity.principal,
                command_id=message_id,
            )
        )
    return {"call_id": call_id, **value}


async def request_callback(speaker: Speaker, message_id: str, data: said.AskCallback) -> dict[str, Any]:
    """Wait without staying; the place is kept."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    return await speaker.value_of(call.request_callback(principal=speaker.identity.principal, command_id=message_id))


async def accept_invitation(speaker: Speaker, message_id: str, data: said.InvitationAccept) -> dict[str, Any]:
    """Come to the call that an agent invited to."""
    identity = speaker.identity
    await speaker.remember_customer(identity.subject, data.display_name)
    call = speaker.hall.call(data.call_id, identity.division_id)
    work = call.accept_invitation(
        identity.subject, data.is_consented, principal=identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


HANDLERS: dict[type[said.FromClient], Handler] = {
    said.CallRequest: request_call,
    said.AskCallback: request_callback,
    said.InvitationAccept: accept_invitation,
    said.AnswerScriptStep: parties.answer_step,
    said.CallHangUp: talk.hang_up,
    **talk.MEDIA_HANDLERS,
}


def waiting_after(call_id: str, event: events.Event) -> str:
    """Return the id of the call that waits in a line after `event`, where `call_id` waited before; empty for none."""
    match event:
        case events.CallQueued() | events.InvitationAccepted() | events.CallTransferred():
            return event.call_id
        case events.ReservationClosed() | events.CallRequeued() | events.CallMoved():
            return event.call_id
        case events.HandOverAdmitted() | events.HandOverRefused():
            return event.call_id
        case events.CallReserved() | events.ReservationAccepted() | events.CallEnded() | events.CallHandingOver():
            return ""
        case _:
            return call_id


def waiting_in(session: views.SessionView) -> str:
    """Return the id of the call that waits according to a snapshot; empty for none."""
    return session.call.call_id if session.call is not None and session.call.state == "waiting" else ""


def is_over(session: views.SessionView) -> bool:
    """Whether the customer has no call any more according to a snapshot."""
    return session.call is None or session.call.state == "ended"


def went_on(subscribed: Subscribed) -> str:
    """The division that has the customer's call by now, where no event that is still to be told says so; else empty."""
    call = subscribed.session.call if subscribed.session is not None else None
    if call is None or call.state != "handed_over":
        return ""
    is_to_be_told = any(isinstance(notice.event, events.CallHandedOver) for notice in subscribed.missed)
    return "" if is_to_be_told else call.division_id
