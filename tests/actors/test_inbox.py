"""The receiving end of mailboxes: SAFETY.md 5."""

import asyncio
import random
from collections.abc import Callable

import pytest

from actors import inbox as module
from actors.inbox import Inbox, Straggler


def done(answer: bytes, begun: list[bytes]) -> Callable[[], "asyncio.Future[bytes]"]:
    """A batch that is answered at once, and leaves a note that it was begun."""

    def begin() -> "asyncio.Future[bytes]":
        begun.append(answer)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.set_result(answer)
        return future

    return begin


async def test_a_repeat_is_answered_from_memory() -> None:
    """Given a batch that was answered; when it comes again; then it is not begun again and gets the first answer."""
    inbox = Inbox()
    begun: list[bytes] = []
    assert await inbox.take("s", 0, done(b"first", begun)) == b"first"
    assert await inbox.take("s", 0, done(b"again", begun)) == b"first"
    assert begun == [b"first"]


async def test_a_repeat_waits_with_the_first() -> None:
    """Given a batch under way whose caller went away; when it comes again; then both get the one answer."""
    inbox = Inbox()
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(inbox.take("s", 0, lambda: answer))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(inbox.take("s", 0, lambda: pytest.fail("begun twice")))
    await asyncio.sleep(0)
    answer.set_result(b"one")
    assert await again == b"one"


async def test_a_straggler_is_refused() -> None:
    """Given a sender that has gone on; when an older batch of it arrives; then it is refused and never begun."""
    inbox = Inbox()
    begun: list[bytes] = []
    for number in (0, 1, 3):
        await inbox.take("s", number, done(b"%d" % number, begun))
    for number in (0, 2):
        with pytest.raises(Straggler):
            await inbox.take("s", number, done(b"late", begun))
    assert begun == [b"0", b"1", b"3"]


async def test_the_bound_of_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many senders as are remembered and one more; then the one silent for longest is forgotten."""
    monkeypatch.setattr(module, "SENDERS_MAX", 3)
    inbox = Inbox()
    begun: list[bytes] = []
    for sender in ("a", "b", "c"):
        await inbox.take(sender, 0, done(b"0", begun))
    await inbox.take("a", 1, done(b"1", begun))
    await inbox.take("d", 0, done(b"0", begun))
    begun.clear()
    assert await inbox.take("a", 1, done(b"x", begun)) == b"1"
    assert await inbox.take("b", 0, done(b"y", begun)) == b"y"
    assert begun == [b"y"]


async def test_the_bound_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given answers up to the bound and one more; then the oldest answers go, batches under way stay."""
    monkeypatch.setattr(module, "ANSWERS_BYTES_MAX", 10)
    inbox = Inbox()
    begun: list[bytes] = []
    under_way: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(inbox.take("slow", 0, lambda: under_way))
    await asyncio.sleep(0)
    for sender in ("a", "b", "c"):
        await inbox.take(sender, 0, done(b"12345", begun))
        await asyncio.sleep(0)
    assert repr(inbox) == "<Inbox senders=3 bytes=10>"
    for number in range(1, 100):
        await inbox.take("c", number, done(b"123", begun))
        await asyncio.sleep(0)
    assert repr(inbox) == "<Inbox senders=3 bytes=8>"
    under_way.set_result(b"1")
    assert await waiting == b"1"


class Wire:
    """Between a sender with one batch in flight and an inbox: what it delivers comes late, twice, and after newer ones."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.inbox = Inbox()
        self.carried_out: list[bytes] = []
        self._old: list[int] = []

    async def send(self, number: int) -> bytes:
        """Deliver until an answer comes back; any delivery may be repeated much later."""
        self._old.append(number)
        while True:
            if self.chance.random() < 0.5:
                await self._deliver(self.chance.choice(self._old))
            answer = await self._deliver(number)
            if answer is not None and self.chance.random() < 0.6:
                return answer

    async def _deliver(self, number: int) -> bytes | None:
        try:
            return await self.inbox.take("s", number, done(b"%d" % number, self.carried_out))
        except Straggler:
            return None


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_wire_does_each_batch_is_carried_out_once_and_in_order(seed: int) -> None:
    """5: Ray keeps no order and repeats may come at any time; then each batch has its own answer, and effect, once."""
    wire = Wire(seed)
    answers = [await wire.send(number) for number in range(100)]
    assert answers == [b"%d" % number for number in range(100)]
    assert wire.carried_out == answers
