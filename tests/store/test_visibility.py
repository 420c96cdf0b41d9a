"""Nothing is visible before it is durable: a real shard over a real store, on a wire that withholds replies (SAFETY.md 18)."""

import asyncio

import pytest

from dispatch.events import CallQueued
from tests.actors.kit import AGENT, Client, ready, ringing
from tests.store.wired import Wired, queued_ids
from tests.waiting import until


@pytest.mark.parametrize("is_reply_lost", [False, True], ids=["reply_arrives_late", "reply_is_lost"])
async def test_what_the_store_has_not_confirmed_nobody_sees(wired: Wired, is_reply_lost: bool) -> None:
    """Given replies that are withheld; when a call is asked for; then no answer, notice or read, though the store has it.

    Once the reply arrives, or is lost and the same append repeated, all see it, and it happened once.
    """
    customer, agent = Client("customer:c"), Client(AGENT)
    await customer.connect(wired.hall)
    await agent.connect(wired.hall)
    await ready(wired.hall, "anna")
    await until(lambda: agent.seq == 1)
    wired.proxy.withhold_replies()
    asked = asyncio.create_task(wired.hall.call("call-1").request("c", "loans", command_id="r"))
    await until(lambda: wired.proxy.withheld_bytes > 0)
    read = asyncio.create_task(wired.hall.call("call-1").view())
    await asyncio.sleep(0.2)
    assert await queued_ids(wired.truth) == ["call-1"]
    assert (asked.done(), read.done(), customer.events, len(agent.events)) == (False, False, [], 1)
    if is_reply_lost:
        wired.proxy.cut()
    wired.proxy.let_replies_go()
    assert (await asked).is_accepted
    view = await read
    assert view is not None
    assert view.state == "reserved"
    await until(lambda: customer.has(CallQueued) and len(agent.events) == 2)
    assert await queued_ids(wired.truth) == ["call-1"]


async def test_effects_wait_for_the_store_too(wired: Wired) -> None:
    """16: given an accepted reservation whose entry is not confirmed; then no media worker hears of it."""
    reservation_id = await ringing(wired.hall, "carl", queue_id="cards")
    assert wired.local.shard is not None
    performed: list[object] = []
    wired.local.shard._performer.perform = lambda _, effects: performed.extend(effects)  # type: ignore[method-assign]
    wired.proxy.withhold_replies()
    accepted = asyncio.create_task(wired.hall.agent("carl").accept(reservation_id))
    await until(lambda: wired.proxy.withheld_bytes > 0)
    await asyncio.sleep(0.1)
    assert performed == []
    wired.proxy.let_replies_go()
    assert (await accepted).is_accepted
    assert len(performed) == 1


async def test_connections_that_break_again_and_again_lose_and_double_nothing(wired: Wired) -> None:
    """1: given appends whose replies are swallowed with their connection, again and again; then each call is queued once."""
    call_ids = [f"call-{number}" for number in range(20)]
    for number, call_id in enumerate(call_ids):
        wired.proxy.cut_after_replies(number % 3)
        assert (await wired.hall.call(call_id).request(f"c-{number}", "slow")).is_accepted
    assert await queued_ids(wired.truth) == call_ids
    assert wired.local.shard is not None
    assert wired.local.shard.measures.store_retries_count >= 6
