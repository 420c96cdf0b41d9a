"""A hall with something in every kind of record and, over all of them, in every field: for golden files and for bad input."""

from dispatch import commands as cm
from dispatch.handing_facts import HandedCall
from dispatch.plan import Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue, room_queue

AGENTS = [
    agent("law", skills={"law": 5}, name="Ann", region="sh", carrier="ct"),
    *(agent(f"talk{number}", skills={"talk": 5}) for number in range(5)),
    agent("ring", skills={"ring": 1}),
    agent("loud", skills={"ring": 3}, capacity_units=200),
    agent("pair", skills={"pair": 1}),
    agent("half", skills={"half": 1}),
    agent("two", skills={"two": 1}),
    agent("too", skills={"too": 1}),
    agent("call", skills={"call": 1}),
    agent("dial", skills={"call": 1}),
]
LEAVING = agent("old", skills={"old": 1})
QUEUES = [
    queue("loans", need={"talk": 1}, last_agent_window_ms=600_000, reservations_max=2),
    room_queue("rooms", need={"law": 1}),
    queue("small", need={"ring": 3}, waiting_max=1, on_full=[Way("overflow", ["wide"])], cost_units=50, misses_max=9),
    queue("wide", need={"ring": 2}, relaxation=[Relaxation(after_ms=4_000, need={"ring": 1})]),
    queue("pairs", need={"pair": 1}, joint_need={"nobody": 1}, joint_hold_ms=3_600_000),
    queue("halves", need={"half": 1}, joint_need={"nobody": 1}, joint_hold_ms=1_000),
    queue("twos", need={"two": 1}, joint_need={"too": 1}),
    queue("narrow", need={"nobody": 1}, waiting_max=0, on_full=[Way("overflow", ["south/loans"])]),
    queue("later", need={"call": 1}, callback_answer_ms=1_000, callback_retry_ms=3_600_000),
]
OLD_QUEUE = queue("old", need={"old": 1})


def busy_hall() -> Scene:
    """The hall, at an instant at which all of it is there."""
    scene = Scene(*QUEUES, OLD_QUEUE, *AGENTS, LEAVING)
    _come_and_go(scene)
    _count_what_agents_miss(scene)
    _let_a_queue_leave(scene)
    _call_back(scene)
    _lose_a_room(scene)
    _talk(scene)
    _wait_and_ring(scene)
    _hand_over(scene)
    return scene


def _must(scene: Scene, command: cm.Command) -> None:
    reply = scene.do(command)
    assert reply.is_accepted, (command, reply)


def _take(scene: Scene, call_id: str, agent_id: str) -> None:
    """The agent who is asked for the call accepts."""
    (asked,) = [one for one in scene.call(call_id).reservations if one.agent_id == agent_id]
    _must(scene, cm.AcceptReservation(asked.id, agent_id))


def _come_and_go(scene: Scene) -> None:
    """Somebody talks, is forgotten, and is remembered only as who talked to whom and as the highest number."""
    scene.ready("talk0")
    scene.connect("customer:vic")
    scene.request("gone", "loans", "vic")
    _take(scene, "gone", "talk0")
    _must(scene, cm.ReportConnected("gone"))
    scene.wait(1_000)
    scene.hang_up("gone")
    scene.disconnect("customer:vic")
    scene.wait(130_000)
    _must(scene, cm.SetActivity("talk0", "not_ready", "lunch"))
    scene.wait(500)
    _must(scene, cm.SetActivity("talk0", "ready"))


def _count_what_agents_miss(scene: Scene) -> None:
    """`loud` declines, is busy, loses the connection and does not answer."""
    scene.connect("agent:loud")
    scene.ready("loud")
    for call_id, is_busy in (("declined", False), ("busy", True)):
        scene.request(call_id, "small")
        (asked,) = scene.call(call_id).reservations
        _must(scene, cm.DeclineReservation(asked.id, "loud", "no", is_busy))
        scene.hang_up(call_id)
        scene.wait(30_000)
    scene.request("lost", "small")
    scene.disconnect("agent:loud")
    scene.wait(5_000)
    scene.hang_up("lost")
    scene.connect("agent:loud", "k2")
    scene.request("missed", "small")
    scene.wait(20_000)
    scene.hang_up("missed")


def _let_a_queue_leave(scene: Scene) -> None:
    """One of its calls talks on with an agent who left too, one waits elsewhere."""
    scene.ready("old")
    scene.request("old-talks", "old")
    _take(scene, "old-talks", "old")
    _must(scene, cm.ReportConnected("old-talks"))
    scene.request("old-waits", "old")
    assert scene.replan(plan(*QUEUES, *AGENTS, retired={"old": "wide"})).is_accepted


