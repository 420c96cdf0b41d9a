"""The follower: read-your-writes history, snapshots that replay to the same state, safe trimming (SAFETY.md 2, 3, 4)."""

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import follower as module
from actors.archive import Archive
from actors.follower import Follower, FollowerStopped
from actors.journal import PIECE_BYTES_MAX, Append, Journal, JournalGap
from actors.journal_memory import MemoryJournal
from dispatch import commands as cm
from dispatch.codec import decode_events
from dispatch.engine import Engine
from dispatch.model import Call
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.journal.division import Division
from tests.waiting import until


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty archive of division `main`."""
    archive = Archive(tmp_path / "archive", "main")
    yield archive
    await archive.close()


@pytest.fixture
async def division(journal: Journal) -> Division:
    """A division with one ready agent, over each journal."""
    division = Division(journal)
    await division.open()
    return division


async def recovered(journal: Journal) -> Engine:
    """Come back as a shard would: snapshot, then every batch after it."""
    snapshot = await journal.read_snapshot("main")
    batch, engine = 0, Engine("main")
    if snapshot is not None:
        batch, engine = snapshot[0], Engine.restore("main", b"".join(snapshot[1]))
    for _, payload in await journal.read("main", batch, 10_000):
        engine.replay(decode_events(payload))
    return engine


@contextlib.asynccontextmanager
async def running(follower: Follower) -> AsyncIterator[asyncio.Task[None]]:
    """Let the follower run in the background."""
    task = asyncio.create_task(follower.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_history_has_what_was_decided_just_now(division: Division, archive: Archive) -> None:
    """Given a call that rings, then ends, when its history is read at once, then it is complete each time."""
    follower = Follower(division.journal, archive, "main")
    call_id = await division.request(1)
    assert await follower.history(call_id) == division.events_of(call_id)
    await division.hang_up(call_id)
    history = await follower.history(call_id)
    assert history == division.events_of(call_id)
    assert [type(event).__name__ for event in history][-1] == "CallEnded"


async def test_the_history_outlives_the_engine_and_the_journal(division: Division, archive: Archive) -> None:
    """SAFETY.md 2: given a call that left memory and journal, when its history is read, then it is complete."""
    follower = Follower(division.journal, archive, "main")
    call_id = await division.request(1)
    await division.hang_up(call_id)
    await division.wait(3_600_000)
    assert call_id not in division.engine.state.calls
    await follower.catch_up()
    await follower.write_snapshot()
    with pytest.raises(JournalGap):
        await division.journal.read("main", 0, 10)
    later = Follower(division.journal, archive, "main")
    assert await later.history(call_id) == division.events_of(call_id)


async def test_a_snapshot_and_what_follows_make_the_same_state(division: Division, archive: Archive) -> None:
    """SAFETY.md 3: given snapshots on the way, when a shard comes back, then its digest is the live engine's."""
    follower = Follower(division.journal, archive, "main")
    for number in range(20):
        call_id = await division.request(number)
        if number % 3:
            await division.hang_up(call_id)
        if number % 5 == 0:
            await follower.catch_up()
            await follower.write_snapshot()
        assert (await recovered(division.journal)).digest() == division.engine.digest()
        await division.wait(1_000)


WIDE = Plan(
    division_id="main",
    queues=[
        QueuePlan(
            id="loans",
            media="external",
            recording="off",
            wrap_up="timed",
            wrap_up_ms=2_000,
            reservations_max=2,
            in_call_max=2,
            wait_ms_max=20_000,
            on_wait=[Way("overflow", ["pair"]), Way("callback")],
            need={"a": 3},
            relaxation=[Relaxation(4_000, {"a": 2}), Relaxation(9_000)],
            last_agent_window_ms=60_000,
        ),
        QueuePlan(id="pair", media="external", recording="off", wrap_up="none", joint_need={"b": 1}),
    ],
    agents=[AgentPlan(f"w-{number}", {"a": number, "b": 1} if number > 1 else {"a": 1}) for number in range(1, 5)],
    invitation_ms=30_000,
)


def _new(chance: random.Random, number: int) -> cm.Command:
    """Somebody comes, or somebody's day changes."""
    agent_id, customer_id = f"w-{chance.randrange(1, 5)}", f"c-{number % 40}"
    queue_id = chance.choice(["loans", "pair"])
    wishes = chance.choice([None, Wishes(credit_ms=9, is_absolute=True), Wishes(need={"a": 2}, is_callback=True)])
    commands: list[cm.Command] = [
        cm.RequestCall(call_id=f"k-{number}", customer_id=customer_id, queue_id=queue_id, wishes=wishes),
        cm.RequestCall(call_id=f"k-{number}", customer_id=customer_id, queue_id=queue_id),
        cm.InviteCustomer(call_id=f"k-{number}", customer_id=customer_id, agent_id=agent_id, queue_id=queue_id),
        *[cm.SetActivity(agent_id=agent_id, activity="ready")] * 4,
        cm.SetActivity(agent_id=agent_id, activity=chance.choice(["ready", "not_ready", "offline"])),
        cm.Connect(recipient=f"agent:{agent_id}", gateway_id="g", connection_id=f"c-{number}"),
        cm.LoseGateway(gateway_id="g"),
    ]
    return chance.choice(commands)


