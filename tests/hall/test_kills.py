"""kill -9 of each part of a running hall, at the worst moments: the call goes on, nothing is lost, nothing happens twice."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.hall.conftest import Desk, OpenAgent, OpenCustomer
from tests.hall.pages import PATIENCE_MS, Bank, HallPage
from tests.hall.running import Hall
from tests.hall.talking import HAPPY, connect, finish, history_with, ring, sealed, steps

pytestmark = [pytest.mark.ray, pytest.mark.browser]

POLL_S = 0.25
AFTER_S = 3.0

log = logging.getLogger("figures")


async def eventually(is_so: Callable[[], Awaitable[bool]], what: str) -> float:
    """Wait until `is_so`; return how long that took, in seconds."""
    began = time.monotonic()
    while not await is_so():
        assert time.monotonic() - began < PATIENCE_MS / 1000, what
        await asyncio.sleep(POLL_S)
    return time.monotonic() - began


async def kill(bank: Bank, slot: str) -> int:
    """kill -9 of the part in a slot; returns its process id."""
    pid = await bank.pid(slot)
    os.kill(pid, signal.SIGKILL)
    return pid


async def replaced(bank: Bank, slot: str, pid: int) -> None:
    """Wait until another process fills the slot and the hall is ready."""

    async def is_replaced() -> bool:
        status, body = await bank.ask("GET", "/v1/status")
        return status == 200 and body["parts"][slot]["pid"] != pid and (await bank.ask("GET", "/readyz"))[0] == 200

    took_s = await eventually(is_replaced, f"{slot} was not started anew")
    log.info("%s was back, and the hall ready, after %.1f s", slot, took_s)


class Pictures:
    """Watches that the other party's pictures keep coming on a page."""

    def __init__(self, page: HallPage) -> None:
        self._page = page
        self._task = asyncio.create_task(self._watch())
        self.pause_s = 0.0
        """The longest time without a new picture so far."""

    async def _watch(self) -> None:
        frames, seen_s = -1.0, time.monotonic()
        while True:
            now = (await self._page.stats())["frames_decoded"]
            self.pause_s = max(self.pause_s, time.monotonic() - seen_s)
            if now != frames:
                frames, seen_s = now, time.monotonic()
            await asyncio.sleep(0.1)

    async def stop(self) -> float:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return self.pause_s


