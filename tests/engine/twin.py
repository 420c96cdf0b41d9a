"""A deliberately dumb twin of the routing rules: plain records, linear scans, no index, no heap, no events applied.

It is written from docs/routing.md, SAFETY.md and the docstrings, to disagree with the engine where one of the two is wrong.
It looks for what is due by reading every record, and after each wish it matches the whole hall anew. What happened it
tells as `facts`, plain tuples. Here: the records and how to find them. Beside: `twin_wishes` (what each command wishes),
`twin_requests`, `twin_presence`, `twin_talking`, `twin_media` (the larger groups of them), `twin_calls` (what happens to calls
and agents), `twin_limits` (limits, hours, favourites), `twin_matching` (who gets whom), `twin_time` (what comes due).
"""

from dataclasses import dataclass, field

from dispatch.plan import AgentPlan, Plan, QueuePlan
from dispatch.wishes import NEVER_MS, Favourite, Wishes

Fact = tuple[object, ...]
BUSY = ("connecting", "connected")


@dataclass
class TwinRoom:
    attempt: int
    state: str = "requested"
    worker_id: str = ""
    worker_epoch: int = 0


@dataclass
class TwinRing:
    """A reservation that is pending."""

    id: str
    agent_id: str
    expires_at_ms: int
    cost: int
    role: str = "agent"
    gone_until_ms: int = 0
    is_accepted: bool = False


@dataclass
class TwinParty:
    agent_id: str
    role: str
    cost: int


@dataclass
class TwinScript:
    """The step that the customer sees."""

    number: int
    step_id: str
    text: str
    answers: list[str]
    answer: str = ""


@dataclass
class TwinCall:
    id: str
    customer_id: str
    queue_id: str
    order: int
    queued_at_ms: int
    due_at_ms: int
    media: str
    recording: str
    is_consented: bool = False
    wishes: Wishes = field(default_factory=Wishes)
    favourite: Favourite | None = None
    state: str = "waiting"
    agent_id: str = ""
    """The owner, or after the end the last one."""
    attempt: int = 0
    rings: list[TwinRing] = field(default_factory=list)
    parties: list[TwinParty] = field(default_factory=list)
    reservation_id: str = ""
    media_until_ms: int = 0
    cost: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    was_requeued: bool = False
    room_attempt: int = 0
    rooms: list[TwinRoom] = field(default_factory=list)
    joined: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)
    unsealed: list[int] = field(default_factory=list)
    is_gone: bool = False
    connected_at_ms: int = 0
    ended_at_ms: int = 0
    forget_at_ms: int = 0
    step: int = 0
    entered_at_ms: int = 0
    visited: list[str] = field(default_factory=list)
    is_callback: bool = False
    callback_count: int = 0
    not_before_ms: int = 0
    held_agent_id: str = ""
    held_until_ms: int = 0
    hold_not_before_ms: int = 0
    invited_until_ms: int = 0
    on_hold_until_ms: int = 0
    scripts_count: int = 0
    script: TwinScript | None = None
    supervisors: dict[str, str] = field(default_factory=dict)
    credit_ms: int = 0
    is_absolute: bool = False

    @property
    def key(self) -> tuple[bool, int, int]:
        return (not self.is_absolute, self.due_at_ms, self.order)

    def is_standing(self) -> bool:
        return len(self.joined) == 2 and (self.recording != "required" or len(self.recorded) == 2)

    def is_in_line(self) -> bool:
        return self.state == "waiting" and (self.is_callback or not self.is_gone)

    def is_kept_at(self, now_ms: int) -> bool:
        return self.favourite is not None and self.favourite.until_ms > now_ms

    def ring_of(self, agent_id: str) -> TwinRing | None:
        return next((one for one in self.rings if one.agent_id == agent_id), None)

    def party_of(self, agent_id: str) -> TwinParty | None:
        return next((one for one in self.parties if one.agent_id == agent_id), None)


@dataclass
class TwinWork:
    call_id: str
    queue_id: str
    kind: str
    started_at_ms: int
    until_ms: int
    cost: int


@dataclass
class TwinAgent:
    plan: AgentPlan
    activity: str = "offline"
    reason: str = ""
    idle_since_ms: int = 0
    not_before_ms: int = 0
    misses: int = 0
    is_gone: bool = False
    is_retired: bool = False
    wrap_ups: list[TwinWork] = field(default_factory=list)
    reserved_order: int = 0
    answered_count: int = 0
    missed_count: int = 0
    declined_count: int = 0
    busy_count: int = 0
    lost_count: int = 0
    spans: list[tuple[int, str]] = field(default_factory=list)
    """Since sign-in: (from when, `busy`, `ready` or `away`), for the occupancy."""


@dataclass
class TwinClient:
    gateway_id: str = ""
    connection_id: str = ""
    grace_until_ms: int = 0


@dataclass
class TwinTalk:
    """Who talked to a customer last."""

    customer_id: str
    agent_id: str
    at_ms: int


