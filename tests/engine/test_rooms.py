"""Rooms and recordings (SAFETY.md 16 and 17): journaled before they open, connected only when confirmed, lost and found."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.effects import CloseRoom, Notify, OpenRoom, RequestRoom
from tests.engine.scene import Scene, agent, queue, room_queue

SEAL = "0" * 64


def accepted(*more: str, **fields: object) -> Scene:
    """anna accepted `c1`; the shell has been asked for a room."""
    scene = Scene(room_queue("loans", **fields), *(agent(one) for one in ("anna", *more)))
    scene.ready("anna", *more)
    scene.request("c1")
    scene.accept("c1")
    assert RequestRoom("c1", 1) in scene.effects
    return scene


def open_room(scene: Scene, attempt: int, worker_id: str = "w1") -> None:
    assert scene.do(cm.AssignRoom("c1", attempt, worker_id, 1)).is_accepted
    assert scene.do(cm.ReportRoomOpened("c1", attempt)).is_accepted


def stand(scene: Scene, attempt: int) -> None:
    """Both parties send; both logs have bytes."""
    for party in ("customer", "agent"):
        assert scene.do(cm.ReportPartyJoined("c1", attempt, party)).is_accepted
        assert scene.do(cm.ReportRecordingStarted("c1", attempt, party)).is_accepted


def talking(**fields: object) -> Scene:
    scene = accepted(**fields)
    open_room(scene, 1)
    stand(scene, 1)
    assert scene.state("c1") == "connected anna"
    return scene


def test_the_worker_is_journaled_before_the_room_opens() -> None:
    """Given a request for a room, when the shell names a worker, then the same step's effect opens it there."""
    scene = accepted()
    scene.do(cm.AssignRoom("c1", 1, "w1", 7))
    opened = [one for one in scene.effects if isinstance(one, OpenRoom)]
    assert [(one.worker_id, one.worker_epoch, one.parties) for one in opened] == [("w1", 7, ["customer", "agent"])]
    assert scene.only(ev.RoomAssigned).worker_epoch == 7


def test_both_are_told_that_the_room_is_open() -> None:
    """Given an assigned room, when it opens, then customer and agent learn the attempt."""
    scene = accepted()
    scene.connect("customer:of-c1")
    scene.connect("agent:anna")
    open_room(scene, 1)
    told = [one.recipient for one in scene.effects if isinstance(one, Notify)]
    assert told == ["customer:of-c1", "agent:anna"]


def test_connected_only_when_both_send_and_both_are_recorded() -> None:
    """Given required recording, when one log after the other confirms bytes, then only the last makes it connected."""
    scene = accepted()
    open_room(scene, 1)
    scene.do(cm.ReportPartyJoined("c1", 1, "customer"))
    scene.do(cm.ReportPartyJoined("c1", 1, "agent"))
    scene.do(cm.ReportRecordingStarted("c1", 1, "customer"))
    assert scene.call("c1").state == "connecting"
    scene.do(cm.ReportRecordingStarted("c1", 1, "agent"))
    assert scene.count(ev.CallConnected) == 1


@pytest.mark.parametrize("recording", ["optional", "off"])
def test_connected_without_recording_where_it_is_not_required(recording: str) -> None:
    """Given no duty to record, when both send, then they are connected."""
    scene = accepted(recording=recording)
    open_room(scene, 1)
    scene.do(cm.ReportPartyJoined("c1", 1, "agent"))
    scene.do(cm.ReportPartyJoined("c1", 1, "customer"))
    assert scene.state("c1") == "connected anna"


def test_reports_twice_change_nothing() -> None:
    """Given a standing call, when each report comes again, then there is no event (5.11)."""
    scene = talking()
    for command in (
        cm.ReportRoomOpened("c1", 1),
        cm.ReportPartyJoined("c1", 1, "agent"),
        cm.ReportRecordingStarted("c1", 1, "agent"),
        cm.ReportPartyLeft("c1", 1, "nobody"),
    ):
        assert scene.do(command).is_accepted
        assert scene.last == []
    assert scene.do(cm.AssignRoom("c1", 1, "w2", 1)).reason == "wrong_state"


