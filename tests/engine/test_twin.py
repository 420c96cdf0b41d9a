"""Engine and twin under the same random wishes: same answers, same facts, same hall; and the engine crashes at any moment.

Each step runs in a `Scene`, so replay, invariants and event numbers are checked too. The search is the same in every run;
`DOUBT_EXAMPLES=5000 pytest tests/engine/test_twin.py` searches elsewhere and for longer. A failure prints the shortest
list of wishes that shows it: that becomes a test of its own.
"""

import os
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.effects import Reply
from dispatch.plan import Plan
from tests.engine.scene import Scene, agent, plan, queue, room_queue
from tests.engine.twin import Fact, Twin
from tests.engine.twin_wishes import step

LOANS = queue("loans", target_ms=20_000, waiting_max=3, wrap_up_ms=10_000, wrap_up_ms_max=60_000, misses_max=2)
ROOMS = room_queue("rooms", need={"fx": 5}, target_ms=5_000, wrap_up="until_done", wrap_up_ms_max=40_000)
SMALL = queue(
    "small", cost_units=50, decline_delay_ms=0, no_answer_delay_ms=0, wrap_up="none", waiting_max=0, misses_max=1
)
MIXED = room_queue("mixed", recording="optional", target_ms=1_000, wrap_up_ms=0, need={"fx": 2})
ANNA, BEN = agent("anna"), agent("ben", skills={"fx": 5})
CLEO, DORA = agent("cleo", skills={"fx": 3}, capacity_units=200), agent("dora", skills={"fx": 9})
LIMITS: dict[str, int] = {
    "live_calls_max": 6, "idempotency_keys_max": 6, "reconnect_grace_ms": 12_000, "recording_timeout_ms": 300_000,
}  # fmt: skip

PLANS: dict[str, Plan] = {
    "all": plan(LOANS, ROOMS, SMALL, MIXED, ANNA, BEN, CLEO, **LIMITS),
    "retired": plan(LOANS, MIXED, BEN, DORA, CLEO, retired={"small": "mixed", "rooms": "loans"}, **LIMITS),
    "stranding": plan(LOANS, ANNA, BEN, **LIMITS),
    "skilled": plan(MIXED, LOANS, ROOMS, SMALL, agent("anna", skills={"fx": 5}), DORA, agent("cleo"), **LIMITS),
    "broken": plan(LOANS, LOANS),
}

