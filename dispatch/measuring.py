"""Which event makes which counter: the arms of `dispatch/measures.py`, one an event.

Rules. An arm books first (`settled`, `of`), then changes what is remembered. Events that are not here say nothing about a
counter. An agent's part is counted even for a call whose beginning was not seen.
"""

from collections.abc import Callable
from typing import Any, Final

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.books import Books, Stay
from dispatch.counts import QueueCounts, add_named, wait_bucket

SHORT_MS = 5_000
"""Who gives up sooner did not mean to wait; counted apart."""
CUSTOMER_ENDS: Final = ("customer_hung_up", "customer_lost")
"""Reasons of an end that is the customer's; before the answer they make an abandoned call."""
OUTCOME_COUNTS: Final = {
    "expired": "missed_count",
    "declined": "declined_count",
    "busy": "busy_count",
    "agent_lost": "lost_count",
    "agent_left": "left_count",
    "rescinded": "rescinded_count",
}
"""A reservation's outcome -> the agent's counter."""


# -- plan and agents


def _plan_applied(books: Books, event: ev.PlanApplied) -> None:
    books.targets = {queue.id: queue.target_ms for queue in event.plan.queues}
    planned = {agent.id for agent in event.plan.agents}
    for agent_id, clock in list(books.clocks.items()):
        is_retired = agent_id not in planned
        if is_retired or clock.is_retired:
            books.settled(agent_id, event.at_ms)
            clock.is_retired = is_retired
            if is_retired and not clock.works:
                del books.clocks[agent_id]
    for agent_id in [one for one in books.ledger.agents if one not in planned and one not in books.clocks]:
        books.ledger.retire_agent(agent_id)
    for agent in event.plan.agents:
        if agent.id not in books.clocks:
            books.settled(agent.id, event.at_ms)
    live = {stay.queue_id for stay in books.stays.values()}
    live |= {work.queue_id for clock in books.clocks.values() for work in clock.works.values()}
    for queue_id in [one for one in books.ledger.queues if one not in books.targets and one not in live]:
        books.ledger.retire_queue(queue_id)


def _activity_changed(books: Books, event: ev.AgentActivityChanged) -> None:
    clock = books.settled(event.agent_id, event.at_ms)
    clock.activity, clock.reason = event.activity, event.reason


# -- a call comes to a queue


def _call_queued(books: Books, event: ev.CallQueued) -> None:
    is_sent_on = event.asked_queue_id not in ("", event.queue_id)
    if is_sent_on:
        for counts in books.of_queue_now(event.asked_queue_id):
            counts.offered_count += 1
            counts.moved_out_count += 1
    stay = _new_stay(books, event.queue_id, event.queued_at_ms)
    stay.is_callback = event.is_callback
    stay.is_absolute = event.wishes is not None and event.wishes.is_absolute
    books.enter(stay, event.call_id, is_offered=not is_sent_on)
    for counts in books.of(stay):
        counts.callback_arranged_count += event.is_callback


def _new_stay(books: Books, queue_id: str, queued_at_ms: int) -> Stay:
    start_ms = books.ledger.start_of(books.ledger.now_ms)
    return Stay(queue_id, start_ms, queued_at_ms, books.targets.get(queue_id, 0))


def _call_refused(books: Books, event: ev.CallRefused) -> None:
    for counts in books.of_queue_now(event.queue_id):
        add_named(counts.refused, event.reason, 1)


def _call_invited(books: Books, event: ev.CallInvited) -> None:
    stay = books.stays[event.call_id] = _new_stay(books, event.queue_id, event.at_ms)
    stay.is_invited = True
    for counts in books.of(stay):
        counts.invited_count += 1


def _invitation_accepted(books: Books, event: ev.InvitationAccepted) -> None:
    invited = books.stays.get(event.call_id)
    if invited is not None:
        books.enter(_new_stay(books, invited.queue_id, event.queued_at_ms), event.call_id, is_offered=True)


def _call_moved(books: Books, event: ev.CallMoved) -> None:
    old = books.stays.get(event.call_id)
    if old is not None:
        _move(books, event.call_id, old, event.queue_id, old.queued_at_ms)
        books.stays[event.call_id].is_callback = old.is_callback


