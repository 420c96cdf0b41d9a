"""Counters (docs/routing.md, Counters): what each fact counts as, and that all of it adds up at any time.

The small tests give events by hand. `PaperHall` draws long random courses of a hall as the lifecycle tables allow them, with
every event that counts; what they add up to is kept beside by plain sums.
"""

from collections import Counter
from random import Random

import pytest

from dispatch import events as ev
from dispatch.counts import AgentCounts, QueueCounts, add, occupancy, wait_bucket
from dispatch.measures import INTERVAL_MS, Measures
from dispatch.wishes import Wishes
from tests.engine.paper import (
    HOUR_MS,
    START_MS,
    accepted,
    balance,
    closed,
    connected,
    ended,
    fold,
    only,
    plan_event,
    queued,
    ready,
    reserved,
    talking,
    time_of,
)
from tests.engine.paper_hall import AGENTS, QUEUES, PaperHall, plan_of

# -- a call


def test_a_whole_call() -> None:
    """Given a call that waits 4 s, talks 60 s, is held 7 s of it, and 30 s of wrap-up, then each of it is counted once."""
    at = START_MS + 10_000
    measures = fold(
        plan_event(), ready(START_MS), talking(at),
        ev.HoldChanged(at + 20_000, "c1", True), ev.HoldChanged(at + 27_000, "c1", False),
        ended(at + 60_000, "customer_hung_up", "anna", wrap_up="timed"), ev.WrapUpEnded(at + 90_000, "c1", "anna", "time"),
    )  # fmt: skip
    assert only(measures.queue("loans")) == {
        "offered_count": 1, "answered_count": 1, "answered_in_target_count": 1, "reserved_count": 1,
        "reservations": {"accepted": 1}, "ended": {"customer_hung_up": 1}, "wait_ms": 4_000, "wait_ms_max": 4_000,
        "waits": {wait_bucket(4_000): 1}, "talk_ms": 60_000, "hold_ms": 7_000, "holds_count": 1, "wrap_up_ms": 30_000,
    }  # fmt: skip
    anna = measures.agent("anna", at + 100_000)
    assert anna == AgentCounts(
        ready_ms=6_000 + 10_000,
        reserved_ms=3_000,
        in_call_ms=61_000,
        wrap_up_ms=30_000,
        reserved_count=1,
        accepted_count=1,
    )
    assert occupancy(anna) == 91 / (91 + 16 + 3)


@pytest.mark.parametrize(
    ("waited_ms", "reason", "counter"),
    [
        (4_999, "customer_hung_up", "abandoned_short_count"),
        (5_000, "customer_hung_up", "abandoned_count"),
        (5_000, "customer_lost", "abandoned_count"),
        (5_000, "waited_too_long", "ended_otherwise_count"),
        (5_000, "operator_hung_up", "ended_otherwise_count"),
    ],
)
def test_how_an_unanswered_call_ends(waited_ms: int, reason: str, counter: str) -> None:
    """Given a call that ends before it is connected, then it is abandoned (short below 5 s) or ended otherwise, by reason."""
    counts = fold(plan_event(), queued(START_MS), ended(START_MS + waited_ms, reason)).queue("loans")
    outcomes = ("answered_count", "abandoned_count", "abandoned_short_count", "ended_otherwise_count", "live_count")
    assert [name for name in outcomes if getattr(counts, name)] == [counter]
    assert counts.ended == {reason: 1}
    is_gone = "abandoned" in counter
    assert counts.abandoned_wait_ms == waited_ms * is_gone
    assert counts.abandoned_waits == ({wait_bucket(waited_ms): 1} if is_gone else {})


