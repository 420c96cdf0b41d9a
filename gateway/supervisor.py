"""What supervisors and operators may do over a WebSocket: be in a call, set an agent's state, move, order and end calls.

Rules: the same functions as over REST, under the same principals; a token is good for one division, in which staff may do
what the engine allows them. Who is in a call is always somebody by name: operators say whom they speak for.

Not here: boards (`gateway/supervisor_session.py`), what is told (`gateway/supervisor_translation.py`).
"""

from typing import Any

from gateway import client_messages as said
from gateway import client_messages_staff as staff
from gateway import parties
from gateway.customer import Handler
from gateway.refusals import Refused
from gateway.speaker import Speaker
from gateway.supervisor_translation import MODES

ROLES = ("supervisor", "operator")


async def monitor(speaker: Speaker, message_id: str, data: staff.CallMonitor) -> dict[str, Any]:
    """Listen, whisper, barge in, leave; or give the call to another agent."""
    is_operator = speaker.identity.role == "operator"
    if data.mode == "take_over":
        agent_id = data.agent_id or ("" if is_operator else speaker.identity.subject)
        if not agent_id:
            raise Refused("bad_value", "agent_id: an operator says who takes it over")
        return await parties.take_over(speaker, message_id, data.call_id, agent_id)
    if is_operator and not data.supervisor_id:
        raise Refused("bad_value", "supervisor_id: an operator says who")
    return await parties.supervise(speaker, message_id, data.call_id, MODES[data.mode], data.supervisor_id)


async def force_state(speaker: Speaker, message_id: str, data: staff.ForceAgentState) -> dict[str, Any]:
    """Make an agent ready, not ready or offline; a call in progress is finished first."""
    agent = speaker.hall.agent(data.agent_id, speaker.identity.division_id)
    work = agent.set_activity(data.activity, data.reason, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def end_call(speaker: Speaker, message_id: str, data: staff.EndCall) -> dict[str, Any]:
    """End a call, whatever its state, and say why."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    work = call.hang_up(data.reason, principal=speaker.identity.principal, command_id=message_id)
    return await speaker.value_of(work)


async def set_priority(speaker: Speaker, message_id: str, data: staff.SetCallPriority) -> dict[str, Any]:
    """Change a waiting call's place at once."""
    call = speaker.hall.call(data.call_id, speaker.identity.division_id)
    work = call.set_priority(
        data.credit_ms, data.is_absolute, principal=speaker.identity.principal, command_id=message_id
    )
    return await speaker.value_of(work)


HANDLERS: dict[type[said.FromClient], Handler] = {
    staff.CallMonitor: monitor,
    staff.ForceAgentState: force_state,
    staff.EndCall: end_call,
    staff.SetCallPriority: set_priority,
    said.CallTransfer: parties.transfer,
}
"""For both roles: whom an operator speaks for is the only difference."""
