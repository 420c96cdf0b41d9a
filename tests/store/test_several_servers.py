"""The store as several servers: a primary that Sentinels name, and a cluster. Nothing acknowledged is lost."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest
from redis.crc import key_slot

from actors.directory import Directory
from actors.journal import Append, Fenced, JournalSize, NotDurable, RedisJournal, StoreUnavailable
from actors.people import People
from actors.store_client import StoreClient
from tests.store.appending import Writer, repeat
from tests.store.conftest import MakeServer
from tests.store.servers import Server, free_port
from tests.store.test_replicas import REPLICA
from tests.waiting import PATIENCE_S

SENTINEL = """\
port {port}
sentinel monitor bank 127.0.0.1 {primary} 1
sentinel down-after-milliseconds bank 500
sentinel failover-timeout bank 3000
"""
SLOTS_COUNT = 16_384


async def ask(server: Server, *command: str | int) -> object:
    """Say something to one server alone."""
    client = StoreClient(f"redis://127.0.0.1:{server.port}")
    try:
        [reply] = await client.run([command])
        return reply
    finally:
        await client.close()


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Servers tell each other once a second."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - servers tell nobody here
            await asyncio.sleep(0.05)


async def watched(make_server: MakeServer) -> tuple[Server, Server]:
    """A primary with two replicas, and the Sentinel that watches over them."""
    primary = await make_server("primary", *REPLICA).start()
    for name in ("one", "two"):
        await make_server(name, *REPLICA, "--replicaof", f"127.0.0.1 {primary.port}").start()
    sentinel = make_server("sentinel")
    sentinel.folder.mkdir()
    settings = sentinel.folder / "sentinel.conf"
    settings.write_text(SENTINEL.format(port=sentinel.port, primary=primary.port))
    sentinel.launch(str(settings), "--sentinel")
    await sentinel.wait_ready(f"redis://127.0.0.1:{sentinel.port}")

    async def knows_both() -> bool:
        replicas = await ask(sentinel, "SENTINEL", "REPLICAS", "bank")
        return isinstance(replicas, list) and len(replicas) == 2

    await eventually(knows_both)
    return primary, sentinel


async def test_when_the_primary_dies_the_next_that_sentinels_name_has_all(make_server: MakeServer) -> None:
    """Given appends that a replica confirms, when the primary is killed, then its successor is found, and nothing is lost."""
    primary, sentinel = await watched(make_server)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/bank?replicas_min=1"
    writer = Writer(RedisJournal(url))
    await repeat(writer.open)
    assert (await writer.journal.check_durability()).weaknesses == []
    done = asyncio.Event()
    writing = asyncio.create_task(writer.append_until(done))
    await asyncio.sleep(0.3)
    before = writer.batch
    assert before > 10
    primary.send_signal(signal.SIGKILL)

    async def goes_on() -> bool:
        return writer.batch > before + 10

    await eventually(goes_on)
    done.set()
    await writing
    assert writer.reasons, "nobody noticed"
    await writer.assert_whole()
    await writer.journal.close()


async def test_a_sentinel_that_knows_nothing_is_named(make_server: MakeServer) -> None:
    """Given Sentinels of which one is away and one does not know the name, when asked, then the reason is `not_connected`."""
    _, sentinel = await watched(make_server)
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/other"
    journal = RedisJournal(url)
    with pytest.raises(StoreUnavailable, match="knows no 'other'") as refused:
        await journal.open("main")
    assert refused.value.reason == "not_connected"
    await journal.close()


class Cluster:
    """Two primaries with half of the slots each."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in servers)
        half = SLOTS_COUNT // 2
        ids = [f"division-{number}" for number in range(20)]
        self.division_ids = [next(one for one in ids if slot(one) // half == which) for which in (0, 1)]
        """One for each server."""


def slot(division_id: str) -> int:
    """Where the division's keys lie."""
    return int(key_slot(f"tellerhall:{{{division_id}}}:head".encode()))


@pytest.fixture
async def cluster(make_server: MakeServer) -> Cluster:
    servers = []
    for number in range(2):
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000")
        servers.append(await make_server(f"server-{number}", *bus).start())
        half = SLOTS_COUNT // 2
        await ask(servers[-1], "CLUSTER", "ADDSLOTSRANGE", number * half, (number + 1) * half - 1)
    bus_port = servers[1].options[3]
    await ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", servers[1].port, bus_port)
    for server in servers:
        await eventually(lambda server=server: is_whole(server))
    return Cluster(servers)


async def is_whole(server: Server) -> bool:
    return "cluster_state:ok" in str(await ask(server, "CLUSTER", "INFO"))


async def test_a_cluster_keeps_each_division_on_one_server(cluster: Cluster) -> None:
    """Given divisions on two servers, when both are appended to at once, then each journal does all that one server's does."""
    journal = RedisJournal(cluster.url)
    durability = await journal.check_durability()
    assert durability.weaknesses == []
    epochs = {one: (await journal.open(one)).epoch for one in cluster.division_ids}
    for batch in (1, 2, 3):
        await journal.append([Append(one, epochs[one], batch, one.encode()) for one in cluster.division_ids])
    one, other = cluster.division_ids
    assert await journal.read(one, 1, 10) == [(2, one.encode()), (3, one.encode())]
    await journal.write_snapshot(one, 2, [b"first", b"second"])
    await journal.trim(one, 2)
    assert await journal.read_snapshot(one) == (2, [b"first", b"second"])
    assert await journal.size(one) == JournalSize(1, len(one))
    assert await journal.last_batches(cluster.division_ids) == {one: 3, other: 3}
    await journal.open(other)
    with pytest.raises(Fenced) as fenced:
        await journal.append([Append(one, epochs[one], 4, b"4"), Append(other, epochs[other], 4, b"4")])
    assert fenced.value.reasons == {other: "epoch"}
    assert await journal.last_batch(one) == 4
    await journal.close()


async def test_owners_and_people_live_in_a_cluster_too(cluster: Cluster) -> None:
    """Given a cluster, then owners, placement and personal records are found again, whichever server has them."""
    client = StoreClient(cluster.url)
    directory, people = Directory(client), People(client)
    for division_id in cluster.division_ids:
        assert await directory.write_owner(division_id, 3, "shard-0-e1")
        assert await directory.write_placement(division_id, "shard-0", (await directory.read_placement()).version)
    assert await directory.note_alive(dict.fromkeys(cluster.division_ids, 2), 7) == set(cluster.division_ids)
    assert await directory.note_alive(dict.fromkeys(cluster.division_ids, 3), 7) == set()
    assert (await directory.read_placement()).slots == dict.fromkeys(cluster.division_ids, "shard-0")
    await people.put("p-1", {"name": "Ada"})
    assert await people.get("p-1") == {"name": "Ada"}
    assert await people.erase("p-1")
    await client.close()


async def test_slots_that_move_are_followed(cluster: Cluster) -> None:
    """Given a division whose slot is being moved, and then has moved; then appends follow it, and each counts once."""
    first, second = cluster.servers
    [division_id, _] = cluster.division_ids
    journal = RedisJournal(cluster.url)
    await journal.last_batch(division_id)  # Where all slots are has been learned.
    names = [str(await ask(one, "CLUSTER", "MYID"), "ascii") for one in cluster.servers]  # type: ignore[call-overload]
    await ask(second, "CLUSTER", "SETSLOT", slot(division_id), "IMPORTING", names[0])
    await ask(first, "CLUSTER", "SETSLOT", slot(division_id), "MIGRATING", names[1])
    epoch = (await journal.open(division_id)).epoch
    for server in (second, first):
        await ask(server, "CLUSTER", "SETSLOT", slot(division_id), "NODE", names[1])
    for batch in (1, 2):
        await repeat(lambda batch=batch: journal.append([Append(division_id, epoch, batch, b"x")]))
    assert await journal.read(division_id, 0, 10) == [(1, b"x"), (2, b"x")]
    await journal.close()


async def test_a_server_of_a_cluster_that_is_away_is_named_and_found_again(cluster: Cluster) -> None:
    """Given one server that is killed, when both are appended to, then that is unavailable; with it back it counts once."""
    first, second = cluster.division_ids
    journal = RedisJournal(cluster.url)
    epochs = {one: (await journal.open(one)).epoch for one in cluster.division_ids}
    appends = [Append(one, epochs[one], 1, b"x") for one in (first, second)]
    cluster.servers[1].end()
    with pytest.raises(StoreUnavailable) as refused:
        await journal.append(appends)
    assert refused.value.reason in ("not_connected", "timeout")
    await cluster.servers[1].start()
    await repeat(lambda: journal.append(appends))
    for division_id in cluster.division_ids:
        assert await journal.read(division_id, 0, 10) == [(1, b"x")]
    await journal.close()


async def test_the_address_of_one_server_does_not_do_for_a_cluster(cluster: Cluster) -> None:
    """Given a server of a cluster, when it is addressed as a single one, then the right form is named, whatever is accepted."""
    journal = RedisJournal(f"redis://127.0.0.1:{cluster.servers[0].port}", accept_weaker_durability=True)
    with pytest.raises(NotDurable, match="redis\\+cluster://"):
        await journal.check_durability()
    await journal.close()
