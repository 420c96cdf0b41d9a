"""Self-clocked batches: SAFETY.md 5, and what happens at every bound."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from actors import mailbox as module
from actors.items import HallUnavailable, encode
from actors.mailbox import Mailbox, Peer, PeerGone
from tests.actors.kit import Address, ScriptedPeer, echo
from tests.waiting import until


def plain(body: Raw | BaseException) -> Any:
    assert isinstance(body, Raw)
    return msgspec.msgpack.decode(body)


async def test_one_batch_is_in_flight_and_the_next_forms_meanwhile() -> None:
    """5: given a slow peer; when letters come one by one; then the first goes alone, the others together, numbered from 0."""
    go_on = asyncio.Event()

    async def slow(number: int, items: list[Any]) -> bytes:
        await go_on.wait()
        return encode(items)

    peer = ScriptedPeer("p-e1", slow)
    mailbox = Mailbox("m", Address(peer).resolve)
    asked = [asyncio.create_task(mailbox.send(f"item-{index}")) for index in range(5)]
    first = asyncio.create_task(mailbox.send("first"))
    await until(lambda: bool(peer.batches))
    late = [asyncio.create_task(mailbox.send(f"late-{index}")) for index in range(3)]
    await asyncio.sleep(0.01)
    assert len(peer.batches) == 1
    go_on.set()
    assert [plain(await one) for one in (*asked, first, *late)][-3:] == ["late-0", "late-1", "late-2"]
    assert [number for _, number, _ in peer.batches] == [0, 1]
    assert peer.batches[1][2] == ["late-0", "late-1", "late-2"]
    await mailbox.close()


async def test_a_lost_answer_is_asked_for_again_under_the_same_number() -> None:
    """5: given an answer that got lost; then the same incarnation gets the same batch under the same number."""
    fails = iter([True, False])

    async def loses_one(number: int, items: list[Any]) -> bytes:
        if next(fails):
            raise PeerGone("the answer got lost")
        return encode(items)

    peer = ScriptedPeer("p-e1", loses_one)
    mailbox = Mailbox("m", Address(peer).resolve)
    assert plain(await mailbox.send("a")) == "a"
    assert peer.batches[0] == peer.batches[1]
    await mailbox.close()


async def test_a_new_incarnation_gets_the_unanswered_batch_from_0() -> None:
    """5: given batches answered by one incarnation; when it goes with one unanswered; then its successor gets that as 0."""

    async def dies(number: int, items: list[Any]) -> bytes:
        if number < 2:
            return encode(items)
        address.peer = successor
        raise PeerGone("killed")

    successor = ScriptedPeer("p-e2")
    address = Address(ScriptedPeer("p-e1", dies))
    mailbox = Mailbox("m", address.resolve)
    assert [plain(await mailbox.send(item)) for item in ("a", "b", "c", "d")] == ["a", "b", "c", "d"]
    assert [(number, items) for _, number, items in successor.batches] == [(0, ["c"]), (1, ["d"])]
    await mailbox.close()


async def test_a_frozen_peer_is_left_as_soon_as_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """13: given a peer that never answers; when the directory names another incarnation; then that one gets the batch."""
    monkeypatch.setattr(module, "REPLACED_CHECK_S", 0.01)

    async def frozen(number: int, items: list[Any]) -> bytes:
        address.peer = successor
        await asyncio.Event().wait()
        return b""

    successor = ScriptedPeer("p-e2")
    address = Address(ScriptedPeer("p-e1", frozen))
    mailbox = Mailbox("m", address.resolve)
    assert plain(await mailbox.send("a")) == "a"
    await mailbox.close()


async def test_a_batch_that_was_given_up_never_answers_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """5: given a batch whose answer got lost until its sender gave up; then the next one has a number of its own.

    Otherwise the peer would answer it from memory: with the answers of the first.
    """
    monkeypatch.setattr(module, "LETTER_S", 0.1)
    answers: dict[int, bytes] = {}
    is_mute = True

    async def remembers(number: int, items: list[Any]) -> bytes:
        answers.setdefault(number, encode(items))
        if is_mute:
            raise PeerGone("the answer got lost")
        return answers[number]

    mailbox = Mailbox("m", Address(ScriptedPeer("p-e1", remembers)).resolve)
    with pytest.raises(HallUnavailable, match="not_ready"):
        await mailbox.send("first")
    is_mute = False
    assert plain(await mailbox.send("second")) == "second"
    await mailbox.close()


async def test_letters_given_up_leave_a_batch_that_was_never_sent() -> None:
    """Given nobody to send to; when one of two letters is given up; then only the other one is sent, once there is somebody."""
    address = Address(None)
    mailbox = Mailbox("m", address.resolve)
    given_up = asyncio.create_task(mailbox.send("given up"))
    kept = asyncio.create_task(mailbox.send("kept"))
    await asyncio.sleep(0.05)
    given_up.cancel()
    address.peer = peer = ScriptedPeer("p-e1")
    assert plain(await kept) == "kept"
    assert [items for _, _, items in peer.batches] == [["kept"]]
    await mailbox.close()


async def test_nobody_there_for_as_long_as_a_letter_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a peer that stays away; then each letter ends by name after LETTER_S, and later ones are served."""
    monkeypatch.setattr(module, "LETTER_S", 0.1)
    address = Address(None)
    mailbox = Mailbox("m", address.resolve)
    with pytest.raises(HallUnavailable, match="not_ready"):
        await mailbox.send("a")
    address.peer = ScriptedPeer("p-e1")
    monkeypatch.setattr(module, "LETTER_S", 15.0)
    assert plain(await mailbox.send("b")) == "b"
    await mailbox.close()


