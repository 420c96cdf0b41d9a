"""Connections and activity, as the dumb twin understands them."""

from dispatch import commands as cm
from tests.engine.twin import Twin, TwinClient
from tests.engine.twin_calls import drop_client, end_wrap_up, give_back_all, set_activity

TEXT_MAX = 200


def connection(twin: Twin, command: cm.Connect | cm.Disconnect | cm.LoseGateway) -> str:
    if isinstance(command, cm.Connect):
        return _connect(twin, command)
    for recipient, client in list(twin.clients.items()):
        if isinstance(command, cm.Disconnect):
            is_meant = recipient == command.recipient and client.connection_id == command.connection_id
        else:
            is_meant = client.gateway_id == command.gateway_id
        if is_meant and client.connection_id:
            _lose_connection(twin, recipient, client)
    return ""


def _connect(twin: Twin, command: cm.Connect) -> str:
    role, _, own_id = command.recipient.partition(":")
    agent, call = twin.agent(own_id), twin.live_call_of(own_id)
    if not own_id or role not in ("customer", "agent", "supervisor", "operator"):
        return "unknown_recipient"
    if not command.connection_id:
        return "bad_value"
    if role == "agent" and agent is None:
        return "unknown_agent"
    client = twin.clients.setdefault(command.recipient, TwinClient())
    if client.connection_id == command.connection_id:
        return ""
    client.gateway_id, client.connection_id, client.grace_until_ms = command.gateway_id, command.connection_id, 0
    twin.tell("connected", command.recipient, command.connection_id)
    if role == "agent" and agent is not None:
        agent.is_gone = False
        for _, ring in twin.rings_at(agent):
            ring.gone_until_ms = 0
    elif role == "customer" and call is not None:
        call.is_gone = False
    return ""


def _lose_connection(twin: Twin, recipient: str, client: TwinClient) -> None:
    role, _, own_id = recipient.partition(":")
    agent, call = twin.agent(own_id), twin.live_call_of(own_id)
    client.gateway_id = client.connection_id = ""
    until_ms = twin.now_ms + twin.plan.reconnect_grace_ms
    if role == "agent" and agent is not None:
        if agent.activity != "offline" or twin.is_occupied(agent):
            agent.is_gone, client.grace_until_ms = True, until_ms
            for _, ring in twin.rings_at(agent):
                ring.gone_until_ms = twin.now_ms + twin.plan.reservation_grace_ms
    elif role == "customer" and call is not None and (not call.is_callback or call.state == "connected"):
        call.is_gone, client.grace_until_ms = True, until_ms
    twin.tell("disconnected", recipient, client.grace_until_ms)
    drop_client(twin, recipient)


def activity(twin: Twin, command: cm.SetActivity) -> str:
    agent, role = twin.agent(command.agent_id), command.principal.split(":")[0]
    if agent is None or (agent.is_retired and command.activity == "ready"):
        return "unknown_agent"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + command.agent_id):
        return "not_yours"
    if command.activity not in ("offline", "ready", "not_ready") or len(command.reason) > TEXT_MAX:
        return "bad_value"
    if (agent.activity, agent.reason) == (command.activity, command.reason):
        return ""
    if command.activity != "ready":
        give_back_all(twin, agent, "agent_left")
    if command.activity == "offline":
        for work in list(agent.wrap_ups):
            end_wrap_up(twin, agent, work, "signed_out")
    set_activity(twin, agent, command.activity, command.reason)
    return ""
