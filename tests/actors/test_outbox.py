"""Notices on their way to a gateway: nothing is skipped without saying so."""

import asyncio

import pytest

from actors import outbox as module
from actors.items import Notice
from actors.outbox import Outbox
from dispatch.events import Connected
from tests.waiting import until


def notice(number: int) -> Notice:
    return Notice("customer:c", number, Connected(number, "customer:c", "g", "k"))


def numbers(notices: list[Notice]) -> list[int]:
    return [one.seq for one in notices]


async def begun(lost: int = 1) -> tuple[Outbox, int]:
    """An outbox whose gateway has heard of the loss that a new one stands for, and its cursor."""
    outbox = Outbox(lost)
    polled = await outbox.poll(0, 0.01)
    assert polled.is_lost
    return outbox, polled.cursor


async def test_what_was_not_confirmed_comes_again() -> None:
    """Given an answer that the gateway missed; when it polls with its old cursor; then it gets the same and what is new."""
    outbox, cursor = await begun()
    outbox.put(notice(1))
    assert numbers((await outbox.poll(cursor, 1.0)).notices) == [1]
    outbox.put(notice(2))
    polled = await outbox.poll(cursor, 1.0)
    assert numbers(polled.notices) == [1, 2]
    outbox.put(notice(3))
    assert numbers((await outbox.poll(polled.cursor, 1.0)).notices) == [3]
    assert len(outbox) == 1


async def test_a_poll_waits_for_the_first_notice_and_not_longer() -> None:
    """Given nothing to tell; then a poll waits, returns what comes, and ends empty after its time."""
    outbox, cursor = await begun()
    poll = asyncio.create_task(outbox.poll(cursor, 20.0))
    await asyncio.sleep(0.01)
    assert not poll.done()
    outbox.put(notice(1))
    await until(poll.done)
    assert numbers(poll.result().notices) == [1]
    assert await outbox.poll(poll.result().cursor, 0.01) == await outbox.poll(poll.result().cursor, 0.01)


async def test_a_new_outbox_is_a_loss_until_that_was_heard() -> None:
    """Given cursors of an earlier outbox; then the new one drops nothing for them and says `is_lost` as often as asked."""
    outbox = Outbox(58)
    outbox.put(notice(1))
    for stale in (0, 57, 57):
        assert (await outbox.poll(stale, 0.01)).is_lost
    polled = await outbox.poll(57, 0.01)
    outbox.put(notice(2))
    after = await outbox.poll(polled.cursor, 0.01)
    assert (after.is_lost, numbers(after.notices)) == (False, [2])


async def test_a_cursor_from_nowhere_is_a_loss() -> None:
    """Given a cursor that this outbox never gave; then it says so instead of waiting for that number."""
    outbox, _ = await begun()
    polled = await outbox.poll(1_000_000, 0.01)
    assert (polled.is_lost, polled.cursor) == (True, 1)


async def test_the_bound_and_one_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a gateway that stays away; then the bound holds all, one more is a loss, said until its answer was heard."""
    monkeypatch.setattr(module, "NOTICES_MAX", 3)
    outbox, cursor = await begun()
    for number in (1, 2, 3):
        outbox.put(notice(number))
    assert not (await outbox.poll(cursor, 0.01)).is_lost
    outbox.put(notice(4))
    assert len(outbox) == 3
    assert (await outbox.poll(cursor, 0.01)).is_lost
    heard = await outbox.poll(cursor, 0.01)
    assert heard.is_lost
    outbox.put(notice(5))
    again = await outbox.poll(heard.cursor, 0.01)
    assert (again.is_lost, numbers(again.notices)) == (False, [5])


async def test_a_loss_while_a_poll_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a waiting poll; when more comes at once than is kept; then its answer says so."""
    monkeypatch.setattr(module, "NOTICES_MAX", 2)
    outbox, cursor = await begun()
    poll = asyncio.create_task(outbox.poll(cursor, 20.0))
    await asyncio.sleep(0.01)
    for number in (1, 2, 3):
        outbox.put(notice(number))
    assert (await poll).is_lost


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more notices than an answer carries; then they come in several, in order."""
    monkeypatch.setattr(module, "POLL_MAX", 2)
    outbox, cursor = await begun()
    for number in range(1, 6):
        outbox.put(notice(number))
    seen = []
    for _ in range(3):
        polled = await outbox.poll(cursor, 0.01)
        cursor = polled.cursor
        seen += numbers(polled.notices)
    assert seen == [1, 2, 3, 4, 5]
