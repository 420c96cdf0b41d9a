"""What an agent may do.

Rules: an agent acts as themselves alone; whose reservation or call it is, the engine checks in the same step that acts,
so a late accept is refused there and never bridged.

Not here: hanging up and media (`gateway/talk.py`), what the agent is told (`gateway/translation.py`).
"""

from typing import Any

from actors.agent import AgentHandle
from gateway import messages as wire
from gateway import talk
from gateway.customer import Handler
from gateway.speaker import Speaker


def _self(speaker: Speaker) -> AgentHandle:
    return speaker.hall.agent(speaker.identity.subject, speaker.identity.division_id)


async def set_state(speaker: Speaker, message_id: str, data: wire.SetAgentState) -> dict[str, Any]:
    """Become ready, not ready with a reason, or sign out."""
    agent, principal = _self(speaker), speaker.identity.principal
    if data.activity == "ready":
        return await speaker.value_of(agent.set_ready(principal=principal, command_id=message_id))
    if data.activity == "not_ready":
        return await speaker.value_of(agent.set_not_ready(data.reason, principal=principal, command_id=message_id))
    return await speaker.value_of(agent.sign_out(principal=principal, command_id=message_id))


async def accept(speaker: Speaker, message_id: str, data: wire.ReservationAccept) -> dict[str, Any]:
    """Take the call."""
    work = _self(speaker).accept(data.reservation_id, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def decline(speaker: Speaker, message_id: str, data: wire.ReservationDecline) -> dict[str, Any]:
    """Give the call back to its old place."""
    work = _self(speaker).decline(
        data.reservation_id, data.reason, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def report_connected(speaker: Speaker, message_id: str, data: wire.ReportCallConnected) -> dict[str, Any]:
    """Another system has connected the two (queues with `media = external`)."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    work = call.report_connected(principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def finish_wrap_up(speaker: Speaker, message_id: str, data: wire.WrapUpDone) -> dict[str, Any]:
    """The work after the call is done."""
    work = _self(speaker).finish_wrap_up(data.call_id, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def extend_wrap_up(speaker: Speaker, message_id: str, data: wire.WrapUpExtend) -> dict[str, Any]:
    """Ask for more time, up to the queue's bound."""
    work = _self(speaker).extend_wrap_up(
        data.call_id, data.extra_ms, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


HANDLERS: dict[type[wire.FromClient], Handler] = {
    wire.SetAgentState: set_state,
    wire.ReservationAccept: accept,
    wire.ReservationDecline: decline,
    wire.CallHangUp: talk.hang_up,
    wire.RtcSdpOffer: talk.exchange_sdp,
    wire.RtcStats: talk.take_stats,
    wire.ReportCallConnected: report_connected,
    wire.WrapUpDone: finish_wrap_up,
    wire.WrapUpExtend: extend_wrap_up,
}
