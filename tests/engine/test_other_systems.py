"""What other systems promise, or are known to get wrong, tried here: one case each, its source in the docstring.

Read in their documentation, sources and issue threads (ROUTING.md); the cases are written in our words, with our rules.
Where we decide otherwise on purpose the test says so.
"""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue


def hall(*agents: str, **fields: object) -> Scene:
    """One queue without wrap-up; all agents ready, the first is idle longest."""
    scene = Scene(queue(**{"wrap_up": "none", **fields}), *(agent(one) for one in sorted(agents)))
    scene.ready(*agents)
    return scene


def asked(scene: Scene, call_id: str) -> list[str]:
    return [one.agent_id for one in scene.call(call_id).reservations]


def turns(scene: Scene, count: int, *, is_answered: bool) -> list[str]:
    """Who is asked for one call after the other, each ended before the next."""
    found = []
    for number in range(count):
        call_id = f"turn{number}-{scene.now_ms}"
        scene.request(call_id)
        found += asked(scene, call_id)
        if is_answered:
            scene.talk(call_id)
            scene.wait(1_000)
        scene.hang_up(call_id)
    return found


# -- Asterisk app_queue


def test_asterisk_ringall() -> None:
    """Asterisk queues.conf `strategy=ringall`: ring all available members until one answers; the others stop ringing."""
    scene = hall("anna", "ben", "cleo", reservations_max=50)
    scene.request("c1")
    assert asked(scene, "c1") == ["anna", "ben", "cleo"]
    scene.accept("c1", "cleo")
    assert (scene.state("c1"), scene.agent("anna").used_units) == ("connecting cleo", 0)


def test_asterisk_two_members_never_answer_one_call() -> None:
    """Asterisk issue 176: two agents answered the same call of a ringall queue. Here the late one is refused by name."""
    scene = hall("anna", "ben", reservations_max=2)
    scene.request("c1")
    late = scene.ring("c1", "ben").id
    scene.accept("c1", "anna")
    assert scene.do(cm.AcceptReservation(late, "ben")).reason == "not_pending"
    assert scene.state("c1") == "connecting anna"


def test_asterisk_rrmemory() -> None:
    """Asterisk queues.conf `strategy=rrmemory`: round robin with memory, where we left off last ring pass."""
    scene = hall("anna", "ben", "cleo", strategy="round_robin")
    assert turns(scene, 4, is_answered=True) == ["anna", "ben", "cleo", "anna"]
    assert turns(scene, 3, is_answered=False) == ["ben", "cleo", "anna"]


def test_asterisk_leastrecent() -> None:
    """Asterisk queues.conf `strategy=leastrecent`: the least recently called; ours counts from the hang-up."""
    scene = hall("anna", "ben", strategy="longest_idle")
    assert turns(scene, 4, is_answered=True) == ["anna", "ben", "anna", "ben"]


def test_asterisk_fewestcalls() -> None:
    """Asterisk queues.conf `strategy=fewestcalls`: who has the fewest completed calls; ours since sign-in."""
    scene = hall("anna", "ben", strategy="fewest_calls")
    for call_id in ("c1", "c2"):
        scene.request(call_id, wishes=Wishes(required_agent_id="ben"))
        scene.talk(call_id)
        scene.wait(1_000)
        scene.hang_up(call_id)
    assert turns(scene, 3, is_answered=True) == ["anna", "anna", "ben"]


@pytest.mark.parametrize(("activity", "is_taken"), [("offline", False), ("not_ready", True)])
def test_asterisk_joinempty(activity: str, is_taken: bool) -> None:
    """Asterisk queues.conf `joinempty=no`: nobody joins a queue without members; here paused ones are members."""
    scene = hall("anna", on_no_agents=[Way("refuse")])
    scene.do(cm.SetActivity("anna", activity))
    assert scene.request("c1").reason == ("" if is_taken else "no_agents")


def test_asterisk_leavewhenempty() -> None:
    """Asterisk queues.conf `leavewhenempty=yes`: callers are removed when the last member logs off."""
    scene = hall("anna", on_no_agents=[Way("refuse")])
    scene.request("c1")
    scene.talk("c1")
    scene.request("c2")
    scene.do(cm.SetActivity("anna", "offline"))
    assert scene.only(ev.CallEnded).reason == "no_agents"
    assert scene.state("c1") == "connected anna"


