"""Required agents: nobody else, ever; who may be required, and by whom (docs/routing.md, Favourites)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Relaxation
from dispatch.wishes import NEVER_MS, Wishes
from tests.engine.scene import Scene, agent, queue

WINDOW_MS = 30_000


def kept(**fields: object) -> Scene:
    """`c1` is kept for anna, who talks; ben is free."""
    scene = Scene(queue(preferred_window_ms=WINDOW_MS, wrap_up="none", **fields), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("before")
    scene.talk("before")
    scene.ready("ben")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "waiting"
    return scene


def rule(scene: Scene, call_id: str = "c1") -> str:
    favourite = scene.call(call_id).favourite
    return f"{favourite.rule} {favourite.agent_id}" if favourite is not None else ""


# -- required: for ever


def required(**fields: object) -> Scene:
    """`c1` may be served by anna alone; ben is free."""
    scene = Scene(queue(**fields), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1", wishes=Wishes(required_agent_id="anna"))
    assert scene.state("c1") == "reserved anna"
    return scene


def test_a_required_agent_is_asked_again_after_the_delay_and_nobody_else_ever() -> None:
    """Given a required agent who declines, then the call waits beside a free one, and rings again after the delay."""
    scene = required(decline_delay_ms=30_000)
    scene.decline("c1")
    assert scene.count(ev.FavouriteReleased) == 0
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


def test_a_required_agent_may_be_signed_out_for_a_year() -> None:
    """Given a required agent who is away, then the call waits, and rings when they come."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("ben")
    scene.request("c1", wishes=Wishes(required_agent_id="anna"))
    assert scene.call("c1").favourite is not None
    assert scene.call("c1").favourite.until_ms == NEVER_MS
    scene.wait(365 * 86_400_000)
    assert scene.state("c1") == "waiting"
    scene.ready("anna")
    assert scene.state("c1") == "reserved anna"


def test_a_required_agent_who_signs_out_releases_nothing() -> None:
    """Given a call that rings at its required agent, when they sign out, then it waits for them."""
    scene = required()
    scene.do(cm.SetActivity("anna", "offline"))
    assert scene.count(ev.FavouriteReleased) == 0
    assert scene.state("c1") == "waiting"


def test_a_required_call_meets_wait_ms_max_like_any_other() -> None:
    """Given a call kept for ever, when it has waited for wait_ms_max, then it ends as waited_too_long."""
    scene = Scene(queue(wait_ms_max=60_000), agent("anna"))
    scene.request("c1", wishes=Wishes(required_agent_id="anna"))
    scene.wait(59_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        (Wishes(required_agent_id="nobody"), "unknown_agent"),
        (Wishes(required_agent_id="low"), "not_qualified"),
        (Wishes(required_agent_id="fit", need={"law": 1}), "not_qualified"),
        (Wishes(required_agent_id="fit", excluded_agent_ids=["fit"]), "not_qualified"),
        (Wishes(required_agent_id="fit"), ""),
    ],
)
def test_who_may_be_required(wishes: Wishes, reason: str) -> None:
    """Given a need, then the required agent must exist, meet it with the call's own skills, and not be excluded."""
    scene = Scene(queue(need={"fx": 5}), agent("low", skills={"fx": 4}), agent("fit", skills={"fx": 5}))
    assert scene.request("c1", wishes=wishes).reason == reason
    assert scene.count(ev.CallQueued) == (reason == "")


def test_the_last_steps_need_counts_for_who_may_be_required() -> None:
    """Given a step that an agent meets, then they may be required, and are asked when it opens."""
    scene = Scene(queue(need={"fx": 5}, relaxation=[Relaxation(10_000, {"fx": 4})]), agent("low", skills={"fx": 4}))
    scene.ready("low")
    assert scene.request("c1", wishes=Wishes(required_agent_id="low")).is_accepted
    scene.wait(9_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved low"


@pytest.mark.parametrize("principal", ["customer:of-c1", "agent:anna"])
def test_customers_and_agents_may_not_require_anybody_but_may_prefer(principal: str) -> None:
    """Given a wish of a customer or an agent, then a required agent is not theirs to name, a preferred one is."""
    scene = Scene()
    assert scene.request("c1", wishes=Wishes(required_agent_id="anna"), principal=principal).reason == "not_yours"
    assert scene.request("c1", wishes=Wishes(preferred_agent_id="anna"), principal=principal).is_accepted