class Twin:
    def __init__(self, division_id: str) -> None:
        self.plan = Plan(division_id=division_id)
        self.plan_digest = ""
        self.now_ms = 0
        self.queues: list[QueuePlan] = []
        """In the plan's order, retired ones last."""
        self.agents: list[TwinAgent] = []
        self.calls: list[TwinCall] = []
        """In order of admission."""
        self.clients: dict[str, TwinClient] = {}
        self.admitted = 0
        self.reserved = 0
        self.last_order: dict[str, int] = {}
        """Customer -> admission number of the last call."""
        self.talks: list[TwinTalk] = []
        """Oldest first, one a customer."""
        self.answers: list[tuple[str, str, object, str, int]] = []
        """(principal, id, command, reason, at)."""
        self.facts: list[Fact] = []
        self.oracle: list[tuple[int, str, str]] = []
        """The engine's reservations of this step, (at, call, agent), for the ties that the rules leave open."""
        self.ruled_on: list[Fact] = []
        """What was matched alone, and what with the oracle's help: counted by the tests."""

    def tell(self, *fact: object) -> None:
        self.facts.append((self.now_ms, *fact))

    # -- finding

    def call(self, call_id: str) -> TwinCall | None:
        return next((call for call in self.calls if call.id == call_id), None)

    def agent(self, agent_id: str) -> TwinAgent | None:
        return next((agent for agent in self.agents if agent.plan.id == agent_id), None)

    def agent_of(self, agent_id: str) -> TwinAgent:
        agent = self.agent(agent_id)
        assert agent is not None, agent_id
        return agent

    def queue(self, queue_id: str) -> QueuePlan | None:
        return next((queue for queue in self.queues if queue.id == queue_id), None)

    def offered(self, queue_id: str) -> QueuePlan | None:
        """The queue if the plan still has it."""
        return next((queue for queue in self.plan.queues if queue.id == queue_id), None)

    def queue_of(self, call: TwinCall) -> QueuePlan:
        queue = self.queue(call.queue_id)
        assert queue is not None
        return queue

    def live_call_of(self, customer_id: str) -> TwinCall | None:
        """An invitation that is not accepted yet does not count."""
        live = [one for one in self.calls if one.customer_id == customer_id and one.state not in ("ended", "invited")]
        return live[-1] if live else None

    # -- what occupies an agent

    def rings_at(self, agent: TwinAgent) -> list[tuple[TwinCall, TwinRing]]:
        return [(call, ring) for call in self.calls for ring in call.rings if ring.agent_id == agent.plan.id]

    def owned_by(self, agent: TwinAgent) -> list[TwinCall]:
        return [call for call in self.calls if call.agent_id == agent.plan.id and call.state in BUSY]

    def joined_by(self, agent: TwinAgent) -> list[tuple[TwinCall, TwinParty]]:
        return [(call, one) for call in self.calls for one in call.parties if one.agent_id == agent.plan.id]

    def held_by(self, agent: TwinAgent) -> TwinCall | None:
        """The joint call that the agent is held for."""
        return next((call for call in self.calls if call.held_agent_id == agent.plan.id), None)

    def is_occupied(self, agent: TwinAgent) -> bool:
        """By anything, ringing included."""
        return bool(self.rings_at(agent) or self.owned_by(agent) or self.joined_by(agent) or agent.wrap_ups)

    def used_units(self, agent: TwinAgent) -> int:
        rings = sum(ring.cost for _, ring in self.rings_at(agent))
        calls = sum(call.cost for call in self.owned_by(agent)) + sum(one.cost for _, one in self.joined_by(agent))
        return rings + calls + sum(work.cost for work in agent.wrap_ups)

    def free_units(self, agent: TwinAgent) -> int:
        return agent.plan.capacity_units - self.used_units(agent)

    # -- waiting lines

    def line(self, queue_id: str = "") -> list[TwinCall]:
        """Who waits and is there (or is called back), the most due first; of one queue or of all."""
        waiting = [one for one in self.calls if one.is_in_line() and queue_id in ("", one.queue_id)]
        return sorted(waiting, key=lambda one: one.key)

    def need_of(self, call: TwinCall, step: int | None = None) -> dict[str, int]:
        """What the call asks for at its step (or the one given), its own skills added."""
        queue, at = self.queue_of(call), call.step if step is None else step
        return self.need_in(queue, call.wishes, at)

    @staticmethod
    def need_in(queue: QueuePlan, wishes: Wishes, step: int) -> dict[str, int]:
        step = min(step, len(queue.relaxation))
        need = dict(queue.relaxation[step - 1].need if step else queue.need)
        for skill, level in wishes.need.items():
            need[skill] = max(level, need.get(skill, 0))
        return need

    # -- occupancy

    def mark(self, agent: TwinAgent) -> None:
        """Write down whether the agent is busy, ready or away from now on."""
        if agent.activity == "offline":
            agent.spans = []
            return
        is_busy = bool(self.owned_by(agent) or self.joined_by(agent) or agent.wrap_ups)
        what = "busy" if is_busy else "ready" if agent.activity == "ready" else "away"
        if not agent.spans or agent.spans[-1][1] != what:
            agent.spans.append((self.now_ms, what))

    def occupancy(self, agent: TwinAgent) -> int:
        """Busy / (busy + ready) since sign-in, in millionths, as of the end of the latest work; before, 0."""
        ended = [index for index, (_, what) in enumerate(agent.spans[:-1]) if what == "busy"]
        spent = {"busy": 0, "ready": 0, "away": 0}
        for index in range(ended[-1] + 1 if ended else 0):
            since_ms, what = agent.spans[index]
            spent[what] += agent.spans[index + 1][0] - since_ms
        known = spent["busy"] + spent["ready"]
        return spent["busy"] * 1_000_000 // known if known else 0


def never(until_ms: int) -> bool:
    """Is this the instant that does not come?"""
    return until_ms >= NEVER_MS
