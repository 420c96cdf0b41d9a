"""Self-clocked batches to one peer: exactly one is in flight, and what arrives meanwhile forms the next.

Rules (SAFETY.md 5)
- Batches of one sender to one incarnation of a peer are numbered from 0. An answer that got lost is asked for again under the
  same number, and the peer answers a repeat from memory; a new incarnation gets the unanswered batch again from 0.
- (sender, number) orders the transport only. What must not happen twice carries its own id inside.
- A number that was sent never stands for another batch: a batch that everybody gave up takes its number with it, or the
  peer would answer the next one from memory with the answers of this one.
- A letter whose division lives elsewhere by now comes back as `NOT_OWNER`, not carried out: it goes first in the next batch,
  to whoever the directory names then. Only that letter: its neighbours may have been answered before the division went.
- Bounds: `WAITING_MAX` letters wait, and from `NEWCOMERS_MAX` on none is taken that would begin a call; each waits `LETTER_S`
  for its answer at most. All end as `HallUnavailable`, by name.

Why: a request costs some 0.2 ms of CPU and its shard an fsync, whatever it carries (M: make bench-rpc); in a batch all
that came meanwhile shares that. No timer, no added delay at low load: an idle mailbox sends the first letter at once.

Not here: who the peer is and how it is reached (`wiring`), what letters mean (`items`, `media_items`).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol
from uuid import uuid4

import structlog
from msgspec import Raw

from actors.items import NOT_OWNER, HallUnavailable, begins_call, decode_bodies, encode, encode_array

WAITING_MAX = 20_000
NEWCOMERS_MAX = 2_000
"""Two batches: 0.4 s for a shard at its limit. Who would begin a call then is told at once; calls in progress find room."""
BATCH_MAX = 1_000
"""The gain is had by then: a thousandth of what a request costs."""
BATCH_BYTES_MAX = 96 * 1024
"""Some 20 ms of steps at the shard, after which the next batch is better. A larger letter goes alone."""
LETTER_S = 15.0
"""Longer than a shard's recovery (SAFETY.md 13: 2 s notice and a replay), shorter than a person's patience with a button."""
REPLACED_CHECK_S = 0.5
BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 0.5
NOT_OWNER_PAUSE_MAX_S = 0.1
"""How long to wait at most before looking again for a division that is on its way: a move holds it for some tens of ms."""

log = structlog.get_logger()


class PeerGone(Exception):
    """The peer does not answer any more, or not now; resolve it again."""


class NotOwner(PeerGone):
    """The peer lives and does not own the division (any more); the directory names who does, or soon will."""


class Peer(Protocol):
    """One incarnation of a receiver."""

    name: str
    """Carries the epoch: another incarnation has another name (SAFETY.md 13)."""

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Deliver a batch and return its answers. Raises PeerGone."""


class Letter:
    __slots__ = ("answer", "body")

    def __init__(self, body: bytes, answer: "asyncio.Future[Raw]") -> None:
        self.body = body
        self.answer = answer


