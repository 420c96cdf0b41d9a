"""Real workers over loopback; each fixture ends by asserting that nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from media.reports import MediaSettings, RoomOrder
from media.worker import MediaWorker
from tests.media.peers import Clip, LightParty, Reports, make_clip

MakeWorker = Callable[..., Awaitable[tuple[MediaWorker, Reports]]]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Four seconds of VP8 and Opus."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.webm")


@pytest.fixture
async def make_worker(tmp_path: Path) -> AsyncIterator[MakeWorker]:
    """Start workers that record under `tmp_path`; stop them at the end."""
    before = asyncio.all_tasks()
    workers: list[MediaWorker] = []

    async def make(**changes: object) -> tuple[MediaWorker, Reports]:
        reports = Reports()
        settings = {"worker_id": "m1", "recordings_folder": str(tmp_path), "is_contract_checked": False, **changes}
        worker = MediaWorker(MediaSettings(**settings), reports.append)  # type: ignore[arg-type]
        await worker.start()
        workers.append(worker)
        return worker, reports

    yield make
    for worker in workers:
        await worker.stop()
    await asyncio.sleep(0.05)
    left = [task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()]
    assert not left, left


@pytest.fixture
async def make_party(clip: Clip) -> AsyncIterator[Callable[[], LightParty]]:
    """Make light parties; all leave at the end."""
    parties: list[LightParty] = []

    def make() -> LightParty:
        party = LightParty(clip)
        parties.append(party)
        return party

    yield make
    for party in parties:
        await party.leave()


def order(room_id: str = "call-1", attempt: int = 1, recording: str = "required", **more: object) -> RoomOrder:
    """A one-to-one room."""
    fields = {"parties": ["customer", "agent"], "business_reference": "loan-7", **more}
    return RoomOrder(room_id=room_id, attempt=attempt, recording=recording, **fields)  # type: ignore[arg-type]
