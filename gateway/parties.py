"""What may be done with a call that talks: transfer, further parties, hold, scripts; for its agent and customer, and for
staff over REST.

Rules: whose call it is and who is free, the engine decides in the step that acts.

Not here: hanging up and media (`gateway/talk.py`), which messages and paths lead here (`gateway/agent.py`,
`gateway/rest_calls.py`).
"""

from typing import Any

from actors.call import CallHandle
from gateway import client_messages as said
from gateway.speaker import Speaker


def _call(speaker: Speaker, call_id: str) -> CallHandle:
    return speaker.hall.call(call_id, speaker.identity.division_id)


async def transfer(speaker: Speaker, message_id: str, data: said.CallTransfer) -> dict[str, Any]:
    """Give the call away without waiting for anybody: to a queue, or to an agent who is free now."""
    work = _call(speaker, data.call_id).transfer(
        to_queue_id=data.to_queue_id,
        to_agent_id=data.to_agent_id,
        credit_ms=-1 if data.credit_ms is None else data.credit_ms,
        reason=data.reason,
        principal=speaker.identity.principal,
        command_id=message_id,
    )
    return await speaker.value_of(work)


async def complete_transfer(speaker: Speaker, message_id: str, data: said.TransferComplete) -> dict[str, Any]:
    """Give the call to one of its parties."""
    work = _call(speaker, data.call_id).complete_transfer(
        data.to_agent_id, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def invite(speaker: Speaker, message_id: str, data: said.PartyInvite) -> dict[str, Any]:
    """Ask one more agent into the call; the answer says whom."""
    work = _call(speaker, data.call_id).invite_party(
        data.role,
        to_agent_id=data.to_agent_id,
        to_queue_id=data.to_queue_id,
        principal=speaker.identity.principal,
        command_id=message_id,
    )
    return await speaker.value_of(work)


async def remove(speaker: Speaker, message_id: str, data: said.PartyRemove) -> dict[str, Any]:
    """Let a further agent out of the call; without a name the speaker leaves."""
    work = _call(speaker, data.call_id).remove_party(
        data.agent_id or speaker.identity.subject, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def hold(speaker: Speaker, message_id: str, data: said.SetCallHold) -> dict[str, Any]:
    """Put the customer on hold, or take the customer back."""
    work = _call(speaker, data.call_id).set_hold(
        data.is_held, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def show_step(speaker: Speaker, message_id: str, data: said.ShowScriptStep) -> dict[str, Any]:
    """Show the customer a step of a script; the answer says its number."""
    work = _call(speaker, data.call_id).show_script_step(
        data.step_id, data.text, data.answers, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def answer_step(speaker: Speaker, message_id: str, data: said.AnswerScriptStep) -> dict[str, Any]:
    """Answer the step that is shown."""
    work = _call(speaker, data.call_id).answer_script_step(
        data.number, data.answer, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


async def take_over(speaker: Speaker, command_id: str, call_id: str, agent_id: str) -> dict[str, Any]:
    """Put an agent in the owner's place."""
    work = _call(speaker, call_id).take_over(agent_id, principal=speaker.identity.principal, command_id=command_id)
    return await speaker.value_of(work)


async def supervise(
    speaker: Speaker, command_id: str, call_id: str, mode: str, supervisor_id: str = ""
) -> dict[str, Any]:
    """Listen, whisper, barge in, or leave (empty); without a name the speaker does."""
    work = _call(speaker, call_id).supervise(
        supervisor_id or speaker.identity.subject, mode, principal=speaker.identity.principal, command_id=command_id
    )
    return await speaker.value_of(work)
