"""A repeat gets the first answer and changes nothing, within stated bounds (SAFETY.md 6)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.model import ANSWERS_MAX, KEY_RETENTION_MS
from dispatch.viewing import position_views
from tests.engine.scene import Scene, queue


def request(call_id: str, id: str, principal: str = "customer:zoe") -> cm.RequestCall:
    return cm.RequestCall(call_id, "zoe", "loans", principal=principal, id=id)


def test_a_repeat_gets_the_first_answer() -> None:
    """Given an accepted command, when it comes again after its effect is long over, then the same answer, no event."""
    scene = Scene(queue())
    first = scene.do(request("c1", "m1"))
    scene.hang_up("c1")
    assert scene.do(request("c1", "m1")) == first
    assert scene.last == []


def test_a_repeated_refusal_is_the_same_refusal() -> None:
    """Given a refused command, when what it asked for has become possible, then the repeat is refused as before."""
    scene = Scene(queue(waiting_max=1))
    scene.request("c0")
    assert scene.do(request("c1", "m1")).reason == "queue_full"
    scene.hang_up("c0")
    assert scene.do(request("c1", "m1")).reason == "queue_full"
    assert scene.do(request("c1", "m2")).is_accepted


def test_the_same_id_for_another_command() -> None:
    """Given a remembered id, when it is used for something else, then key_reused, and the first stays remembered."""
    scene = Scene(queue())
    first = scene.do(request("c1", "m1"))
    assert scene.do(request("c2", "m1")).reason == "key_reused"
    assert scene.last == []
    assert scene.do(request("c1", "m1")) == first


def test_ids_of_two_principals_do_not_meet() -> None:
    """Given the same id from two principals, then each has its own answer."""
    scene = Scene(queue())
    assert scene.do(cm.HangUp("c9", principal="customer:zoe", id="m1")).reason == "unknown_call"
    assert scene.do(cm.SetActivity("nobody", "ready", principal="agent:nobody", id="m1")).reason == "unknown_agent"


def test_without_an_id_nothing_is_remembered() -> None:
    """Given the shell's reports without ids, then no answer is journaled."""
    scene = Scene(queue())
    scene.do(cm.HangUp("c9"))
    assert scene.last == []


def test_an_answer_survives_a_crash() -> None:
    """Given a remembered answer, when the shard comes back, then the repeat gets it."""
    scene = Scene(queue())
    first = scene.do(request("c1", "m1"))
    for with_snapshot in (False, True):
        scene.crash(with_snapshot=with_snapshot)
        assert scene.do(request("c1", "m1")) == first


def test_the_last_64_are_remembered_and_one_past_is_not() -> None:
    """Given 64 later answers, then the first is forgotten; given 63, it is not."""
    scene = Scene(queue())
    scene.connect("customer:zoe")
    scene.do(cm.HangUp("c9", principal="customer:zoe", id="first"))
    for number in range(ANSWERS_MAX - 1):
        scene.do(cm.HangUp("c9", principal="customer:zoe", id=f"m{number}"))
    assert "first" in _remembered(scene)
    scene.do(cm.HangUp("c9", principal="customer:zoe", id="one-more"))
    assert "first" not in _remembered(scene)
    assert len(_remembered(scene)) == ANSWERS_MAX


def _remembered(scene: Scene) -> list[str]:
    return [one.id for one in scene.engine.state.answers["customer:zoe"]]


def test_answers_of_so_many_principals_at_most() -> None:
    """Given the bound on principals, when one more speaks, then the one remembered longest is dropped."""
    scene = Scene(queue(), idempotency_keys_max=3)
    for number in range(4):
        scene.do(cm.HangUp("c9", principal=f"supervisor:s{number}", id="m1"))
    assert list(scene.engine.state.answers) == ["supervisor:s1", "supervisor:s2", "supervisor:s3"]


def test_keys_are_kept_for_a_day_up_to_a_bound_and_then_refused() -> None:
    """Given a full store of REST keys, when one more comes, then it is refused by name and not stepped, until one is old."""
    scene = Scene(queue(), idempotency_keys_max=2)
    first = scene.do(request("c1", "key:a"))
    scene.do(request("c2", "key:b"))
    full = scene.do(request("c3", "key:c"))
    assert (full.reason, full.value) == ("idempotency_store_full", {"keys_max": 2})
    assert scene.last == []
    assert scene.do(request("c1", "key:a")) == first
    scene.wait(KEY_RETENTION_MS)
    assert scene.do(request("c3", "key:c")).reason == "idempotency_store_full"
    scene.wait(1)
    scene.do(request("c3", "key:c"))
    assert scene.count(ev.Answered) == 1
    assert [one.rpartition("|")[2] for one in scene.engine.state.keys] == ["key:c"]


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_repeat_as_the_first_wish_after_a_crash_keeps_nobody_from_the_line(with_snapshot: bool) -> None:
    """Given two waiting calls, when the first step after a crash is a repeat, then both have their positions (5.32)."""
    scene = Scene(queue())
    first = scene.do(request("c1", "m1"))
    scene.request("c2")
    scene.crash(with_snapshot=with_snapshot)
    assert scene.do(request("c1", "m1")) == first
    assert [view.position for view in position_views(scene.engine.state, ["c1", "c2"])] == [1, 2]