def _next(chance: random.Random, call: Call) -> cm.Command:
    """Something that may happen to the call in its state."""
    agent_id, mode = f"w-{chance.randrange(1, 5)}", chance.choice(["barge", ""])
    ringing: list[cm.Command] = [
        cm.AcceptReservation(reservation_id=one.id, agent_id=one.agent_id) for one in call.reservations
    ]
    ringing += [
        cm.DeclineReservation(reservation_id=one.id, agent_id=one.agent_id, is_busy=True)
        for one in call.reservations[:1]
    ]
    by_state: dict[str, list[cm.Command]] = {
        "invited": [cm.AcceptInvitation(call_id=call.id, customer_id=call.customer_id)],
        "waiting": [cm.RequestCallback(call_id=call.id), cm.SetPriority(call_id=call.id, credit_ms=5)],
        "reserved": ringing,
        "connecting": [
            cm.ReportConnected(call_id=call.id),
            cm.Supervise(call_id=call.id, supervisor_id="s", mode=mode),
        ],
        "connected": [
            cm.TransferCall(call_id=call.id, to_queue_id=chance.choice(["loans", "pair"])),
            cm.InviteParty(call_id=call.id, role="third", to_agent_id=agent_id),
            cm.CompleteTransfer(call_id=call.id, to_agent_id=call.parties[0].agent_id if call.parties else agent_id),
            cm.TakeOver(call_id=call.id, agent_id=agent_id),
            cm.SetHold(call_id=call.id, is_held=chance.random() < 0.5),
            cm.HangUp(call_id=call.id),
            *ringing,
        ],
    }
    return chance.choice(by_state[call.state])


async def _follow_course(folder: Path, seed: int) -> set[str]:
    """Follow a course of a wide division with snapshots on the way; return the names of the events that it saw."""
    division, chance = Division(MemoryJournal()), random.Random(seed)
    await division.open()
    await division.do(cm.ApplyPlan(plan=WIDE, digest="2"))
    archive = Archive(folder / str(seed), "main")
    follower = Follower(division.journal, archive, "main")
    for number in range(1, 400):
        live = [call for call in division.engine.state.calls.values() if call.state != "ended"]
        is_new = len(live) < chance.choice([1, 2, 8])
        await division.do(_new(chance, number) if is_new else _next(chance, chance.choice(live[-12:])))
        await division.wait(chance.choice([0, 10, 500, 3_000]))
        if number % 60 == 0:
            await follower.catch_up()
            await follower.write_snapshot()
            assert (await recovered(division.journal)).digest() == division.engine.digest()
    await follower.catch_up()
    await archive.close()
    assert follower._engine is not None
    assert follower._engine.digest() == division.engine.digest()
    state = follower._engine.state
    assert (len(state.timers), len(division.engine.state.timers) > 0) == (0, True)
    for kept in (state.standing, state.unplaced, state.freed, state.reopened, state.rung, state.notices):
        assert not kept
    assert not state.pools
    assert not state.kinds
    return {type(event).__name__ for event in division.events}


async def test_what_a_follower_holds_are_records_alone(tmp_path: Path) -> None:
    """Given courses through all that the engine knows, followed; then the records are the live ones, and nothing else grew.

    A follower that kept timers or lines would fill its memory: nothing there ever comes due.
    """
    seen: set[str] = set()
    for seed in range(6):
        seen |= await _follow_course(tmp_path, seed)
    assert {"CallTransferred", "PartyAdded", "OwnershipMoved", "JointAccepted", "HoldChanged"} <= seen
    assert {"CallbackArranged", "NeedRelaxed", "CallMoved", "InvitationAccepted", "JointHeld"} <= seen


async def test_a_snapshot_is_written_in_pieces(division: Division, archive: Archive) -> None:
    """SAFETY.md 3: given a state larger than a piece, when a snapshot is written, then no piece is over the bound."""
    follower = Follower(division.journal, archive, "main")
    for number in range(700):
        await division.request(number, business_reference="r" * 200)
    await follower.catch_up()
    await follower.write_snapshot()
    snapshot = await division.journal.read_snapshot("main")
    assert snapshot is not None
    assert len(snapshot[1]) > 1
    assert {len(piece) for piece in snapshot[1][:-1]} == {PIECE_BYTES_MAX}
    assert (await recovered(division.journal)).digest() == division.engine.digest()


