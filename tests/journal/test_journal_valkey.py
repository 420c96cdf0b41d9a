"""What only a real server can do to the journal: forget scripts, run full, fall silent, be set up weakly."""

import asyncio
import os
import pickle
import signal

import pytest

from actors.journal import PIECE_BYTES_MAX, Append, Fenced, JournalGap, NotDurable, RedisJournal, StoreUnavailable
from actors.store import EmbeddedStore
from actors.store_client import StoreClient


async def test_scripts_survive_a_server_that_forgot_them(store: EmbeddedStore, client: StoreClient) -> None:
    """Given a server without our scripts, when several divisions append at once, then each batch is there once."""
    journal = RedisJournal(store.url)
    appends = [Append(name, (await journal.open(name)).epoch, 1, name.encode()) for name in ("north", "south")]
    for _ in range(2):
        await client.run([("SCRIPT FLUSH",)])
        await journal.append(appends)
    assert [await journal.read(name, 0, 9) for name in ("north", "south")] == [[(1, b"north")], [(1, b"south")]]
    await journal.close()


async def test_a_full_server_refuses_by_name_and_changes_nothing(store: EmbeddedStore, client: StoreClient) -> None:
    """Given no memory left, when a batch is appended, then the reason says so; with memory again it goes on."""
    journal = RedisJournal(store.url)
    epoch = (await journal.open("main")).epoch
    await journal.append([Append("main", epoch, 1, b"one")])
    await client.run([("CONFIG SET", "maxmemory", "100kb")])
    for request in (journal.append([Append("main", epoch, 2, b"two")]), journal.open("main")):
        with pytest.raises(StoreUnavailable) as refused:
            await request
        assert refused.value.reason == "out_of_memory"
    assert await journal.read("main", 0, 10) == [(1, b"one")]
    await client.run([("CONFIG SET", "maxmemory", "0")])
    await journal.append([Append("main", epoch, 2, b"two")])
    await journal.close()


async def test_a_server_that_became_a_replica_refuses_by_name(store: EmbeddedStore, client: StoreClient) -> None:
    """Given a failover that made our server a replica, when a batch is appended, then it is refused as read-only."""
    journal = RedisJournal(store.url)
    epoch = (await journal.open("main")).epoch
    await client.run([("REPLICAOF", "127.0.0.1", "1")])
    with pytest.raises(StoreUnavailable) as refused:
        await journal.append([Append("main", epoch, 1, b"one")])
    assert refused.value.reason == "read_only"
    with pytest.raises(NotDurable, match="primary"):
        await journal.check_durability()
    await client.run([("REPLICAOF", "NO", "ONE")])
    await journal.close()


async def test_a_silent_server_costs_a_bounded_time_and_no_reply_is_mixed_up(store: EmbeddedStore) -> None:
    """Given a frozen server, when it thaws, then the late append and the repeat are one, and answers fit requests."""
    journal = RedisJournal(store.url, client=StoreClient(store.url, request_s=0.3))
    epoch = (await journal.open("main")).epoch
    assert store.pid is not None
    os.kill(store.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable) as lost:
            await journal.append([Append("main", epoch, 1, b"one")])
        assert lost.value.reason == "timeout"
    finally:
        os.kill(store.pid, signal.SIGCONT)
    await journal.append([Append("main", epoch, 1, b"one")])
    assert await journal.last_batch("main") == 1
    assert await journal.read("main", 0, 10) == [(1, b"one")]
    await journal.close()


async def test_a_cancelled_append_ends_and_leaves_no_reply_behind(store: EmbeddedStore) -> None:
    """Given appends cancelled on their way, when others follow, then each gets its own answer."""
    journal = RedisJournal(store.url, client=StoreClient(store.url, connections_max=1))
    epoch = (await journal.open("main")).epoch
    for batch in range(1, 121):
        one = asyncio.create_task(journal.append([Append("main", epoch, batch, b"x")]))
        for _ in range(batch % 30):
            await asyncio.sleep(0)
        is_on_its_way = one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        assert one.cancelled() == is_on_its_way
        await journal.append([Append("main", epoch, batch, b"x")])
        assert await journal.last_batch("main") == batch
    await journal.close()


async def test_a_dead_server_is_named_and_found_again(store: EmbeddedStore) -> None:
    """Given kill -9 of the server, when it is back, then every acknowledged batch is there and appending goes on."""
    journal = RedisJournal(store.url)
    epoch = (await journal.open("main")).epoch
    await journal.append([Append("main", epoch, 1, b"one")])
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    reasons = set()
    async with asyncio.timeout(20):
        while True:
            try:
                await journal.append([Append("main", epoch, 2, b"two")])
                break
            except StoreUnavailable as error:
                reasons.add(error.reason)
                await asyncio.sleep(0.01)
    assert reasons <= {"not_connected", "loading"}
    assert await journal.read("main", 0, 10) == [(1, b"one"), (2, b"two")]
    await journal.close()


