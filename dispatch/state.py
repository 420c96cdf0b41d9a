"""A division's state: the records, and the indexes that make every decision cheap.

Records (`calls`, `agents`, `recipients`, `answers`, `keys`, ...) are the truth, go into snapshots and change only in
`dispatch/folding*.py`. Indexes (lanes, pools, timers) are derived: kept up to date by the same arms while the engine decides
(`is_live`), left alone while it only follows, and made anew by `rebuild`. Deciding only reads.
"""

from bisect import insort

from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.choice import Candidate, Kind, Need, Pool, PoolKey, doing_of, need_of, pool_key
from dispatch.deadlines import arm_agent, arm_call, arm_waiting
from dispatch.events import CallReserved, Event, ReservationClosed
from dispatch.handing_facts import HandedIn
from dispatch.hours import CLOSED
from dispatch.lanes import Lane, Queue
from dispatch.model import (
    KEPT_EVENTS_MAX,
    KEPT_EVENTS_MS,
    Agent,
    Call,
    LastAgent,
    Pace,
    Recipient,
    Remembered,
    agent_recipient,
    customer_recipient,
)
from dispatch.needs import need_at, own_needs
from dispatch.plan import Plan, QueuePlan, meets
from dispatch.timers import Timers
from dispatch.waiting import Key, WaitingLine, key_of


