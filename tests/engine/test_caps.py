"""Caps: calls of a queue in conversation at once, distinct needs, wishes of one call, and ways that lead nowhere."""

import msgspec
import pytest

from dispatch import commands as cm
from dispatch.plan import Way
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue


@pytest.mark.parametrize("cap", [1, 2])
def test_in_call_max_at_the_bound_and_one_past(cap: int) -> None:
    """Given agents enough, when so many calls ring or talk, then one more waits beside a free agent until one ends."""
    scene = Scene(queue(in_call_max=cap, wrap_up="none"), queue("other"), *(agent(f"a{number}") for number in range(4)))
    scene.ready("a0", "a1", "a2", "a3")
    for number in range(cap + 1):
        scene.request(f"c{number}")
    assert [scene.call(f"c{number}").state for number in range(cap + 1)] == ["reserved"] * cap + ["waiting"]
    scene.accept("c0")
    scene.ready("a0", "a1", "a2", "a3")
    assert scene.state(f"c{cap}") == "waiting"
    scene.request("after-accept")
    assert scene.state("after-accept") == "waiting"
    scene.hang_up("after-accept")
    scene.do(cm.ReportConnected("c0"))
    scene.request("after-connected")
    assert scene.state("after-connected") == "waiting"
    scene.hang_up("after-connected")
    scene.request("elsewhere", "other")
    assert scene.call("elsewhere").state == "reserved"
    scene.hang_up("c0")
    assert scene.call(f"c{cap}").state == "reserved"


@pytest.mark.parametrize("way", ["decline", "expire", "hang_up", "transfer"])
def test_a_cap_is_free_again_on_every_way_out(way: str) -> None:
    """Given a queue at its cap of one, when the call leaves, then the next one rings in that step (5.18)."""
    scene = Scene(queue(in_call_max=1, wrap_up="none"), queue("other"), *(agent(f"a{number}") for number in range(3)))
    scene.ready("a0", "a1", "a2")
    scene.request("c1", wishes=Wishes(excluded_agent_ids=["a1", "a2"]))
    scene.request("c2")
    assert scene.state("c2") == "waiting"
    if way == "decline":
        scene.decline("c1")
    elif way == "expire":
        scene.wait(20_000)
    elif way == "hang_up":
        scene.hang_up("c1")
    else:
        scene.talk("c1")
        assert scene.transfer("c1", "other").is_accepted
    assert scene.call("c2").state == "reserved"


@pytest.mark.parametrize("bound", [1, 2])
def test_needs_max_at_the_bound_and_one_past(bound: int) -> None:
    """Given so many distinct needs of live calls, when one more comes, then it is refused; a need that is there is not."""
    scene = Scene(queue(needs_max=bound))
    for level in range(bound):
        assert scene.request(f"c{level}", wishes=Wishes(need={"fx": level + 1})).is_accepted
    assert scene.request("more", wishes=Wishes(need={"fx": 9})).value == {"needs_max": bound}
    assert scene.request("joint", wishes=Wishes(need={"fx": 1}, joint_need={"law": 1})).reason == "too_many_needs"
    assert scene.request("same", wishes=Wishes(need={"fx": 1})).is_accepted
    assert scene.request("plain").is_accepted
    scene.hang_up(f"c{bound - 1}")
    if bound > 1:
        assert scene.request("more", wishes=Wishes(need={"fx": 9})).is_accepted


@pytest.mark.parametrize("bound", [16, 17])
def test_a_call_may_add_sixteen_skills_and_exclude_sixteen_agents(bound: int) -> None:
    """Given wishes at the bound and one past, when read, then the first is taken and the second refused."""
    need = {f"s{number}": 1 for number in range(bound)}
    excluded = [f"a{number}" for number in range(bound)]
    for wishes in (Wishes(need=need), Wishes(joint_need=need), Wishes(excluded_agent_ids=excluded)):
        text = msgspec.json.encode(wishes)
        if bound == 16:
            assert msgspec.json.decode(text, type=Wishes) == wishes
        else:
            with pytest.raises(msgspec.ValidationError):
                msgspec.json.decode(text, type=Wishes)


# -- what a plan may say


@pytest.mark.parametrize(
    ("way", "says"),
    [
        (Way("overflow"), "'overflow' needs queues, the other ways have none"),
        (Way("refuse", ["other"]), "'overflow' needs queues, the other ways have none"),
        (Way("overflow", ["nowhere"]), "'nowhere' is not another queue of this division"),
        (Way("overflow", ["loans"]), "'loans' is not another queue of this division"),
    ],
)
@pytest.mark.parametrize("key", ["on_full", "on_wait", "on_no_agents", "on_closed"])
def test_ways_that_lead_nowhere(way: Way, says: str, key: str) -> None:
    """Given a way that makes no sense, when the plan is applied, then it is refused by key."""
    reply = Scene().replan(plan(queue(**{key: [way]}), queue("other")))
    assert (reply.reason, reply.value) == ("bad_value", {"problems": [f"queues[0].{key}: {says}"]})
