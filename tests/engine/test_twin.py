"""Engine and twin under the same random wishes: same answers, same facts, same hall; and the engine crashes at any moment.

Each step runs in a `Scene`, so replay, invariants and event numbers are checked too. The search is the same in every run;
`DOUBT_EXAMPLES=5000 pytest tests/engine/test_twin.py` searches elsewhere and for longer. A failure prints the shortest
list of wishes that shows it: that becomes a test of its own. What the two are compared by stands in `twin_driver`.
"""

import os
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatch import commands as cm
from dispatch import events as ev
from tests.engine.twin_driver import Driver
from tests.engine.twin_halls import HALLS, PLANS, WISHES

PICK = st.sampled_from([1, 2, 3, 4, 5, 0])
BACK = st.sampled_from([0, 0, 0, 0, 0, 1])
CALLS, CUSTOMERS = st.sampled_from(["c0", "c1", "c2", "c3", "c4", "c5", "c6"]), st.sampled_from("uvwxyz")
AGENTS = st.sampled_from(["anna", "ben", "cleo", "dora", "emil"])
PARTY = st.sampled_from(["customer", "agent", "agent", "spy"])
IDS = st.sampled_from([*[""] * 30, "m1", "m2", "key:1", "key:2", "key:3", "key:4", "key:5", "key:6", "key:7"])
STAFF = st.sampled_from(["operator:olga", "supervisor:sam", "system:shell"])
WHO = st.sampled_from(["owner"] * 4 + ["operator:olga", "supervisor:sam", "agent:ben", "customer:u"])
RECIPIENTS = st.one_of(CUSTOMERS.map("customer:{}".format), AGENTS.map("agent:{}".format), st.just("robot:r"))
OUTAGES = st.sampled_from([-1, 0, 1, 5_000, 60_000])
PAUSES = st.sampled_from(
    [0, 1, 999, 4_000, 5_000, 10_000, 12_000, 15_000, 20_000, 30_000, 40_000, 120_000, 300_000, 90_000_000]
)


