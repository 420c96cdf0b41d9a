"""What both parties of a call may do: hang up, exchange SDP and candidates, leave the room, report how the media does.

Rules: the party's name in the room is the speaker's role. SDP and candidates are taken only from a party of the call, and
only for the attempt that is open now (SAFETY.md 16); their text is never logged. The worker answers an offer at once and never
waits for candidates; a new offer of a party for the same attempt is a new link, and the old one goes on until the new one
flows (ICE restart, a change of network, a reload).

Not here: the room itself (`media/worker.py`).
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from actors.media_items import Candidates, LeaveOrder
from dispatch.views import RoomView
from gateway import client_messages as said
from gateway.ice import ice_configuration
from gateway.refusals import Refused
from gateway.speaker import Speaker


async def hang_up(speaker: Speaker, message_id: str, data: said.CallHangUp) -> dict[str, Any]:
    """End the call, or withdraw the request."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    return await speaker.value_of(call.hang_up(principal=speaker.identity.principal, command_id=message_id))


async def exchange_sdp(speaker: Speaker, message_id: str, data: said.RtcSdpOffer) -> dict[str, Any]:
    """Return the media worker's answer. A repeat makes a new peer connection: the newest one counts."""
    speaker.services.rates.check_offer_of(speaker.identity)
    room = await open_room(speaker, data.call_id, data.attempt)
    answer = await speaker.within_time(
        speaker.hall.rtc_answer(
            room.worker_id, room.worker_epoch, data.call_id, data.attempt, speaker.identity.role, data.sdp
        )
    )
    return {"sdp_answer": answer, "attempt": data.attempt}


async def open_room(speaker: Speaker, call_id: str, attempt: int | None = None) -> RoomView:
    """Return the room of the speaker's own call, once it is open; of that attempt, where one is named. Raises Refused."""
    view = await speaker.own_call(call_id)
    room = view.room
    if room is None:
        raise Refused("wrong_state", f"the call is {view.state} and has no room")
    if attempt is not None and room.attempt != attempt:
        raise Refused("stale_attempt", f"the room's attempt is {room.attempt}")
    if not room.is_open:
        raise Refused("not_ready", "the room is not open yet: wait for rtc.room", retry_after_ms=1_000)
    return room


async def take_candidate(speaker: Speaker, message_id: str, data: said.RtcCandidate) -> dict[str, Any]:
    """Hand a trickled candidate to the worker. It needs no word about their end: it never waits for one."""
    room = await open_room(speaker, data.call_id, data.attempt)
    if data.candidate:
        item = Candidates(data.call_id, data.attempt, speaker.identity.role, [data.candidate], speaker.address)
        await speaker.within_time(speaker.hall.ask_media(room.worker_id, room.worker_epoch, item))
    return {}


async def say_bye(speaker: Speaker, message_id: str, data: said.RtcBye) -> dict[str, Any]:
    """Leave the room at once, instead of falling silent; the call goes on, and the party may offer again."""
    room = await open_room(speaker, data.call_id, data.attempt)
    item = LeaveOrder(data.call_id, data.attempt, speaker.identity.role)
    await speaker.within_time(speaker.hall.ask_media(room.worker_id, room.worker_epoch, item))
    return {}


async def tell_configuration(speaker: Speaker, message_id: str, data: said.RtcConfig) -> dict[str, Any]:
    """Return the ICE servers with fresh credentials, as a welcome does."""
    found = ice_configuration(speaker.services.settings, speaker.identity.principal, int(time.time() * 1000))
    return found._asdict()


async def take_stats(speaker: Speaker, message_id: str, data: said.RtcStats) -> dict[str, Any]:
    """Measure; only for a call of one's own, so that nobody colours the hall's figures from outside."""
    if data.call_id != speaker.checked_call_id:
        await speaker.own_call(data.call_id)
    speaker.services.metrics.observe_stats(data.stats)
    return {}


MEDIA_HANDLERS: dict[type[said.FromClient], Callable[[Speaker, str, Any], Awaitable[dict[str, Any]]]] = {
    said.RtcConfig: tell_configuration,
    said.RtcSdpOffer: exchange_sdp,
    said.RtcCandidate: take_candidate,
    said.RtcBye: say_bye,
    said.RtcStats: take_stats,
}