def _call_handed_over(books: Books, event: ev.CallHandedOver) -> None:
    stay = books.stays.pop(event.call_id, None)
    if stay is not None:
        books.leave(stay)


def _hand_over_admitted(books: Books, event: ev.HandOverAdmitted) -> None:
    stay = _new_stay(books, event.queue_id, event.queued_at_ms)
    stay.is_absolute = event.call.is_absolute
    books.enter(stay, event.call_id, is_offered=False)


def _call_transferred(books: Books, event: ev.CallTransferred) -> None:
    books.release(event.from_agent_id, event.call_id, event.wrap_up, event.at_ms)
    old = books.stays.get(event.call_id)
    if old is None:
        return
    books.stop_talking(old, event.at_ms)
    for counts in books.of(old):
        counts.transferred_count += 1
    _move(books, event.call_id, old, event.queue_id, event.queued_at_ms)


def _move(books: Books, call_id: str, old: Stay, queue_id: str, queued_at_ms: int) -> None:
    books.leave(old)
    stay = _new_stay(books, queue_id, queued_at_ms)
    stay.is_absolute = old.is_absolute
    books.enter(stay, call_id, is_offered=False)


# -- while it waits


def _call_prioritised(books: Books, event: ev.CallPrioritised) -> None:
    stay = books.stays.get(event.call_id)
    if stay is not None and event.is_absolute and not stay.is_absolute:
        stay.is_absolute = True
        for counts in books.of(stay):
            counts.absolute_count += 1


def _callback_arranged(books: Books, event: ev.CallbackArranged) -> None:
    stay = books.stays.get(event.call_id)
    if stay is not None:
        stay.is_callback = True
        for counts in books.of(stay):
            counts.callback_arranged_count += 1


# -- reservations


def _call_reserved(books: Books, event: ev.CallReserved) -> None:
    books.occupy(event.agent_id, event.call_id, lc.RESERVED, event.at_ms)
    for mine in books.of_agent_now(event.agent_id):
        mine.reserved_count += 1
    stay = books.stays.get(event.call_id)
    for counts in books.of(stay) if stay else ():
        counts.reserved_count += 1


def _reservation_accepted(books: Books, event: ev.ReservationAccepted | ev.PartyAdded) -> None:
    books.occupy(event.agent_id, event.call_id, lc.IN_CALL, event.at_ms)
    for mine in books.of_agent_now(event.agent_id):
        mine.accepted_count += 1
    stay = books.stays.get(event.call_id)
    for counts in books.of(stay) if stay else ():
        add_named(counts.reservations, lc.ACCEPTED, 1)
        counts.parties_count += type(event) is ev.PartyAdded


def _reservation_closed(books: Books, event: ev.ReservationClosed) -> None:
    books.release(event.agent_id, event.call_id, "none", event.at_ms)
    name = OUTCOME_COUNTS[event.outcome]
    for mine in books.of_agent_now(event.agent_id):
        setattr(mine, name, getattr(mine, name) + 1)
    stay = books.stays.get(event.call_id)
    for counts in books.of(stay) if stay else ():
        add_named(counts.reservations, event.outcome, 1)


# -- in conversation


def _call_connected(books: Books, event: ev.CallConnected) -> None:
    stay = books.stays.get(event.call_id)
    if stay is None:
        return
    stay.connected_at_ms = event.at_ms
    if stay.is_answered:
        return
    stay.is_answered = True
    wait_ms = event.at_ms - stay.queued_at_ms
    for counts in books.of(stay):
        counts.live_count -= 1
        counts.answered_count += 1
        counts.answered_in_target_count += wait_ms <= stay.target_ms
        counts.callback_answered_count += stay.is_callback
        counts.wait_ms += wait_ms
        counts.wait_ms_max = max(counts.wait_ms_max, wait_ms)
        add_named(counts.waits, wait_bucket(wait_ms), 1)


