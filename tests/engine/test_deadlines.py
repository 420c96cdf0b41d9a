"""Deadlines made anew from the records: after a reload or a crash none is armed that the record does not have."""

import pytest

from dispatch.plan import Relaxation
from tests.engine.scene import Scene, agent, plan, queue

WIDENING = queue("loans", need={"fx": 2}, relaxation=[Relaxation(1_000, {"fx": 1})])
ANNA = agent("anna", skills={"fx": 2})


@pytest.mark.parametrize("way_back", ["reload", "replay", "snapshot"])
def test_an_invitation_is_not_relaxed_when_deadlines_are_made_anew(way_back: str) -> None:
    """Given an invitation into a queue with relaxation, when all deadlines are made anew, then it stays an invitation, and the
    step opens at its time once the customer waits."""
    scene = Scene(WIDENING, ANNA)
    scene.ready("anna")
    scene.invite("visit", "anna")
    if way_back == "reload":
        scene.replan(plan(WIDENING, ANNA))
    else:
        scene.crash(with_snapshot=way_back == "snapshot")
    scene.wait(5_000)
    assert scene.state("visit") == "invited anna"
    scene.come("visit")
    scene.wait(999)
    assert scene.call("visit").step == 0
    scene.wait(1)
    assert scene.call("visit").step == 1