class State:
    """Everything one division remembers."""

    def __init__(self, division_id: str) -> None:
        self.division_id = division_id
        self.plan = Plan(division_id=division_id)
        self.plan_digest = ""
        self.retired_plans: dict[str, QueuePlan] = {}
        """Queues that left the plan while calls of theirs are still in memory."""
        self.paces: dict[str, Pace] = {}  # Queue -> how fast it is answered.
        self.now_ms = 0
        self.calls_admitted_count = 0
        self.reservations_count = 0
        """Reservations ever made: the numbers of `round_robin`."""
        self.calls: dict[str, Call] = {}
        self.call_by_customer: dict[str, str] = {}
        """Customer -> the call in memory that was queued last."""
        self.last_agents: dict[str, LastAgent] = {}
        """Customer -> whom they talked to last, in queues that remember it; oldest first, at most `last_agents_max`."""
        self.agents: dict[str, Agent] = {}
        self.recipients: dict[str, Recipient] = {}
        self.forgotten_seq_max = 0
        """No client that was forgotten ever had a higher number: one that comes back goes on above it."""
        self.answers: dict[str, list[Remembered]] = {}
        """Principal -> the latest answers, oldest first."""
        self.keys: dict[str, Remembered] = {}
        """`principal|id` of REST idempotency keys, oldest first."""
        self.handed_in: dict[str, HandedIn] = {}  # Call -> what another division was answered; oldest first.
        self.queues: dict[str, Queue] = {}  # Derived from here on.
        self.ended_count = 0  # Calls in memory that have ended.
        self.pools: dict[PoolKey, Pool] = {}
        self.kinds: dict[Need, Kind] = {}
        self.candidates: dict[str, Candidate] = {}
        self.answers_by_id: dict[str, dict[str, Remembered]] = {}  # Of principals who were given many and asked again.
        self.standing: dict[str, WaitingLine] = {}
        """Call -> the line it stands in."""
        self.joints: dict[str, Key] = {}
        """Calls with a joint need that stand in a line, with their keys: while there are any, calls are served one by one."""
        self.timers = Timers()
        self.has_rooms = False
        """A call has, or had, a room of ours, or another division: there may be something to ask of them."""
        self.is_live = False
        """False while replaying: then nobody is told, and nothing is put up for matching."""
        self.notices: list[tuple[str, int, Event]] = []
        self.is_touched = False
        """Something below is not empty."""
        self.unplaced: list[Call] = []
        """Calls to find an agent for at the end of this step."""
        self._uncounted: list[Candidate] = []
        """Agents who do something else than when they were counted."""
        self.freed: list[Candidate] = []
        """Agents to find a call for at the end of this step."""
        self.reopened: list[Queue] = []
        """Queues that may serve again: opened, or below their cap."""
        self.rung: list[Call] = []
        """Calls reserved in this step that may ring at more agents."""
        self.holds: dict[str, str] = {}
        """Joint call -> who is held for it."""
        self.is_led_on = False
        """Calls may wait where they cannot be served: somebody signed out, a queue has closed, or a call came back to one."""

    def __repr__(self) -> str:
        return f"<State {self.division_id} live={len(self.calls) - self.ended_count} agents={len(self.agents)}>"

    def pace(self, queue: Queue) -> Pace:
        """How fast the queue is answered."""
        if queue.pace is None:
            queue.pace = self.paces[queue.plan.id] = Pace()
        return queue.pace

    # -- telling clients

    def tell(self, recipient_id: str, event: Event) -> None:
        """Number `event` for one client and keep it for a resume. Who was never connected has no numbers: nobody to tell."""
        recipient = self.recipients.get(recipient_id)
        if recipient is None:
            return
        recipient.seq += 1
        kept = recipient.kept
        kept.append((recipient.seq, event))
        if len(kept) > KEPT_EVENTS_MAX or kept[0][1].at_ms < event.at_ms - KEPT_EVENTS_MS:
            del kept[0]
        if self.is_live:
            self.notices.append((recipient_id, recipient.seq, event))

    def tell_parties(self, call: Call, event: Event) -> None:
        """Number `event` for the call's customer and for everybody who is in it or asked for it."""
        if not self.recipients:
            return
        self.tell(customer_recipient(call.customer_id), event)
        if call.agent_id:
            self.tell(agent_recipient(call.agent_id), event)
        for reservation in call.reservations:
            self.tell(agent_recipient(reservation.agent_id), event)
        for party in call.parties:
            self.tell(agent_recipient(party.agent_id), event)
        for supervisor_id in call.supervisors or ():
            self.tell("supervisor:" + supervisor_id, event)

    def tell_asked(self, call: Call, event: CallReserved | ReservationClosed) -> None:
        """Number `event` for the agent who is asked, and for whom the call belongs to: its owner, or its customer.

        The customer hears of the first who is asked and of the last who is not any more: between them the call just rings.
        """
        if not self.recipients:
            return
        if call.agent_id:
            self.tell(agent_recipient(call.agent_id), event)
        elif len(call.reservations) == 1:
            self.tell(customer_recipient(call.customer_id), event)
        if event.agent_id != call.agent_id:
            self.tell(agent_recipient(event.agent_id), event)

    # -- waiting lines

    def key(self, call: Call) -> Key:
        """The call's key in its waiting line."""
        return key_of(call)

    def line_up(self, call: Call) -> None:
        """The call waits (again): at the end of this step it is placed, at an agent or at its place in the line."""
        if self.is_live:
            arm_waiting(self, call)
            self.unplaced.append(call)
            self.is_touched = True
            queue = self.queues[call.queue_id]
            if queue.phase == CLOSED or queue.plan.on_no_agents:
                self.is_led_on = True

    def may_stand(self, call: Call) -> bool:
        """Say whether the call has a place: it waits, and its customer is there or will be called back."""
        return call.state == lc.WAITING and (call.is_callback or not call.is_customer_gone)

    def kept_for(self, call: Call) -> str:
        """The agent whom nobody else may forestall now, or ''."""
        favourite = call.favourite
        return favourite.agent_id if favourite is not None and favourite.until_ms > self.now_ms else ""

    def stand(self, call: Call) -> None:
        """Give the call its place in its lane, or among the kept. The caller makes sure that it stands nowhere."""
        queue, key, agent_id = self.queues[call.queue_id], self.key(call), self.kept_for(call)
        lane = self.lane_of(call)
        if lane.expert_pool is not None:
            self.joints[call.id] = key
        if agent_id or call.not_before_ms > self.now_ms:
            line = queue.kept
            if agent_id in self.candidates and call.not_before_ms <= self.now_ms:
                insort(self.candidates[agent_id].kept, key)
        else:
            line = lane.line
        line.add(key)
        self.standing[call.id] = line

    def leave_line(self, call: Call) -> None:
        """The call waits no longer, or its customer is gone, or its key is about to change. Nothing if it stands nowhere."""
        line = self.standing.pop(call.id, None)
        if line is None:
            return
        queue, key = self.queues[call.queue_id], self.key(call)
        line.remove(key)
        self.joints.pop(call.id, None)
        if line is queue.kept and call.favourite is not None and call.favourite.agent_id in self.candidates:
            kept = self.candidates[call.favourite.agent_id].kept
            if key in kept:
                kept.remove(key)

    def look_again(self, call: Call) -> None:
        """Something changed for this call alone (a refusal is over, the next attempt of a callback): place it anew."""
        if self.may_stand(call):
            self.leave_line(call)
            self.unplaced.append(call)
            self.is_touched = True

    def lane_of(self, call: Call) -> Lane:
        """The lane for the call's need of now; a new one costs O(kinds of agents)."""
        queue = self.queues[call.queue_id]
        if call.wishes is None and not call.step and queue.plain is not None:
            return queue.plain
        step = min(call.step, len(queue.plan.relaxation))
        own, joint = own_needs(call)
        lane = queue.lanes.get((step, own, joint))
        if lane is None:
            need = need_at(queue.plan, step, own)
            expert = dict(joint) or queue.plan.joint_need
            expert_pool = self.pool(expert, queue.plan) if expert else None
            lane = queue.lanes[step, own, joint] = Lane(
                queue, (step, own, joint), self.pool(need, queue.plan), expert_pool
            )
            if lane.key == (0, (), ()):
                queue.plain = lane
        return lane

    def pool(self, need: dict[str, int], plan: QueuePlan) -> Pool:
        """The pool of agents who meet the need, in the queue's strategy; a new one takes in everybody who qualifies."""
        key = pool_key(need, plan)
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = Pool(key[0], plan)
            for kind in self.kinds.values():
                if meets(kind.skills, need):
                    pool.take_in(kind)
            for candidate in self.candidates.values():
                if candidate.free_units > 0 and pool in candidate.kind.pools:
                    pool.offer(candidate, self.now_ms)
        return pool

    def has_signed_in(self, plan: QueuePlan, own: Need) -> bool:
        """Is anybody signed in who may serve once every relaxation step is open? O(kinds of agents) at worst."""
        need = need_at(plan, len(plan.relaxation), own)
        pool = self.pools.get(pool_key(need, plan))
        if pool is not None:
            return any(kind.signed_in_count for kind in pool.kinds)
        return any(kind.signed_in_count and meets(kind.skills, need) for kind in self.kinds.values())

    # -- needs of calls' own

    def count_need(self, call: Call, queue_id: str, change: int) -> None:
        """A live call with a need of its own came to a queue (1) or left it (-1); the last one takes its lanes along."""
        if call.wishes is None or not (call.wishes.need or call.wishes.joint_need):
            return
        queue, needs = self.queues[queue_id], own_needs(call)
        queue.needs[needs] = queue.needs.get(needs, 0) + change
        if queue.needs[needs] == 0:
            del queue.needs[needs]
            for key in [key for key in queue.lanes if key[1:] == needs]:
                lane = queue.lanes.pop(key)
                lane.close()
                self._drop_pool(lane.pool)
                if lane.expert_pool is not None and lane.expert_pool is not lane.pool:
                    self._drop_pool(lane.expert_pool)

    def _drop_pool(self, pool: Pool) -> None:
        """A pool goes with its last lane; it is made anew when it is needed."""
        if pool.lanes:
            return
        for key in [key for key, one in self.pools.items() if one is pool]:
            del self.pools[key]
        for kind in pool.kinds:
            kind.pools.remove(pool)

    # -- agents

    def refresh(self, agent: Agent) -> None:
        """Work out whether the agent may be asked; who may is put up for the calls that wait."""
        if not self.is_live:
            return
        candidate = self.candidates[agent.id]
        candidate.stamp += 1
        if candidate.is_counted:
            candidate.is_counted = False
            self._uncounted.append(candidate)
        free_units = agent.capacity_units - agent.used_units
        if (
            free_units <= 0
            or agent.wrap_ups
            or agent.activity != lc.READY
            or agent.is_gone
            or agent.is_retired
            or agent.held_for_call_id
            or agent.not_before_ms > self.now_ms
        ):
            candidate.free_units = 0
            return
        candidate.free_units = free_units
        if not candidate.is_listed:
            candidate.is_listed = True
            self.freed.append(candidate)
            self.is_touched = True

    def count_doing(self) -> None:
        """Bring `Kind.counts` up to date, before somebody looks at it. O(agents touched since the last look)."""
        for candidate in self._uncounted:
            candidate.is_counted = True
            doing = doing_of(candidate.agent)
            counts = candidate.kind.counts
            if candidate.doing:
                counts[candidate.doing] -= 1
            counts[doing] = counts.get(doing, 0) + 1
            candidate.doing = doing
        self._uncounted = []

    def count_signed_in(self, agent: Agent) -> None:
        """The agent may have signed in or out: with the last one who qualifies, calls that wait may have to go elsewhere."""
        is_signed_in = agent.activity != lc.OFFLINE and not agent.is_retired
        candidate = self.candidates[agent.id]
        if is_signed_in == candidate.is_signed_in:
            return
        candidate.is_signed_in = is_signed_in
        if is_signed_in:
            candidate.kind.signed_in_count += 1
        else:
            candidate.kind.signed_in_count -= 1
            self.is_led_on = self.is_touched = True

    def offer(self, candidate: Candidate) -> None:
        """No call waits for this agent: stand ready in every pool. O(pools of the agent x log n)."""
        candidate.stamp += 1
        units = candidate.free_units
        for pool in candidate.kind.pools:
            if units >= pool.cost_units:
                pool.offer(candidate, self.now_ms)

    # -- indexes from records

    def rebuild(self) -> None:
        """Make every index anew from the records, as after a restore, a replay or a new plan."""
        self.unplaced, self.freed, self.reopened, self.is_led_on = [], [], [], False
        self.standing, self.joints, self.rung = {}, {}, []
        self._uncounted, self.answers_by_id = [], {}
        self.holds = {call.id: call.held_agent_id for call in self.calls.values() if call.held_agent_id}
        self.pools, self.kinds, self.candidates, self.queues = {}, {}, {}, {}
        self.timers.clear()
        for queue_plan in self.plan.queues:
            self._open_queue(queue_plan)
        for queue_plan in self.retired_plans.values():
            self._open_queue(queue_plan).is_retired = True
        self.ended_count = sum(call.state == lc.ENDED for call in self.calls.values())
        self.has_rooms = any(call.rooms or call.handing or call.origins for call in self.calls.values())
        for call in self.calls.values():
            self.queues[call.queue_id].counts[call.state] += 1
        if self.is_live:
            self._index()

    def _index(self) -> None:
        for agent in self.agents.values():
            skills = need_of(agent.skills)
            kind = self.kinds.get(skills)
            if kind is None:
                kind = self.kinds[skills] = Kind(agent.skills)
            candidate = self.candidates[agent.id] = Candidate(agent, kind)
            kind.candidates.append(candidate)
        for queue in self.queues.values():
            self.pool(queue.plan.need, queue.plan)
            if queue.phase_until_ms:
                self.arm(queue.phase_until_ms, tm.HOURS, queue.plan.id)
        for call in self.calls.values():
            self._index_call(call)
        for agent in self.agents.values():
            arm_agent(self, agent)
            self.count_signed_in(agent)
            self.refresh(agent)
        self.is_led_on = self.is_touched = True
        for recipient in self.recipients.values():
            if recipient.grace_until_ms:
                self.arm(recipient.grace_until_ms, tm.GRACE, recipient.id)

    def _open_queue(self, plan: QueuePlan) -> Queue:
        queue = self.queues[plan.id] = Queue(plan)
        queue.pace = self.paces.get(plan.id)
        queue.update_phase(self.now_ms)
        return queue

    def _index_call(self, call: Call) -> None:
        if call.state not in lc.OVER:
            self.count_need(call, call.queue_id, 1)
        if call.state == lc.WAITING:
            self.line_up(call)
        if call.is_callback and call.state in (lc.WAITING, lc.RESERVED):
            self.queues[call.queue_id].callbacks_count += 1
        arm_call(self, call)

    def arm(self, at_ms: int, kind: int, first: str, second: str = "") -> None:
        """Look at this then, if this engine decides at all."""
        if self.is_live:
            self.timers.arm(at_ms, kind, first, second)
