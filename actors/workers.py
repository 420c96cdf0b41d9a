"""The media workers as a shard knows them: from their own word once a second.

Choice, as named cases in order: (1) the least loaded worker with room for one more, its load corrected by what was given
to it since its last word, so that a burst spreads although reports are late (ROUTING.md 5.25); (2) the same among those that
failed to open a room lately: one with a full disk is empty and would attract every call; (3) the same among those whose disk
is below its floor, for calls in progress; (4) none: the asker tries again, and the call's own deadline bounds that. Regions and
carriers come with the media issue.
"""

from actors.items import WorkerHello
from dispatch.commands import LoseWorker

WORKER_LEASE_MS = 5_000
SHUNNED_WORDS = 30
"""So many of its words, half a minute, a worker that failed to open a room is asked after all others."""
EXPECTED_MS = 10_000
"""How much longer than its lease a shard that just recovered waits for a worker's first word: it has to find the shard."""
TOLD_MAX = 10_000
"""(division, worker) pairs remembered; what was forgotten is told once more, which is harmless."""


class KnownWorker:
    __slots__ = ("epoch", "given_count", "is_disk_low", "rooms_count", "rooms_max", "seen_at_ms", "shunned_count")

    def __init__(self) -> None:
        self.epoch = -1
        self.shunned_count = 0
        """Words until it is trusted again."""
        self.rooms_count = self.rooms_max = self.given_count = self.seen_at_ms = 0
        self.is_disk_low = False

    @property
    def free_count(self) -> int:
        return self.rooms_max - self.rooms_count - self.given_count


class Workers:
    def __init__(self) -> None:
        self._workers: dict[str, KnownWorker] = {}
        self._told: dict[tuple[str, str], int] = {}
        """(division, worker) -> the epoch below which the division has been told that all is lost; the latest last."""

    def __repr__(self) -> str:
        return f"<Workers {len(self._workers)} free={sum(one.free_count for one in self._workers.values())}>"

    @property
    def are_disks_low(self) -> bool:
        """Has no worker enough disk for one more recording? Without any worker nothing is known."""
        return bool(self._workers) and all(worker.is_disk_low for worker in self._workers.values())

    def hello(self, item: WorkerHello, now_ms: int) -> LoseWorker | None:
        """Take a worker's word. Returns what the division must learn of its earlier epochs, once."""
        told = self._told.get((item.division_id, item.worker_id), -1)
        if item.worker_epoch < told:
            # A frozen predecessor woke up; its successor may be silent or lost just now and is no less its successor.
            return None
        worker = self._workers.setdefault(item.worker_id, KnownWorker())
        if item.worker_epoch < worker.epoch:
            return None
        worker.shunned_count = max(0, worker.shunned_count - 1) if item.worker_epoch == worker.epoch else 0
        worker.epoch, worker.seen_at_ms = item.worker_epoch, now_ms
        worker.rooms_count, worker.rooms_max, worker.given_count = item.rooms_count, item.rooms_max, 0
        worker.is_disk_low = item.is_disk_low
        if told == item.worker_epoch:
            return None
        self._told.pop((item.division_id, item.worker_id), None)
        self._told[item.division_id, item.worker_id] = item.worker_epoch
        if len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        return LoseWorker(worker_id=item.worker_id, worker_epoch=item.worker_epoch - 1)

    def expect(self, worker_id: str, epoch: int, now_ms: int) -> None:
        """After a recovery: a call has its room there. One that never says hello, and has no successor, is lost in the end."""
        worker = self._workers.setdefault(worker_id, KnownWorker())
        worker.epoch = max(worker.epoch, epoch)
        worker.seen_at_ms = now_ms + EXPECTED_MS

    def choose(self) -> tuple[str, int] | None:
        """Return (worker id, epoch) for one more room, or None when all are full or none lives."""
        able = [one for one in self._workers.items() if one[1].free_count > 0]
        best = max(
            able, key=lambda one: (not one[1].is_disk_low, not one[1].shunned_count, one[1].free_count), default=None
        )
        if best is None:
            return None
        best[1].given_count += 1
        return best[0], best[1].epoch

    def shun(self, worker_id: str, epoch: int) -> None:
        """It failed to open a room."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.epoch == epoch:
            worker.shunned_count = SHUNNED_WORDS

    def forgive(self, outage_ms: int, now_ms: int) -> None:
        for worker in self._workers.values():
            # One that is expected has time beyond now: no outage takes it away.
            worker.seen_at_ms = max(worker.seen_at_ms, min(worker.seen_at_ms + outage_ms, now_ms))

    def lost(self, now_ms: int) -> list[LoseWorker]:
        """Return those that have been silent for longer than their lease, and forget them."""
        lost = [one for one, worker in self._workers.items() if now_ms - worker.seen_at_ms > WORKER_LEASE_MS]
        return [LoseWorker(worker_id=one, worker_epoch=self._workers.pop(one).epoch) for one in lost]

    def loads(self) -> dict[str, int]:
        return {worker_id: worker.rooms_count + worker.given_count for worker_id, worker in self._workers.items()}
