"""A call's stages, as several tests need them: ringing, connected, finished, sealed; and the history that it must have."""

import asyncio
from typing import Any

from tests.hall.conftest import Desk, OpenAgent, OpenCustomer
from tests.hall.pages import AgentPage, Bank, CustomerPage
from tests.hall.running import Hall

SEALED_TRIES = 120

HAPPY: list[list[str]] = [
    ["call_queued"],
    ["call_reserved"],
    ["reservation_accepted"],
    ["room_assigned"],
    ["room_opened"],
    ["party_joined", "party_joined", "recording_started", "recording_started"],
    ["call_connected"],
    ["call_ended"],
    ["recording_sealed", "room_closed", "wrap_up_ended"],
]
"""What a recorded call goes through, step by step; what stands in one step may come in any order."""


async def ring(
    hall: Hall, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> tuple[CustomerPage, AgentPage]:
    """A ready agent, whose desktop rings for a customer who has just asked."""
    agent = await open_agent(hall, desk.agent_id)
    await agent.get_ready()
    customer = await open_customer(hall, desk.customer_id)
    await customer.request(desk.queue_id, "loan-4711", "Wang Xiaoming")
    await agent.becomes("ringing")
    return customer, agent


async def connect(
    hall: Hall, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> tuple[CustomerPage, AgentPage]:
    """The two in a call, seeing and hearing each other."""
    customer, agent = await ring(hall, desk, open_customer, open_agent)
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
    for page in (customer, agent):
        await page.sees_and_hears()
    return customer, agent


async def finish(customer: CustomerPage, agent: AgentPage) -> None:
    """The customer hangs up; the agent finishes the notes."""
    await customer.click("hang-up")
    await customer.becomes("ended")
    await agent.becomes("wrap_up")
    await agent.click("wrap-up-done")
    await agent.becomes("ready")


async def sealed(bank: Bank, call_id: str) -> list[dict[str, Any]]:
    """Wait until a recording is sealed; return its manifests."""
    for _ in range(SEALED_TRIES):
        status, body = await bank.ask("GET", f"/v1/recordings/{call_id}")
        if status == 200:
            manifests: list[dict[str, Any]] = body["manifests"]
            return manifests
        await asyncio.sleep(0.5)
    raise AssertionError(f"not sealed: {body} {await bank.history(call_id)}")


async def history_with(bank: Bank, call_id: str, last: str) -> list[dict[str, Any]]:
    """The history once an event of the type `last` is in it."""
    events: list[dict[str, Any]] = []
    for _ in range(SEALED_TRIES):
        events = await bank.history(call_id)
        if any(event["type"] == last for event in events):
            return events
        await asyncio.sleep(0.5)
    raise AssertionError([event["type"] for event in events])


def steps(events: list[dict[str, Any]]) -> list[list[str]]:
    """Cut a history into pieces as long as those of `HAPPY`, each sorted."""
    types, found = [event["type"] for event in events], []
    for step in HAPPY:
        found.append(sorted(types[: len(step)]))
        types = types[len(step) :]
    return [*found, types] if types else found
