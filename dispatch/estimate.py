"""Estimated wait: several estimators behind one interface, in integers, O(1) per event and per question.

Theory. Who stands at `position` is asked when that many calls have left the line. How fast calls leave it while there is
one is measured at the line itself (`line_pace`): agents who serve several queues, customers who give up, relaxation and
bursts all show in it, without a model of any of them. Time without a line says nothing about its pace and does not
count; that is what `answer_gap`, the first estimator, gets wrong. `line_and_head` corrects the pace by what the head
of the line has lived through (Ibrahim and Whitt 2009 call it HOL): where queues share agents all wait about equally
long, and for a small queue that is better known than its own pace.

Fed by `dispatch/folding.py` through the functions below, one `Pace` a queue, in the snapshot; asked in `dispatch/viewing.py`.
How far each estimator is off is measured by `bench/estimate.py` and printed in docs/routing.md.
"""

from typing import Final, NamedTuple, Protocol

from dispatch.model import Pace

GAP_WEIGHT: Final = 8
"""Jacobson and Karels 1988 use the same for round-trip times."""
GAP_MS_MAX: Final = 600_000
"""A pause longer than 10 minutes (nobody called) says nothing about how fast the queue is served."""
TALK_WEIGHT: Final = 32
LINE_WEIGHT: Final = 32
"""Calls that left the line, over which its pace is smoothed: of 16, 32 and 64 the least error, by little (2026-11-24)."""
LEFT_UNIT: Final = 1_024
"""One call that left, in `Pace.left_units`: so that the decay of a small integer does not round it away."""
GONE_UNIT: Final = LEFT_UNIT // 2
"""Who gives up stands anywhere in the line: only those behind move up, on average half of it."""
PAUSE_PACES_MAX: Final = 4
"""A line that stands still counts for at most so many of its paces, but for `GAP_MS_MAX` at least: callbacks wait all night."""
HEAD_WEIGHT: Final = 4
"""Of four parts one is the head's wait."""


class Place(NamedTuple):
    """Where somebody stands who asks how long it will take."""

    position: int
    """1 = next."""
    waited_ms: int = 0
    """How long this call has waited already; 0 for one that would join now."""
    head_waited_ms: int = 0
    """How long the first of the line has waited."""
    talking_count: int = 0
    """Calls of the queue that are connected now."""
    now_ms: int = 0


class Estimator(Protocol):
    """Says how much longer until an agent is asked, ms, or None while nothing is known. Reads only."""

    def __call__(self, pace: Pace, place: Place, /) -> int | None:
        """Return the wait that is still ahead of whoever stands at `place` of the queue whose pace this is."""
        ...


# -- what the queue lives through


def after_answer(pace: Pace, at_ms: int) -> None:
    """An agent of the queue accepted a call."""
    if pace.answered_at_ms:
        pace.gap_ms = smoothed_gap(pace.gap_ms, at_ms - pace.answered_at_ms)
    pace.answered_at_ms = at_ms


def after_talk(pace: Pace, talked_ms: int) -> None:
    """A connected call of the queue ended, was transferred or went back to its place."""
    if not pace.talk_ms:
        pace.talk_ms = max(1, talked_ms)
    else:
        pace.talk_ms = max(1, pace.talk_ms + (talked_ms - pace.talk_ms) // TALK_WEIGHT)


def after_joining(pace: Pace, at_ms: int) -> None:
    """A call of the queue waits now, for the first time or again."""
    pace.line_since_ms = pace.line_since_ms or at_ms


def after_leaving(pace: Pace, at_ms: int, *, has_waited: bool, is_asked: bool, waiting_count: int) -> None:
    """A call of the queue waits no longer: an agent is asked for it, or it ended or moved. `waiting_count` still do.

    `has_waited` is false for one that found a free agent at once: that says nothing about the line. A call that comes back
    and leaves again counts again: where one reservation in twenty is not accepted the pace is a twentieth too fast.
    """
    _book_line(pace, at_ms)
    if has_waited:
        units = LEFT_UNIT if is_asked else GONE_UNIT
        pace.line_ms += _bounded(pace, pace.pending_ms) - pace.line_ms * units // (LEFT_UNIT * LINE_WEIGHT)
        pace.left_units += units - pace.left_units * units // (LEFT_UNIT * LINE_WEIGHT)
        pace.pending_ms = 0
    if not waiting_count:
        pace.line_since_ms = 0


def _book_line(pace: Pace, at_ms: int) -> None:
    if pace.line_since_ms:
        pace.pending_ms += at_ms - pace.line_since_ms
        pace.line_since_ms = at_ms


def _bounded(pace: Pace, still_ms: int) -> int:
    by_pace_ms = PAUSE_PACES_MAX * pace.line_ms * LEFT_UNIT // pace.left_units if pace.left_units else 0
    return min(still_ms, max(GAP_MS_MAX, by_pace_ms))


def smoothed_gap(gap_ms: int, since_last_ms: int) -> int:
    """Return the new smoothed gap after an answer that came `since_last_ms` after the one before."""
    if since_last_ms > GAP_MS_MAX:
        return gap_ms
    if not gap_ms:
        return max(1, since_last_ms)
    return max(1, gap_ms + (since_last_ms - gap_ms) // GAP_WEIGHT)


# -- estimators


def answer_gap(pace: Pace, place: Place) -> int | None:
    """Position x smoothed time between two answers of the queue, whether anybody waited in between or not."""
    return place.position * pace.gap_ms if pace.gap_ms else None


def talk_share(pace: Pace, place: Place) -> int | None:
    """Position x smoothed talk / calls that talk now: how often one of them ends (Little 1961).

    As if the agent whose call ends took the next one of the same queue.
    """
    if not pace.talk_ms or not place.talking_count:
        return None
    return place.position * pace.talk_ms // place.talking_count


def line_pace(pace: Pace, place: Place) -> int | None:
    """Position x (time with a line / calls that left it), over about the last 32 of them and the time since.

    The time since the last of them counts with half a call, so that a line that stands still makes the estimate grow.
    """
    if not pace.left_units:
        return None
    open_ms = pace.pending_ms + max(0, place.now_ms - pace.line_since_ms if pace.line_since_ms else 0)
    line_ms = pace.line_ms + _bounded(pace, open_ms)
    return place.position * line_ms * LEFT_UNIT // (pace.left_units + LEFT_UNIT // 2)


def line_and_head(pace: Pace, place: Place) -> int | None:
    """Three parts `line_pace`, one part what the head of the line has waited longer than this call.

    Before any call has left a line: `talk_share`, or, where nobody talks, `answer_gap`.
    """
    by_pace_ms = line_pace(pace, place)
    if by_pace_ms is None:
        by_talk_ms = talk_share(pace, place)
        return answer_gap(pace, place) if by_talk_ms is None else by_talk_ms
    by_head_ms = max(0, place.head_waited_ms - place.waited_ms)
    return (by_pace_ms * (HEAD_WEIGHT - 1) + by_head_ms) // HEAD_WEIGHT


ESTIMATORS: Final[dict[str, Estimator]] = {
    "answer_gap": answer_gap,
    "talk_share": talk_share,
    "line_pace": line_pace,
    "line_and_head": line_and_head,
}
DEFAULT: Final = "line_and_head"
"""The least error of those measured; docs/routing.md has the figures."""


def estimated_wait_ms(pace: Pace, place: Place, estimator: str = DEFAULT) -> int | None:
    """Return how much longer the call at `place` will wait, in ms, or None while nothing is known.

    Raises KeyError for an estimator that is not in `ESTIMATORS`.
    """
    return ESTIMATORS[estimator](pace, place)