def test_a_customer_who_leaves_while_it_connects_has_abandoned() -> None:
    """Given an accepted call whose media never stood, when the customer hangs up, then it is abandoned, not answered."""
    end = ended(START_MS + 12_000, "customer_hung_up", "anna")
    measures = fold(plan_event(), queued(START_MS), reserved(START_MS), accepted(START_MS + 9_000), end)
    assert measures.queue("loans").abandoned_count == 1
    assert measures.queue("loans").answered_count == measures.queue("loans").talk_ms == 0
    assert measures.agent("anna", START_MS + 12_000).in_call_ms == 3_000


def test_a_call_that_rings_is_live() -> None:
    """Given a call in a state before connected, then it is live, and no more once it is connected."""
    measures = fold(plan_event(), queued(START_MS), reserved(START_MS), accepted(START_MS + 1))
    assert measures.queue("loans").live_count == 1
    assert fold(connected(START_MS + 2), measures=measures).queue("loans").live_count == 0


def test_a_call_is_answered_once() -> None:
    """Given an answered call that goes back to its place and is connected again, then: one answer, one requeue, both talks."""
    at = START_MS + 10_000
    measures = fold(
        plan_event(), talking(at), ev.CallRequeued(at + 5_000, "c1", "anna", "agent_lost"),
        reserved(at + 6_000, agent_id="ben"), accepted(at + 7_000, agent_id="ben"), connected(at + 8_000, agent_id="ben"),
        ended(at + 9_000, "customer_hung_up", "ben"),
    )  # fmt: skip
    counts = measures.queue("loans")
    assert (counts.answered_count, counts.requeued_count, counts.talk_ms, counts.wait_ms) == (1, 1, 6_000, 4_000)
    assert balance(counts) == 0


def test_an_answered_call_that_went_back_is_not_abandoned() -> None:
    """Given an answered call back at its place, when the customer hangs up, then it is answered and nothing else."""
    at = START_MS + 10_000
    requeued = ev.CallRequeued(at + 5_000, "c1", "anna", "agent_lost")
    counts = fold(plan_event(), talking(at), requeued, ended(at + 90_000, "customer_hung_up")).queue("loans")
    assert (counts.answered_count, counts.abandoned_count, balance(counts)) == (1, 0, 0)


def test_target_is_of_the_queue_and_inclusive() -> None:
    """Given target 20 s, then an answer after 20,000 ms is in it and one after 20,001 is not; the same for who gave up."""
    for waited_ms, in_target in ((20_000, 1), (20_001, 0)):
        answer = fold(plan_event(), queued(START_MS), connected(START_MS + waited_ms)).queue("loans")
        assert answer.answered_in_target_count == in_target
        abandon = fold(plan_event(), queued(START_MS), ended(START_MS + waited_ms, "customer_lost")).queue("loans")
        assert abandon.abandoned_after_target_count == 1 - in_target
    assert fold(plan_event(), queued(START_MS, queue_id="cards"), connected(START_MS + 10_001)).queue(
        "cards"
    ).answered_in_target_count == 0  # fmt: skip


# -- between queues


def test_an_overflow_moves_out_and_in() -> None:
    """Given a waiting call that overflows, then it is moved out here, moved in there, and its wait goes on."""
    moved = ev.CallMoved(START_MS + 30_000, "c1", "loans", "cards", 0, "waited_too_long")
    measures = fold(plan_event(), queued(START_MS), moved, connected(START_MS + 40_000))
    assert only(measures.queue("loans")) == {"offered_count": 1, "moved_out_count": 1}
    cards = measures.queue("cards")
    assert (cards.offered_count, cards.moved_in_count, cards.answered_count, cards.wait_ms) == (0, 1, 1, 40_000)


def test_an_overflow_at_the_door_is_offered_to_the_queue_that_was_asked() -> None:
    """Given a call that a limit sent on when it was requested, then the asked queue counts it as offered and moved out."""
    measures = fold(plan_event(), queued(START_MS, queue_id="cards", asked_queue_id="loans", cause="queue_full"))
    assert only(measures.queue("loans")) == {"offered_count": 1, "moved_out_count": 1}
    assert only(measures.queue("cards")) == {"moved_in_count": 1, "live_count": 1}


