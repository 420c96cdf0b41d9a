"""What a customer may do, and which call of theirs waits.

Rules: a customer acts for themselves alone. The call's id is made from the message's id, so that a repeated request,
through whatever gateway, is the same call.

Not here: hanging up and media (`gateway/talk.py`), what the customer is told (`gateway/translation.py`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from dispatch import events, views
from gateway import client_messages as said
from gateway import talk
from gateway.speaker import Speaker

Handler = Callable[[Speaker, str, Any], Awaitable[dict[str, Any]]]


async def request_call(
    speaker: Speaker, message_id: str, data: said.CallRequest, customer_id: str = ""
) -> dict[str, Any]:
    """Admit a call and return its id. `customer_id` is for operators, who ask on behalf of somebody."""
    customer_id = customer_id or speaker.identity.subject
    call_id = speaker.call_id_for(message_id)
    if data.display_name.strip():
        # Before the command: the name must be there when the reservation rings, which may be in the very same step.
        await speaker.within_time(speaker.services.people.remember_customer(customer_id, data.display_name.strip()))
    call = speaker.hall.call(call_id, speaker.identity.division_id)
    await speaker.value_of(
        call.request(
            customer_id,
            data.queue_id,
            data.business_reference,
            data.is_consented,
            principal=speaker.identity.principal,
            command_id=message_id,
        )
    )
    return {"call_id": call_id}


HANDLERS: dict[type[said.FromClient], Handler] = {
    said.CallRequest: request_call,
    said.CallHangUp: talk.hang_up,
    said.RtcSdpOffer: talk.exchange_sdp,
    said.RtcStats: talk.take_stats,
}


def waiting_after(call_id: str, event: events.Event) -> str:
    """Return the id of the call that waits in a line after `event`, where `call_id` waited before; empty for none."""
    match event:
        case events.CallQueued() | events.ReservationClosed() | events.CallRequeued() | events.CallMoved():
            return event.call_id
        case events.CallReserved() | events.ReservationAccepted() | events.CallEnded():
            return ""
        case _:
            return call_id


def waiting_in(session: views.SessionView) -> str:
    """Return the id of the call that waits according to a snapshot; empty for none."""
    return session.call.call_id if session.call is not None and session.call.state == "waiting" else ""
