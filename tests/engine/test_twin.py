"""Engine and twin under the same random wishes: same answers, same facts, same hall; and the engine crashes at any moment.

Each step runs in a `Scene`, so replay, invariants and event numbers are checked too. The search is the same in every run;
`DOUBT_EXAMPLES=5000 pytest tests/engine/test_twin.py` searches elsewhere and for longer. A failure prints the shortest
list of wishes that shows it: that becomes a test of its own.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.effects import Reply
from dispatch.model import Call
from dispatch.plan import Plan
from tests.engine.scene import Scene, agent, plan, queue, room_queue
from tests.engine.twin import Fact, Twin
from tests.engine.twin_wishes import step

LOANS = queue("loans", target_ms=20_000, waiting_max=4, wrap_up_ms=10_000, wrap_up_ms_max=60_000, misses_max=2)
ROOMS = room_queue("rooms", need={"fx": 5}, target_ms=5_000, wrap_up="until_done", wrap_up_ms_max=40_000)
SMALL = queue(
    "small", cost_units=50, decline_delay_ms=0, no_answer_delay_ms=0, wrap_up="none", waiting_max=0, misses_max=1
)
MIXED = room_queue("mixed", recording="optional", target_ms=1_000, wrap_up_ms=0, need={"fx": 2})
ANNA, BEN = agent("anna"), agent("ben", skills={"fx": 5})
CLEO, DORA = agent("cleo", skills={"fx": 3}, capacity_units=200), agent("dora", skills={"fx": 9})
LIMITS: dict[str, int] = {
    "live_calls_max": 12, "idempotency_keys_max": 6, "reconnect_grace_ms": 12_000, "recording_timeout_ms": 300_000,
}  # fmt: skip

PLANS: dict[str, Plan] = {
    "all": plan(LOANS, ROOMS, SMALL, MIXED, ANNA, BEN, CLEO, **LIMITS),
    "retired": plan(LOANS, MIXED, BEN, DORA, CLEO, retired={"small": "mixed", "rooms": "loans"}, **LIMITS),
    "stranding": plan(LOANS, ANNA, BEN, **LIMITS),
    "skilled": plan(MIXED, LOANS, ROOMS, SMALL, agent("anna", skills={"fx": 5}), DORA, agent("cleo"), **LIMITS),
    "broken": plan(LOANS, LOANS),
}

PICK = st.sampled_from([1, 2, 3, 4, 5, 0])
BACK = st.sampled_from([0, 0, 0, 0, 0, 1])
CALLS, CUSTOMERS = st.sampled_from(["c0", "c1", "c2", "c3", "c4", "c5", "c6"]), st.sampled_from("uvwxyz")
AGENTS = st.sampled_from(["anna", "ben", "cleo", "dora"])
QUEUES = st.sampled_from(["loans", "rooms", "small", "mixed", "nowhere"])
PARTY = st.sampled_from(["customer", "agent", "agent", "spy"])
IDS = st.sampled_from([*[""] * 30, "m1", "m2", "key:1", "key:2", "key:3", "key:4", "key:5", "key:6", "key:7"])
STAFF = st.sampled_from(["operator:olga", "supervisor:sam", "system:shell"])
RECIPIENTS = st.one_of(CUSTOMERS.map("customer:{}".format), AGENTS.map("agent:{}".format), st.just("robot:r"))
OUTAGES = st.sampled_from([-1, 0, 1, 5_000, 60_000])
PAUSES = st.sampled_from(
    [0, 1, 999, 5_000, 10_000, 12_000, 15_000, 20_000, 30_000, 40_000, 120_000, 300_000, 90_000_000]
)

NO_CALL = Call(id="c9", customer_id="u", queue_id="loans", order=0, queued_at_ms=0, due_at_ms=0, business_reference="",
               is_consented=True, recording="off", media="room", agent_id="anna")  # fmt: skip
"""What wishes are about while there is no call at all."""

FACTS: dict[type[Any], Callable[[Any], Fact]] = {
    ev.PlanApplied: lambda e: ("planned", e.digest),
    ev.Connected: lambda e: ("connected", e.recipient, e.connection_id),
    ev.Disconnected: lambda e: ("disconnected", e.recipient, e.grace_until_ms),
    ev.AgentActivityChanged: lambda e: ("activity", e.agent_id, e.activity, e.reason),
    ev.CallQueued: lambda e: ("queued", e.call_id, e.customer_id, e.queue_id, e.due_at_ms, e.recording),
    ev.CallReserved: lambda e: ("reserved", e.call_id, e.reservation_id, e.agent_id, e.expires_at_ms),
    ev.ReservationAccepted: lambda e: (
        "accepted", e.call_id, e.reservation_id, e.agent_id, e.connecting_until_ms, e.room_attempt,
    ),
    ev.ReservationClosed: lambda e: (
        "closed", e.call_id, e.reservation_id, e.agent_id, e.outcome, e.not_before_ms,
    ),
    ev.RoomAssigned: lambda e: ("assigned", e.call_id, e.attempt, e.worker_id),
    ev.RoomOpened: lambda e: ("opened", e.call_id, e.attempt),
    ev.RoomLost: lambda e: ("room_lost", e.call_id, e.attempt, e.reconnecting_until_ms),
    ev.RoomClosed: lambda e: ("room_closed", e.call_id, e.attempt),
    ev.PartyJoined: lambda e: ("joined", e.call_id, e.attempt, e.party),
    ev.PartyLeft: lambda e: ("left", e.call_id, e.attempt, e.party, e.rejoin_until_ms),
    ev.RecordingStarted: lambda e: ("recorded", e.call_id, e.attempt, e.party),
    ev.RecordingFailed: lambda e: ("unrecorded", e.call_id, e.attempt, e.party),
    ev.RecordingSealed: lambda e: ("sealed", e.call_id, e.attempt),
    ev.RecordingMissing: lambda e: ("missing", e.call_id, e.attempt),
    ev.CallConnected: lambda e: ("stands", e.call_id, e.agent_id),
    ev.CallRequeued: lambda e: ("requeued", e.call_id, e.agent_id, e.reason, e.not_before_ms),
    ev.CallEnded: lambda e: (
        "ended", e.call_id, e.reason, e.agent_id, e.waited_ms, e.talked_ms, e.wrap_up, e.wrap_up_until_ms,
    ),
    ev.WrapUpExtended: lambda e: ("extended", e.call_id, e.agent_id, e.until_ms),
    ev.WrapUpEnded: lambda e: ("wrapped_up", e.call_id, e.agent_id, e.how),
    ev.CallForgotten: lambda e: ("forgotten", e.call_id),
    ev.CallMoved: lambda e: ("moved", e.call_id, e.from_queue_id, e.queue_id, e.due_at_ms),
    ev.Answered: lambda e: ("answered", e.principal, e.id, e.reason),
    ev.Resumed: lambda e: ("resumed", e.outage_ms),
}  # fmt: skip


class EngineAndTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(LOANS)
        self.twin = Twin("d")
        step(self.twin, cm.ApplyPlan(plan(LOANS), "plan-1"), self.scene.now_ms)
        self.counts: Counter[type[ev.Event]] = Counter()
        self.wish(cm.ApplyPlan(PLANS["all"], "all"))

    def wish(self, command: cm.Command) -> Reply:
        reply = self.scene.do(command)
        reason, facts = step(self.twin, command, self.scene.now_ms)
        assert reply.reason == reason, command
        self._compare(facts)
        return reply

    def _compare(self, expected: list[Fact]) -> None:
        """Same facts at the same instants; reservations also in the same order. The rest of a step has no order to keep."""
        seen = [(event.at_ms, *FACTS[type(event)](event)) for event in self.scene.last]
        assert [one for one in seen if one[1] == "reserved"] == [one for one in expected if one[1] == "reserved"]
        assert sorted(seen, key=repr) == sorted(expected, key=repr)
        self.counts.update(type(event) for event in self.scene.last)

    def some_call(self, pick: int, *states: str) -> Any:
        """A call in one of `states` where there is one: most wishes should make sense. `pick` 0 takes any."""
        calls = list(self.scene.engine.state.calls.values())
        fitting = [call for call in calls if call.state in states] if pick else []
        chosen = fitting or calls
        return chosen[pick % len(chosen)] if chosen else NO_CALL

    # -- wishes

    @initialize(agents=st.lists(AGENTS, max_size=3, unique=True))
    def sign_in(self, agents: list[str]) -> None:
        for agent_id in agents:
            self.activity(agent_id, "ready", "", "", "system:shell")

    @rule(pause=PAUSES)
    def time_passes(self, pause: int) -> None:
        self.scene.wait(pause)
        self._compare(self.twin.expire(self.scene.now_ms))

    @rule()
    def until_the_next_deadline(self) -> None:
        next_ms = self.scene.engine.next_deadline_ms()
        if next_ms is not None:
            self.time_passes(max(0, next_ms - self.scene.now_ms))

    @rule(
        call_id=CALLS,
        customer_id=CUSTOMERS,
        queue_id=QUEUES,
        is_consented=st.sampled_from([True] * 5 + [False]),
        id=IDS,
    )
    def request(self, call_id: str, customer_id: str, queue_id: str, is_consented: bool, id: str) -> None:
        principal = "customer:" + customer_id if id.startswith("m") else "operator:olga"
        self.wish(cm.RequestCall(call_id, customer_id, queue_id, "", is_consented, principal=principal, id=id))

    @rule(agent_id=AGENTS, activity=st.sampled_from(["ready"] * 6 + ["not_ready", "offline", "asleep"]),
          reason=st.sampled_from(["", "", "lunch"]), id=IDS, principal=STAFF)  # fmt: skip
    def activity(self, agent_id: str, activity: str, reason: str, id: str, principal: str) -> None:
        self.wish(cm.SetActivity(agent_id, activity, reason, principal=principal, id=id))

    @rule(pick=PICK, back=BACK, principal=st.sampled_from([""] * 5 + ["agent:anna", "customer:u"]), id=IDS)
    def accept(self, pick: int, back: int, principal: str, id: str) -> None:
        call = self.some_call(pick, "reserved")
        who = principal or "agent:" + call.agent_id
        self.wish(
            cm.AcceptReservation(f"{call.id}.{call.attempt - back}", call.agent_id or "anna", principal=who, id=id)
        )

    @rule(pick=PICK, back=BACK, agent_id=st.sampled_from(["", "", "ben"]), length=st.sampled_from([0, 0, 0, 200, 201]))
    def decline(self, pick: int, back: int, agent_id: str, length: int) -> None:
        call = self.some_call(pick, "reserved")
        reservation_id = f"{call.id}.{call.attempt - back}"
        self.wish(cm.DeclineReservation(reservation_id, agent_id or call.agent_id, "r" * length))

    @rule(pick=PICK, role=st.sampled_from(["customer", "agent", "operator", "agent:", "customer:"]), id=IDS)
    def hang_up(self, pick: int, role: str, id: str) -> None:
        call = self.some_call(pick, "connected")
        own = {"customer": call.customer_id, "agent": call.agent_id, "operator": "olga"}
        self.wish(cm.HangUp(call.id, principal=f"{role}:{own[role]}" if role in own else role, id=id))

    @rule(pick=PICK, extra_ms=st.sampled_from([-1, 0, 1, 15_000, 3_600_000]), is_done=st.booleans())
    def wrap_up(self, pick: int, extra_ms: int, is_done: bool) -> None:
        works = [(one.id, call_id) for one in self.scene.engine.state.agents.values() for call_id in one.wrap_ups]
        agent_id, call_id = works[pick % len(works)] if works and pick else ("ben", f"c{pick}")
        self.wish(cm.ExtendWrapUp(agent_id, call_id, extra_ms))
        if is_done:
            self.wish(cm.FinishWrapUp(agent_id, call_id, principal="agent:" + agent_id))

    @rule(
        recipient=RECIPIENTS, gateway_id=st.sampled_from(["g1", "g2"]), connection_id=st.sampled_from(["k1", "k2", ""])
    )
    def connect(self, recipient: str, gateway_id: str, connection_id: str) -> None:
        self.wish(cm.Connect(recipient, gateway_id, connection_id))

    @rule(pick=PICK, party=PARTY, how=st.sampled_from(["disconnect", "disconnect", "old", "gateway"]))
    def connection_goes(self, pick: int, party: str, how: str) -> None:
        """Of somebody in a call, who is connected first: that is where it matters."""
        call = self.some_call(pick, "waiting", "reserved", "connecting", "connected")
        recipient = f"agent:{call.agent_id}" if party == "agent" else f"customer:{call.customer_id}"
        self.wish(cm.Connect(recipient, "g3", "k3"))
        if how == "gateway":
            self.wish(cm.LoseGateway("g3"))
        else:
            self.wish(cm.Disconnect(recipient, "k0" if how == "old" else "k3"))

    @rule(
        gateway_id=st.sampled_from(["g1", "g2"]),
        recipient=RECIPIENTS,
        principal=st.sampled_from(["agent:anna", "customer:u"]),
    )
    def strange(self, gateway_id: str, recipient: str, principal: str) -> None:
        """What is malformed, not theirs or long gone."""
        self.wish(cm.RequestCall("", "u", "loans"))
        self.wish(cm.RequestCall("c0", "v", "loans", "r" * 201))
        self.wish(cm.RequestCall("c0", "v", "loans", principal="customer:u"))
        self.wish(cm.HangUp("c0", "r" * 201))
        self.wish(cm.HangUp("c1", principal=principal))
        self.wish(cm.SetActivity("ben", "ready", principal=principal))
        self.wish(cm.Disconnect(recipient, "k1"))
        self.wish(cm.LoseGateway(gateway_id))

    @rule(
        name=st.sampled_from([*sorted(PLANS), "all"]),
        principal=st.sampled_from(["operator:olga", "system:shell", "agent:anna"]),
    )
    def reload(self, name: str, principal: str) -> None:
        self.wish(cm.ApplyPlan(PLANS[name], name, principal=principal))

    @rule(outage_ms=OUTAGES, pick=PICK)
    def outage(self, outage_ms: int, pick: int) -> None:
        """The shell was away: what waited is stepped before what came due (SAFETY.md 8)."""
        self.scene.now_ms += max(0, outage_ms)
        self.wish(cm.Resume(outage_ms))
        if outage_ms > 0:
            self.accept(pick, 0, "", "")
        self.time_passes(0)

    # -- media

    @rule(pick=PICK, way=st.sampled_from(["all", "all", "all", "assign", "open"]), back=BACK)
    def media_comes_up(self, pick: int, way: str, back: int) -> None:
        call = self.some_call(pick, "connecting")
        attempt = call.room_attempt - back
        if way != "open":
            self.wish(cm.AssignRoom(call.id, attempt, f"w{attempt % 2}", attempt))
        if way != "assign":
            self.wish(cm.ReportRoomOpened(call.id, attempt))
        if way == "all":
            for party in ("customer", "agent"):
                self.wish(cm.ReportPartyJoined(call.id, attempt, party))
                self.wish(cm.ReportRecordingStarted(call.id, attempt, party))
        self.wish(cm.ReportConnected(call.id, principal="system:shell" if back else "agent:anna"))
        self.wish(cm.ReportConnected(call.id))

    @rule(pick=PICK, way=st.sampled_from(["all", "all", "open"]))
    def a_call_is_answered(self, pick: int, way: str) -> None:
        self.accept(pick, 0, "", "")
        self.media_comes_up(pick, way, 0)

    @rule(pick=PICK, kind=st.sampled_from([
        cm.ReportPartyJoined, cm.ReportPartyLeft, cm.ReportRecordingStarted, cm.ReportRecordingFailed,
        cm.ReportRoomFailed, cm.ReportRoomClosed, cm.ReportRecordingSealed, cm.ReportRoomClosed, cm.ReportRecordingSealed,
    ]), party=PARTY, back=BACK)  # fmt: skip
    def media_report(self, pick: int, kind: type[Any], party: str, back: int) -> None:
        is_over = kind in (cm.ReportRoomClosed, cm.ReportRecordingSealed)
        call = self.some_call(pick, "ended") if is_over else self.some_call(pick, "connected", "connecting")
        rest: dict[type[Any], tuple[str, ...]] = {
            cm.ReportRecordingFailed: (party, "disk_full"),
            cm.ReportRoomClosed: (),
        }
        self.wish(kind(call.id, call.room_attempt - back, *rest.get(kind, (party,))))

    @rule(worker_id=st.sampled_from(["w0", "w1", "w2"]), epoch=st.sampled_from([1, 2, 9]))
    def lose_worker(self, worker_id: str, epoch: int) -> None:
        self.wish(cm.LoseWorker(worker_id, epoch))

    # -- crashes and what must hold

    @rule(with_snapshot=st.booleans())
    def crash(self, with_snapshot: bool) -> None:
        self.scene.crash(with_snapshot=with_snapshot)
        self.time_passes(0)

    @precondition(lambda self: self.counts[ev.CallQueued])
    @invariant()
    def conservation(self) -> None:
        """5: admitted = live + ended, ended = in memory + forgotten."""
        calls = self.scene.engine.state.calls.values()
        ended = sum(call.state == "ended" for call in calls)
        assert self.counts[ev.CallQueued] == len(calls) + self.counts[ev.CallForgotten]
        assert self.counts[ev.CallEnded] == ended + self.counts[ev.CallForgotten]

    @invariant()
    def same_hall(self) -> None:
        """What each record says, and how each line stands."""
        state, twin = self.scene.engine.state, self.twin
        assert [_call(one) for one in state.calls.values()] == [_call(one) for one in twin.calls]
        for one, other in zip(state.agents.values(), twin.agents, strict=True):
            assert (one.id, one.activity, one.reason, one.misses) == (
                other.plan.id, other.activity, other.reason, other.misses,
            )  # fmt: skip
            assert (one.used_units, one.idle_since_ms) == (twin.used_units(other), other.idle_since_ms)
            assert (one.is_gone, one.is_retired) == (other.is_gone, other.is_retired)
        for queue_id, one_queue in state.queues.items():
            assert [key[2] for key in one_queue.line] == [call.id for call in twin.line(queue_id)]
        keys = {one[:2] for one in twin.answers if one[1].startswith("key:")}
        assert len(state.keys) == len(keys)


def _call(call: Any) -> tuple[object, ...]:
    rooms = [(room.attempt, room.state) for room in call.rooms]
    return call.id, call.state, call.agent_id, call.queue_id, call.due_at_ms, rooms, call.unsealed


TestEngineAndTwin = EngineAndTwin.TestCase
TestEngineAndTwin.settings = settings(
    max_examples=int(os.environ.get("DOUBT_EXAMPLES", "150")),
    stateful_step_count=50,
    deadline=None,
    derandomize="DOUBT_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
