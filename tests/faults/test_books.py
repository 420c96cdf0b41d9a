"""The judge: what may not be is found in the clients' books."""

from collections.abc import Callable

import pytest

from tests.faults.books import Books


def whole() -> Books:
    """The books after one call that went as it should."""
    books = Books()
    call = books.begin("c-1", "north", 1.0)
    call.answered_s, call.answer = 1.1, "accepted"
    served = books.ring("a-1", "c-1", 1.2)
    served.is_accepted, served.hung_up_s, served.over_s = True, 2.0, 2.1
    books.note_end("c-1", "agent_hung_up", 2.1)
    return books


def take_twice(books: Books) -> None:
    again = books.ring("a-2", "c-1", 1.3)
    again.is_accepted, again.hung_up_s, again.over_s = True, 2.0, 2.1


def ring_unasked(books: Books) -> None:
    books.ring("a-2", "c-2", 1.3).over_s = 2.0


def test_a_call_that_went_well_is_no_fault() -> None:
    assert whole().faults() == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda books: setattr(books.calls["c-1"], "answer", ""), "c-1: answered never"),
        (lambda books: setattr(books.calls["c-1"], "answer", "internal"), "c-1: answered internal"),
        (lambda books: books.calls["c-1"].ends.clear(), "c-1: ended 0 times []"),
        (lambda books: books.note_end("c-1", "lost", 3.0), "c-1: ended 2 times ['agent_hung_up', 'lost']"),
        (take_twice, "c-1: taken by 2 agents"),
        (ring_unasked, "c-2: rang, and nobody had asked"),
        (lambda books: setattr(books.agent_calls[0], "over_s", 0.0), "c-1: a-1 never got out of it"),
        (lambda books: setattr(books.agent_calls[0], "hung_up_s", 0.0), "c-1: ended, and no agent had it"),
        (lambda books: books.doubles.append("a-1 was given c-2 while in c-1"), "a-1 was given c-2 while in c-1"),
        (lambda books: books.disorder.append("agent:a-1: 7 came after 5"), "agent:a-1: 7 came after 5"),
        (lambda books: books.resets.append("agent:a-1"), "agent:a-1: its numbers were reset"),
        (lambda books: books.refusals.append("accept: not_pending"), "refused: accept: not_pending"),
        (lambda books: books.failures.append("KeyError"), "KeyError"),
    ],
)
def test_what_may_not_be_is_found(spoil: Callable[[Books], object], fault: str) -> None:
    books = whole()
    spoil(books)
    assert books.faults() == [fault]


def test_silence_is_the_longest_time_between_answers() -> None:
    books = Books()
    for instant_s in (1.0, 2.0, 5.5, 6.0):
        books.note_answer("north", instant_s)
    assert books.silence_s("north", 0.5, 10.0) == 3.5
    assert books.silence_s("south", 0.5, 10.0) == 9.5, "nobody was answered at all"
