"""The same for hosted systems: Twilio, Genesys, Amazon, Azure, and what users of Wazo and FreePBX ask for.

Read in their documentation, sources and issue threads (ROUTING.md); the cases are written in our words, with our rules.
Where we decide otherwise on purpose the test says so.
"""

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


# -- Twilio TaskRouter


def test_twilio_targets_with_timeouts() -> None:
    """Twilio TaskRouter workflow `targets` with `timeout` and `expression`: who matches the next target after the timeout."""
    steps = [Relaxation(20_000, {"spanish": 3}), Relaxation(50_000, {})]
    scene = Scene(queue(need={"spanish": 8}, relaxation=steps), agent("some", skills={"spanish": 3}), agent("none"))
    scene.ready("none")
    scene.request("c1")
    scene.wait(20_000)
    assert scene.state("c1") == "waiting"
    scene.ready("some")
    assert scene.state("c1") == "reserved some"


def test_twilio_skip_if_no_worker_is_there() -> None:
    """Twilio TaskRouter `skip_if: workers.available == 0`: the next target at once when nobody is signed in; here a way."""
    scene = Scene(
        queue(need={"vip": 1}, on_no_agents=[Way("overflow", ["all"])]),
        queue("all"),
        agent("vip", skills={"vip": 1}),
        agent("anna"),
    )
    scene.ready("anna")
    assert scene.request("c1").value == {"call_id": "c1", "queue_id": "all", "is_callback": False, "cause": "no_agents"}
    assert scene.state("c1") == "reserved anna"


def test_twilio_reservation_timeout_puts_the_worker_aside() -> None:
    """Twilio TaskRouter `task_reservation_timeout`: the worker is moved to another activity, the task goes to the next one."""
    scene = hall("anna", "ben", misses_max=1)
    scene.request("c1")
    scene.wait(20_000)
    assert (scene.agent("anna").activity, asked(scene, "c1")) == ("not_ready", ["ben"])


def test_twilio_reservation_rejected_goes_to_others_first() -> None:
    """Twilio TaskRouter `reservation.rejected`: to the next worker; who rejected may get it again when alone."""
    scene = hall("anna", "ben")
    scene.request("c1")
    scene.decline("c1")
    assert asked(scene, "c1") == ["ben"]
    scene.do(cm.SetActivity("ben", "offline"))
    scene.wait(30_000)
    assert asked(scene, "c1") == ["anna"]


def test_twilio_multiple_reservations() -> None:
    """Twilio TaskRouter `max_reserved_workers`: up to 50 workers; one accepts, the others get `reservation.rescinded`."""
    scene = hall("anna", "ben", "cleo", reservations_max=2)
    scene.request("c1")
    assert asked(scene, "c1") == ["anna", "ben"]
    scene.accept("c1", "ben")
    closed = scene.only(ev.ReservationClosed)
    assert (closed.agent_id, closed.outcome) == ("anna", "rescinded")


def test_twilio_known_worker() -> None:
    """Twilio TaskRouter `known_worker_sid`: the named worker and nobody else."""
    scene = hall("anna", "ben")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.request("c1", wishes=Wishes(required_agent_id="anna"))
    assert scene.state("c1") == "waiting"


def test_twilio_a_canceled_task_cancels_its_reservations() -> None:
    """Twilio TaskRouter `task.canceled`: pending reservations get `reservation.canceled`, in that moment."""
    scene = hall("anna", "ben", reservations_max=2)
    scene.request("c1")
    scene.hang_up("c1")
    assert [event.outcome for event in scene.last if isinstance(event, ev.ReservationClosed)] == ["rescinded"] * 2


# -- Genesys Cloud, Amazon Connect, Azure, Wazo, FreePBX


def test_genesys_bullseye_rings() -> None:
    """Genesys Cloud bullseye routing: up to six rings; each drops skills after its seconds, and who is in stays in."""
    steps = [Relaxation(number * 5_000, {"fx": 6 - number}) for number in range(1, 6)]
    names = [f"fx{level}" for level in range(1, 7)]
    scene = Scene(
        queue(need={"fx": 6}, relaxation=steps, reservation_timeout_ms=60_000),
        *(agent(one, skills={"fx": int(one[2:])}) for one in names),
    )
    scene.ready(*names)
    for number in range(6):
        scene.request(f"c{number}")
    rings = [asked(scene, "c0")]
    for number in range(1, 6):
        scene.wait(5_000)
        rings.append(asked(scene, f"c{number}"))
    assert rings == [["fx6"], ["fx5"], ["fx4"], ["fx3"], ["fx2"], ["fx1"]]


