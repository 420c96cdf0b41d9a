"""The audit log in the store: one chain for all gateways, through lost replies, kills and bounds."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.audit import GENESIS, WAITING_MAX, AuditFull, Entry, Head, StoreAudit, decode_line, hash_of, link, shown
from actors.audit_archive import AuditArchive, AuditBroken, AuditFiles, check
from actors.store_client import StoreClient, StoreUnavailable
from tests.store.conftest import MakeServer
from tests.store.servers import Server
from tests.waiting import until

DAY_MS = 86_400_000
AT_MS = 1_795_824_000_000
"""2026-11-28."""


def entry(ref: str, **changes: Any) -> Entry:
    return Entry(**{"at_ms": AT_MS, "what": "call.take_over", "who": "supervisor:s-1", "ref": ref, **changes})


@pytest.fixture(params=["valkey", "redis"])
async def server(request: pytest.FixtureRequest, make_server: MakeServer) -> Server:
    return await make_server("store", program=request.param).start()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[StoreClient]:
    client = StoreClient(server.url)
    yield client
    await client.close()


def files_in(folder: Path) -> AuditFiles:
    return AuditFiles(folder / "audit", folder / "keys" / "audit-head.json")


async def whole_chain(audit: StoreAudit, folder: Path) -> list[str]:
    """Archive all, check it against the store's head, and return the refs in order."""
    files = files_in(folder)
    await AuditArchive(audit, files).catch_up()
    found = check(files, {"the store": await audit.head()})
    assert found.problems == []
    return [decode_line(raw).ref for _, raw in files.lines()]


async def test_several_gateways_write_one_chain(client: StoreClient, server: Server, tmp_path: Path) -> None:
    """Given three gateways that record at once; then every entry is there once, each gateway's in its order, in one chain."""
    others = [StoreClient(server.url) for _ in range(2)]
    audits = [StoreAudit(one) for one in (client, *others)]
    await asyncio.gather(*(audits[n % 3].record(entry(f"{n % 3}-{n:03}")) for n in range(600)))
    refs = await whole_chain(audits[0], tmp_path)
    assert sorted(refs) == sorted(f"{n % 3}-{n:03}" for n in range(600))
    for number in "012":
        mine = [ref for ref in refs if ref.startswith(number)]
        assert mine == sorted(mine)
    for one in others:
        await one.close()


class LosingClient(StoreClient):
    """Carries out what it is asked and loses so many answers."""

    lost_count = 0
    between: Any = None

    async def run_script(self, *args: Any, **options: Any) -> list[Any]:
        answers = await super().run_script(*args, **options)
        if self.lost_count:
            self.lost_count -= 1
            if self.between is not None:
                await self.between()
            raise StoreUnavailable("timeout")
        return answers


async def test_a_lost_reply_is_not_a_second_entry(client: StoreClient, server: Server, tmp_path: Path) -> None:
    """SAFETY.md 1, of this chain: given a lost answer, with and without another gateway meanwhile; then once."""
    losing = LosingClient(server.url)
    audit, other = StoreAudit(losing), StoreAudit(client)
    losing.lost_count = 1
    await audit.record(entry("a"))
    losing.lost_count, losing.between = 1, lambda: other.record(entry("x"))
    await audit.record(entry("b"))
    await audit.record(entry("c"))
    assert await whole_chain(other, tmp_path) == ["a", "b", "x", "c"]
    await losing.close()


async def test_without_a_store_nothing_is_recorded(server: Server, tmp_path: Path) -> None:
    """Given a store that is gone; then recording says so, and when it is back the chain goes on."""
    client = StoreClient(server.url, request_s=1.0)
    audit = StoreAudit(client)
    await audit.record(entry("a"))
    server.end()
    with pytest.raises(StoreUnavailable):
        await audit.record(entry("b"))
    await server.start()
    await audit.record(entry("c"))
    assert await whole_chain(audit, tmp_path) == ["a", "c"]
    await client.close()


async def test_a_gateway_that_is_killed_loses_nothing_that_it_acknowledged(
    client: StoreClient, server: Server, tmp_path: Path
) -> None:
    """Given two gateways that record; when both are killed; then all that they acknowledged is in a whole chain."""
    acknowledged: dict[str, list[str]] = {}
    writers = {}
    for name in ("g-1", "g-2"):
        output = (tmp_path / name).open("wb")
        writers[name] = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "tests.store.audit_writer", server.url, name], stdout=output
        )
        output.close()
    await until(lambda: all((tmp_path / name).read_text().count("\n") > 100 for name in writers))
    for name, writer in writers.items():
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        text = (tmp_path / name).read_text()
        acknowledged[name] = text[: text.rfind("\n")].split("\n")
    refs = await whole_chain(StoreAudit(client), tmp_path)
    for name, mine in acknowledged.items():
        assert [ref for ref in refs if ref.startswith(name)][: len(mine)] == mine


