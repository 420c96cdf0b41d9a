"""What runs in processes of its own: shard, follower, media worker. Plain classes; `wiring` puts each into a Ray actor.

A part is made from its settings (MessagePack bytes, no pickled classes) and the network; then `start`, and `stop`. It may
`receive` batches and be `poll`ed. When its `ended` is set it must not go on, and its process ends.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog
from msgspec import Struct

from actors.archive import Archive, ArchiveUnavailable
from actors.audit import StoreAudit
from actors.audit_archive import AuditArchive, AuditBroken, AuditFiles
from actors.collector import uncollected
from actors.directory import Directory
from actors.disk import DiskFloor, DiskSettings
from actors.follower import SNAPSHOT_S, Follower, FollowerStopped
from actors.hall import Hall, owner_from
from actors.histories import Histories
from actors.inbox import Inbox
from actors.items import ReadPart, decode_follower_items, encode
from actors.journal import RedisJournal
from actors.network import Network
from actors.people import People
from actors.performer import Performer
from actors.reporting import part_facts
from actors.reports import Reports
from actors.shard import Shard, ShardSettings
from actors.store_client import StoreClient, StoreUnavailable
from actors.strategies import load_strategies
from actors.webhook_book import WebhookBook

log = structlog.get_logger()


STORE_FACTS_S = 1.0
"""A store that hangs must not make the follower look dead to who asks for a status."""


class Part(Protocol):
    ended: asyncio.Event

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def status(self) -> dict[str, Any]: ...


class StoreSettings(Struct, frozen=True):
    url: str
    accept_weaker_durability: bool = False


class ShardPartSettings(Struct, frozen=True):
    name: str
    division_ids: list[str]
    store: StoreSettings
    disk: DiskSettings = DiskSettings()
    slot_id: str = ""
    """See `shard.ShardSettings`."""


class ShardPart:
    """A shard over the real store."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self._settings = msgspec.msgpack.decode(settings, type=ShardPartSettings)
        load_strategies()
        store = self._settings.store
        self._client = StoreClient(store.url)
        self._journal = RedisJournal(
            store.url, accept_weaker_durability=store.accept_weaker_durability, client=self._client
        )
        directory = Directory(self._client)
        self._shard = Shard(
            ShardSettings(self._settings.name, self._settings.division_ids, self._settings.slot_id),
            self._journal,
            directory,
            Performer(network, directory.read_owner),
            DiskFloor(self._settings.disk),
        )
        self.ended = self._shard.ended
        self._standing_by: asyncio.Task[None] | None = None

    async def stand_by(self) -> None:
        """Follow the journal until `start`."""
        self._standing_by = asyncio.create_task(self._shard.stand_by())

    async def start(self) -> None:
        if self._standing_by is not None:
            self._standing_by.cancel()
            await asyncio.gather(self._standing_by, return_exceptions=True)
        await self._journal.check_durability()
        with uncollected():
            await self._shard.start()

    async def stop(self) -> None:
        await self._shard.stop()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        return {"text": repr(self._shard)}

    def progress(self) -> int:
        """Grows while a start gets on. Called from another thread."""
        return self._client.answers_count

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._shard.receive(sender, number, payload)

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        return await self._shard.poll(gateway_id, cursor, wait_s)


FOLLOWER_NICENESS = 5
"""A snapshot of 50,000 live calls is a second of work, which must not be taken from the shard's next turn. Where all cores are
busy it still gets a quarter of one, and needs 15 % at 1,000 calls/s."""


class FollowerPartSettings(Struct, frozen=True):
    division_ids: list[str]
    store: StoreSettings
    archive_folder: str
    disk: DiskSettings = DiskSettings()
    snapshot_s: float = SNAPSHOT_S
    audit_folder: str = ""
    """Where the audit log's files lie; empty: nobody archives it here."""
    audit_head_path: str = ""


def now_ms() -> int:
    """The wall clock; nothing is decided by it here."""
    return time.time_ns() // 1_000_000