CALLS, CUSTOMERS = st.sampled_from(["c0", "c1", "c2", "c3", "c4", "c5", "c6"]), st.sampled_from("uvwxyz")
AGENTS = st.sampled_from(["anna", "ben", "cleo", "dora"])
QUEUES = st.sampled_from(["loans", "rooms", "small", "mixed", "nowhere"])
PARTY = st.sampled_from(["customer", "agent", "agent", "spy"])
IDS = st.sampled_from(["", "", "", "m1", "m2", "key:1", "key:2", "key:3", "key:4", "key:5", "key:6", "key:7"])
STAFF = st.sampled_from(["operator:olga", "supervisor:sam", "system:shell"])
RECIPIENTS = st.one_of(CUSTOMERS.map("customer:{}".format), AGENTS.map("agent:{}".format), st.just("robot:r"))
OUTAGES = st.sampled_from([-1, 0, 1, 5_000, 60_000])
PAUSES = st.sampled_from(
    [0, 1, 999, 5_000, 10_000, 12_000, 15_000, 20_000, 30_000, 40_000, 120_000, 300_000, 90_000_000]
)

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
        self.counts = {"queued": 0, "ended": 0, "forgotten": 0}
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
        for _, word, *_ in seen:
            if word in self.counts:
                self.counts[str(word)] += 1

    def reservation(self, call_id: str, back: int) -> tuple[str, str]:
        """The call's latest reservation, or an older one, and whom it asks."""
        call = self.scene.engine.state.calls.get(call_id)
        if call is None:
            return f"{call_id}.1", "anna"
        return f"{call_id}.{call.attempt - back}", call.agent_id or "anna"

    # -- wishes

    @initialize(agents=st.lists(AGENTS, max_size=3))
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
        call_id=CALLS, customer_id=CUSTOMERS, queue_id=QUEUES, is_consented=st.sampled_from([True, True, False]), id=IDS
    )
    def request(self, call_id: str, customer_id: str, queue_id: str, is_consented: bool, id: str) -> None:
        principal = "customer:" + customer_id if id.startswith("m") else "operator:olga"
        self.wish(cm.RequestCall(call_id, customer_id, queue_id, "", is_consented, principal=principal, id=id))

    @rule(
        call_id=CALLS,
        customer_id=CUSTOMERS,
        length=st.sampled_from([0, 200, 201]),
        principal=st.sampled_from(["customer:u"]),
    )
    def malformed_request(self, call_id: str, customer_id: str, length: int, principal: str) -> None:
        self.wish(cm.RequestCall(call_id, customer_id, "loans", "r" * length, principal=principal))
        self.wish(cm.RequestCall("", customer_id, "loans"))
        self.wish(cm.HangUp(call_id, "r" * 201, principal=principal))

    @rule(agent_id=AGENTS, activity=st.sampled_from(["ready", "ready", "ready", "not_ready", "offline", "asleep"]),
          reason=st.sampled_from(["", "", "lunch"]), id=IDS, principal=STAFF)  # fmt: skip
    def activity(self, agent_id: str, activity: str, reason: str, id: str, principal: str) -> None:
        self.wish(cm.SetActivity(agent_id, activity, reason, principal=principal, id=id))

    @rule(agent_id=AGENTS, principal=st.sampled_from(["agent:anna", "customer:u"]))
    def activity_of_others(self, agent_id: str, principal: str) -> None:
        self.wish(cm.SetActivity(agent_id, "ready", principal=principal))

    @rule(
        call_id=CALLS,
        back=st.sampled_from([0, 0, 0, 1]),
        principal=st.sampled_from(["", "", "agent:anna", "customer:u"]),
        id=IDS,
    )
    def accept(self, call_id: str, back: int, principal: str, id: str) -> None:
        reservation_id, agent_id = self.reservation(call_id, back)
        self.wish(cm.AcceptReservation(reservation_id, agent_id, principal=principal or "agent:" + agent_id, id=id))

    @rule(
        call_id=CALLS,
        back=st.sampled_from([0, 0, 0, 1]),
        agent_id=st.none() | AGENTS,
        length=st.sampled_from([0, 0, 201]),
    )
    def decline(self, call_id: str, back: int, agent_id: str | None, length: int) -> None:
        reservation_id, asked_id = self.reservation(call_id, back)
        self.wish(cm.DeclineReservation(reservation_id, agent_id or asked_id, "r" * length))

    @rule(call_id=CALLS, role=st.sampled_from(["customer", "agent", "operator", "agent:", "customer:"]), id=IDS)
    def hang_up(self, call_id: str, role: str, id: str) -> None:
        call = self.scene.engine.state.calls.get(call_id)
        own = {
            "customer": call.customer_id if call else "u",
            "agent": call.agent_id if call else "anna",
            "operator": "olga",
        }
        self.wish(cm.HangUp(call_id, principal=f"{role}:{own[role]}" if role in own else role, id=id))

    @rule(call_id=CALLS, agent_id=AGENTS, extra_ms=st.sampled_from([-1, 0, 1, 15_000, 3_600_000]))
    def wrap_up(self, call_id: str, agent_id: str, extra_ms: int) -> None:
        wrap_ups = [(one, work) for one in self.scene.engine.state.agents.values() for work in one.wrap_ups]
        if wrap_ups and extra_ms:
            agent_id, call_id = wrap_ups[0][0].id, wrap_ups[0][1]
        self.wish(cm.ExtendWrapUp(agent_id, call_id, extra_ms))
        if extra_ms == 1:
            self.wish(cm.FinishWrapUp(agent_id, call_id, principal="agent:" + agent_id))

    @rule(
        recipient=RECIPIENTS, gateway_id=st.sampled_from(["g1", "g2"]), connection_id=st.sampled_from(["k1", "k2", ""])
    )
    def connect(self, recipient: str, gateway_id: str, connection_id: str) -> None:
        self.wish(cm.Connect(recipient, gateway_id, connection_id))

    @rule(recipient=RECIPIENTS, connection_id=st.sampled_from(["k1", "k2", ""]))
    def disconnect(self, recipient: str, connection_id: str) -> None:
        self.wish(cm.Disconnect(recipient, connection_id))

    @rule(gateway_id=st.sampled_from(["g1", "g2", "g3"]))
    def lose_gateway(self, gateway_id: str) -> None:
        self.wish(cm.LoseGateway(gateway_id))

    @rule(
        name=st.sampled_from(sorted(PLANS)), principal=st.sampled_from(["operator:olga", "system:shell", "agent:anna"])
    )
    def reload(self, name: str, principal: str) -> None:
        self.wish(cm.ApplyPlan(PLANS[name], name, principal=principal))

    @rule(outage_ms=OUTAGES, call_id=CALLS)
    def outage(self, outage_ms: int, call_id: str) -> None:
        """The shell was away: what waited is stepped before what came due (SAFETY.md 8)."""
        self.scene.now_ms += max(0, outage_ms)
        self.wish(cm.Resume(outage_ms))
        if outage_ms > 0:
            self.accept(call_id, 0, "", "")
        self.time_passes(0)

    # -- media

    @rule(
        call_id=CALLS,
        way=st.sampled_from(["all", "all", "assign", "open", "connected"]),
        late=st.sampled_from([0, 0, 1]),
    )
    def media_comes_up(self, call_id: str, way: str, late: int) -> None:
        call = self.scene.engine.state.calls.get(call_id)
        attempt = call.room_attempt - late if call else 1
        if way in ("all", "assign"):
            self.wish(cm.AssignRoom(call_id, attempt, f"w{attempt % 2}", attempt))
        if way in ("all", "open"):
            self.wish(cm.ReportRoomOpened(call_id, attempt))
        if way == "all":
            for party in ("customer", "agent"):
                self.wish(cm.ReportPartyJoined(call_id, attempt, party))
                self.wish(cm.ReportRecordingStarted(call_id, attempt, party))
        self.wish(cm.ReportConnected(call_id, principal="system:shell" if late else "agent:anna"))
        self.wish(cm.ReportConnected(call_id))

    @rule(call_id=CALLS, kind=st.sampled_from([
        cm.ReportPartyJoined, cm.ReportPartyLeft, cm.ReportRecordingStarted, cm.ReportRecordingFailed,
        cm.ReportRoomFailed, cm.ReportRoomClosed, cm.ReportRecordingSealed,
    ]), party=PARTY, back=st.sampled_from([0, 0, 0, 1]))  # fmt: skip
    def media_report(self, call_id: str, kind: type[Any], party: str, back: int) -> None:
        call = self.scene.engine.state.calls.get(call_id)
        attempt = call.room_attempt - back if call else 1
        rest: tuple[str, ...] = (party,)
        if kind is cm.ReportRecordingFailed:
            rest = (party, "disk_full")
        elif kind is cm.ReportRoomClosed:
            rest = ()
        self.wish(kind(call_id, attempt, *rest))

    @rule(worker_id=st.sampled_from(["w0", "w1", "w2"]), epoch=st.sampled_from([1, 2, 9]))
    def lose_worker(self, worker_id: str, epoch: int) -> None:
        self.wish(cm.LoseWorker(worker_id, epoch))

    # -- crashes and what must hold

    @rule(with_snapshot=st.booleans())
    def crash(self, with_snapshot: bool) -> None:
        self.scene.crash(with_snapshot=with_snapshot)
        self.time_passes(0)

    @precondition(lambda self: self.counts["queued"])
    @invariant()
    def conservation(self) -> None:
        """5: admitted = live + ended, ended = in memory + forgotten."""
        calls = self.scene.engine.state.calls.values()
        ended = sum(call.state == "ended" for call in calls)
        assert self.counts["queued"] == len(calls) + self.counts["forgotten"]
        assert self.counts["ended"] == ended + self.counts["forgotten"]

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