def test_reports_about_what_does_not_count() -> None:
    """Given a call with room 1, when another attempt, call or party is reported, then it is refused by name."""
    scene = accepted()
    assert scene.do(cm.ReportRoomOpened("c1", 1)).reason == "wrong_state"
    assert scene.do(cm.AssignRoom("c9", 1, "w1", 1)).reason == "unknown_call"
    for command in (
        cm.AssignRoom("c1", 2, "w1", 1),
        cm.ReportRoomOpened("c1", 0),
        cm.ReportRoomFailed("c1", 2, "x"),
        cm.ReportRoomClosed("c1", 2),
        cm.ReportPartyJoined("c1", 2, "agent"),
        cm.ReportPartyLeft("c1", 2, "agent"),
        cm.ReportRecordingStarted("c1", 2, "agent"),
        cm.ReportRecordingFailed("c1", 2, "agent", "x"),
        cm.ReportRecordingSealed("c1", 2, SEAL),
    ):
        assert scene.do(command).reason == "stale_attempt"
        assert scene.last == []
    for command in (
        cm.ReportPartyJoined("c1", 1, "spy"),
        cm.ReportRecordingStarted("c1", 1, "spy"),
        cm.ReportRecordingFailed("c1", 1, "spy", "x"),
    ):
        assert scene.do(command).reason == "bad_value"


# -- losing a room


def test_a_room_that_fails_to_open_is_asked_for_again_within_the_same_time() -> None:
    """Given a connecting call, when its room fails, then a higher attempt is asked for and the deadline stays."""
    scene = accepted(connecting_timeout_ms=15_000)
    scene.wait(10_000)
    scene.do(cm.AssignRoom("c1", 1, "w1", 1))
    scene.do(cm.ReportRoomFailed("c1", 1, "no_port"))
    assert RequestRoom("c1", 2) in scene.effects
    scene.wait(5_000)
    assert scene.only(ev.CallRequeued).reason == "media_failed"


def test_connecting_requeues_once_and_then_ends() -> None:
    """Given rooms that never stand, when the time is over twice, then the second agent's call ends as media_failed."""
    scene = accepted("ben", connecting_timeout_ms=15_000)
    open_room(scene, 1)
    scene.wait(15_000)
    assert CloseRoom("c1", 1, "w1", 1) in scene.effects
    assert scene.state("c1") == "reserved ben"
    scene.accept("c1")
    assert RequestRoom("c1", 2) in scene.effects
    scene.wait(15_000)
    assert scene.only(ev.CallEnded).reason == "media_failed"


def test_a_lost_worker_in_a_talk_is_replaced() -> None:
    """Given a talk, when its worker dies and a new room stands in time, then the talk never ended."""
    scene = talking()
    connected_at_ms = scene.call("c1").connected_at_ms
    scene.do(cm.LoseWorker("w1", 1))
    assert scene.only(ev.RoomLost).reason == "worker_lost"
    assert RequestRoom("c1", 2) in scene.effects
    open_room(scene, 2, "w2")
    stand(scene, 2)
    scene.wait(60_000)
    assert (scene.state("c1"), scene.call("c1").connected_at_ms) == ("connected anna", connected_at_ms)
    assert scene.call("c1").unsealed == (1, 2)


def test_a_lost_worker_that_is_not_replaced_ends_the_talk() -> None:
    """Given a talk, when no room stands again within connecting_timeout_ms, then it ends as media_lost."""
    scene = talking(connecting_timeout_ms=15_000)
    scene.do(cm.LoseWorker("w1", 1))
    scene.wait(14_999)
    assert scene.call("c1").state == "connected"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "media_lost"


def test_a_successor_of_the_worker_is_not_lost_with_it() -> None:
    """Given a room under epoch 2, when epoch 1 of that worker is declared dead, then the room stays (SAFETY.md 16)."""
    scene = accepted()
    scene.do(cm.AssignRoom("c1", 1, "w1", 2))
    scene.do(cm.LoseWorker("w1", 1))
    assert scene.last == []


def test_parties_who_leave_in_turn_do_not_extend_the_time() -> None:
    """Given a talk, when one party is away after the other, then the first loss sets the deadline."""
    scene = Scene(room_queue(), agent("anna"), reconnect_grace_ms=30_000)
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    open_room(scene, 1)
    stand(scene, 1)
    scene.do(cm.ReportPartyLeft("c1", 1, "customer"))
    scene.wait(20_000)
    scene.do(cm.ReportPartyLeft("c1", 1, "agent"))
    scene.do(cm.ReportPartyJoined("c1", 1, "customer"))
    scene.wait(10_000)
    assert scene.only(ev.CallEnded).reason == "media_lost"


def test_a_party_that_comes_back_in_time() -> None:
    """Given a talk, when a party leaves and joins again, then the deadline is gone."""
    scene = talking()
    scene.do(cm.ReportPartyLeft("c1", 1, "customer"))
    assert scene.call("c1").media_until_ms
    scene.do(cm.ReportPartyJoined("c1", 1, "customer"))
    assert not scene.call("c1").media_until_ms