def test_a_callback_by_a_limit_of_the_same_queue_is_offered_once() -> None:
    """Given a call that a limit made a callback in the queue it asked for, then it is offered there, and not moved."""
    call = queued(START_MS, asked_queue_id="loans", cause="queue_full", is_callback=True)
    assert only(fold(plan_event(), call).queue("loans")) == {
        "offered_count": 1, "live_count": 1, "callback_arranged_count": 1
    }  # fmt: skip


def test_a_blind_transfer_begins_anew() -> None:
    """Given a talking call transferred to another queue, then it moved on here, moved in there, and its wait begins anew."""
    at = START_MS + 10_000
    transfer = ev.CallTransferred(
        at + 50_000, "c1", "anna", "loans", "cards", at + 50_000, 0, 0, "off", 50_000, None, "timed"
    )
    measures = fold(plan_event(), talking(at), transfer, connected(at + 53_000, agent_id="ben"))
    loans, cards = measures.queue("loans"), measures.queue("cards")
    assert (loans.answered_count, loans.transferred_count, loans.moved_on_count, loans.moved_out_count) == (1, 1, 1, 0)
    assert (loans.talk_ms, cards.moved_in_count, cards.answered_count, cards.wait_ms) == (50_000, 1, 1, 3_000)
    assert measures.agent("anna", at + 60_000).wrap_up_ms == 10_000
    assert balance(loans) == balance(cards) == 0


def test_refused_calls_are_counted_apart() -> None:
    """Given a refused call, then it is counted by its reason and offered to nobody."""
    refused = ev.CallRefused(START_MS, "c1", "of-c1", "loans", "queue_full")
    assert only(fold(plan_event(), refused).queue("loans")) == {"refused": {"queue_full": 1}}


# -- kinds of calls


def test_callbacks() -> None:
    """Given two callbacks, one answered and one in vain, then both are arranged, and each outcome is counted."""
    measures = fold(
        plan_event(), queued(START_MS), ev.CallbackArranged(START_MS + 1, "c1", "asked"), connected(START_MS + HOUR_MS),
        queued(START_MS + HOUR_MS, "c2", is_callback=True),
        ended(START_MS + 2 * HOUR_MS, "callback_unanswered", "anna", "c2"),
    )  # fmt: skip
    counts = measures.queue("loans")
    assert (counts.callback_arranged_count, counts.callback_answered_count, counts.callback_unanswered_count) == (
        2,
        1,
        1,
    )
    assert (counts.answered_count, counts.ended_otherwise_count) == (1, 1)


def test_absolute_calls_count_once() -> None:
    """Given an emergency from the start, and a call made one twice, then two are counted."""
    urgent = Wishes(is_absolute=True)
    made = ev.CallPrioritised(START_MS + 2, "c2", 0, True, 0)
    measures = fold(plan_event(), queued(START_MS, wishes=urgent), queued(START_MS, "c2", wishes=Wishes()), made, made)
    assert measures.queue("loans").absolute_count == 2


def test_invitations() -> None:
    """Given one accepted invitation and one in vain, then the first is offered when accepted, the other never was."""
    measures = fold(
        plan_event(), ev.CallInvited(START_MS, "c1", "z", "anna", "loans", 0),
        ev.CallInvited(START_MS, "c2", "y", "anna", "loans", 0),
    )  # fmt: skip
    assert measures.queue("loans").offered_count == measures.queue("loans").live_count == 0
    join = ev.InvitationAccepted(START_MS + 50_000, "c1", START_MS + 50_000, 0, True, "off", "external")
    fold(
        join,
        ended(START_MS + 60_000, "invitation_expired", call_id="c2"),
        connected(START_MS + 52_000),
        measures=measures,
    )
    counts = measures.queue("loans")
    assert (counts.invited_count, counts.invited_in_vain_count, counts.offered_count) == (2, 1, 1)
    assert (counts.answered_count, counts.wait_ms, balance(counts)) == (1, 2_000, 0)


