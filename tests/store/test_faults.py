"""A store in trouble: commands wait within a bound and are then refused by name; nothing acknowledged is lost (SAFETY.md 1, 9).

The hall is real and in this process, the store a real server: frozen, killed, restarted, without room, with another password,
with a certificate that nobody trusts.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import Struct
from structlog.testing import capture_logs

from actors import intake, shard
from actors.hall import HallUnavailable
from actors.store_client import StoreClient
from tests.store.certificates import Authority
from tests.store.conftest import MakeServer
from tests.store.wired import Wired, queued_ids, wired_hall
from tests.waiting import until

REFUSED_S = 8.0
"""A request of 0.5 s with its 2 s to connect may be under way when the bound of 0.3 s is over; the machine may be busy."""

Harm = Callable[[Wired], Awaitable[None]]


class Trouble(Struct, frozen=True):
    begin: Harm
    end: Harm
    reason: str
    """By which it is named in the shard's log."""


@pytest.fixture(autouse=True)
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits 10 s for the store in a hall waits 0.3 s here."""
    monkeypatch.setattr(intake, "UNSTEPPED_S", 0.3)
    monkeypatch.setattr(shard, "STALL_MS", 200)


async def freeze(wired: Wired) -> None:
    wired.server.send_signal(signal.SIGSTOP)


async def thaw(wired: Wired) -> None:
    wired.server.send_signal(signal.SIGCONT)


async def kill(wired: Wired) -> None:
    wired.server.end()


async def start(wired: Wired) -> None:
    """With the data that it left, whatever became of it."""
    wired.server.end()
    await wired.server.start()


async def fill_disk(wired: Wired) -> None:
    """A server that must sync each write ends itself when it cannot."""
    wired.server.fill_disk()


async def fill_memory(wired: Wired) -> None:
    await told(wired.server.url, "CONFIG SET", "maxmemory", "100kb")


async def free_memory(wired: Wired) -> None:
    await told(wired.server.url, "CONFIG SET", "maxmemory", "0")


async def change_password(wired: Wired) -> None:
    await told(wired.server.url, "CONFIG SET", "requirepass", "another")
    await told(wired.server.url_at(wired.server.port, ":another@"), "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")


async def change_password_back(wired: Wired) -> None:
    await told(wired.server.url_at(wired.server.port, ":another@"), "CONFIG SET", "requirepass", "")


async def told(url: str, *command: str) -> None:
    client = StoreClient(url)
    await client.run([command])
    await client.close()


TROUBLES = {
    "frozen": Trouble(freeze, thaw, "timeout"),
    "killed_and_restarted": Trouble(kill, start, "not_connected"),
    "disk_full": Trouble(fill_disk, start, "not_connected"),
    "memory_full": Trouble(fill_memory, free_memory, "out_of_memory"),
    "wrong_password": Trouble(change_password, change_password_back, "not_allowed"),
}
BETWEEN = {"not_connected", "loading"}
"""What may be seen besides, while one trouble turns into another."""


@pytest.mark.parametrize("name", TROUBLES)
async def test_what_waits_is_refused_by_name_and_what_was_acknowledged_is_kept(wired: Wired, name: str) -> None:
    """Given a store in trouble; then what is stepped waits, what comes later is refused by name; afterwards nothing is lost."""
    await assert_survived(wired, TROUBLES[name])


async def test_a_tls_peer_that_is_lost_and_replaced_by_a_stranger(make_server: MakeServer, tmp_path: Path) -> None:
    """Given a store over TLS; when another with a strange certificate answers in its place; then nobody speaks with that one.

    Both sides show certificates; what the hall trusts is named in its address.
    """
    own, strange = Authority(tmp_path / "own"), Authority(tmp_path / "strange")
    server = await make_server("store", program="redis", tls=own.issue("store")).start()
    stranger = make_server("stranger", program="redis", port=server.port, tls=strange.issue("store"))

    async def replace(wired: Wired) -> None:
        """The stranger has the very port, and an empty store."""
        server.end()
        await stranger.start()

    async def put_back(wired: Wired) -> None:
        stranger.end()
        await server.start()

    async with wired_hall(server) as wired:
        await assert_survived(wired, Trouble(replace, put_back, "tls_failed"))


async def assert_survived(wired: Wired, trouble: Trouble) -> None:
    """One call is asked for before the trouble, one at its beginning, one behind that; each comes to be once."""
    other, own = wired.local.hall("g-2"), wired.local.shard
    assert own is not None
    await other.agents()
    assert (await wired.hall.call("before").request("c-1", "slow", command_id="1")).is_accepted
    with capture_logs() as lines:
        await trouble.begin(wired)
        stepped = asyncio.create_task(wired.hall.call("stepped").request("c-2", "slow", command_id="1"))
        await until(lambda: own._appending.waiting_ms() > 0)
        async with asyncio.timeout(REFUSED_S):
            with pytest.raises(HallUnavailable) as refused:
                await other.call("behind").request("c-3", "slow", command_id="1")
        assert refused.value.reason == "store_unavailable"
        assert not stepped.done()
        await trouble.end(wired)
        assert (await stepped).is_accepted
    reasons = {line["reason"] for line in lines if line["event"] == "store.unavailable"}
    assert trouble.reason in reasons
    assert reasons <= {trouble.reason, *BETWEEN}
    assert (await other.call("behind").request("c-3", "slow", command_id="1")).is_accepted
    assert await queued_ids(wired.truth) == ["before", "stepped", "behind"]
    await other.close()
    await wired.local.kill_shard()
    await wired.local.start_shard()
    views = [await wired.hall.call(call_id).view() for call_id in ("before", "stepped", "behind")]
    assert [view.state for view in views if view is not None] == ["waiting"] * 3
