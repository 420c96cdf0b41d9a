"""Estimated wait: position times the smoothed time between two answers of the queue.

The gap is an exponentially weighted mean with weight 1/8 (Jacobson and Karels 1988 use the same for round-trip
times), in integers. It knows nothing of the future: an idle queue's first estimate is None rather than a guess.
"""

GAP_WEIGHT = 8
GAP_MS_MAX = 600_000
"""A pause longer than 10 minutes (nobody called) says nothing about how fast the queue is served."""


def smoothed_gap(gap_ms: int, since_last_ms: int) -> int:
    """Return the new smoothed gap after an answer that came `since_last_ms` after the one before."""
    if since_last_ms > GAP_MS_MAX:
        return gap_ms
    if not gap_ms:
        return max(1, since_last_ms)
    return max(1, gap_ms + (since_last_ms - gap_ms) // GAP_WEIGHT)


def estimated_wait_ms(position: int, gap_ms: int) -> int | None:
    """Return the estimated wait of the call at `position` (1 = next), or None while nothing is known."""
    return position * gap_ms if gap_ms else None
