"""A scene to try the engine in: a small hall, an instant that moves by hand, and every check after every step.

Theory: whatever a test does goes through `do` and `wait`. Both write the step's events as the journal would (bytes), feed
them to a follower that only applies, and compare: equal digests, all invariants, event numbers without a gap. So each
test of a rule is at the same time a test of replay. The rules themselves are not here but in the test files.
"""

from typing import TypeVar

from dispatch import commands as cm
from dispatch.codec import decode_events, encode_events
from dispatch.effects import Effect, Notify, Reply
from dispatch.engine import Engine
from dispatch.events import Event
from dispatch.model import Agent, Call, Reservation
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.engine.history import History
from tests.engine.invariants import check, check_coming_back

START_MS = 1_700_000_000_000

E = TypeVar("E")


def queue(id: str = "loans", **fields: object) -> QueuePlan:
    """A queue whose media another system carries, unless a test says otherwise."""
    given: dict[str, object] = {"media": "external", "recording": "off", **fields}
    return QueuePlan(id=id, **given)  # type: ignore[arg-type]


def room_queue(id: str = "loans", **fields: object) -> QueuePlan:
    """A queue with our rooms and required recording."""
    return queue(id, **{"media": "room", "recording": "required", **fields})


def agent(id: str, **fields: object) -> AgentPlan:
    return AgentPlan(id=id, **fields)  # type: ignore[arg-type]


def plan(*parts: QueuePlan | AgentPlan, **fields: object) -> Plan:
    queues = [part for part in parts if isinstance(part, QueuePlan)]
    agents = [part for part in parts if isinstance(part, AgentPlan)]
    return Plan(division_id="d", queues=queues, agents=agents, **fields)  # type: ignore[arg-type]


