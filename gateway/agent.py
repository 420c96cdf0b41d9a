"""What an agent may do.

Rules: an agent acts as themselves alone; whose reservation or call it is, the engine checks in the same step that acts,
so a late accept is refused there and never bridged.

Not here: hanging up and media (`gateway/talk.py`), who is in a call (`gateway/parties.py`), what the agent is told
(`gateway/translation.py`).
"""

from typing import Any

from actors.agent import AgentHandle
from gateway import client_messages as said
from gateway import parties, talk
from gateway.customer import Handler
from gateway.speaker import Speaker


def _self(speaker: Speaker) -> AgentHandle:
    return speaker.hall.agent(speaker.identity.subject, speaker.identity.division_id)


async def set_state(speaker: Speaker, message_id: str, data: said.SetAgentState) -> dict[str, Any]:
    """Become ready, not ready with a reason, or sign out."""
    agent, principal = _self(speaker), speaker.identity.principal
    if data.activity == "ready":
        return await speaker.value_of(agent.set_ready(principal=principal, command_id=message_id))
    if data.activity == "not_ready":
        return await speaker.value_of(agent.set_not_ready(data.reason, principal=principal, command_id=message_id))
    return await speaker.value_of(agent.sign_out(principal=principal, command_id=message_id))


async def accept(speaker: Speaker, message_id: str, data: said.ReservationAccept) -> dict[str, Any]:
    """Take the call."""
    work = _self(speaker).accept(data.reservation_id, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def decline(speaker: Speaker, message_id: str, data: said.ReservationDecline) -> dict[str, Any]:
    """Give the call back to its old place."""
    work = _self(speaker).decline(
        data.reservation_id,
        data.reason,
        is_busy=data.is_busy,
        principal=speaker.identity.principal,
        command_id=message_id,
    )
    return await speaker.value_of(work)


async def invite_customer(
    speaker: Speaker, message_id: str, data: said.CustomerInvite, agent_id: str = ""
) -> dict[str, Any]:
    """Ask a customer to come to a call of one's own; `agent_id` is for staff, who say whose it will be."""
    agent = speaker.hall.agent(agent_id or speaker.identity.subject, speaker.identity.division_id)
    async with speaker.beginning_call():
        work = agent.invite(
            speaker.call_id_for(message_id),
            data.customer_id,
            data.queue_id,
            data.business_reference,
            data.valid_ms,
            principal=speaker.identity.principal,
            command_id=message_id,
        )
        return await speaker.value_of(work)


async def report_connected(speaker: Speaker, message_id: str, data: said.ReportCallConnected) -> dict[str, Any]:
    """Another system has connected the two (queues with `media = external`)."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    work = call.report_connected(principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def finish_wrap_up(speaker: Speaker, message_id: str, data: said.WrapUpDone) -> dict[str, Any]:
    """The work after the call is done."""
    work = _self(speaker).finish_wrap_up(data.call_id, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def extend_wrap_up(speaker: Speaker, message_id: str, data: said.WrapUpExtend) -> dict[str, Any]:
    """Ask for more time, up to the queue's bound."""
    work = _self(speaker).extend_wrap_up(
        data.call_id, data.extra_ms, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


HANDLERS: dict[type[said.FromClient], Handler] = {
    said.SetAgentState: set_state,
    said.ReservationAccept: accept,
    said.ReservationDecline: decline,
    said.CallHangUp: talk.hang_up,
    **talk.MEDIA_HANDLERS,
    said.CallTransfer: parties.transfer,
    said.SetCallHold: parties.hold,
    said.ShowScriptStep: parties.show_step,
    said.PartyInvite: parties.invite,
    said.PartyRemove: parties.remove,
    said.TransferComplete: parties.complete_transfer,
    said.CustomerInvite: invite_customer,
    said.ReportCallConnected: report_connected,
    said.WrapUpDone: finish_wrap_up,
    said.WrapUpExtend: extend_wrap_up,
}
