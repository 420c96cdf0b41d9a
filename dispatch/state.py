"""A division's state: the records, and the indexes that make every decision cheap.

Records (`calls`, `agents`, `recipients`, `answers`, `keys`) are the truth, go into snapshots and change only in
`dispatch/folding.py`. Indexes (waiting lines, pools, timers) are derived: kept up to date by the same arms, made anew
by `rebuild` after a restore. Deciding (`admission`, `attendance`, `reservations`, `rooms`) only reads.
"""

from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.choice import Candidate, Need, Pool, PoolKey, need_of
from dispatch.events import Event
from dispatch.model import (
    KEPT_EVENTS_MAX,
    KEPT_EVENTS_MS,
    Agent,
    Call,
    Pace,
    Recipient,
    Remembered,
    agent_recipient,
    customer_recipient,
)
from dispatch.plan import Plan, QueuePlan, meets
from dispatch.timers import Timer, Timers
from dispatch.waiting import Key, WaitingLine


class Queue:
    """A skill queue at work."""

    __slots__ = ("counts", "is_retired", "line", "plan", "pool")

    def __init__(self, plan: QueuePlan, pool: Pool) -> None:
        self.plan = plan
        self.pool = pool
        self.line = WaitingLine()
        self.counts = dict.fromkeys(lc.CALL_STATES, 0)
        self.is_retired = False
        """No longer in the plan: serves the calls it has, takes no new ones."""

    def __repr__(self) -> str:
        counts = " ".join(f"{state}={count}" for state, count in self.counts.items() if count)
        return f"<Queue {self.plan.id} line={len(self.line)} {counts}>"

    @property
    def live_count(self) -> int:
        """Calls of this queue that have not ended."""
        return sum(self.counts[state] for state in lc.LIVE_STATES)