class Scene:
    """An engine under watch. `last` holds the events of the latest step or wait, `effects` its effects."""

    def __init__(self, *parts: QueuePlan | AgentPlan, **fields: object) -> None:
        self.now_ms = START_MS
        self.engine = Engine("d")
        self.follower = Engine("d")
        self.history = History()
        self.journal: list[bytes] = []
        self.last: list[Event] = []
        self.effects: list[Effect] = []
        self.seq_by_recipient: dict[str, int] = {}
        self.forgotten: set[str] = set()
        """Clients whose next number may jump, upwards only."""
        self._plans = 0
        self.replan(plan(*(parts or (queue(), agent("anna"))), **fields))

    # -- doing

    def do(self, command: cm.Command) -> Reply:
        self.last, self.effects = self.engine.step(command, self.now_ms)
        reply = self.effects[-1]
        assert isinstance(reply, Reply)
        self._watch()
        return reply

    def wait(self, ms: int) -> list[Event]:
        """Let `ms` pass and do what comes due."""
        self.now_ms += ms
        self.last, self.effects = self.engine.expire(self.now_ms)
        self._watch()
        return self.last

    def _watch(self) -> None:
        if self.last:
            self.journal.append(encode_events(self.last))
            for event in decode_events(self.journal[-1]):
                self.follower.apply(event)
                self.history.take(event)
            self.history.settle(self.engine.state)
        assert self.follower.digest() == self.engine.digest()
        for effect in self.effects:
            if isinstance(effect, Notify):
                last = self.seq_by_recipient.get(effect.recipient)
                assert effect.seq > (last or 0), effect
                assert last is None or effect.seq == last + 1 or effect.recipient in self.forgotten, effect
                self.seq_by_recipient[effect.recipient] = effect.seq
                self.forgotten.discard(effect.recipient)
        self.forgotten |= set(self.seq_by_recipient) - set(self.engine.state.recipients)
        check(self.engine)

    def crash(self, *, with_snapshot: bool = False) -> None:
        """Throw the engine's memory away and go on from what is durable."""
        check_coming_back(self.engine, self.journal)
        if with_snapshot:
            self.engine = Engine.restore("d", self.engine.snapshot())
        else:
            self.engine = Engine("d")
            for entry in self.journal:
                self.engine.replay(decode_events(entry))
        self.engine.wake()

    # -- words for what happens often

    def replan(self, new: Plan) -> Reply:
        self._plans += 1
        return self.do(cm.ApplyPlan(new, f"plan-{self._plans}"))

    def request(self, call_id: str, queue_id: str = "loans", customer_id: str = "", **fields: object) -> Reply:
        fields.setdefault("is_consented", True)
        return self.do(cm.RequestCall(call_id, customer_id or "of-" + call_id, queue_id, **fields))  # type: ignore[arg-type]

    def ready(self, *agent_ids: str) -> None:
        """One after the other, a millisecond apart, so that the first is idle longest."""
        for agent_id in agent_ids:
            self.now_ms += 1
            assert self.do(cm.SetActivity(agent_id, "ready")).is_accepted

    def ring(self, call_id: str, agent_id: str = "") -> Reservation:
        """The reservation that is pending for the call, at this agent where several are asked."""
        return next(one for one in self.call(call_id).reservations if agent_id in ("", one.agent_id))

    def accept(self, call_id: str, agent_id: str = "") -> Reply:
        ring = self.ring(call_id, agent_id)
        return self.do(cm.AcceptReservation(ring.id, ring.agent_id))

    def decline(self, call_id: str, agent_id: str = "", *, is_busy: bool = False) -> Reply:
        ring = self.ring(call_id, agent_id)
        return self.do(cm.DeclineReservation(ring.id, ring.agent_id, "busy", is_busy))

    def talk(self, call_id: str) -> None:
        """Take a ringing call of a queue with external media to connected, whoever is asked for it first."""
        assert self.accept(call_id).is_accepted
        assert self.do(cm.ReportConnected(call_id)).is_accepted

    def invite(self, call_id: str, agent_id: str, queue_id: str = "loans", **fields: object) -> Reply:
        """The agent invites a customer of that call's own."""
        principal = "agent:" + agent_id
        return self.do(cm.InviteCustomer(call_id, "of-" + call_id, agent_id, queue_id, principal=principal, **fields))  # type: ignore[arg-type]

    def come(self, call_id: str, *, is_consented: bool = True) -> Reply:
        """The invited customer accepts."""
        customer_id = self.call(call_id).customer_id
        return self.do(cm.AcceptInvitation(call_id, customer_id, is_consented, principal="customer:" + customer_id))

    def transfer(self, call_id: str, to_queue_id: str = "", to_agent_id: str = "", **fields: object) -> Reply:
        """Blind, by the call's owner."""
        principal = fields.pop("principal", None) or "agent:" + self.call(call_id).agent_id
        return self.do(cm.TransferCall(call_id, to_queue_id, to_agent_id, principal=principal, **fields))  # type: ignore[arg-type]

    def join(self, call_id: str, agent_id: str, role: str = "third") -> None:
        """The owner asks one more agent into the call, who accepts."""
        principal = "agent:" + self.call(call_id).agent_id
        assert self.do(cm.InviteParty(call_id, role, agent_id, principal=principal)).is_accepted
        assert self.accept(call_id, agent_id).is_accepted

    def hang_up(self, call_id: str) -> Reply:
        return self.do(cm.HangUp(call_id, principal="customer:" + self.call(call_id).customer_id))

    def connect(self, recipient: str, connection_id: str = "k1", gateway_id: str = "g1") -> Reply:
        return self.do(cm.Connect(recipient, gateway_id, connection_id))

    def disconnect(self, recipient: str, connection_id: str = "k1") -> Reply:
        return self.do(cm.Disconnect(recipient, connection_id))

    # -- looking

    def call(self, call_id: str) -> Call:
        return self.engine.state.calls[call_id]

    def agent(self, agent_id: str) -> Agent:
        return self.engine.state.agents[agent_id]

    def state(self, call_id: str) -> str:
        """`waiting`, `reserved anna` (all who are asked, oldest first), `connected anna`, `ended` ..."""
        call = self.call(call_id)
        if call.state == "reserved":
            return " ".join(["reserved", *(one.agent_id for one in call.reservations)])
        return f"{call.state} {call.agent_id}".strip() if call.state != "ended" else "ended"

    def only(self, kind: type[E]) -> E:
        """The one event of this kind in the latest step."""
        (event,) = [event for event in self.last if isinstance(event, kind)]
        return event

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.last)