def test_asterisk_wrapuptime_over_all_queues() -> None:
    """Asterisk queues.conf `wrapuptime`: after a call no other for so long; `shared_lastcall`: over all queues. Here always."""
    scene = Scene(queue(wrap_up_ms=15_000), queue("cards", wrap_up="none"), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.hang_up("c1")
    scene.request("c2", "cards")
    scene.wait(14_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


def test_asterisk_autopause() -> None:
    """Asterisk queues.conf `autopause=yes`: a member who does not answer is paused; here after `misses_max` in a row."""
    scene = hall("anna", misses_max=1)
    scene.request("c1")
    scene.wait(20_000)
    anna = scene.agent("anna")
    assert (anna.activity, anna.reason, scene.state("c1")) == ("not_ready", "no_answer", "waiting")


def test_asterisk_autofill() -> None:
    """Asterisk queues.conf `autofill=yes`: several callers get several free members at once."""
    scene = Scene(queue(need={"fx": 1}), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.request("c2")
    scene.replan(plan(queue(), agent("anna"), agent("ben")))
    assert scene.count(ev.CallReserved) == 2


def test_asterisk_penalties_by_relaxation() -> None:
    """Asterisk queuerules.conf `penaltychange`: after so long members of a higher penalty are tried too; here by steps."""
    steps = [Relaxation(30_000, {"tier": 2}), Relaxation(60_000, {"tier": 1})]
    scene = Scene(
        queue(need={"tier": 3}, relaxation=steps, wrap_up="none"),
        *(agent(f"tier{level}", skills={"tier": level}) for level in (1, 2, 3)),
    )
    scene.ready("tier1", "tier2", "tier3")
    for call_id in ("c1", "c2", "c3"):
        scene.request(call_id)
    scene.talk("c1")
    scene.wait(30_000)
    scene.talk("c2")
    scene.wait(29_999)
    assert (scene.state("c2"), scene.state("c3")) == ("connected tier2", "waiting")
    scene.wait(1)
    assert scene.state("c3") == "reserved tier1"


def test_asterisk_weight() -> None:
    """Asterisk queues.conf `weight`: the heavier queue first; here by target, so that none starves."""
    scene = Scene(queue("light", target_ms=60_000), queue("heavy", target_ms=0), agent("anna"), agent("ben"))
    scene.request("patient", "light")
    scene.wait(59_000)
    scene.request("first", "heavy")
    scene.wait(2_000)
    scene.request("second", "heavy")
    scene.ready("anna", "ben")
    assert (scene.state("first"), scene.state("patient"), scene.state("second")) == (
        "reserved anna", "reserved ben", "waiting",
    )  # fmt: skip


def test_asterisk_maxlen() -> None:
    """Asterisk queues.conf `maxlen`: so many may wait, the next one gets QUEUESTATUS=FULL."""
    scene = hall(waiting_max=2)
    assert [scene.request(f"c{number}").reason for number in range(3)] == ["", "", "queue_full"]


# -- FreeSWITCH mod_callcenter


@pytest.mark.parametrize(
    ("way", "delay_ms"), [("reject", 11_000), ("busy", 13_000), ("no_answer", 17_000)]
)  # fmt: skip
def test_freeswitch_delays_of_its_own_for_each_outcome(way: str, delay_ms: int) -> None:
    """FreeSWITCH mod_callcenter `reject-delay-time`, `busy-delay-time`, `no-answer-delay-time` (issues 152, 153)."""
    scene = hall(
        "anna", reject_delay_ms=11_000, busy_delay_ms=13_000, no_answer_delay_ms=17_000, decline_delay_ms=0
    )  # fmt: skip
    scene.request("c1")
    if way == "no_answer":
        scene.wait(20_000)
    else:
        scene.decline("c1", is_busy=way == "busy")
    scene.hang_up("c1")
    scene.request("c2")
    scene.wait(delay_ms - 1)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


def test_freeswitch_max_no_answer() -> None:
    """FreeSWITCH mod_callcenter `max-no-answer`: after so many in a row the agent is put on break; an answer starts anew."""
    scene = hall("anna", misses_max=3, no_answer_delay_ms=0)
    scene.request("answered")
    scene.wait(40_000)
    scene.talk("answered")
    scene.hang_up("answered")
    scene.request("c1")
    scene.wait(59_999)
    assert (scene.agent("anna").activity, scene.agent("anna").misses) == ("ready", 2)
    scene.wait(1)
    assert scene.agent("anna").activity == "not_ready"


def test_freeswitch_tiers() -> None:
    """FreeSWITCH mod_callcenter `tier-rules-apply`, `tier-rule-wait-second`: the next tier after so long without an answer."""
    scene = Scene(
        queue(need={"first": 1}, relaxation=[Relaxation(300_000, {})]),
        agent("first", skills={"first": 1}),
        agent("second"),
    )
    scene.ready("second")
    scene.request("c1")
    scene.wait(299_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved second"


def test_freeswitch_resume_of_an_abandoned_call() -> None:
    """FreeSWITCH mod_callcenter `abandoned-resume-allowed`: who comes back in time has the old place; later, a new one."""
    scene = Scene(queue(), reconnect_grace_ms=10_000)
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe")
    scene.request("c2")
    key = scene.call("c1").key
    scene.disconnect("customer:zoe")
    scene.wait(9_999)
    scene.connect("customer:zoe", "k2")
    assert scene.call("c1").key == key
    scene.disconnect("customer:zoe", "k2")
    scene.wait(10_000)
    assert scene.only(ev.CallEnded).reason == "customer_lost"
    assert scene.request("c3", customer_id="zoe").is_accepted
    assert scene.call("c3").key > scene.call("c2").key


def test_freeswitch_matches_in_the_step_not_by_a_poll() -> None:
    """FreeSWITCH mod_callcenter polls every 100 ms, Asterisk every second, Kazoo every two: here the step does."""
    scene = hall("anna")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.request("c1")
    scene.do(cm.SetActivity("anna", "ready"))
    assert scene.only(ev.CallReserved).at_ms == scene.only(ev.AgentActivityChanged).at_ms