class FollowerPart:
    """Archive, snapshots, histories and reports of all divisions, behind the shards."""

    def __init__(self, settings: bytes, network: Network) -> None:
        own = msgspec.msgpack.decode(settings, type=FollowerPartSettings)
        load_strategies()
        self.ended = asyncio.Event()
        self._client = StoreClient(own.store.url)
        journal = self._journal = RedisJournal(own.store.url, accept_weaker_durability=True, client=self._client)
        self._archives = {one: Archive(Path(own.archive_folder), one) for one in own.division_ids}
        self._followers = {
            one: Follower(journal, archive, one, snapshot_s=own.snapshot_s) for one, archive in self._archives.items()
        }
        self._reports = {
            one: Reports(archive, Path(own.archive_folder) / one, one, now_ms)
            for one, archive in self._archives.items()
        }
        self._histories = Histories(self._followers, self._archives, self._reports)
        self._audit: AuditArchive | None = None
        if own.audit_folder:
            files = AuditFiles(Path(own.audit_folder), Path(own.audit_head_path))
            self._audit = AuditArchive(StoreAudit(self._client), files)
        self._disk = DiskFloor(own.disk)
        self._stopped: set[str] = set()
        """Divisions that cannot be followed any more."""
        self._inbox = Inbox()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        os.nice(FOLLOWER_NICENESS)
        self._begin(self._disk.watch())
        if self._audit is not None:
            self._begin(self._audit.run())
        for division_id, follower in self._followers.items():
            self._begin(self._follow(division_id, follower))
        for reports in self._reports.values():
            self._begin(reports.run())

    async def _follow(self, division_id: str, follower: Follower) -> None:
        """A follower that cannot go on leaves its division alone: histories say so, nothing is trimmed."""
        try:
            await follower.run()
        except FollowerStopped:
            pass  # It has said at what.
        except Exception:
            log.exception("follower.failed", division=division_id)
        self._stopped.add(division_id)
        log.error("follower.stopped", division=division_id, follower=repr(follower))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for follower in self._followers.values():
            with contextlib.suppress(StoreUnavailable, ArchiveUnavailable, FollowerStopped):
                await follower.catch_up()
                await follower.write_snapshot()
        for division_id, reports in self._reports.items():
            try:
                await reports.catch_up()
                await reports.save()
            except (ArchiveUnavailable, OSError) as error:
                # What was not kept is counted again from the archive.
                log.warning("reports.not_saved", division=division_id, reason=str(error))
        if self._audit is not None:
            with contextlib.suppress(StoreUnavailable, AuditBroken, OSError):
                await self._audit.catch_up()
        for archive in self._archives.values():
            await archive.close()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        divisions = {
            division_id: {
                **follower.report(),
                **self._reports[division_id].status(),
                "is_stopped": division_id in self._stopped,
            }
            for division_id, follower in self._followers.items()
        }
        store = await self._store_facts()
        audit = {"audit": self._audit.report()} if self._audit is not None else {}
        return {"divisions": divisions, "store": store, **audit, "disk": self._disk.values(), **part_facts()}

    async def _store_facts(self) -> dict[str, Any]:
        """What the store promises; empty while it does not answer."""
        try:
            async with asyncio.timeout(STORE_FACTS_S):
                facts: dict[str, Any] = msgspec.to_builtins(await self._journal.check_durability())
        except (StoreUnavailable, TimeoutError):
            return {}
        return facts

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._inbox.take(sender, number, lambda: self._begin(self._answers(payload)))

    def _begin(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answers(self, payload: bytes) -> bytes:
        bodies = [
            encode(await self.status()) if isinstance(item, ReadPart) else await self._histories.answer(item)
            for item in decode_follower_items(payload)
        ]
        return encode([msgspec.Raw(body) for body in bodies])


class HallSettings(Struct, frozen=True):
    """How a part that is not a shard reaches the shards."""

    division_ids: list[str]
    store_url: str


def open_hall(settings: HallSettings, network: Network, gateway_id: str = "") -> tuple[Hall, StoreClient]:
    """Make a hall client over the real store; the caller closes both."""
    client = StoreClient(settings.store_url)
    directory = Directory(client)
    hall = Hall(
        network,
        settings.division_ids,
        owner_from(directory.read_owner),
        People(client),
        gateway_id,
        directory.read_parts,
        directory,
        WebhookBook(client),
    )
    return hall, client
