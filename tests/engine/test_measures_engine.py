"""Counters and paces over the real engine: what the fold counts is what the engine's own records say, after every step."""

from collections import Counter
from random import Random

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.codec import decode_events, encode_events
from dispatch.engine import Engine
from dispatch.folding_handing import HANDING_ARMS
from dispatch.measures import Measures
from dispatch.measuring import ARMS
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.paper import START_MS, balance, time_of

QUEUES = [
    QueuePlan(
        id="loans", need={"law": 2}, media="external", recording="off", reservations_max=2, wait_ms_max=30_000,
        on_wait=[Way("overflow", ["cards"])], relaxation=[Relaxation(after_ms=20_000, need={"law": 1})],
    ),
    QueuePlan(
        id="cards", need={"talk": 1}, media="external", recording="off", waiting_max=4, on_full=[Way("overflow", ["later"])],
        wrap_up="until_done",
    ),
    QueuePlan(
        id="later", need={"talk": 1}, media="external", recording="off", waiting_max=3, wait_ms_max=40_000,
        on_wait=[Way("callback")], callback_answer_ms=5_000, callback_retry_ms=10_000, callback_attempts_max=2, wrap_up="none",
    ),
    QueuePlan(id="pairs", need={"talk": 1}, joint_need={"law": 1}, media="external", recording="off", cost_units=50),
]  # fmt: skip
AGENTS = [
    *(AgentPlan(id=f"law{number}", skills={"law": 1 + number, "talk": 1}) for number in range(3)),
    *(AgentPlan(id=f"talk{number}", skills={"talk": 1}, capacity_units=200) for number in range(3)),
]
PLAN = Plan(division_id="d", queues=QUEUES, agents=AGENTS)