def _call_back(scene: Scene) -> None:
    """The agent accepts, the customer does not come."""
    scene.ready("call")
    scene.request("back", "later", wishes=Wishes(is_callback=True))
    _take(scene, "back", "call")
    scene.wait(1_000)


def _lose_a_room(scene: Scene) -> None:
    """A call whose media did not come waits again while its room closes."""
    scene.ready("law")
    scene.request("again", "rooms")
    _take(scene, "again", "law")
    _must(scene, cm.AssignRoom("again", 1, "w1", 7))
    scene.wait(15_000)


def _talk(scene: Scene) -> None:
    """A call with everything: wishes, a party, one who rings, hold, a supervisor, a recording; another in wrap-up."""
    for client in ("customer:zoe", "agent:law", "agent:talk1", "supervisor:sue"):
        scene.connect(client, gateway_id="g2")
    scene.ready("talk1", "talk2", "talk3")
    wishes = Wishes(
        need={"law": 2}, credit_ms=5, is_absolute=True, preferred_agent_id="law", excluded_agent_ids=["ring"]
    )
    scene.request("talks", "rooms", "zoe", wishes=wishes, business_reference="ref", principal="system:bank", id="m1")
    _take(scene, "talks", "law")
    _must(scene, cm.AssignRoom("talks", 1, "w1", 7))
    _must(scene, cm.ReportRoomOpened("talks", 1))
    for party in ("customer", "agent"):
        _must(scene, cm.ReportPartyJoined("talks", 1, party))
        _must(scene, cm.ReportRecordingStarted("talks", 1, party))
    _must(scene, cm.InviteParty("talks", "third", to_agent_id="talk1"))
    _take(scene, "talks", "talk1")
    _must(scene, cm.InviteParty("talks", "consult", to_agent_id="talk2"))
    _must(scene, cm.Supervise("talks", "sue", "whisper", principal="supervisor:sue"))
    _must(scene, cm.SetHold("talks", True, principal="agent:law"))
    _must(scene, cm.ShowScriptStep("talks", "risk", "It may lose value.", ["yes", "no"], principal="agent:law"))
    _must(scene, cm.AnswerScriptStep("talks", 1, "yes", principal="customer:zoe"))
    scene.request("works", "loans")
    _take(scene, "works", "talk0")
    _must(scene, cm.ReportConnected("works"))
    scene.wait(100)
    _must(scene, cm.HangUp("works", "done", principal="operator:olga", id="key:1"))
    _must(scene, cm.InviteCustomer("visit", "yan", "talk0", "loans", principal="agent:talk0"))


def _wait_and_ring(scene: Scene) -> None:
    """Calls that ring, one at an agent whose connection is gone, pairs that are not complete, and calls that wait."""
    scene.ready("pair", "half", "two", "too")
    for call_id, queue_id in (("held", "pairs"), ("holds-later", "halves"), ("both", "twos")):
        scene.request(call_id, queue_id)
    _take(scene, "both", "two")
    _must(scene, cm.SetActivity("loud", "not_ready", "lunch"))
    elsewhere = Wishes(joint_need={"law": 1}, required_agent_id="loud", manager_id="law", region="sh", carrier="ct")
    scene.request("waits", "small", wishes=elsewhere)
    scene.request("moved", "small")
    scene.wait(4_000)
    scene.connect("agent:ring")
    scene.ready("ring")
    scene.disconnect("agent:ring")
    scene.request("rings", "loans", "xia")
    scene.connect("customer:xia")
    scene.disconnect("customer:xia")
    scene.ready("talk4")
    scene.ready("dial")
    scene.request("chooses", "later")
    scene.request("connects", "loans")
    _take(scene, "connects", "talk4")


def _hand_over(scene: Scene) -> None:
    """A call that came from another division, one that was refused, and two that go there, one of them hung up."""
    for call_id, queue_id in (("came", "wide"), ("refused", "nowhere")):
        scene.do(cm.AdmitHandOver(handed(call_id, queue_id, scene.now_ms)))
    scene.request("goes", "narrow")
    scene.request("leaves", "narrow")
    _must(scene, cm.HangUp("leaves", principal="customer:of-leaves"))


def handed(call_id: str, queue_id: str, now_ms: int, version: int = 4) -> HandedCall:
    """A call that division `north` hands over at this instant."""
    return HandedCall(
        call_id=call_id,
        customer_id="of-" + call_id,
        queue_id=queue_id,
        from_division="north",
        version=version,
        valid_until_ms=now_ms + 600_000,
        hops=1,
        queued_at_ms=now_ms - 10_000,
        is_consented=True,
        seq=5,
    )