def _hold_changed(books: Books, event: ev.HoldChanged) -> None:
    stay = books.stays.get(event.call_id)
    if stay is None:
        return
    books.stop_holding(stay, event.at_ms)
    if event.is_held:
        stay.held_at_ms = event.at_ms
        for counts in books.of(stay):
            counts.holds_count += 1


def _party_removed(books: Books, event: ev.PartyRemoved) -> None:
    books.release(event.agent_id, event.call_id, event.wrap_up, event.at_ms)


def _ownership_moved(books: Books, event: ev.OwnershipMoved) -> None:
    books.release(event.from_agent_id, event.call_id, event.wrap_up, event.at_ms)
    books.occupy(event.to_agent_id, event.call_id, lc.IN_CALL, event.at_ms)
    stay = books.stays.get(event.call_id)
    if stay is None:
        return
    books.stop_holding(stay, event.at_ms)
    for counts in books.of(stay):
        counts.consulted_count += event.reason == "consulted"
        counts.taken_over_count += event.reason == "taken_over"


def _call_requeued(books: Books, event: ev.CallRequeued) -> None:
    books.release(event.agent_id, event.call_id, "none", event.at_ms)
    stay = books.stays.get(event.call_id)
    if stay is None:
        return
    books.stop_talking(stay, event.at_ms)
    for counts in books.of(stay):
        counts.requeued_count += 1


# -- the end


def _call_ended(books: Books, event: ev.CallEnded) -> None:
    if event.agent_id:
        books.release(event.agent_id, event.call_id, event.wrap_up, event.at_ms)
    stay = books.stays.pop(event.call_id, None)
    if stay is None:
        return
    books.stop_talking(stay, event.at_ms)
    for counts in books.of(stay):
        add_named(counts.ended, event.reason, 1)
        if stay.is_invited:
            counts.invited_in_vain_count += 1
        elif not stay.is_answered:
            counts.live_count -= 1
            _count_unanswered(counts, stay, event)


def _count_unanswered(counts: QueueCounts, stay: Stay, event: ev.CallEnded) -> None:
    if event.reason not in CUSTOMER_ENDS:
        counts.ended_otherwise_count += 1
        counts.callback_unanswered_count += event.reason == "callback_unanswered"
        return
    wait_ms = event.at_ms - stay.queued_at_ms
    if wait_ms < SHORT_MS:
        counts.abandoned_short_count += 1
    else:
        counts.abandoned_count += 1
    counts.abandoned_after_target_count += wait_ms > stay.target_ms
    counts.abandoned_wait_ms += wait_ms
    add_named(counts.abandoned_waits, wait_bucket(wait_ms), 1)


def _wrap_up_ended(books: Books, event: ev.WrapUpEnded) -> None:
    work = books.settled(event.agent_id, event.at_ms).works.pop(event.call_id, None)
    if work is not None:
        for counts in books.ledger.of_queue(work.queue_id, work.start_ms):
            counts.wrap_up_ms += event.at_ms - work.since_ms


ARMS: Final[dict[type[Any], Callable[[Books, Any], None]]] = {
    ev.PlanApplied: _plan_applied,
    ev.AgentActivityChanged: _activity_changed,
    ev.CallQueued: _call_queued,
    ev.CallRefused: _call_refused,
    ev.CallInvited: _call_invited,
    ev.InvitationAccepted: _invitation_accepted,
    ev.CallMoved: _call_moved,
    ev.CallHandedOver: _call_handed_over,
    ev.HandOverAdmitted: _hand_over_admitted,
    ev.CallTransferred: _call_transferred,
    ev.CallPrioritised: _call_prioritised,
    ev.CallbackArranged: _callback_arranged,
    ev.CallReserved: _call_reserved,
    ev.ReservationAccepted: _reservation_accepted,
    ev.PartyAdded: _reservation_accepted,
    ev.ReservationClosed: _reservation_closed,
    ev.CallConnected: _call_connected,
    ev.HoldChanged: _hold_changed,
    ev.PartyRemoved: _party_removed,
    ev.OwnershipMoved: _ownership_moved,
    ev.CallRequeued: _call_requeued,
    ev.CallEnded: _call_ended,
    ev.WrapUpEnded: _wrap_up_ended,
}