def test_no_room_is_asked_for_where_another_system_carries_the_media() -> None:
    """Given an external queue, when accepted, then no effect concerns a room."""
    scene = Scene(queue(), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    assert not [one for one in scene.effects if isinstance(one, RequestRoom)]


# -- recordings


def test_a_required_recording_that_fails_ends_the_call() -> None:
    """Given a talk that must be recorded, when a log cannot be written, then it ends by name."""
    scene = talking()
    scene.do(cm.ReportRecordingFailed("c1", 1, "agent", "disk_full"))
    assert scene.only(ev.RecordingFailed).reason == "disk_full"
    assert scene.only(ev.CallEnded).reason == "recording_failed"


def test_an_optional_recording_that_fails_is_told_and_the_talk_goes_on() -> None:
    """Given an optional recording, when it fails, then both learn it and talk on."""
    scene = talking(recording="optional")
    scene.connect("customer:of-c1")
    scene.connect("agent:anna")
    scene.do(cm.ReportRecordingFailed("c1", 1, "agent", "disk_full"))
    assert [one.recipient for one in scene.effects if isinstance(one, Notify)] == ["customer:of-c1", "agent:anna"]
    assert scene.state("c1") == "connected anna"


def test_sealed_in_time_lets_the_call_go() -> None:
    """Given an ended call, when room and recording are settled before the retention ends, then it goes on time."""
    scene = talking()
    scene.hang_up("c1")
    assert CloseRoom("c1", 1, "w1", 1) in scene.effects
    scene.do(cm.ReportRecordingSealed("c1", 1, SEAL, [{"party": "agent", "bytes": 9}], ["gap"]))
    assert scene.only(ev.RecordingSealed).gaps == ["gap"]
    assert scene.do(cm.ReportRecordingSealed("c1", 1, SEAL)).reason == "stale_attempt"
    scene.do(cm.ReportRoomClosed("c1", 1))
    scene.wait(120_000)
    assert scene.count(ev.CallForgotten) == 1


@pytest.mark.parametrize("way", ["closed", "failed", "worker_lost"])
def test_sealed_late_lets_the_call_go_at_once(way: str) -> None:
    """Given a call kept for its recording beyond its retention, when the last thing owed comes, then it is forgotten."""
    scene = talking()
    scene.hang_up("c1")
    scene.wait(200_000)
    scene.do(cm.ReportRecordingSealed("c1", 1, SEAL))
    assert scene.count(ev.CallForgotten) == 0
    if way == "closed":
        scene.do(cm.ReportRoomClosed("c1", 1))
    elif way == "failed":
        scene.do(cm.ReportRoomFailed("c1", 1, "gone"))
    else:
        scene.do(cm.LoseWorker("w1", 1))
    assert scene.count(ev.CallForgotten) == 1


def test_a_recording_that_never_comes_is_reported_missing() -> None:
    """Given an ended call whose recording is owed, when the time is over, then it is missing by name, and forgotten."""
    scene = Scene(room_queue(), agent("anna"), recording_timeout_ms=900_000)
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    open_room(scene, 1)
    stand(scene, 1)
    scene.connect("customer:of-c1")
    scene.hang_up("c1")
    scene.disconnect("customer:of-c1")
    scene.wait(899_999)
    assert "customer:of-c1" in scene.engine.state.recipients
    assert "c1" in scene.engine.state.calls
    scene.wait(1)
    assert scene.only(ev.RecordingMissing).attempt == 1
    assert not scene.engine.state.calls
    assert not [one for one in scene.engine.state.recipients if one.startswith("customer:")]


def test_nothing_of_a_customer_is_left_after_an_older_call_went_last() -> None:
    """Given a second call forgotten before the first, when the first's recording is missing too, then nothing is kept."""
    scene = talking()
    scene.hang_up("c1")
    scene.connect("customer:of-c1")
    scene.request("c2", customer_id="of-c1")
    scene.hang_up("c2")
    scene.disconnect("customer:of-c1")
    scene.wait(120_000)
    assert "customer:of-c1" not in scene.engine.state.recipients
    scene.wait(780_000)
    assert not scene.engine.state.calls
    assert not [one for one in scene.engine.state.recipients if one.startswith("customer:")]


# -- coming back


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_effects_are_named_again_after_a_crash(with_snapshot: bool) -> None:
    """Given a room in each state, when the shard comes back, then the same effects are asked under the same attempt."""
    scene = accepted()
    scene.crash(with_snapshot=with_snapshot)
    assert scene.engine.pending_effects() == [RequestRoom("c1", 1)]
    scene.do(cm.AssignRoom("c1", 1, "w1", 1))
    scene.crash(with_snapshot=with_snapshot)
    (effect,) = scene.engine.pending_effects()
    assert isinstance(effect, OpenRoom)
    scene.do(cm.ReportRoomOpened("c1", 1))
    scene.crash(with_snapshot=with_snapshot)
    assert scene.engine.pending_effects() == []
    scene.hang_up("c1")
    scene.crash(with_snapshot=with_snapshot)
    assert scene.engine.pending_effects() == [CloseRoom("c1", 1, "w1", 1)]
