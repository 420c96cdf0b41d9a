"""A call that passes through several hands, in real browsers: hold, transfer to another queue, taken over by staff."""

import pytest
from playwright.async_api import expect

from tests.hall.conftest import Desk, OpenAgent, OpenCustomer, next_desk
from tests.hall.pages import PATIENCE_MS, AgentPage, Bank, HallPage
from tests.hall.running import Hall
from tests.hall.talking import connect, finish, history_with, sealed

pytestmark = [pytest.mark.ray, pytest.mark.browser]


async def says(page: HallPage, text: str) -> None:
    await expect(page.page.get_by_test_id("veil")).to_contain_text(text, timeout=PATIENCE_MS)


async def done_with_notes(agent: AgentPage) -> None:
    await agent.becomes("wrap_up")
    await agent.click("wrap-up-done")
    await agent.becomes("ready")


async def test_hold_and_back(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the agent holds it, then both pages say so, also after a reload; resumed, both see and hear again."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    await agent.click("hold")
    for page in (customer, agent):
        await says(page, "The call is on hold")
    await customer.page.reload()
    await customer.becomes("connected")
    await says(customer, "The call is on hold")
    assert await customer.page.evaluate("document.getElementById('remote').muted")
    await agent.click("hold")
    for page in (customer, agent):
        await page.sees_and_hears()
    await finish(customer, agent)
    changes = [event for event in await history_with(bank, call_id, "call_ended") if event["type"] == "hold_changed"]
    assert [(event["is_held"], event["reason"]) for event in changes] == [(True, "asked"), (False, "asked")]


async def test_a_script_is_shown_and_answered(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the agent shows a text with answers, then the customer reads it, also after a reload, and answers by
    a button; the agent sees which, and the call's history holds both."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    for name, said in (("script-say", "This product may lose value."), ("script-may", "I agree, I do not")):
        await agent.page.get_by_test_id(name).fill(said)
    await agent.click("script-show")
    await expect(agent.page.get_by_test_id("script-answer")).to_have_text("Not answered yet")
    await customer.page.reload()
    await customer.becomes("connected")
    await expect(customer.page.get_by_test_id("script-text")).to_have_text("This product may lose value.")
    await customer.click("script-answer-1")
    for page in (customer, agent):
        await expect(page.page.get_by_test_id("script-answer")).to_have_text("Answered: I agree")
    await expect(customer.page.get_by_test_id("script-answer-1")).to_have_count(0)
    await finish(customer, agent)
    told = [event for event in await history_with(bank, call_id, "call_ended") if event["type"].startswith("script_")]
    assert [(event["type"], event["number"]) for event in told] == [
        ("script_step_shown", 1),
        ("script_step_answered", 1),
    ]
    assert (told[0]["text"], told[0]["answers"]) == ("This product may lose value.", ["I agree", "I do not"])
    assert told[1]["answer"] == "I agree"


async def test_transfer_to_another_queue(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when its agent gives it to another queue, then that queue's agent sees the customer, in a new room."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    other = next_desk("calm")
    await agent.page.get_by_test_id("transfer-queue").select_option(other.queue_id)
    await agent.click("transfer")
    await customer.becomes("waiting")
    await done_with_notes(agent)
    second = await open_agent(hall, other.agent_id)
    await second.get_ready()
    await second.accept()
    for page in (customer, second):
        await page.becomes("connected")
        await page.sees_and_hears()
        await page.is_recorded()
    assert await customer.text("other-name") == f"Agent {other.agent_id}"
    await finish(customer, second)
    await history_with(bank, call_id, "call_ended")
    for _ in range(120):
        manifests = await sealed(bank, call_id)
        if len(manifests) == 2:
            break
        await customer.page.wait_for_timeout(500)
    assert [manifest["attempt"] for manifest in manifests] == [1, 2]


async def test_taken_over_by_staff(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when staff put another agent in its owner's place, then that agent's page has it, in the same room."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    other = next_desk("calm")
    second = await open_agent(hall, other.agent_id)
    await second.get_ready()
    status, body = await bank.ask("PUT", f"/v1/calls/{call_id}/owner", {"agent_id": other.agent_id})
    assert status == 200, body
    await done_with_notes(agent)
    for page in (second, customer):
        await page.becomes("connected")
        await page.sees_and_hears()
    assert await customer.text("other-name") == f"Agent {other.agent_id}"
    assert await second.text("other-name") == "W** X**"
    await finish(customer, second)
    events = await history_with(bank, call_id, "recording_sealed")
    assert len([event for event in events if event["type"] == "call_connected"]) == 1
    assert [event["to_agent_id"] for event in events if event["type"] == "ownership_moved"] == [other.agent_id]


async def test_a_consultation(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when a second agent is asked, accepts and leaves, then that page shows it, and the call goes on."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    other = next_desk("calm")
    second = await open_agent(hall, other.agent_id)
    await second.get_ready()
    body = {"role": "consult", "to_agent_id": other.agent_id}
    status, answer = await bank.ask("POST", f"/v1/calls/{call_id}/parties", body)
    assert status == 200, answer
    await second.accept()
    for _ in range(2):
        await second.becomes("connected")
        await says(second, "another system")
        await expect(second.page.get_by_test_id("hold")).to_be_hidden(timeout=PATIENCE_MS)
        await second.page.reload()
    await second.becomes("connected")
    await second.click("hang-up")
    await done_with_notes(second)
    assert await agent.state() == await customer.state() == "connected"
    for page in (customer, agent):
        await page.sees_and_hears()
    await finish(customer, agent)
