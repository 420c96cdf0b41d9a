"""Effects out: what the engine wants of media workers and other divisions, and their answers brought back as commands.

An effect may be performed more than once (after a crash, after a lost answer): workers ignore what they have done. Each task
here ends by itself, at the latest with the mailbox's bound on one letter.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from actors.courier import Courier, ReadOwner
from actors.directory import Owner
from actors.items import HallUnavailable, WorkerHello
from actors.mailbox import Mailbox, Peer
from actors.media_items import CloseRoomOrder, MediaAnswer, OpenRoomOrder, decode_media_answer
from actors.network import Network
from actors.tracing import CALLS
from actors.workers import Workers
from dispatch.commands import AssignRoom, Command, LoseWorker, ReportRoomClosed, ReportRoomFailed, ReportRoomOpened
from dispatch.effects import CloseRoom, Effect, HandOver, OpenRoom, RequestRoom, TakeBack, TellEnd
from dispatch.model import Call

CHOOSE_TRIES = 120
CHOOSE_PAUSE_S = 0.25
"""Together 30 s: longer than a call may be connecting by default; then its deadline decides."""
MAILBOXES_MAX = 1_000

log = structlog.get_logger()


class Performer:
    """Carries out effects for one shard."""

    def __init__(self, network: Network, read_owner: ReadOwner | None = None) -> None:
        """`read_owner`: where another division is to be found; None: there is none."""
        self.network = network
        self.workers = Workers()
        self.courier = Courier(network, read_owner or _nobody, self._report)
        self._mailboxes: dict[str, Mailbox] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        """Task -> the division it is done for; empty for the performer's own."""
        self._submit: Callable[[str, Command], None] = lambda division_id, command: None

    def attach(self, submit: Callable[[str, Command], None]) -> None:
        """`submit` puts a command into the shard's own inbox."""
        self._submit = submit

    def _report(self, division_id: str, command: Command) -> None:
        self._submit(division_id, command)

    def hello(self, item: WorkerHello, now_ms: int) -> LoseWorker | None:
        return self.workers.hello(item, now_ms)

    def expect(self, calls: Iterable[Call], now_ms: int) -> None:
        """After a recovery: the workers of these calls' rooms live, until they have been silent for too long."""
        for call in calls:
            for room in call.rooms:
                if room.worker_id:
                    self.workers.expect(room.worker_id, room.worker_epoch, now_ms)

    def forgive(self, outage_ms: int, now_ms: int) -> None:
        self.workers.forgive(outage_ms, now_ms)

    def lost(self, now_ms: int) -> list[LoseWorker]:
        lost = self.workers.lost(now_ms)
        for one in lost:
            log.warning("worker.lost", worker=one.worker_id, epoch=one.worker_epoch)
        return lost

    def perform(self, division_id: str, effects: list[Effect]) -> None:
        """Begin each effect. Never blocks, never raises."""
        for effect in effects:
            if isinstance(effect, RequestRoom):
                self._request(division_id, effect)
            elif isinstance(effect, OpenRoom):
                self._begin(self._open(division_id, effect), division_id)
            elif isinstance(effect, CloseRoom):
                self._begin(self._close(division_id, effect), division_id)
            elif isinstance(effect, HandOver | TakeBack | TellEnd):
                self.courier.take(division_id, effect)

    def drop(self, division_id: str) -> None:
        """The division lives elsewhere: its next owner performs what is pending, under the same attempts."""
        self.courier.drop(division_id)
        for task, one in self._tasks.items():
            if one == division_id:
                task.cancel()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.courier.close()
        await asyncio.gather(*(mailbox.close() for mailbox in self._mailboxes.values()))
        self._mailboxes.clear()

    def _begin(self, work: Coroutine[Any, Any, None], division_id: str = "") -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = division_id
        task.add_done_callback(self._tasks.pop)

    def _request(self, division_id: str, effect: RequestRoom) -> None:
        chosen = self.workers.choose() if effect.attempt == 1 else None
        if chosen is not None:
            self._assign(division_id, effect, *chosen)
        else:
            self._begin(self._choose(division_id, effect), division_id)

    def _assign(self, division_id: str, effect: RequestRoom, worker_id: str, epoch: int) -> None:
        self._submit(
            division_id,
            AssignRoom(call_id=effect.call_id, attempt=effect.attempt, worker_id=worker_id, worker_epoch=epoch),
        )

    async def _choose(self, division_id: str, effect: RequestRoom) -> None:
        """Not the first attempt, or nobody had room: not at once again, so that a worker in trouble is not hammered."""
        for _ in range(CHOOSE_TRIES):
            await asyncio.sleep(CHOOSE_PAUSE_S)
            chosen = self.workers.choose()
            if chosen is not None:
                self._assign(division_id, effect, *chosen)
                return
        log.warning("room.no_worker", call=effect.call_id, attempt=effect.attempt)
        self._submit(
            division_id, ReportRoomFailed(call_id=effect.call_id, attempt=effect.attempt, reason="no_media_worker")
        )

    async def _open(self, division_id: str, effect: OpenRoom) -> None:
        order = OpenRoomOrder(
            effect.call_id,
            effect.attempt,
            effect.parties,
            effect.recording,
            effect.business_reference,
            effect.division_id,
            effect.queue_id,
            CALLS.of(effect.call_id),
        )
        answer = await self._send(effect.worker_id, effect.worker_epoch, order)
        command: Command = ReportRoomOpened(call_id=effect.call_id, attempt=effect.attempt)
        if answer.reason:
            log.warning("room.not_opened", call=effect.call_id, attempt=effect.attempt, reason=answer.reason)
            self.workers.shun(effect.worker_id, effect.worker_epoch)
            command = ReportRoomFailed(call_id=effect.call_id, attempt=effect.attempt, reason=answer.reason)
        self._submit(division_id, command)

    async def _close(self, division_id: str, effect: CloseRoom) -> None:
        answer = await self._send(effect.worker_id, effect.worker_epoch, CloseRoomOrder(effect.call_id, effect.attempt))
        if answer.reason:
            log.warning("room.not_closed", call=effect.call_id, attempt=effect.attempt, reason=answer.reason)
        self._submit(division_id, ReportRoomClosed(call_id=effect.call_id, attempt=effect.attempt))

    async def _send(self, worker_id: str, epoch: int, order: OpenRoomOrder | CloseRoomOrder) -> MediaAnswer:
        try:
            return decode_media_answer(await self._mailbox(media_actor_name(worker_id, epoch)).send(order))
        except HallUnavailable as error:
            return MediaAnswer(f"worker_{error.reason}")

    def _mailbox(self, actor_name: str) -> Mailbox:
        mailbox = self._mailboxes.pop(actor_name, None) or Mailbox(actor_name, lambda: self._meet(actor_name))
        self._mailboxes[actor_name] = mailbox
        if len(self._mailboxes) > MAILBOXES_MAX:
            # The one that was not used for longest: its worker has most likely gone.
            self._begin(self._mailboxes.pop(next(iter(self._mailboxes))).close())
        return mailbox

    async def _meet(self, actor_name: str) -> Peer:
        return await self.network.peer(actor_name)


async def _nobody(division_id: str) -> Owner | None:
    return None


def media_actor_name(worker_id: str, epoch: int) -> str:
    """Names carry the epoch: a worker's successor is another actor (SAFETY.md 13)."""
    return f"media-{worker_id}-e{epoch}"