class Mailbox:
    """Letters to one peer. Create it inside a running loop; `close` ends its task."""

    def __init__(self, name: str, resolve: Callable[[], Awaitable[Peer]]) -> None:
        """`resolve`: finds the peer's present incarnation; raises PeerGone while there is none."""
        self.name = name
        self._resolve = resolve
        self._sender = uuid4().hex
        self._waiting: deque[Letter] = deque()
        self._in_flight: list[Letter] = []
        self._wake = asyncio.Event()
        self._peer: Peer | None = None
        self._peer_name = ""
        self._is_number_fresh = True
        """The present number was never sent to the present peer: the batch may still be changed."""
        self._number = 0
        self._is_closed = False
        self._task = asyncio.create_task(self._run(), name=f"mailbox {name}")

    def __repr__(self) -> str:
        return f"<Mailbox {self.name} waiting={len(self._waiting)} in_flight={len(self._in_flight)}>"

    @property
    def waiting_count(self) -> int:
        """Letters that are not on their way yet."""
        return len(self._waiting)

    async def send(self, item: Any) -> Raw:
        """Return the peer's answer to `item`. Raises HallUnavailable when the bounds say so.

        What cannot be encoded raises here, at its own sender, and not in the batch among others.
        """
        if self._is_closed:
            raise HallUnavailable("not_ready")
        body = encode(item)
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()
        if len(self._waiting) >= (NEWCOMERS_MAX if begins_call(item) else WAITING_MAX):
            raise HallUnavailable("overloaded")
        loop = asyncio.get_running_loop()
        letter = Letter(body, loop.create_future())
        self._waiting.append(letter)
        self._wake.set()
        timer = loop.call_later(LETTER_S, _refuse, [letter], "not_ready")
        try:
            return await letter.answer
        finally:
            timer.cancel()

    async def close(self) -> None:
        """End the task; whoever still waits is told `not_ready`."""
        self._is_closed = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        _refuse([*self._in_flight, *self._waiting], "not_ready")

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._in_flight = self._next_batch()
                await self._deliver()

    def _next_batch(self) -> list[Letter]:
        """Take what waits, within the bounds of a batch."""
        batch: list[Letter] = []
        bytes_count = 0
        while self._waiting and len(batch) < BATCH_MAX:
            bytes_count += len(self._waiting[0].body)
            if batch and bytes_count > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _deliver(self) -> None:
        """Deliver the batch in flight until it is answered or nobody waits for it any more."""
        backoff_s = BACKOFF_FIRST_S
        while not all(letter.answer.done() for letter in self._in_flight):
            try:
                await self._deliver_once(await self._meet_peer())
            except NotOwner:
                self._peer = None
                await asyncio.sleep(min(backoff_s, NOT_OWNER_PAUSE_MAX_S))
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            except PeerGone as error:
                self._peer = None
                log.info("mailbox.peer_gone", mailbox=self.name, reason=str(error), letters=len(self._in_flight))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            except Exception:
                # The peer, or its answer, makes no sense. These letters pay for it, not all that come after them.
                log.exception("mailbox.batch_failed", mailbox=self.name, letters=len(self._in_flight))
                _refuse(self._in_flight, "internal")
        self._in_flight = []
        self._end_number()

    def _end_number(self) -> None:
        if not self._is_number_fresh:
            self._number += 1
            self._is_number_fresh = True

    async def _meet_peer(self) -> Peer:
        if self._peer is None:
            self._peer = await _met(self._resolve)
            if self._peer.name != self._peer_name:
                self._peer_name = self._peer.name
                # Under a name of its own: a peer met before, as after a move there and back, remembers our numbers.
                self._sender = uuid4().hex
                self._number = 0
                self._is_number_fresh = True
        return self._peer

    async def _deliver_once(self, peer: Peer) -> None:
        if self._is_number_fresh:
            self._in_flight = [letter for letter in self._in_flight if not letter.answer.done()]
        batch, self._is_number_fresh = self._in_flight, False
        if not batch:
            return
        letters = encode_array([letter.body for letter in batch])
        answer = await answered_or_replaced(peer, peer.receive(self._sender, self._number, letters), self._resolve)
        bodies = decode_bodies(answer)
        if len(bodies) != len(batch):
            raise ValueError(f"{peer.name} gave {len(bodies)} answers to {len(batch)} letters")
        disowned = []
        for letter, body in zip(batch, bodies, strict=True):
            if letter.answer.done():
                continue
            if memoryview(body) == NOT_OWNER:
                disowned.append(letter)
            else:
                letter.answer.set_result(body)
        if disowned:
            self._in_flight = disowned
            self._end_number()
            raise NotOwner(peer.name)


async def answered_or_replaced(
    peer: Peer, answer: Coroutine[Any, Any, bytes], resolve: Callable[[], Awaitable[Peer]]
) -> bytes:
    """Return the peer's answer. Raises PeerGone as soon as another incarnation has taken its place, and after `LETTER_S`.

    Nobody waits for a letter longer than that: a peer that is stuck and never replaced must not hold up the letters that
    come after these (SAFETY.md 5: they have another number). A frozen peer or a lost machine says nothing; its successor is in
    the directory after less.
    """
    task = asyncio.ensure_future(answer)
    watch: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({task}, timeout=REPLACED_CHECK_S)
        if not task.done():
            # Beside each other: a directory that does not answer must not hold up an answer that is there.
            watch = asyncio.ensure_future(_replaced(peer, resolve))
            await asyncio.wait({task, watch}, timeout=LETTER_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise PeerGone(f"{peer.name} {'has been replaced' if watch is not None and watch.done() else 'is silent'}")
    finally:
        task.cancel()
        if watch is not None:
            watch.cancel()
        # What it raised holds this frame, and in this process the peer's too: a division's memory would wait for the collector.
        del task


async def _replaced(peer: Peer, resolve: Callable[[], Awaitable[Peer]]) -> None:
    """Return once another incarnation stands in the peer's place; where nobody can tell, the one we have may answer."""
    while True:
        with contextlib.suppress(PeerGone):
            if (await _met(resolve)).name != peer.name:
                return
        await asyncio.sleep(REPLACED_CHECK_S)


async def _met(resolve: Callable[[], Awaitable[Peer]]) -> Peer:
    """Whatever goes wrong in looking for a peer is waited out like its absence; no letter pays for it."""
    try:
        return await resolve()
    except PeerGone:
        raise
    except Exception as error:
        log.exception("mailbox.not_resolved")
        raise PeerGone(type(error).__name__) from error


def _refuse(letters: list[Letter], reason: str) -> None:
    for letter in letters:
        if not letter.answer.done():
            letter.answer.set_exception(HallUnavailable(reason))