class State:
    """Everything one division remembers."""

    def __init__(self, division_id: str) -> None:
        self.division_id = division_id
        self.plan = Plan(division_id=division_id)
        self.plan_digest = ""
        self.retired_plans: dict[str, QueuePlan] = {}
        """Queues that left the plan while calls of theirs are still in memory."""
        self.paces: dict[str, Pace] = {}
        """Queue -> how fast it is answered."""
        self.now_ms = 0
        self.calls_admitted_count = 0
        self.calls: dict[str, Call] = {}
        self.call_by_customer: dict[str, str] = {}
        """Customer -> the call in memory that was queued last."""
        self.agents: dict[str, Agent] = {}
        self.recipients: dict[str, Recipient] = {}
        self.forgotten_seq_max = 0
        """No client that was forgotten ever had a higher number: one that comes back goes on above it, so that an old number
        is never taken for a new one."""
        self.answers: dict[str, dict[str, Remembered]] = {}
        self.keys: dict[str, Remembered] = {}
        """`principal|id` of REST idempotency keys, oldest first."""
        self.queues: dict[str, Queue] = {}
        self.ended_count = 0
        """Calls in memory that have ended: the others are live."""
        self.pools: dict[PoolKey, Pool] = {}
        self.candidates: dict[str, Candidate] = {}
        self.timers = Timers()
        self.is_live = False
        """False while replaying: then nobody is told, and nothing is put up for matching."""
        self.notices: list[tuple[str, int, Event]] = []
        self.unplaced: list[Call] = []
        """Calls to find an agent for at the end of this step."""
        self.freed: list[Candidate] = []
        """Agents to find a call for at the end of this step."""

    def __repr__(self) -> str:
        live = sum(queue.live_count for queue in self.queues.values())
        return f"<State {self.division_id} live={live} calls={len(self.calls)} agents={len(self.agents)}>"

    # -- telling clients

    def tell(self, recipient_id: str, event: Event) -> None:
        """Number `event` for one client and keep it for a resume."""
        recipient = self.recipients.get(recipient_id)
        if recipient is None:
            recipient = self.recipients[recipient_id] = Recipient(id=recipient_id, seq=self.forgotten_seq_max)
        recipient.seq += 1
        kept = recipient.kept
        kept.append((recipient.seq, event))
        if len(kept) > KEPT_EVENTS_MAX or kept[0][1].at_ms < event.at_ms - KEPT_EVENTS_MS:
            del kept[0]
        if self.is_live:
            self.notices.append((recipient_id, recipient.seq, event))

    def tell_parties(self, call: Call, event: Event) -> None:
        """Number `event` for the call's customer and, if it has one, its agent."""
        customer = customer_recipient(call.customer_id)
        if customer in self.recipients:
            # Otherwise a later call of theirs was forgotten first, and with it all numbers: nobody is there to be told.
            self.tell(customer, event)
        if call.agent_id:
            self.tell(agent_recipient(call.agent_id), event)

    # -- waiting lines

    def key(self, call: Call) -> Key:
        """The call's key in its waiting line."""
        return (call.due_at_ms, call.order, call.id)

    def line_up(self, call: Call) -> None:
        """A waiting call whose customer is there stands in its line, at the place its key gives."""
        self.queues[call.queue_id].line.add(self.key(call))
        if self.is_live:
            self.unplaced.append(call)

    def leave_line(self, call: Call) -> None:
        """The call waits no longer, or its customer is gone."""
        self.queues[call.queue_id].line.remove(self.key(call))

    # -- agents at hand

    def refresh(self, agent: Agent) -> None:
        """Bring the pools up to date with what may be asked of `agent` now."""
        candidate = self.candidates[agent.id]
        free = agent.capacity_units - agent.used_units if self._is_askable(agent) else 0
        if free == candidate.free_units:
            return
        candidate.stamp += 1
        candidate.free_units = free
        if free <= 0:
            return
        for pool in candidate.pools:
            if free >= pool.cost_units:
                pool.offer(candidate)
        if self.is_live:
            self.freed.append(candidate)

    def _is_askable(self, agent: Agent) -> bool:
        return (
            agent.activity == lc.READY
            and not agent.wrap_ups
            and not agent.is_gone
            and not agent.is_retired
            and agent.not_before_ms <= self.now_ms
        )

    # -- indexes from records

    def rebuild(self) -> None:
        """Make every index anew from the records, as after a restore, a replay or a new plan."""
        self.unplaced, self.freed = [], []
        self.pools.clear()
        self.candidates = {agent.id: Candidate(agent) for agent in self.agents.values()}
        self.queues = {}
        for queue_plan in self.plan.queues:
            self._open_queue(queue_plan)
        for queue_plan in self.retired_plans.values():
            self._open_queue(queue_plan).is_retired = True
        self.timers.clear()
        self.ended_count = sum(call.state == lc.ENDED for call in self.calls.values())
        for call in self.calls.values():
            self._index_call(call)
        for agent in self.agents.values():
            self._index_agent(agent)
        for recipient in self.recipients.values():
            if recipient.grace_until_ms:
                self.timers.arm(recipient.grace_until_ms, tm.GRACE, recipient.id)

    def _open_queue(self, plan: QueuePlan) -> Queue:
        queue = self.queues[plan.id] = Queue(plan, self._pool(need_of(plan.need), plan.cost_units))
        queue.pool.queue_ids.append(plan.id)
        return queue

    def _pool(self, need: Need, cost_units: int) -> Pool:
        pool = self.pools.get((need, cost_units))
        if pool is None:
            pool = self.pools[need, cost_units] = Pool(need, cost_units)
            for candidate in self.candidates.values():
                if meets(candidate.agent.skills, dict(need)):
                    candidate.pools.append(pool)
                    pool.qualify(candidate)
        return pool

    def _index_call(self, call: Call) -> None:
        self.queues[call.queue_id].counts[call.state] += 1
        if call.state == lc.WAITING and not call.is_customer_gone:
            self.line_up(call)
        if call.expires_at_ms:
            self.timers.arm(call.expires_at_ms, tm.RESERVATION, call.id)
        if call.agent_gone_until_ms:
            self.timers.arm(call.agent_gone_until_ms, tm.RESERVATION, call.id)
        if call.media_until_ms:
            self.timers.arm(call.media_until_ms, tm.MEDIA, call.id)
        if call.forget_at_ms:
            self.timers.arm(call.forget_at_ms, tm.FORGET, call.id)
        for agent_id, until_ms in (call.refused_until_ms or {}).items():
            self.timers.arm(until_ms, tm.REFUSED, call.id, agent_id)

    def _index_agent(self, agent: Agent) -> None:
        if agent.not_before_ms > self.now_ms:
            self.timers.arm(agent.not_before_ms, tm.DELAY, agent.id)
        for work in agent.wrap_ups.values():
            self.timers.arm(work.until_ms, tm.WRAP_UP, agent.id, work.call_id)
        self.refresh(agent)

    # -- deadlines

    def is_due(self, timer: Timer) -> bool:
        """Say whether the entry still means something: the field it stands for has this very instant."""
        at_ms, kind, first, second = timer
        if kind == tm.WRAP_UP:
            agent = self.agents.get(first)
            work = agent.wrap_ups.get(second) if agent else None
            return work is not None and work.until_ms == at_ms
        if kind == tm.GRACE:
            recipient = self.recipients.get(first)
            return recipient is not None and recipient.grace_until_ms == at_ms
        if kind == tm.DELAY:
            agent = self.agents.get(first)
            return agent is not None and agent.not_before_ms == at_ms
        call = self.calls.get(first)
        return call is not None and self._is_call_due(call, at_ms, kind, second)

    @staticmethod
    def _is_call_due(call: Call, at_ms: int, kind: int, agent_id: str) -> bool:
        if kind == tm.RESERVATION:
            return at_ms in (call.expires_at_ms, call.agent_gone_until_ms)
        if kind == tm.MEDIA:
            return call.media_until_ms == at_ms
        if kind == tm.REFUSED:
            return (call.refused_until_ms or {}).get(agent_id) == at_ms
        return 0 < call.forget_at_ms <= at_ms