async def test_the_bound_of_waiting_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a full mailbox; then one more letter is refused as overloaded; letters given up make place."""
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    mailbox = Mailbox("m", Address(None).resolve)
    in_flight = asyncio.create_task(mailbox.send("in flight"))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(mailbox.send(index)) for index in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(HallUnavailable, match="overloaded"):
        await mailbox.send("one past the bound")
    waiting[0].cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(mailbox.send("in its place")))
    await asyncio.sleep(0)
    assert not waiting[-1].done()
    await mailbox.close()
    for one in (in_flight, *waiting[1:]):
        with pytest.raises(HallUnavailable, match="not_ready"):
            await one


async def test_the_bounds_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more letters than a batch holds, by number and by bytes; then they go in order in several; a large one alone."""
    monkeypatch.setattr(module, "BATCH_MAX", 3)
    monkeypatch.setattr(module, "BATCH_BYTES_MAX", 100)
    peer = ScriptedPeer("p-e1")
    mailbox = Mailbox("m", Address(peer).resolve)
    items = ["a", "b", "c", "d", "x" * 500, "y" * 60, "z" * 60]
    assert [plain(one) for one in await asyncio.gather(*(mailbox.send(item) for item in items))] == items
    assert [len(batch) for _, _, batch in peer.batches] == [3, 1, 1, 1, 1]
    await mailbox.close()


@pytest.mark.parametrize("nonsense", [b"\xc1", encode(["one too", "many"]), encode("no list")])
async def test_an_answer_without_sense_costs_its_batch_only(nonsense: bytes) -> None:
    """Given an answer that cannot be read; then its letters end by name, and the mailbox goes on."""
    script = iter([nonsense])

    async def answer(number: int, items: list[Any]) -> bytes:
        return next(script, None) or await echo(number, items)

    mailbox = Mailbox("m", Address(ScriptedPeer("p-e1", answer)).resolve)
    with pytest.raises(HallUnavailable, match="internal"):
        await mailbox.send("a")
    assert plain(await mailbox.send("b")) == "b"
    await mailbox.close()


async def test_what_cannot_be_encoded_is_its_senders_trouble() -> None:
    """Given a text that UTF-8 does not have; then its sender hears of it and its neighbours are served."""
    mailbox = Mailbox("m", Address(ScriptedPeer("p-e1")).resolve)
    outcomes = await asyncio.gather(
        mailbox.send("a"), mailbox.send("\ud800"), mailbox.send("b"), return_exceptions=True
    )
    assert isinstance(outcomes[1], UnicodeEncodeError)
    assert [plain(outcomes[0]), plain(outcomes[2])] == ["a", "b"]
    await mailbox.close()


async def test_a_directory_that_breaks_is_waited_out() -> None:
    """Given a directory that fails in a way nobody thought of; then letters wait until it works again."""
    address = Address(ScriptedPeer("p-e1"))
    fails = iter([True, True])

    async def resolve() -> Peer:
        if next(fails, False):
            raise RuntimeError("no connection to the cluster")
        return await address.resolve()

    mailbox = Mailbox("m", resolve)
    assert plain(await mailbox.send("a")) == "a"
    await mailbox.close()


async def test_a_closed_mailbox_says_so_at_once() -> None:
    """Given a mailbox that was closed; then sending is refused without waiting."""
    mailbox = Mailbox("m", Address(None).resolve)
    await mailbox.close()
    with pytest.raises(HallUnavailable, match="not_ready"):
        await mailbox.send("a")
