"""What must hold of live memory while a hall runs, and of everything when it has come to rest."""

from itertools import count
from typing import Any

from actors.hall import HallUnavailable
from dispatch.codec import decode_events
from dispatch.engine import Engine
from tests.simulation.clockwork import Violation, at_once

ADMISSION_REASONS = frozenset({"queue_full", "no_agents", "already_in_call", "waited_too_long"})
"""What a call may be refused as in a hall without faults."""
HISTORY_TRIES = 20


def inspect(hall: Any) -> None:
    """Hold each shard's memory against what is durable."""
    for slot_id, keeper in hall.keepers.items():
        if slot_id.startswith("shard"):
            for handle in keeper.handles:
                if not handle.process.is_dead and handle.end.is_started:
                    for division in handle.end.part.divisions.values():
                        _check_memory(hall, handle.name, division)


def _check_memory(hall: Any, name: str, division: Any) -> None:
    truth = hall.truth.divisions[division.division_id]
    if division.stopped_reason:
        raise Violation(f"{name} stopped {division.division_id}: {division.stopped_reason}")
    if division.batch > truth.batch:
        raise Violation(
            f"{name} believes in batch {division.batch} of {division.division_id}; durable is {truth.batch}"
        )
    is_present = (division.epoch, division.batch) == (truth.epoch, truth.batch) and not division.events
    if is_present and division.engine.digest() != truth.engine.digest():
        raise Violation(f"{name}: {division.division_id} in memory is not what batch {division.batch} makes of it")


async def check(hall: Any) -> None:
    """At rest."""
    for division_id, truth in hall.truth.divisions.items():
        _check_owner(hall, division_id)
        _check_stored(hall, division_id)
        for call_id in sorted(truth.call_events):
            await _check_archive(hall, division_id, call_id)
    for customer in hall.customers:
        _check_customer(hall, customer)
    for person in hall.people:
        _check_numbers(hall, person)


def _check_owner(hall: Any, division_id: str) -> None:
    """One shard serves it, and has in memory what is durable."""
    owner = at_once(hall.store.directory.read_owner(division_id))
    process, end = hall.wire.parts.get(owner.actor_name, (None, None))
    if process is None or process.state != "alive" or division_id not in end.part.divisions:
        raise Violation(f"{division_id} is served by nobody; its owner is said to be {owner.actor_name}")
    division, truth = end.part.divisions[division_id], hall.truth.divisions[division_id]
    if (division.batch, division.engine.digest()) != (truth.batch, truth.engine.digest()):
        raise Violation(f"{division_id} at {owner.actor_name} is not what its journal makes of it")
    for slot_id, keeper in hall.keepers.items():
        for handle in keeper.handles if slot_id.startswith("shard") else ():
            is_other = handle.name != owner.actor_name and not handle.process.is_dead and handle.end.is_started
            if is_other and division_id in handle.end.part.divisions:
                raise Violation(f"{handle.name} still believes that it owns {division_id} of {owner.actor_name}")


def _check_stored(hall: Any, division_id: str) -> None:
    """Snapshot and journal bring back what is durable."""
    journal, truth = hall.store.journal, hall.truth.divisions[division_id]
    snapshot = at_once(journal.read_snapshot(division_id))
    engine, batch = Engine(division_id), 0
    if snapshot is not None:
        batch, engine = snapshot[0], Engine.restore(division_id, b"".join(snapshot[1]))
    for number, payload in at_once(journal.read(division_id, batch, 1_000_000)):
        engine.replay(decode_events(payload))
        batch = number
    if (batch, engine.digest()) != (truth.batch, truth.engine.digest()):
        raise Violation(f"{division_id} comes back from the store as of batch {batch}, not {truth.batch}")


async def _check_archive(hall: Any, division_id: str, call_id: str) -> None:
    """The archive has every event of every call, once and in order."""
    for attempt in count():
        try:
            events = await hall.operator.history(call_id, division_id)
            break
        except HallUnavailable as error:
            if attempt == HISTORY_TRIES:
                raise Violation(f"no history of {call_id}: {error.reason}") from error
    hall.truth.check_history(division_id, call_id, events, len(hall.truth.divisions[division_id].call_events[call_id]))


def _check_customer(hall: Any, customer: Any) -> None:
    """Its books and the journals say the same."""
    truth, call_id = hall.truth, customer.call_id
    if customer.is_acknowledged and call_id not in truth.queued:
        raise Violation(f"{call_id} was acknowledged and is in no journal")
    if call_id in truth.queued and not truth.books[call_id].ended:
        raise Violation(f"{call_id} never ended")
    is_refused_rightly = customer.refused_reason in ADMISSION_REASONS | {""} or (
        customer.refused_reason == "clock_behind" and hall.is_ahead
    )
    if customer.is_late and not is_refused_rightly:
        raise Violation(f"{customer.recipient} came when all was well and was refused as {customer.refused_reason}")


def _check_numbers(hall: Any, person: Any) -> None:
    """Who is connected has heard everything there is for it."""
    recipient = hall.truth.divisions[person.division_id].engine.state.recipients.get(person.recipient)
    if person.is_greeted.is_set() and not person.is_leaving and recipient is not None and recipient.seq != person.seq:
        raise Violation(f"{person.recipient} has heard number {person.seq} of {recipient.seq}")