def test_parties_and_owners() -> None:
    """Given a consult, a consulted transfer and a takeover, then each is counted, and each agent's time is theirs."""
    at = START_MS + 10_000
    measures = fold(
        plan_event(agents=("anna", "ben", "cleo")), talking(at), reserved(at + 1_000, agent_id="ben", role="consult"),
        ev.PartyAdded(at + 3_000, "c1", "c1.1", "ben", "consult"), ev.HoldChanged(at + 3_000, "c1", True),
        ev.OwnershipMoved(at + 10_000, "c1", "anna", "ben", "consulted", 100, "timed"),
        ev.OwnershipMoved(at + 15_000, "c1", "ben", "cleo", "taken_over", 100), ended(at + 20_000, "agent_hung_up", "cleo"),
    )  # fmt: skip
    counts = measures.queue("loans")
    assert (counts.consulted_count, counts.taken_over_count, counts.parties_count) == (1, 1, 1)
    assert (counts.talk_ms, counts.hold_ms, counts.reserved_count) == (20_000, 7_000, 2)
    assert [measures.agent(one, at + 20_000).in_call_ms for one in ("anna", "ben", "cleo")] == [11_000, 12_000, 5_000]
    assert measures.agent("anna", at + 20_000).wrap_up_ms == 10_000


@pytest.mark.parametrize(
    ("outcome", "counter"),
    [
        ("expired", "missed_count"), ("declined", "declined_count"), ("busy", "busy_count"), ("agent_lost", "lost_count"),
        ("agent_left", "left_count"), ("rescinded", "rescinded_count"),
    ],
)  # fmt: skip
def test_reservations_by_outcome(outcome: str, counter: str) -> None:
    """Given a reservation with this outcome, then queue and agent count it so, and the agent was reserved for as long."""
    measures = fold(plan_event(), queued(START_MS), reserved(START_MS), closed(START_MS + 8_000, outcome))
    assert measures.queue("loans").reservations == {outcome: 1}
    assert measures.agent("anna", START_MS + 9_000) == AgentCounts(
        offline_ms=1_000, reserved_ms=8_000, reserved_count=1, **{counter: 1}
    )


# -- long random courses


@pytest.mark.parametrize("seed", range(6))
def test_it_adds_up_at_any_time(seed: int) -> None:
    """Given a random course, then after each event each queue adds up, and live is what a recount of the calls says."""
    hall, measures = PaperHall(Random(seed)), Measures()
    for _ in range(1_500):
        for event in hall.step():
            measures.apply(event)
        live = Counter(
            call.queue_id for call in hall.calls.values() if call.state != "invited" and not call.is_answered
        )
        for queue_id in QUEUES:
            counts = measures.queue(queue_id)
            assert balance(counts) == 0, counts
            assert counts.live_count == live[queue_id]
            ringing = sum(len(call.ringing) for call in hall.calls.values() if call.queue_id == queue_id)
            assert counts.reserved_count == sum(counts.reservations.values()) + ringing
    totals = [measures.queue(queue_id) for queue_id in QUEUES]
    assert sum(one.moved_in_count for one in totals) == sum(one.moved_out_count + one.moved_on_count for one in totals)
    assert hall.kinds_seen >= set(hall.KINDS), "a course that shows less proves less"


@pytest.mark.parametrize("seed", range(6))
def test_intervals_add_up_to_the_totals(seed: int) -> None:
    """Given a random course over many intervals, then the sum over them is the total, for each queue and each agent."""
    hall, measures = PaperHall(Random(seed)), Measures()
    for event in hall.run(1_500):
        measures.apply(event)
    assert len(measures.starts()) > 20
    for queue_id in QUEUES:
        whole = QueueCounts()
        for start_ms in measures.starts():
            add(whole, measures.queues_in(start_ms).get(queue_id, QueueCounts()))
            assert balance(measures.queues_in(start_ms).get(queue_id, QueueCounts())) == 0
        assert whole == measures.queue(queue_id)
    for agent_id in AGENTS:
        parts = AgentCounts()
        for start_ms in range(measures.starts()[0], hall.now_ms + 1, INTERVAL_MS):
            add(parts, measures.agents_in(start_ms, hall.now_ms).get(agent_id, AgentCounts()))
        assert parts == measures.agent(agent_id, hall.now_ms)