async def test_what_the_archive_does_not_take_is_bounded(client: StoreClient, tmp_path: Path) -> None:
    """Given as many entries as the store keeps for the archive; then one more is refused by name, until some are archived."""
    audit = StoreAudit(client, stored_max=10, kept_max=3)
    for number in range(10):
        await audit.record(entry(str(number)))
    with pytest.raises(AuditFull):
        await audit.record(entry("late"))
    assert len(await whole_chain(audit, tmp_path)) == 10
    assert [decode_line(line).seq for line in await audit.read(0, 100)] == [8, 9, 10]
    await audit.record(entry("after"))
    assert (await whole_chain(audit, tmp_path))[-1] == "after"


async def test_a_repeat_after_trimming_is_still_recognised(client: StoreClient, server: Server, tmp_path: Path) -> None:
    """Given an append whose answer is lost while the archive takes and trims it; then it is there once."""
    losing = LosingClient(server.url)
    audit, other = StoreAudit(losing, kept_max=1), StoreAudit(client, kept_max=1)
    files = files_in(tmp_path)
    losing.lost_count, losing.between = 1, AuditArchive(other, files).catch_up
    await audit.record(entry("a"))
    assert await whole_chain(other, tmp_path) == ["a"]
    await losing.close()


async def test_who_waits_is_bounded_and_told(server: Server) -> None:
    """Given a store that hangs; then so many wait, one more is refused, and at the end all who wait are told."""
    client = StoreClient(server.url)
    audit = StoreAudit(client)
    loop = asyncio.get_running_loop()
    audit._writing = loop.create_task(asyncio.sleep(3600))
    tasks = [asyncio.ensure_future(audit.record(entry("x"))) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(AuditFull):
        await audit.record(entry("late"))
    await audit.close()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in found} == {StoreUnavailable}
    await client.close()


async def test_a_restored_chain_goes_on(client: StoreClient, tmp_path: Path) -> None:
    """Given an archive and an empty store; when the store is told the archive's end; then the chain goes on there, once."""
    files = files_in(tmp_path)
    lines, _ = link(Head(), [entry("a"), entry("b")])
    files.append(lines)
    audit = StoreAudit(client)
    assert await audit.begin_after(files.last())
    assert not await audit.begin_after(Head())
    await audit.record(entry("c"))
    assert await whole_chain(audit, tmp_path) == ["a", "b", "c"]


async def test_another_halls_archive_is_refused(client: StoreClient, tmp_path: Path) -> None:
    """Given an archive that the store's chain does not follow; then it stops by name, and nothing is written or trimmed."""
    files = files_in(tmp_path)
    files.append(link(Head(), [entry("theirs")])[0])
    audit = StoreAudit(client)
    with pytest.raises(AuditBroken, match="another hall"):
        await AuditArchive(audit, files_in(tmp_path)).step()
    for ref in ("a", "b"):
        await audit.record(entry(ref))
    archive = AuditArchive(audit, files_in(tmp_path))
    with pytest.raises(AuditBroken, match="does not follow"):
        await archive.step()
    await archive.run()
    assert "does not follow" in archive.failure
    assert [decode_line(raw).ref for _, raw in files.lines()] == ["theirs"]
    assert len(await audit.read(0, 10)) == 2


# -- the line itself


def test_a_line_is_its_bytes() -> None:
    """Given two entries; then each line holds number and hash of the one before, computed over its very bytes."""
    lines, hashes = link(Head(), [entry("a", about={"call_id": "c-1"}), entry("b")])
    first, second = map(decode_line, lines)
    assert (first.seq, first.prev, second.seq, second.prev) == (1, GENESIS, 2, hash_of(lines[0]))
    assert hashes == [hash_of(line) for line in lines]
    assert lines[0].startswith(b'{"at_ms":1795824000000,"what":"call.take_over","who":"supervisor:s-1"')


def test_only_references_are_shown() -> None:
    """SAFETY.md 7: given values that a person may have written; then the entry says that they were there, and not what."""
    values = {
        "call_id": "c-1",
        "n": 3,
        "flag": True,
        "text": "Wang Xiaoming",
        "zh": "王小明",
        "long": "x" * 129,
        "no": "",
        "nil": None,
    }
    hidden = "(not shown)"
    assert shown(values) == {"call_id": "c-1", "n": "3", "flag": "true", "text": hidden, "zh": hidden, "long": hidden}
    assert shown({"a": "x\ny", "b": "x" * 128}) == {"a": hidden, "b": "x" * 128}