def test_genesys_last_agent_routing() -> None:
    """Genesys Cloud last agent routing: the agent of the last conversation within a window, then anybody after a timeout."""
    scene = hall("anna", last_agent_window_ms=3_600_000, preferred_window_ms=10_000)
    scene.request("c1", customer_id="zoe")
    scene.talk("c1")
    scene.wait(1_000)
    scene.hang_up("c1")
    scene.request("busy")
    scene.talk("busy")
    scene.replan(plan(scene.engine.state.plan.queues[0], agent("anna"), agent("ben")))
    scene.ready("ben")
    scene.request("c2", customer_id="zoe")
    scene.wait(9_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved ben"


def test_amazon_connect_priority_and_delay() -> None:
    """Amazon Connect routing profiles: delay holds a queue's contacts back from an agent, priority sorts what is left.

    Its priority 1 goes before priority 2 however long that has waited; ours is a bounded credit, so the older call is served.
    """
    scene = Scene(queue("vip", target_ms=0), queue("all", target_ms=90_000), agent("anna"))
    scene.request("old", "all")
    scene.wait(90_001)
    scene.request("new", "vip")
    scene.ready("anna")
    assert (scene.state("old"), scene.state("new")) == ("reserved anna", "waiting")


def test_amazon_connect_priority_changes_take_effect_at_once() -> None:
    """Amazon Connect: a changed routing priority takes up to 60 s to matter. Here it does in the step that changes it."""
    scene = hall("anna")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.request("c1")
    scene.request("c2")
    scene.do(cm.SetPriority("c2", 1))
    scene.ready("anna")
    assert scene.state("c2") == "reserved anna"


def test_amazon_connect_does_not_offer_a_declined_call_again_at_once() -> None:
    """Amazon Connect offers a contact that was missed or rejected to the same agent at once, a standing complaint."""
    scene = hall("anna", decline_delay_ms=30_000)
    scene.request("c1")
    scene.decline("c1")
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"


def test_azure_best_worker() -> None:
    """Azure Job Router `bestWorker`: the highest sum of the labels that the job asks for; equal: who is idle longest."""
    scene = Scene(
        queue(strategy="most_skilled", need={"en": 1, "fx": 1}),
        agent("even", skills={"en": 5, "fx": 5}),
        agent("steep", skills={"en": 9, "fx": 2}),
        agent("less", skills={"en": 4, "fx": 5}),
    )
    scene.ready("less", "steep", "even")
    scene.request("c1")
    assert asked(scene, "c1") == ["steep"]


def test_azure_capacity_in_units() -> None:
    """Azure Job Router `capacity` and `capacityCostPerJob`: jobs of different cost side by side up to the worker's capacity."""
    scene = Scene(queue("chat", cost_units=25), queue("video", cost_units=100), agent("anna"))
    scene.ready("anna")
    for number in range(4):
        scene.request(f"c{number}", "chat")
    scene.request("v", "video")
    assert scene.agent("anna").used_units == 100
    for number in range(4):
        assert scene.state("v") == "waiting"
        scene.hang_up(f"c{number}")
    assert scene.state("v") == "reserved anna"


def test_wazo_a_ringing_agent_does_not_stop_relaxation() -> None:
    """Wazo: skill rules are not looked at while an agent rings, so the next step comes late. Here it is on time (5.20)."""
    scene = Scene(
        queue(need={"fx": 5}, relaxation=[Relaxation(10_000, {})], reservation_timeout_ms=15_000),
        agent("anna", skills={"fx": 5}), agent("ben"),
    )  # fmt: skip
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.wait(10_000)
    assert scene.only(ev.NeedRelaxed).at_ms == scene.now_ms
    scene.wait(5_000)
    assert asked(scene, "c1") == ["ben"]


def test_freepbx_cap_of_callers_in_conversation() -> None:
    """FreePBX issue 445 asks for a cap on callers who talk with agents at once, beside the length of the line."""
    scene = hall("anna", "ben", in_call_max=1)
    scene.request("c1")
    scene.talk("c1")
    assert scene.request("c2").is_accepted
    assert scene.state("c2") == "waiting"
    scene.hang_up("c1")
    assert scene.call("c2").state == "reserved"
