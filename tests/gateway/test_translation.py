"""Which event becomes which message for whom: every event has words or is deliberately without, nobody learns too much."""

from typing import Any, get_args

import msgspec
import pytest

from dispatch import events, views
from gateway import messages as wire
from gateway import messages_talking as talking
from gateway.translation import _TABLES, UNTOLD, Known, call_of, message_of, needed
from tests.gateway.test_session import call_view, reserved

EVENTS = get_args(events.Event)
ME = Known("a-1", "Li Na")


def said(message: wire.FromServer) -> dict[str, Any]:
    """The message's data as it goes out."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    return data


@pytest.mark.parametrize("role", ["customer", "agent"])
@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.__name__)
def test_every_event_has_words_or_is_deliberately_without(role: str, event: type[Any]) -> None:
    """Given each event of the engine; then for each role it is in the table or in `UNTOLD`, and not in both."""
    assert (event in _TABLES[role]) != (event in UNTOLD[role])


def test_an_event_of_a_newer_engine_is_a_note() -> None:
    """Given an event that no table knows; then its name is noted; one that is kept back is noted without."""

    class Waved(events.CallConnected, frozen=True, tag=999):
        """Not of this version."""

    assert message_of("customer", Waved(1, "k", "a-1", "c-1"), ME) == wire.SessionNote("Waved")  # type: ignore[arg-type]
    assert message_of("customer", events.SupervisionChanged(1, "k", "s-1", "monitor"), ME) == wire.SessionNote("")


def test_a_customer_hears_of_no_consultation() -> None:
    """Given a party who consults; then the customer's notes do not even name it; an expert is announced by work name."""
    consult = events.PartyAdded(1, "k", "k.2", "a-2", "consult")
    gone = events.PartyRemoved(1, "k", "a-2", "consult", "left")
    assert message_of("customer", consult, ME) == message_of("customer", gone, ME) == wire.SessionNote("")
    assert needed("customer", consult, "c-1") is None
    expert = events.PartyAdded(1, "k", "k.2", "a-2", "expert")
    assert needed("customer", expert, "c-1") == ("agent", "a-2")
    assert said(message_of("customer", expert, ME)) == {"call_id": "k", "party_role": "expert", "agent_name": "Li Na"}
    view = call_view(
        parties=[views.PartyView("a-2", "consult", False), views.PartyView("a-3", "third", True), *_experts(1)]
    )
    assert said(call_of("customer", view, ""))["parties"] == [{"role": "expert", "is_ringing": False}]  # type: ignore[arg-type]
    assert [one["agent_id"] for one in said(call_of("agent", view, "K**"))["parties"]] == ["a-2", "a-3", "e-0"]  # type: ignore[arg-type]


def _experts(count: int) -> list[views.PartyView]:
    return [views.PartyView(f"e-{number}", "expert", False) for number in range(count)]


def test_an_agent_tells_own_ringing_from_that_of_others() -> None:
    """Given a reservation; then the one asked gets `reservation.new`, the call's owner `party.ringing`; so with its end."""
    own, other = reserved(role="expert"), reserved(agent_id="a-2", role="third")
    assert needed("agent", own, "a-1") == ("customer", "c-1")
    assert needed("agent", other, "a-1") is None
    assert said(message_of("agent", own, ME))["party_role"] == "expert"
    assert message_of("agent", other, ME) == talking.PartyRinging("k-1", "a-2", "third", 99)
    closed = events.ReservationClosed(1, "k-1", "k-1.1", "a-1", "busy")
    assert message_of("agent", closed, ME) == wire.ReservationClosed("k-1.1", "k-1", "busy", "")
    assert said(message_of("agent", closed, Known("a-9"))) == {"call_id": "k-1", "reason": "busy", "agent_id": "a-1"}
    accepted = events.ReservationAccepted(1, "k-1", "k-1.1", "a-1", 9, 1)
    assert message_of("agent", accepted, ME) == wire.ReservationAccepted("k-1.1", "k-1", 9)
    assert said(message_of("agent", accepted, Known("e-0"))) == {
        "call_id": "k-1",
        "party_role": "agent",
        "agent_id": "a-1",
    }


def test_an_ordinary_reservation_has_no_role() -> None:
    """Wire compatibility: given an agent who is to own the call; then the message is what it was in the first version."""
    assert "party_role" not in said(message_of("agent", reserved(), ME))


def test_the_new_owner_gets_the_whole_call() -> None:
    """Given ownership that moves; then the new owner's message asks for the call, nobody else's."""
    moved = events.OwnershipMoved(1, "k-1", "a-2", "a-1", "consulted", 100, "timed", 30)
    assert needed("agent", moved, "a-1") == ("call", "k-1")
    assert needed("agent", moved, "a-2") is None
    assert needed("customer", moved, "c-1") == ("agent", "a-1")
    call = call_of("agent", call_view(), "K**")
    assert said(message_of("agent", moved, Known("a-1", call=call)))["call"]["customer"] == "K**"
    former = said(message_of("agent", moved, Known("a-2")))
    assert (former["wrap_up"], former["wrap_up_until_ms"]) == ("timed", 30)
    assert "call" not in former
    assert said(message_of("customer", moved, Known("c-1", "Li Na"))) == {"call_id": "k-1", "agent_name": "Li Na"}


@pytest.mark.parametrize("event", [one for one in EVENTS if one in _TABLES["customer"]], ids=lambda one: one.__name__)
def test_no_message_to_a_customer_names_an_agent_or_a_supervisor(event: type[Any]) -> None:
    """Given each event with all ids in it; then what the customer gets holds no agent's id."""
    hints = {one.name: one for one in msgspec.structs.fields(event)}
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if name.endswith("agent_id") or name == "runner_up_id":
            values[name] = "SECRET"
        elif hint.required:
            values[name] = 1 if hint.type is int else False if hint.type is bool else "x"
    assert "SECRET" not in str(said(message_of("customer", event(**values), Known("c-1", "Li Na"))))


@pytest.mark.parametrize(
    "kind", [one for one in wire.FromServer.__subclasses__() if not one.TYPE.startswith("session.")]
)
def test_a_role_is_the_sessions_alone(kind: type[wire.FromServer]) -> None:
    """Wire compatibility: given a page of the first version, which took any `role` for that of its session; then none comes."""
    assert "role" not in kind.__struct_fields__
