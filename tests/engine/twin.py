"""A deliberately dumb twin of the routing rules: plain records, linear scans, no index, no heap, no events applied.

It was written from ROUTING.md, SAFETY.md and the docstrings, to disagree with the engine where one of the two is wrong.
After each wish it matches the whole hall anew: the most due waiting call that anybody may take goes first, to whoever is
idle longest. It looks for what is due by reading every record. What happened it tells as `facts`, plain tuples.
Here: the records, matching and time. What each command wishes is in `twin_wishes.py`.
"""

from dataclasses import dataclass, field

from dispatch.plan import AgentPlan, Plan, QueuePlan

Fact = tuple[object, ...]
BUSY = ("connecting", "connected")


@dataclass
class TwinRoom:
    attempt: int
    state: str = "requested"
    worker_id: str = ""
    worker_epoch: int = 0


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
    state: str = "waiting"
    agent_id: str = ""
    attempt: int = 0
    expires_at_ms: int = 0
    agent_gone_until_ms: int = 0
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

    @property
    def reservation_id(self) -> str:
        return f"{self.id}.{self.attempt}"

    def is_standing(self) -> bool:
        return len(self.joined) == 2 and (self.recording != "required" or len(self.recorded) == 2)


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


@dataclass
class TwinClient:
    gateway_id: str = ""
    connection_id: str = ""
    grace_until_ms: int = 0


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
        self.last_order: dict[str, int] = {}
        """Customer -> admission number of the last call."""
        self.answers: list[tuple[str, str, object, str, int]] = []
        """(principal, id, command, reason, at)."""
        self.facts: list[Fact] = []

    def tell(self, *fact: object) -> None:
        self.facts.append((self.now_ms, *fact))

    # -- finding

    def call(self, call_id: str) -> TwinCall | None:
        return next((call for call in self.calls if call.id == call_id), None)

    def agent(self, agent_id: str) -> TwinAgent | None:
        return next((agent for agent in self.agents if agent.plan.id == agent_id), None)

    def queue(self, queue_id: str) -> QueuePlan | None:
        return next((queue for queue in self.queues if queue.id == queue_id), None)

    def queue_of(self, call: TwinCall) -> QueuePlan:
        queue = self.queue(call.queue_id)
        assert queue is not None
        return queue

    def live_call_of(self, customer_id: str) -> TwinCall | None:
        return next((one for one in self.calls if one.customer_id == customer_id and one.state != "ended"), None)

    def calls_of(self, agent: TwinAgent, *states: str) -> list[TwinCall]:
        return [call for call in self.calls if call.agent_id == agent.plan.id and call.state in states]

    def used_units(self, agent: TwinAgent) -> int:
        calls = self.calls_of(agent, "reserved", *BUSY)
        return sum(call.cost for call in calls) + sum(work.cost for work in agent.wrap_ups)

    # -- matching

    def may_take(self, agent: TwinAgent, call: TwinCall) -> bool:
        queue = self.queue_of(call)
        return (
            agent.activity == "ready"
            and not (agent.is_gone or agent.is_retired or agent.wrap_ups)
            and agent.not_before_ms <= self.now_ms
            and call.refused.get(agent.plan.id, 0) <= self.now_ms
            and all(agent.plan.skills.get(skill, 0) >= level for skill, level in queue.need.items())
            and agent.plan.capacity_units - self.used_units(agent) >= queue.cost_units
        )

    def line(self, queue_id: str = "") -> list[TwinCall]:
        """Who waits and is there, the most due first; of one queue or of all."""
        waiting = [one for one in self.calls if one.state == "waiting" and not one.is_gone]
        in_queue = [one for one in waiting if not queue_id or one.queue_id == queue_id]
        return sorted(in_queue, key=lambda one: (one.due_at_ms, one.order))

    def match(self) -> None:
        while self._match_one():
            pass

    def _match_one(self) -> bool:
        for call in self.line():
            able = [agent for agent in self.agents if self.may_take(agent, call)]
            if able:
                agent = min(able, key=lambda one: one.idle_since_ms)
                queue = self.queue_of(call)
                call.state, call.agent_id, call.cost = "reserved", agent.plan.id, queue.cost_units
                call.attempt += 1
                call.expires_at_ms = self.now_ms + queue.reservation_timeout_ms
                self.tell("reserved", call.id, call.reservation_id, agent.plan.id, call.expires_at_ms)
                return True
        return False

    # -- what happens to calls and agents

    def give_back(self, call: TwinCall, outcome: str, not_before_ms: int = 0) -> None:
        agent = self.agent(call.agent_id)
        assert agent is not None
        self.tell("closed", call.id, call.reservation_id, agent.plan.id, outcome, not_before_ms)
        if outcome == "expired":
            agent.misses += 1
            agent.not_before_ms = not_before_ms
        elif not_before_ms:
            call.refused[agent.plan.id] = not_before_ms
        call.state, call.agent_id = "waiting", ""
        call.cost = call.expires_at_ms = call.agent_gone_until_ms = 0

    def give_back_all(self, agent: TwinAgent, outcome: str) -> None:
        for call in self.calls_of(agent, "reserved"):
            self.give_back(call, outcome)

    def set_activity(self, agent: TwinAgent, activity: str, reason: str) -> None:
        self.tell("activity", agent.plan.id, activity, reason)
        if agent.activity == "offline" and activity != "offline":
            agent.idle_since_ms, agent.misses = self.now_ms, 0
        if activity == "ready":
            agent.misses = agent.not_before_ms = 0
        agent.activity, agent.reason = activity, reason

    def end_wrap_up(self, agent: TwinAgent, work: TwinWork, how: str) -> None:
        agent.wrap_ups.remove(work)
        agent.idle_since_ms = self.now_ms
        self.tell("wrapped_up", work.call_id, agent.plan.id, how)

    def leave_room(self, call: TwinCall) -> None:
        for room in list(call.rooms):
            if room.state == "requested":
                call.rooms.remove(room)
            else:
                room.state = "closing"

    def end(self, call: TwinCall, reason: str) -> None:
        if call.state == "reserved":
            self.give_back(call, "rescinded")
        queue, agent = self.queue_of(call), self.agent(call.agent_id) if call.state in BUSY else None
        talked_ms = self.now_ms - call.connected_at_ms if call.state == "connected" else 0
        wrap_up = queue.wrap_up if call.state == "connected" else "none"
        wrap_up_ms = {"none": 0, "timed": queue.wrap_up_ms, "until_done": queue.wrap_up_ms_max}[wrap_up]
        until_ms = self.now_ms + wrap_up_ms if wrap_up != "none" else 0
        waited_ms = (call.connected_at_ms or self.now_ms) - call.queued_at_ms
        agent_id = agent.plan.id if agent else ""
        self.tell("ended", call.id, reason, agent_id, waited_ms, talked_ms, wrap_up, until_ms)
        if agent is not None:
            if wrap_up == "none":
                agent.idle_since_ms = self.now_ms
            else:
                agent.wrap_ups.append(TwinWork(call.id, queue.id, wrap_up, self.now_ms, until_ms, call.cost))
        self.leave_room(call)
        call.state, call.ended_at_ms, call.cost, call.media_until_ms = "ended", self.now_ms, 0, 0
        call.forget_at_ms = self.now_ms + self.plan.ended_retention_ms

    def requeue(self, call: TwinCall, reason: str) -> None:
        if call.was_requeued or call.is_gone:
            self.end(call, reason)
            return
        agent = self.agent(call.agent_id)
        assert agent is not None
        not_before_ms = self.now_ms + self.queue_of(call).decline_delay_ms
        self.tell("requeued", call.id, agent.plan.id, reason, not_before_ms)
        self.leave_room(call)
        call.refused[agent.plan.id] = not_before_ms
        agent.idle_since_ms = self.now_ms
        call.state, call.agent_id, call.was_requeued = "waiting", "", True
        call.cost = call.media_until_ms = call.connected_at_ms = 0

    def forget_if_over(self, call: TwinCall) -> None:
        if call.state == "ended" and call.forget_at_ms <= self.now_ms and not call.rooms and not call.unsealed:
            self.forget(call)

    def forget(self, call: TwinCall) -> None:
        for attempt in call.unsealed:
            self.tell("missing", call.id, attempt)
        self.calls.remove(call)
        self.tell("forgotten", call.id)
        self.drop_client("customer:" + call.customer_id)

    def drop_client(self, recipient: str) -> None:
        """A customer who is neither connected nor owns a call in memory is forgotten with all answers."""
        role, _, own_id = recipient.partition(":")
        owns = bool(self.calls) and any(one.customer_id == own_id for one in self._last_calls())
        client = self.clients.get(recipient)
        if role == "customer" and not owns and client is not None and not client.connection_id:
            del self.clients[recipient]
            self.answers = [one for one in self.answers if one[0] != recipient or one[1].startswith("key:")]

    def _last_calls(self) -> list[TwinCall]:
        """Each customer's last call, if it is still in memory; an older one alone counts for nothing."""
        return [call for call in self.calls if call.order == self.last_order.get(call.customer_id)]

    # -- time

    def expire(self, now_ms: int) -> list[Fact]:
        while instants := [at_ms for at_ms, *_ in self._deadlines() if at_ms <= now_ms]:
            self.now_ms = max(self.now_ms, min(instants))
            while due := [one for one in self._deadlines() if one[0] <= self.now_ms]:
                _, kind, first, second = min(due)
                self._expire_one(kind, first, second)
            self.match()
        self.now_ms = max(self.now_ms, now_ms)
        facts, self.facts = self.facts, []
        return facts

    def _deadlines(self) -> list[tuple[int, int, str, str]]:
        """All deadlines there are: (at, kind in the order of `dispatch/timers.py`, whose, with whom)."""
        found: list[tuple[int, int, str, str]] = []
        for call in self.calls:
            found += [(at, 1, call.id, "") for at in (call.expires_at_ms, call.agent_gone_until_ms) if at]
            found += [(call.media_until_ms, 2, call.id, "")] if call.media_until_ms else []
            found += [(at, 6, call.id, one) for one, at in call.refused.items() if at > self.now_ms]
            if call.state == "ended":
                is_owed = call.rooms or call.unsealed
                patience_ms = max(self.plan.recording_timeout_ms, self.plan.ended_retention_ms)
                found.append((call.ended_at_ms + patience_ms if is_owed else call.forget_at_ms, 7, call.id, ""))
        for agent in self.agents:
            found += [(work.until_ms, 3, agent.plan.id, work.call_id) for work in agent.wrap_ups]
            found += [(agent.not_before_ms, 5, agent.plan.id, "")] if agent.not_before_ms > self.now_ms else []
        found += [(one.grace_until_ms, 4, who, "") for who, one in self.clients.items() if one.grace_until_ms]
        return found

    def _expire_one(self, kind: int, first: str, second: str) -> None:
        call, agent = self.call(first), self.agent(first)
        if kind == 1 and call is not None:
            self._expire_reservation(call)
        elif kind == 2 and call is not None:
            if call.state == "connecting":
                self.requeue(call, "media_failed")
            else:
                self.end(call, "media_lost")
        elif kind == 3 and agent is not None:
            self.end_wrap_up(agent, next(one for one in agent.wrap_ups if one.call_id == second), "time")
        elif kind == 4:
            self._end_grace(first)
        elif kind == 7 and call is not None:
            self.forget(call)

    def _expire_reservation(self, call: TwinCall) -> None:
        queue, agent = self.queue_of(call), self.agent(call.agent_id)
        assert agent is not None
        if call.agent_gone_until_ms and call.agent_gone_until_ms <= self.now_ms:
            self.give_back(call, "agent_lost")
            return
        self.give_back(call, "expired", self.now_ms + queue.no_answer_delay_ms)
        if agent.misses >= queue.misses_max:
            self.give_back_all(agent, "agent_left")
            self.set_activity(agent, "not_ready", "no_answer")

    def _end_grace(self, recipient: str) -> None:
        self.tell("disconnected", recipient, 0)
        self.clients[recipient].grace_until_ms = 0
        role, _, own_id = recipient.partition(":")
        call, agent = self.live_call_of(own_id), self.agent(own_id)
        if role == "customer":
            self.drop_client(recipient)
            if call is not None and call.is_gone:
                self.end(call, "customer_lost")
        elif agent is not None:
            agent.is_gone = False
            self.give_back_all(agent, "agent_lost")
            for call in self.calls_of(agent, *BUSY):
                self.requeue(call, "agent_lost")
            for work in list(agent.wrap_ups):
                self.end_wrap_up(agent, work, "signed_out")
            if agent.activity != "offline":
                self.set_activity(agent, "offline", "connection_lost")
