"""What both parties of a call may do: hang up, exchange SDP, report how the media does.

Rules: the party's name in the room is the speaker's role. An SDP offer is taken only from a party of the call, and only for
the attempt that is open now (SAFETY.md 16); its text is never logged.

Not here: the room itself (`media/worker.py`).
"""

from typing import Any

from gateway import client_messages as said
from gateway.refusals import Refused
from gateway.speaker import Speaker


async def hang_up(speaker: Speaker, message_id: str, data: said.CallHangUp) -> dict[str, Any]:
    """End the call, or withdraw the request."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    return await speaker.value_of(call.hang_up(principal=speaker.identity.principal, command_id=message_id))


async def exchange_sdp(speaker: Speaker, message_id: str, data: said.RtcSdpOffer) -> dict[str, Any]:
    """Return the media worker's answer. A repeat makes a new peer connection: the newest one counts."""
    speaker.services.rates.check_offer_of(speaker.identity)
    view = await speaker.own_call(data.call_id)
    room = view.room
    if room is None:
        raise Refused("wrong_state", f"the call is {view.state} and has no room")
    if room.attempt != data.attempt:
        raise Refused("stale_attempt", f"the room's attempt is {room.attempt}")
    if not room.is_open:
        raise Refused("not_ready", "the room is not open yet: wait for rtc.room")
    answer = await speaker.within_time(
        speaker.hall.rtc_answer(
            room.worker_id, room.worker_epoch, data.call_id, data.attempt, speaker.identity.role, data.sdp
        )
    )
    return {"sdp_answer": answer, "attempt": data.attempt}


async def take_stats(speaker: Speaker, message_id: str, data: said.RtcStats) -> dict[str, Any]:
    """Measure; only for a call of one's own, so that nobody colours the hall's figures from outside."""
    if data.call_id != speaker.checked_call_id:
        await speaker.own_call(data.call_id)
    speaker.services.metrics.observe_stats(data.stats)
    return {}