@pytest.mark.parametrize("seed", range(6))
def test_agents_times_add_up_to_the_wall_time(seed: int) -> None:
    """Given a random course, then each agent's times sum to the time since the plan, and each interval's to its length."""
    hall, measures = PaperHall(Random(seed)), Measures()
    for event in hall.run(1_500):
        measures.apply(event)
    first_ms = measures.starts()[0]
    for agent_id in AGENTS:
        assert time_of(measures.agent(agent_id, hall.now_ms)) == hall.now_ms - hall.began_at_ms
        for start_ms in range(first_ms + INTERVAL_MS, hall.now_ms - INTERVAL_MS, INTERVAL_MS):
            assert time_of(measures.agents_in(start_ms, hall.now_ms)[agent_id]) == INTERVAL_MS
        counts = measures.agent(agent_id, hall.now_ms)
        closed_count = sum(getattr(counts, name) for name in counts.__struct_fields__[7:])
        assert counts.reserved_count == closed_count + sum(agent_id in call.ringing for call in hall.calls.values())


def test_recount_by_plain_loops() -> None:
    """Given a random course, then sums of waits, talk, hold and wrap-up are those that plain loops over the events find."""
    hall, measures = PaperHall(Random(77)), Measures()
    events = hall.run(3_000)
    for event in events:
        measures.apply(event)
    totals = QueueCounts()
    for queue_id in QUEUES:
        add(totals, measures.queue(queue_id))
    assert totals.talk_ms == hall.talk_ms
    assert totals.hold_ms == hall.hold_ms
    assert totals.wrap_up_ms == hall.wrap_up_ms
    assert totals.wait_ms == hall.wait_ms
    assert sum(totals.ended.values()) == sum(type(event) is ev.CallEnded for event in events)
    assert sum(totals.waits.values()) == totals.answered_count
    assert sum(totals.abandoned_waits.values()) == totals.abandoned_count + totals.abandoned_short_count


# -- snapshots


def test_a_snapshot_at_any_event_changes_nothing() -> None:
    """Given a random course cut by snapshot and restore at random places, then it ends with the same bytes."""
    hall, dice = PaperHall(Random(5)), Random(6)
    whole, cut = Measures(), Measures()
    for event in hall.run(800):
        whole.apply(event)
        cut.apply(event)
        if dice.random() < 0.05:
            cut = Measures.restore(cut.snapshot())
    assert cut.snapshot() == whole.snapshot()
    assert repr(cut) == repr(whole)


def test_a_newer_snapshot_is_refused() -> None:
    """Given a snapshot of a later version, then restoring says so."""
    data = Measures().snapshot()
    with pytest.raises(ValueError, match="version 2"):
        Measures.restore(data[:1] + b"\x02" + data[2:])


def test_a_fold_that_begins_in_the_middle_counts_what_it_saw_begin() -> None:
    """Given a course whose first half was not seen, then queues still add up, and agents' times too."""
    hall, measures = PaperHall(Random(8)), Measures()
    hall.run(400)
    began_ms = hall.now_ms
    measures.apply(plan_of(hall.now_ms))
    for event in hall.run(800):
        measures.apply(event)
    assert all(balance(measures.queue(queue_id)) == 0 for queue_id in QUEUES)
    assert all(time_of(measures.agent(agent_id, hall.now_ms)) == hall.now_ms - began_ms for agent_id in AGENTS)
    assert sum(measures.queue(queue_id).answered_count for queue_id in QUEUES) > 50