class EngineAndTwin(RuleBasedStateMachine, Driver):
    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Driver.__init__(self)

    # -- the hall

    @initialize(hall=st.sampled_from(HALLS), agents=st.lists(AGENTS, max_size=5, unique=True))
    def open_hall(self, hall: str, agents: list[str]) -> None:
        self.begin(hall)
        for agent_id in agents:
            self.activity(agent_id, "ready", "", "", "system:shell")

    @rule(pause=PAUSES)
    def time_passes(self, pause: int) -> None:
        self.pass_time(pause)

    @rule()
    def until_the_next_deadline(self) -> None:
        next_ms = self.scene.engine.next_deadline_ms()
        if next_ms is not None:
            self.pass_time(max(0, next_ms - self.scene.now_ms))

    @rule(
        name=st.sampled_from([*sorted(PLANS), "all", "limited", "paired", "every"]),
        principal=st.sampled_from(["operator:olga", "operator:olga", "system:shell", "agent:anna"]),
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
        self.pass_time(0)

    @rule(with_snapshot=st.booleans())
    def crash(self, with_snapshot: bool) -> None:
        self.scene.crash(with_snapshot=with_snapshot)
        self.pass_time(0)

    # -- calls begin

    @rule(call_id=CALLS, customer_id=CUSTOMERS, at=st.integers(0, 11), is_consented=st.sampled_from([True] * 5 + [False]),
          wishes=st.one_of(st.none(), st.none(), st.sampled_from(WISHES)), id=IDS)  # fmt: skip
    def request(self, call_id: str, customer_id: str, at: int, is_consented: bool, wishes: Any, id: str) -> None:
        """`at`: which queue of the hall; one past the last does not exist."""
        principal = "customer:" + customer_id if id.startswith("m") else "operator:olga"
        queue_id = self.some_queue(at)
        self.wish(cm.RequestCall(call_id, customer_id, queue_id, "", is_consented, wishes, principal=principal, id=id))

    @rule(call_id=CALLS, customer_id=CUSTOMERS, agent_id=AGENTS, at=st.integers(0, 11),
          valid_ms=st.sampled_from([0, 0, 7_000, 90_000, 90_001, -1]), is_staff=st.booleans())  # fmt: skip
    def invite(self, call_id: str, customer_id: str, agent_id: str, at: int, valid_ms: int, is_staff: bool) -> None:
        principal = "operator:olga" if is_staff else "agent:" + agent_id
        self.wish(
            cm.InviteCustomer(
                call_id, customer_id, agent_id, self.some_queue(at), valid_ms=valid_ms, principal=principal
            )
        )

    @rule(
        pick=PICK, is_consented=st.sampled_from([True, True, False]), is_own=st.sampled_from([True, True, True, False])
    )
    def come(self, pick: int, is_consented: bool, is_own: bool) -> None:
        call = self.some_call(pick, "invited")
        principal = "customer:" + call.customer_id if is_own else "customer:u"
        self.wish(cm.AcceptInvitation(call.id, call.customer_id, is_consented, principal=principal))

    @rule(
        pick=PICK, credit_ms=st.sampled_from([0, 1_000, 20_000, 90_000, 90_001, -1]), is_absolute=st.booleans(), who=WHO
    )
    def prioritise(self, pick: int, credit_ms: int, is_absolute: bool, who: str) -> None:
        call = self.some_call(pick, "waiting", "reserved")
        principal = "system:shell" if who == "owner" else who
        self.wish(cm.SetPriority(call.id, credit_ms, is_absolute, principal=principal))

    @rule(pick=PICK, who=WHO)
    def call_back(self, pick: int, who: str) -> None:
        call = self.some_call(pick, "waiting")
        principal = "customer:" + call.customer_id if who == "owner" else who
        self.wish(cm.RequestCallback(call.id, principal=principal))

    # -- agents

    @rule(agent_id=AGENTS, activity=st.sampled_from(["ready"] * 6 + ["not_ready", "offline", "asleep"]),
          reason=st.sampled_from(["", "", "lunch"]), id=IDS, principal=STAFF)  # fmt: skip
    def activity(self, agent_id: str, activity: str, reason: str, id: str, principal: str) -> None:
        self.wish(cm.SetActivity(agent_id, activity, reason, principal=principal, id=id))

    @rule(pick=PICK, back=BACK, principal=st.sampled_from([""] * 5 + ["agent:anna", "customer:u"]), id=IDS)
    def accept(self, pick: int, back: int, principal: str, id: str) -> None:
        reservation_id, agent_id = self.some_ring(pick, back)
        who = principal or "agent:" + agent_id
        self.wish(cm.AcceptReservation(reservation_id, agent_id, principal=who, id=id))

    @rule(pick=PICK, back=BACK, agent_id=st.sampled_from(["", "", "ben"]), length=st.sampled_from([0, 0, 0, 200, 201]),
          is_busy=st.booleans())  # fmt: skip
    def decline(self, pick: int, back: int, agent_id: str, length: int, is_busy: bool) -> None:
        reservation_id, asked_id = self.some_ring(pick, back)
        self.wish(cm.DeclineReservation(reservation_id, agent_id or asked_id, "r" * length, is_busy))

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
        asked = [one.agent_id for one in (*call.reservations, *call.parties)] or [call.agent_id]
        recipient = f"customer:{call.customer_id}"
        if party != "customer":
            recipient = f"agent:{call.agent_id if party == 'agent' and call.agent_id else asked[pick % len(asked)]}"
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
        for command in self.strange_commands(principal):
            self.wish(command)
        self.wish(cm.Disconnect(recipient, "k1"))
        self.wish(cm.LoseGateway(gateway_id))

    # -- talking

    @rule(pick=PICK, at=st.integers(0, 11), agent_id=AGENTS, to=st.sampled_from(["queue", "queue", "agent", "both", ""]),
          credit_ms=st.sampled_from([-1, -1, 0, 5_000, 90_001, -2]), who=WHO)  # fmt: skip
    def transfer(self, pick: int, at: int, agent_id: str, to: str, credit_ms: int, who: str) -> None:
        call = self.some_call(pick, "connected")
        to_queue_id = self.some_queue(at) if to in ("queue", "both") else ""
        to_agent_id = agent_id if to in ("agent", "both") else ""
        principal = self.owner_or(call, who)
        self.wish(cm.TransferCall(call.id, to_queue_id, to_agent_id, credit_ms, principal=principal))

    @rule(pick=PICK, at=st.integers(0, 11), agent_id=AGENTS, to=st.sampled_from(["queue", "agent", "agent", "both", ""]),
          role=st.sampled_from(["consult", "expert", "third", "spy"]), who=WHO)  # fmt: skip
    def invite_party(self, pick: int, at: int, agent_id: str, to: str, role: str, who: str) -> None:
        call = self.some_call(pick, "connected")
        to_queue_id = self.some_queue(at) if to in ("queue", "both") else ""
        to_agent_id = agent_id if to in ("agent", "both") else ""
        self.wish(cm.InviteParty(call.id, role, to_agent_id, to_queue_id, principal=self.owner_or(call, who)))

    @rule(pick=PICK, who=WHO, how=st.sampled_from(["remove", "complete", "leave"]), agent_id=AGENTS)
    def party(self, pick: int, who: str, how: str, agent_id: str) -> None:
        """Of a further party, where there is one."""
        call, named_id = self.some_party(pick, agent_id)
        if how == "complete":
            self.wish(cm.CompleteTransfer(call.id, named_id, principal=self.owner_or(call, who)))
        else:
            principal = "agent:" + named_id if how == "leave" else self.owner_or(call, who)
            self.wish(cm.RemoveParty(call.id, named_id, principal=principal))

    @rule(pick=PICK, agent_id=AGENTS, who=WHO)
    def take_over(self, pick: int, agent_id: str, who: str) -> None:
        call = self.some_call(pick, "connected")
        self.wish(cm.TakeOver(call.id, agent_id, principal="supervisor:sam" if who == "owner" else who))

    @rule(
        pick=PICK,
        who=WHO,
        mode=st.sampled_from(["monitor", "whisper", "barge", "", "shout"]),
        more=st.sampled_from([0, 0, 0, 9]),
    )
    def supervise(self, pick: int, who: str, mode: str, more: int) -> None:
        call = self.some_call(pick, "connected", "connecting")
        self.wish(cm.Supervise(call.id, "sam", mode, principal="supervisor:sam" if who == "owner" else who))
        for number in range(more):
            self.wish(cm.Supervise(call.id, f"s{number}", mode, principal="operator:olga"))

    @rule(pick=PICK, is_held=st.sampled_from([True, True, False]), who=WHO)
    def hold(self, pick: int, is_held: bool, who: str) -> None:
        call = self.some_call(pick, "connected")
        self.wish(cm.SetHold(call.id, is_held, principal=self.owner_or(call, who)))

    @rule(
        pick=PICK,
        who=WHO,
        answers=st.sampled_from([[], ["yes", "no"], ["yes", "no"], ["yes", ""], ["yes", "yes"], ["y" * 65]]),
        more=st.sampled_from([0, 0, 0, 99]),
    )
    def show(self, pick: int, who: str, answers: list[str], more: int) -> None:
        call = self.some_call(pick, "connected")
        self.wish(cm.ShowScriptStep(call.id, "risk", "It may lose value.", answers, principal=self.owner_or(call, who)))
        for _ in range(more):
            self.wish(cm.ShowScriptStep(call.id, "fees", "It costs.", ["yes"], principal=self.owner_or(call, "owner")))

    @rule(pick=PICK, back=BACK, answer=st.sampled_from(["yes", "yes", "no", "y"]), who=WHO)
    def answer_what_is_shown(self, pick: int, back: int, answer: str, who: str) -> None:
        call = self.some_call(pick, "connected")
        principal = "customer:" + call.customer_id if who == "owner" else who
        self.wish(cm.AnswerScriptStep(call.id, call.script_count - back, answer, principal=principal))

    # -- media

    @rule(pick=PICK, way=st.sampled_from(["all", "all", "all", "assign", "open"]), back=BACK)
    def media_comes_up(self, pick: int, way: str, back: int) -> None:
        call = self.some_call(pick, "connecting")
        for command in self.media_commands(call, way, back):
            self.wish(command)

    @rule(pick=PICK, way=st.sampled_from(["all", "all", "open"]))
    def a_call_is_answered(self, pick: int, way: str) -> None:
        """By everybody who is asked for it: two, where two are needed."""
        self.accept(pick, 0, "", "")
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

    # -- what must hold

    @precondition(lambda self: self.counts[ev.CallQueued] + self.counts[ev.CallInvited])
    @invariant()
    def conservation(self) -> None:
        """5: admitted = live + ended, ended = in memory + forgotten."""
        calls = self.scene.engine.state.calls.values()
        ended = sum(call.state == "ended" for call in calls)
        admitted = self.counts[ev.CallQueued] + self.counts[ev.CallInvited]
        assert admitted == len(calls) + self.counts[ev.CallForgotten], "5"
        assert self.counts[ev.CallEnded] == ended + self.counts[ev.CallForgotten], "5"

    @invariant()
    def same_hall(self) -> None:
        """What each record says, and how each line stands."""
        self.compare_halls()


TestEngineAndTwin = EngineAndTwin.TestCase
TestEngineAndTwin.settings = settings(
    max_examples=int(os.environ.get("DOUBT_EXAMPLES", "150")),
    stateful_step_count=50,
    deadline=None,
    derandomize="DOUBT_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