async def test_shard_killed_while_waiting(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a waiting call, when the shard is killed, then the call waits on at its place and is answered once."""
    customer = await open_customer(hall, desk.customer_id)
    await customer.request(desk.queue_id, "loan-1")
    call_id = await bank.call_of(desk.customer_id)
    pid = await kill(bank, "shard-0")
    await replaced(bank, "shard-0", pid)
    assert await customer.state() == "waiting"
    assert await bank.call_of(desk.customer_id) == call_id
    agent = await open_agent(hall, desk.agent_id)
    await agent.get_ready()
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
        await page.sees_and_hears()
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


async def test_shard_killed_while_ringing(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a ringing call, when the shard is killed and the agent accepts at once, then the very reservation is accepted."""
    customer, agent = await ring(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    await kill(bank, "shard-0")
    began = time.monotonic()
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
    log.info("accepted right after the kill, connected after %.1f s", time.monotonic() - began)
    for page in (customer, agent):
        await page.sees_and_hears()
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


async def test_shard_killed_while_connected(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the shard is killed, then pictures never stop and the call ends as if nothing had been."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    pictures = [Pictures(page) for page in (customer, agent)]
    pid = await kill(bank, "shard-0")
    await replaced(bank, "shard-0", pid)
    await asyncio.sleep(AFTER_S)
    pauses = [await one.stop() for one in pictures]
    log.info("longest time without a picture: %.2f s", max(pauses))
    assert max(pauses) < AFTER_S
    assert [await page.state() for page in (customer, agent)] == ["connected", "connected"]
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY
    [manifest] = await sealed(bank, call_id)
    assert manifest["gaps"] == []


async def test_gateway_killed_while_connected(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the gateway is killed, then both pages come back by themselves and pictures never stop."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    pictures = [Pictures(page) for page in (customer, agent)]
    began = time.monotonic()
    await kill(bank, "gateway-1")
    for page in (customer, agent):
        await page.loses_link()
    for page in (customer, agent):
        await page.is_online()
    log.info("both pages were back after %.1f s", time.monotonic() - began)
    pauses = [await one.stop() for one in pictures]
    assert max(pauses) < AFTER_S
    assert [await page.state() for page in (customer, agent)] == ["connected", "connected"]
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


async def test_gateway_killed_while_ringing(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a ringing call, when the gateway is killed, then the pages resume and the reservation can still be accepted."""
    customer, agent = await ring(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    await kill(bank, "gateway-1")
    for page in (customer, agent):
        await page.loses_link()
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
        await page.sees_and_hears()
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


async def test_store_killed_while_connected(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the store is killed, then new commands wait or are refused by name, and afterwards all goes on."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    pictures = Pictures(customer)
    pid = store_pid(hall)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    token = hall.token("customer", f"{desk.customer_id}-other")
    body = {"queue_id": desk.queue_id, "is_consented": True}
    status, answer = await bank.ask("POST", "/v1/calls", body, token, key="while-the-store-was-gone")
    log.info("a new call was answered with %d after %.2f s", status, time.monotonic() - began)
    assert status == 201 or (status, answer["reason"]) == (503, "store_unavailable"), (status, answer)

    async def is_ready() -> bool:
        return store_pid(hall) != pid and (await bank.ask("GET", "/readyz"))[0] == 200

    took_s = await eventually(is_ready, "the store did not come back")
    log.info("a new store, and the hall ready, %.2f s later", took_s)
    status, answer = await bank.ask("POST", "/v1/calls", body, token, key="while-the-store-was-gone")
    assert status == 201, "the same wish again is one call"
    assert await bank.call_of(f"{desk.customer_id}-other") == answer["call_id"]
    await bank.ask("DELETE", f"/v1/calls/{answer['call_id']}", token=token)
    assert await pictures.stop() < AFTER_S
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


async def test_store_frozen(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a call, when the store hangs for long, then new calls are refused by name; when it goes on, so does all else."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    pictures = Pictures(customer)
    body = {"queue_id": desk.queue_id, "is_consented": True}
    token = hall.token("customer", f"{desk.customer_id}-other")
    pid = store_pid(hall)
    os.kill(pid, signal.SIGSTOP)
    try:
        status, answer = await bank.ask("POST", "/v1/calls", body, token, key="while-the-store-hung")
        assert (status, answer["reason"]) == (503, "store_unavailable"), (status, answer)
        assert (await bank.ask("GET", "/readyz"))[0] == 503
        assert (await bank.ask("GET", "/healthz"))[0] == 200
        assert await customer.state() == "connected"
    finally:
        os.kill(pid, signal.SIGCONT)

    async def is_ready() -> bool:
        return (await bank.ask("GET", "/readyz"))[0] == 200

    log.info("the hall was ready %.1f s after the store went on", await eventually(is_ready, "not ready again"))
    status, answer = await bank.ask("POST", "/v1/calls", body, token, key="while-the-store-hung")
    assert status == 201, answer
    assert await bank.call_of(f"{desk.customer_id}-other") == answer["call_id"]
    await bank.ask("DELETE", f"/v1/calls/{answer['call_id']}", token=token)
    assert await pictures.stop() < AFTER_S
    await finish(customer, agent)
    assert steps(await history_with(bank, call_id, "recording_sealed")) == HAPPY


def store_pid(hall: Hall) -> int:
    """The store's process that was recorded last."""
    record = json.loads((hall.data / "run" / "processes.json").read_text())
    return int([one["pid"] for one in record["processes"] if one["role"] == "store"][-1])


async def test_media_worker_killed_in_a_call(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a recorded call, when its media worker is killed, then it gets a new room, and both recordings are sealed."""
    customer, agent = await connect(hall, desk, open_customer, open_agent)
    call_id = await bank.call_of(desk.customer_id)
    began = time.monotonic()
    pid = await kill(bank, "media-1")
    await history_with(bank, call_id, "room_lost")
    for page in (customer, agent):
        await page.becomes("connected")
        await page.sees_and_hears()
    log.info("pictures again %.1f s after the media worker was killed", time.monotonic() - began)
    await replaced(bank, "media-1", pid)
    await finish(customer, agent)

    async def are_both_sealed() -> bool:
        return len(await sealed(bank, call_id)) == 2

    await eventually(are_both_sealed, "two attempts, two manifests")
    first, second = sorted(await sealed(bank, call_id), key=lambda one: int(one["attempt"]))
    assert first["gaps"], "what was cut off is named"
    for manifest in (first, second):
        assert {file["party"] for file in manifest["files"] if file["kind"] == "webm"} == {"customer", "agent"}
    events = await bank.history(call_id)
    assert [event["type"] for event in events].count("call_ended") == 1


async def test_supervisor_killed(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a waiting call, when the supervisor is killed, then its successor adopts the parts and keeps them."""
    customer = await open_customer(hall, desk.customer_id)
    await customer.request(desk.queue_id)
    before = (await bank.get("/v1/status"))["parts"]
    pid = await kill(bank, "supervisor")
    await replaced(bank, "supervisor", pid)
    after = (await bank.get("/v1/status"))["parts"]
    for slot in ("shard-0", "gateway-1", "media-1", "follower"):
        assert after[slot]["name"] == before[slot]["name"]
        assert after[slot]["pid"] == before[slot]["pid"]
    assert await customer.state() == "waiting"
    pid = await kill(bank, "shard-0")
    await replaced(bank, "shard-0", pid)
    await customer.click("cancel")
    await customer.becomes("ended")


async def test_follower_killed(hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer) -> None:
    """Given a call in progress, when the follower is killed, then its successor tells the whole history."""
    customer = await open_customer(hall, desk.customer_id)
    await customer.request(desk.queue_id)
    call_id = await bank.call_of(desk.customer_id)
    pid = await kill(bank, "follower")
    await replaced(bank, "follower", pid)
    await customer.click("cancel")
    await customer.becomes("ended")
    events = await history_with(bank, call_id, "call_ended")
    assert [event["type"] for event in events] == ["call_queued", "call_ended"]