async def test_old_snapshots_leave_nothing_behind(store: EmbeddedStore, client: StoreClient) -> None:
    """SAFETY.md 3: given three snapshots, when the last is in place, then its pieces stay for good and the others not."""
    journal = RedisJournal(store.url)
    for batch in (1, 2, 3):
        await journal.write_snapshot("main", batch, [bytes([batch]) * PIECE_BYTES_MAX] * (4 - batch))
    await journal.write_snapshot("main", 2, [b"older"])
    [keys] = await client.run([("KEYS", "*:piece:*")])
    lives = sorted(await client.run([("TTL", key) for key in keys]))
    assert lives[0] == -1
    assert len(lives) == 3 + 2 + 1 + 1
    assert all(0 < life_s <= 60 for life_s in lives[1:-1])
    assert 60 < lives[-1] <= 3600
    await journal.close()


async def test_readers_never_see_half_a_snapshot(store: EmbeddedStore) -> None:
    """Given a snapshot that is replaced again and again, when it is read meanwhile, then its pieces fit together."""
    journal = RedisJournal(store.url)
    await journal.write_snapshot("main", 1, [b"1"] * 8)

    async def replace() -> None:
        for batch in range(2, 40):
            await journal.write_snapshot("main", batch, [str(batch).encode()] * 8)

    writing = asyncio.create_task(replace())
    while not writing.done():
        snapshot = await journal.read_snapshot("main")
        assert snapshot is not None
        assert snapshot[1] == [str(snapshot[0]).encode()] * 8
    await writing
    await journal.close()


async def test_the_embedded_store_is_durable(store: EmbeddedStore) -> None:
    """SAFETY.md 18: given the embedded store as we start it, when asked, then it has no weakness."""
    journal = RedisJournal(store.url)
    durability = await journal.check_durability()
    assert (durability.append_only, durability.fsync, durability.eviction) == ("yes", "always", "noeviction")
    assert durability.weaknesses == []
    assert durability.server.startswith("valkey ")
    await journal.close()


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("appendonly", "no", "appendonly is 'no'"),
        ("appendfsync", "everysec", "appendfsync is 'everysec'"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is 'allkeys-lru'"),
    ],
)
async def test_a_weak_store_is_refused_by_name(
    store: EmbeddedStore, client: StoreClient, setting: str, value: str, named: str
) -> None:
    """SAFETY.md 18: given one weak setting, when checked, then it is named; accepted only where that was asked for."""
    await client.run([("CONFIG SET", setting, value)])
    strict, lenient = RedisJournal(store.url), RedisJournal(store.url, accept_weaker_durability=True)
    with pytest.raises(NotDurable, match=named):
        await strict.check_durability()
    [weakness] = (await lenient.check_durability()).weaknesses
    assert weakness.startswith(named)
    await strict.close()
    await lenient.close()


async def test_a_store_that_tells_nothing_is_refused(store: EmbeddedStore, client: StoreClient) -> None:
    """Given a hosted store that forbids CONFIG, when checked, then what is unknown counts as weak."""
    await client.run([("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+@all", "-config")])
    journal = RedisJournal(store.url.replace("unix://", "unix://guest:secret@"))
    with pytest.raises(NotDurable, match="appendfsync is 'unknown'"):
        await journal.check_durability()
    await journal.close()


async def test_a_wrong_password_is_named(store: EmbeddedStore, client: StoreClient) -> None:
    """Given a wrong password, when the journal is opened, then the reason is `not_allowed`."""
    await client.run([("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+@all")])
    journal = RedisJournal(store.url.replace("unix://", "unix://guest:wrong@"))
    with pytest.raises(StoreUnavailable) as refused:
        await journal.open("main")
    assert refused.value.reason == "not_allowed"
    await journal.close()


def test_errors_travel_between_processes() -> None:
    """Given the errors a Ray call may carry, when they are pickled, then their reasons arrive."""
    assert pickle.loads(pickle.dumps(StoreUnavailable("timeout", "x"))).reason == "timeout"
    assert pickle.loads(pickle.dumps(Fenced({"main": "epoch"}))).reasons == {"main": "epoch"}
    assert pickle.loads(pickle.dumps(JournalGap("main", 3, 7))).first_batch == 7
