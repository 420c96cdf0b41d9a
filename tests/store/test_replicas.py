"""Durable with a replica: what is acknowledged is on its disk too, and a failover loses none of it (SAFETY.md 1, 18)."""

import asyncio
import contextlib
import signal

import pytest

from actors.directory import Directory, PartEntry
from actors.journal import Append, Fenced, NotDurable, RedisJournal, StoreUnavailable
from actors.office import read_office, take_office
from actors.people import People, PersonRecord
from actors.store_client import StoreClient
from tests.store.appending import Writer, repeat
from tests.store.conftest import MakeServer
from tests.store.servers import Server

REPLICA = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


async def pair(make_server: MakeServer) -> tuple[Server, Server]:
    """A primary, and a replica that has caught up."""
    primary = await make_server("primary", *REPLICA).start()
    replica = await make_server("replica", *REPLICA, "--replicaof", f"127.0.0.1 {primary.port}").start()
    client = StoreClient(f"{primary.url}?replicas_min=1")
    await repeat(lambda: client.run([("SET", "ready", 1)], is_confirmed=True))
    await client.close()
    return primary, replica


async def promote(replica: Server) -> None:
    """Make the replica the primary, as an operator or a Sentinel does."""
    client = StoreClient(replica.url)
    await client.run([("REPLICAOF", "NO", "ONE")])
    await client.close()


async def test_a_failover_loses_nothing_acknowledged(make_server: MakeServer) -> None:
    """Given a stream of appends, when the primary is killed and its replica promoted, then all acknowledged are there.

    The append under way is repeated against the new primary under the same number, and counts once.
    """
    primary, replica = await pair(make_server)
    writer = await Writer(RedisJournal(f"{primary.url}?replicas_min=1")).open()
    asyncio.get_running_loop().call_later(0.5, primary.send_signal, signal.SIGKILL)
    with contextlib.suppress(StoreUnavailable):
        while True:
            await writer.try_append(writer.batch + 1)
            writer.batch += 1
    assert writer.batch > 20
    await promote(replica)
    await writer.journal.close()
    writer.journal = RedisJournal(replica.url)
    await writer.append()
    await writer.append()
    await writer.assert_whole()
    await writer.journal.close()


async def test_an_epoch_that_was_given_is_not_given_again_after_a_failover(make_server: MakeServer) -> None:
    """Given an epoch, when the replica is promoted, then the next is higher, and the owner of the first is fenced."""
    primary, replica = await pair(make_server)
    journal = RedisJournal(f"{primary.url}?replicas_min=1")
    first = await journal.open("main")
    primary.send_signal(signal.SIGKILL)
    await promote(replica)
    successor = RedisJournal(replica.url)
    assert (await successor.open("main")).epoch > first.epoch
    with pytest.raises(Fenced):
        await successor.append([Append("main", first.epoch, 1, b"late")])
    await journal.close()
    await successor.close()


async def test_without_its_replica_nothing_is_acknowledged_or_seen(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a silent replica, when a batch is appended, then nobody may see it; with the replica back it counts once.

    A repeat on a fresh connection must not be confirmed either: WAITAOF knows only what its own connection wrote.
    """
    monkeypatch.setattr("actors.store_links.REPLICAS_WAIT_MS", 200)
    primary, replica = await pair(make_server)
    url = f"{primary.url}?replicas_min=1"
    writer = await Writer(RedisJournal(url)).open()
    await writer.append()
    replica.send_signal(signal.SIGSTOP)
    fresh = RedisJournal(url)
    for journal in (writer.journal, fresh):
        with pytest.raises(StoreUnavailable, match="replica_missing"):
            await journal.append([Append("main", writer.epoch, 2, b"2")])
    with pytest.raises(StoreUnavailable, match="replica_missing"):
        await fresh.read("main", 1, 10)
    assert await fresh.read("main", 2, 10) == []
    with pytest.raises(StoreUnavailable, match="replica_missing"):
        await fresh.open("other")
    replica.send_signal(signal.SIGCONT)
    await writer.append()
    await writer.assert_whole(fresh)
    await writer.journal.close()
    await fresh.close()


async def test_nothing_that_a_failover_would_forget_is_believed(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13: given a silent replica; then no owner, proof of one, placement, office or person counts: a successor has none of it.

    An owner that the directory forgot would be found by nobody for as long as it lives; a primary that was cut off with a
    stale shard must not vouch for it.
    """
    monkeypatch.setattr("actors.store_links.REPLICAS_WAIT_MS", 200)
    primary, replica = await pair(make_server)
    client = StoreClient(f"{primary.url}?replicas_min=1")
    directory, people = Directory(client), People(client)
    office = await take_office(client, await read_office(client))
    assert office is not None
    writes = [
        lambda: directory.write_owner("main", 1, "shard-0-e1"),
        lambda: directory.note_alive({"main": 1}, 5),
        lambda: directory.write_placement("main", "shard-0", 0),
        lambda: directory.restore_incarnations({"media-1": 9}),
        office.beat,
        lambda: office.want(b"settings"),
        lambda: office.next_incarnation("shard-0"),
        lambda: office.enter_part("shard-0", PartEntry("shard-0-e1", 1, 2, 3)),
        lambda: people.put("p-1", {"name": "Ada"}),
        lambda: people.restore([PersonRecord("p-1", {"name": "Ada"}, 1_000_000)]),
        lambda: people.erase("p-2"),
    ]
    replica.send_signal(signal.SIGSTOP)
    for write in writes:
        with pytest.raises(StoreUnavailable, match="replica_missing"):
            await write()
    with pytest.raises(StoreUnavailable, match="replica_missing"):
        await take_office(client, await read_office(client))
    assert not office.is_trusted()
    replica.send_signal(signal.SIGCONT)
    await repeat(lambda: directory.write_owner("main", 2, "shard-0-e2"))
    await repeat(lambda: people.put("p-2", {"name": "Bob"}))
    primary.send_signal(signal.SIGKILL)
    await promote(replica)
    successor = StoreClient(replica.url)
    owner = await Directory(successor).read_owner("main")
    assert owner is not None
    assert owner.actor_name == "shard-0-e2"
    assert await People(successor).get("p-2") == {"name": "Bob"}
    await client.close()
    await successor.close()


async def test_a_replica_that_is_not_there_is_named_at_the_start(make_server: MakeServer) -> None:
    """Given a primary alone, when checked, then the missing replica is named; with one it is durable."""
    primary, replica = await pair(make_server)
    for count, reason in ((1, ""), (2, "replica_missing")):
        journal = RedisJournal(f"{primary.url}?replicas_min={count}")
        with pytest.raises(StoreUnavailable, match=reason) if reason else contextlib.nullcontext():
            assert (await journal.check_durability()).weaknesses == []
        await journal.close()
    journal = RedisJournal(replica.url)
    with pytest.raises(NotDurable, match="connect to the primary"):
        await journal.check_durability()
    await journal.close()


@pytest.mark.parametrize("accept_weaker", [False, True])
async def test_a_server_without_waitaof_is_refused_by_name(make_server: MakeServer, accept_weaker: bool) -> None:
    """SAFETY.md 18: given Debian's Redis 7.0, when replicas are to confirm, then it is refused, whatever is accepted."""
    server = await make_server("redis", program="redis").start()
    journal = RedisJournal(f"{server.url}?replicas_min=1", accept_weaker_durability=accept_weaker)
    with pytest.raises(NotDurable, match=r"redis 7\.0\.\d+ has no WAITAOF.*needs Redis 7.2 or Valkey"):
        await journal.check_durability()
    await journal.close()