async def test_a_running_follower_archives_and_trims_by_itself(division: Division, archive: Archive) -> None:
    """Given a follower with a snapshot every 10 batches, when 50 batches come, then the journal is trimmed behind it."""
    follower = Follower(division.journal, archive, "main", snapshot_batches=10)
    async with running(follower):
        for number in range(25):
            await division.request(number)
        await until(lambda: follower.measures()["snapshot_batch"] >= division.batch - 10)
        async with asyncio.timeout(10):
            while await is_whole(division):  # noqa: ASYNC110 - the trim comes after the snapshot, and tells nobody
                await asyncio.sleep(0.01)
    assert (await recovered(division.journal)).digest() == division.engine.digest()
    assert await archive.cursor() >= division.batch - 10


async def is_whole(division: Division) -> bool:
    """Say whether the journal still has its first batch."""
    try:
        return bool(await division.journal.read("main", 0, 1))
    except JournalGap:
        return False


async def test_the_journal_keeps_what_the_archive_cannot_take(
    division: Division, archive: Archive, tmp_path: Path
) -> None:
    """Given a broken archive, when the follower runs, then nothing is trimmed; with the archive mended it goes on."""
    await division.request(1)
    folder = tmp_path / "archive"
    folder.write_text("a file where the folder should be")
    follower = Follower(division.journal, archive, "main", snapshot_batches=1)
    async with running(follower):
        await until(lambda: "failure=''" not in repr(follower))
        assert len(await division.journal.read("main", 0, 100)) == division.batch
        folder.unlink()
        await until(lambda: follower.measures()["snapshot_batch"] == division.batch)
    assert await archive.cursor() == division.batch


async def test_two_followers_do_no_harm(division: Division, archive: Archive, tmp_path: Path) -> None:
    """Given a frozen follower and its successor, when the first wakes behind a trim, then it goes on at the snapshot."""
    first = Follower(division.journal, archive, "main")
    call_id = await division.request(1)
    await first.catch_up()
    await division.hang_up(call_id)
    second_archive = Archive(tmp_path / "archive", "main")
    second = Follower(division.journal, second_archive, "main")
    await second.catch_up()
    await second.write_snapshot()
    other_id = await division.request(2)
    assert await first.history(call_id) == division.events_of(call_id)
    assert await first.history(other_id) == division.events_of(other_id)
    await first.write_snapshot()
    assert (await recovered(division.journal)).digest() == division.engine.digest()
    await second_archive.close()


async def test_a_lost_archive_is_reported_and_begins_anew(
    division: Division, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given an archive that somebody deleted, when the follower begins, then the hole is named and new calls are kept."""
    old = Archive(tmp_path / "archive", "main")
    follower = Follower(division.journal, old, "main")
    await division.request(1)
    await follower.catch_up()
    await follower.write_snapshot()
    await old.close()
    shutil.rmtree(tmp_path / "archive")
    archive = Archive(tmp_path / "archive", "main")
    call_id = await division.request(2)
    assert await Follower(division.journal, archive, "main").history(call_id) == division.events_of(call_id)
    assert "archive.gap" in capsys.readouterr().out
    await archive.close()


async def test_an_archive_of_another_hall_is_refused(division: Division, archive: Archive) -> None:
    """Given an archive that is ahead of the journal, when the follower begins, then it stops and says what to do."""
    await archive.add([(division.batch + 1, division.events[:1])])
    with pytest.raises(FollowerStopped, match="different halls"):
        await Follower(division.journal, archive, "main").catch_up()


async def test_an_entry_that_cannot_be_replayed_stops_and_is_not_skipped(archive: Archive) -> None:
    """SAFETY.md 4: given a damaged entry, when it is followed, then the follower stops at it, again and again."""
    journal = MemoryJournal()
    division = Division(journal)
    await division.open()
    await journal.append([Append("main", division.epoch, division.batch + 1, b"\x92\x01nonsense")])
    follower = Follower(journal, archive, "main")
    for _ in range(2):
        with pytest.raises(FollowerStopped, match=f"batch {division.batch + 1} of main"):
            await follower.catch_up()
    assert follower.measures()["snapshot_batch"] == 0


async def test_a_store_that_is_away_is_waited_for(archive: Archive) -> None:
    """Given a stalled store, when it answers again, then the running follower goes on without help."""
    journal = MemoryJournal()
    division = Division(journal)
    await division.open()
    follower = Follower(journal, archive, "main")
    journal.stall()
    async with running(follower) as task:
        await asyncio.sleep(0.1)
        assert not task.done()
        journal.go_on()
        await until(lambda: follower.measures()["archive_batch"] == division.batch)


async def test_what_a_successor_replays_is_bounded_by_events(
    division: Division, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given fewer events than the bound, then there is no snapshot; with the one that reaches it, there is."""
    follower = Follower(division.journal, archive, "main")
    monkeypatch.setattr(module, "SNAPSHOT_EVENTS", len(division.events) + 1)
    async with running(follower):
        await follower.catch_up()
        await until(lambda: follower.measures()["engine_batch"] == division.batch)
        assert follower.measures()["snapshot_batch"] == 0
        await division.request(1)
        await until(lambda: follower.measures()["snapshot_batch"] == division.batch)