class Course:
    """Dice give commands to an engine; a fold takes its events from their bytes, as a follower of the journal would."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.engine, self.measures = Engine("d"), Measures()
        self.now_ms = START_MS
        self.seen: Counter[type] = Counter()
        self.taken_over: Counter[str] = Counter()
        """By agents who were no party of the call before."""
        self.parties: set[tuple[str, str]] = set()
        self.calls_count = 0
        self.do(cm.ApplyPlan(PLAN, "p"))
        for agent in AGENTS:
            self.do(cm.SetActivity(agent.id, "ready"))

    def take(self, events: list[ev.Event]) -> None:
        for event in decode_events(encode_events(events)) if events else ():
            self.measures.apply(event)
            self.seen[type(event)] += 1
            if type(event) is ev.PartyAdded:
                self.parties.add((event.call_id, event.agent_id))
            elif type(event) is ev.PartyRemoved:
                self.parties.remove((event.call_id, event.agent_id))
            elif type(event) is ev.OwnershipMoved and (event.call_id, event.to_agent_id) in self.parties:
                self.parties.remove((event.call_id, event.to_agent_id))
            elif type(event) is ev.OwnershipMoved:
                self.taken_over[event.to_agent_id] += 1

    def do(self, command: cm.Command) -> None:
        self.take(self.engine.step(command, self.now_ms)[0])

    def step(self) -> None:
        """Let a while pass, with all that comes due in it, and give one command."""
        self.now_ms += int(self.dice.expovariate(1 / 4_000))
        self.take(self.engine.expire(self.now_ms)[0])
        self.do(self.command())

    def command(self) -> cm.Command:
        dice, state = self.dice, self.engine.state
        live = [call for call in state.calls.values() if call.state != lc.ENDED]
        ringing = [one for call in live for one in call.reservations]
        connecting = [call.id for call in live if call.state == lc.CONNECTING]
        talking = [call.id for call in live if call.state == lc.CONNECTED]
        invited = [call for call in live if call.state == lc.INVITED]
        works = [(agent.id, call_id) for agent in state.agents.values() for call_id in agent.wrap_ups]
        kinds = ["request", "answer", "talk", "end", "activity", "wrap", "come", "extra", "extra of talking"]
        (kind,) = dice.choices(kinds, [4, 10, 10, 3, 2, 3, 1, 1, 6])
        if kind == "answer" and ringing:
            asked = dice.choice(ringing)
            if dice.random() < 0.85:
                return cm.AcceptReservation(asked.id, asked.agent_id)
            return cm.DeclineReservation(asked.id, asked.agent_id, is_busy=dice.random() < 0.3)
        if kind == "talk" and connecting:
            return cm.ReportConnected(dice.choice(connecting))
        if kind == "end" and live:
            call = dice.choice(live)
            return cm.HangUp(call.id, principal=dice.choice(["customer:" + call.customer_id, "operator:o"]))
        if kind == "activity":
            # Ready most of the time, and never offline: `busy_ms` of the engine is since sign-in.
            agent_id = next(
                (one.id for one in state.agents.values() if one.activity != lc.READY), dice.choice(AGENTS).id
            )
            return cm.SetActivity(agent_id, *dice.choice([("ready", ""), ("ready", ""), ("not_ready", "lunch")]))
        if kind == "wrap" and works:
            return cm.FinishWrapUp(*dice.choice(works))
        if kind == "come" and invited:
            return cm.AcceptInvitation(invited[0].id, invited[0].customer_id)
        if kind == "extra" and live:
            return self._extra(dice.choice(live).id)
        return self._extra(dice.choice(talking)) if kind == "extra of talking" and talking else self._request()

    def _request(self) -> cm.Command:
        self.calls_count += 1
        number, dice = self.calls_count, self.dice
        if dice.random() < 0.05:
            return cm.InviteCustomer(f"c{number}", f"z{number}", dice.choice(AGENTS).id, "loans", valid_ms=60_000)
        wishes = Wishes(is_absolute=True, is_callback=dice.random() < 0.5) if dice.random() < 0.2 else None
        return cm.RequestCall(f"c{number}", f"z{number}", dice.choice(QUEUES).id, wishes=wishes)

    def _extra(self, call_id: str) -> cm.Command:
        dice, state, who = self.dice, self.engine.state, "operator:o"
        call = state.calls[call_id]
        agent_id = dice.choice([*(party.agent_id for party in call.parties), dice.choice(AGENTS).id])
        return dice.choice([
            cm.TransferCall(call_id, dice.choice(QUEUES).id, principal=who),
            cm.InviteParty(call_id, "third", agent_id, principal=who),
            cm.TakeOver(call_id, agent_id, principal=who),
            cm.CompleteTransfer(call_id, agent_id, principal=who),
            cm.SetHold(call_id, not call.on_hold_until_ms, principal="agent:" + call.agent_id),
            cm.SetPriority(call_id, 1_000, dice.random() < 0.5),
            cm.RequestCallback(call_id),
        ])  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_the_fold_says_what_the_engine_says(seed: int) -> None:
    """Given a random course of the engine, then after every step queues add up, and live calls, work and time agree with it."""
    course = Course(seed)
    for number in range(1_200):
        course.step()
        _check_queues(course)
        if number % 20 == 0:
            _check_agents(course)


def test_courses_meet_every_event_that_counts() -> None:
    """Given some courses, then none of the comparisons above was about nothing; hand-over is counted in its own walk."""
    seen: Counter[type] = Counter()
    for seed in range(3):
        course = Course(seed)
        for _ in range(1_200):
            course.step()
        seen.update(course.seen)
    assert set(ARMS) - set(seen) == set(ARMS) & set(HANDING_ARMS)


def _check_queues(course: Course) -> None:
    state = course.engine.state
    offered_count = ended_count = 0
    for queue_id, queue in state.queues.items():
        counts = course.measures.queue(queue_id)
        assert balance(counts) == 0, counts
        calls = [call for call in state.calls.values() if call.queue_id == queue_id]
        ringing_count = sum(len(call.reservations) for call in calls)
        assert counts.reserved_count == sum(counts.reservations.values()) + ringing_count
        waiting_count = sum(queue.counts[one] for one in (lc.WAITING, lc.RESERVED, lc.CONNECTING))
        # Live calls here were answered at most in calls that are back at their place or transferred within the queue.
        assert counts.live_count <= waiting_count
        assert bool(state.pace(queue).line_since_ms) == bool(queue.counts[lc.WAITING]), queue
        offered_count += counts.offered_count + counts.invited_count
        ended_count += sum(counts.ended.values())
    # Conservation, per division: who was offered or invited has ended, is invited still, or is live in the engine.
    accepted_count = course.seen[ev.InvitationAccepted]
    live_count = sum(call.state != lc.ENDED for call in state.calls.values())
    assert offered_count - accepted_count == ended_count + live_count


def _check_agents(course: Course) -> None:
    for agent in course.engine.state.agents.values():
        counts = course.measures.agent(agent.id, course.now_ms)
        assert time_of(counts) == course.now_ms - START_MS
        running_ms = course.now_ms - agent.busy_since_ms if agent.busy_since_ms else 0
        assert counts.in_call_ms + counts.wrap_up_ms == agent.busy_ms + running_ms
        # The engine counts a call that was taken over as one more call of the agent; no reservation was accepted.
        assert counts.accepted_count == agent.answered_count - course.taken_over[agent.id]
        theirs = (agent.missed_count, agent.declined_count, agent.busy_count, agent.lost_count)
        assert (counts.missed_count, counts.declined_count, counts.busy_count, counts.lost_count) == theirs
