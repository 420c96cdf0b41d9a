"""Explain: every reason for waiting by name, who is doing what, what was preferred, what comes next and when."""

from dispatch import commands as cm
from dispatch.codec import decode_events
from dispatch.explain import explain, explain_history
from dispatch.explanations import Explanation
from dispatch.hours import Hours
from dispatch.plan import Relaxation
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, Scene, agent, queue


def _why(scene: Scene, call_id: str) -> Explanation:
    explanation = explain(scene.engine.state, call_id)
    assert explanation is not None
    return explanation


def _groups(explanation: Explanation) -> dict[str, int]:
    return {one.doing: one.count for one in explanation.groups}


def _next(explanation: Explanation) -> list[tuple[int, str, str]]:
    return [(one.at_ms, one.what, one.detail) for one in explanation.next_changes]


def test_a_call_that_waits_for_busy_agents() -> None:
    """Given four qualified agents who talk, wrap up, pause and are away, then each group is told, and the position."""
    scene = Scene(queue(), *(agent(one) for one in ("anna", "ben", "cleo", "dora")))
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.talk("c1")
    scene.request("c2")
    scene.talk("c2")
    scene.hang_up("c2")
    scene.do(cm.SetActivity("cleo", "not_ready", "lunch"))
    scene.request("c3")
    scene.request("c4")
    explanation = _why(scene, "c4")
    assert (explanation.state, explanation.position, explanation.reasons) == ("waiting", 2, ["all_busy"])
    assert _groups(explanation) == {"in_call": 1, "wrap_up": 1, "not_ready": 1, "offline": 1}


def test_why_this_agent_and_who_was_next() -> None:
    """Given two free agents, when a call rings, then rule, key, runner-up and the call it was preferred to are told."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    (asked,) = _why(scene, "c1").asked
    assert (asked.agent_id, asked.rule, asked.key, asked.runner_up_id) == ("anna", "longest_idle", START_MS + 1, "ben")
    assert asked.before_call_id == ""
    scene.request("c2")
    scene.request("c3")
    (asked,) = _why(scene, "c2").asked
    assert (asked.agent_id, asked.runner_up_id, asked.before_call_id) == ("ben", "", "c3")


def test_decisions_that_are_over_are_explained_from_history() -> None:
    """Given a call that one agent declined and another took, then its history names both decisions and what became of them."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.decline("c1")
    scene.talk("c1")
    events = [event for entry in scene.journal for event in decode_events(entry)]
    first, second = explain_history(events)
    assert (first.agent_id, first.outcome, first.runner_up_id) == ("anna", "declined", "ben")
    assert (second.agent_id, second.outcome, second.rule) == ("ben", "accepted", "longest_idle")
    assert explain(scene.engine.state, "nobody") is None


def test_who_is_ready_and_still_not_asked() -> None:
    """Given ready agents who declined, are in a delay, have no units and are disconnected, then each is told apart."""
    scene = Scene(
        queue(cost_units=100), queue("small", cost_units=50),
        agent("anna"), agent("ben"), agent("cleo"), agent("dora"),
    )  # fmt: skip
    scene.ready("anna")
    scene.request("c1")
    scene.decline("c1")
    scene.ready("ben")
    scene.wait(20_000)
    scene.do(cm.SetActivity("cleo", "ready"))
    scene.do(cm.DeclineReservation(scene.call("c1").reservations[0].id, "cleo"))
    scene.request("s1", "small")
    scene.connect("agent:dora")
    scene.do(cm.SetActivity("dora", "ready"))
    scene.do(cm.DeclineReservation(scene.call("c1").reservations[0].id, "dora"))
    scene.disconnect("agent:dora")
    groups = _groups(_why(scene, "c1"))
    assert groups == {"reserved": 1, "delayed": 1, "refused": 1, "disconnected": 1}


def test_each_reason_for_waiting_has_its_name() -> None:
    """Given calls that wait for a skill, a cap, an agent, a sign-in, an opening and a second person, then each says so."""
    closed = Hours(weekly=[[]] * 7)
    scene = Scene(
        queue("rare", need={"rare": 9}), queue("capped", in_call_max=1), queue("fx", need={"fx": 1}),
        queue("shut", hours=closed), queue("pair", joint_need={"law": 1}, joint_hold_ms=0, need={"wealth": 1}),
        agent("anna"), agent("ben"), agent("zoe", skills={"fx": 1}), agent("will", skills={"wealth": 1}),
    )  # fmt: skip
    scene.ready("anna", "ben")
    scene.request("r", "rare")
    assert _why(scene, "r").reasons == ["nobody_qualified"]
    scene.request("k1", "capped")
    scene.request("k2", "capped")
    assert _why(scene, "k2").reasons == ["in_call_cap"]
    scene.request("f", "fx")
    assert _why(scene, "f").reasons == ["nobody_signed_in"]
    scene.request("q", "capped", wishes=Wishes(required_agent_id="zoe"))
    assert "kept_for_agent" in _why(scene, "q").reasons
    assert (_why(scene, "q").kept_for_agent_id, _why(scene, "q").kept_by_rule) == ("zoe", "required")
    scene.request("h", "shut", wishes=Wishes(is_callback=True))
    assert _why(scene, "h").reasons[0] == "queue_closed"
    scene.do(cm.SetActivity("will", "ready"))
    scene.request("j", "pair")
    assert _why(scene, "j").reasons[0] == "joint_half"


def test_what_comes_next_and_when() -> None:
    """Given a call with a relaxation step, a wait limit and a refusal, then each instant is told, the earliest first."""
    scene = Scene(
        queue(relaxation=[Relaxation(10_000, {})], need={"fx": 1}, wait_ms_max=60_000, decline_delay_ms=30_000),
        agent("anna", skills={"fx": 1}),
    )  # fmt: skip
    scene.ready("anna")
    scene.request("c1")
    at_ms = scene.now_ms
    assert _next(_why(scene, "c1")) == [
        (at_ms + 10_000, "step_opens", "1"),
        (at_ms + 20_000, "reservation_expires", "anna"),
    ]
    scene.decline("c1")
    assert _next(_why(scene, "c1")) == [
        (at_ms + 10_000, "step_opens", "1"),
        (at_ms + 30_000, "refusal_ends", "anna"),
        (at_ms + 60_000, "wait_limit", "loans"),
    ]
    scene.wait(10_000)
    assert (_why(scene, "c1").step, _why(scene, "c1").need) == (1, {})
