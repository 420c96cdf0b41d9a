"""Opening hours as the dumb twin sees them: the clock on the wall, minute by minute, from the standard library's calendar."""

from datetime import UTC, datetime, timedelta
from functools import cache

from msgspec import json

from dispatch.hours import Hours
from dispatch.plan import QueuePlan

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def is_open(hours: Hours, at_ms: int) -> bool:
    """What the sign on the door says at that minute."""
    offset = hours.offset_minutes
    for from_ms, minutes in hours.offset_changes:
        offset = minutes if from_ms <= at_ms else offset
    local = datetime.fromtimestamp(at_ms // 1_000, UTC) + timedelta(minutes=offset)
    spans = hours.special.get(local.date().isoformat(), hours.weekly[local.weekday()])
    return any(opens <= local.hour * 60 + local.minute < closes for opens, closes in spans)


@cache
def _flips(hours: bytes, day: int) -> list[tuple[int, bool]]:
    """(instant, opens there) within a day of UTC."""
    read, found = json.decode(hours, type=Hours), []
    for minute in range(1_440):
        at_ms = day * DAY_MS + minute * MINUTE_MS
        now = is_open(read, at_ms)
        if now != is_open(read, at_ms - MINUTE_MS):
            found.append((at_ms, now))
    return found


def flips(queue: QueuePlan, from_ms: int, until_ms: int) -> list[tuple[int, bool]]:
    """When the queue opens and when it closes, after `from_ms` and up to `until_ms`."""
    if queue.hours is None:
        return []
    encoded = json.encode(queue.hours)
    days = range(from_ms // DAY_MS, until_ms // DAY_MS + 1)
    return [one for day in days for one in _flips(encoded, day) if from_ms < one[0] <= until_ms]


def phase(queue: QueuePlan, now_ms: int) -> str:
    """`open`, `closing` for the grace after closing time, else `closed`."""
    if queue.hours is None or is_open(queue.hours, now_ms):
        return "open"
    closings = [at_ms for at_ms, opens in flips(queue, now_ms - queue.closing_grace_ms, now_ms) if not opens]
    return "closing" if closings else "closed"


def changes(queue: QueuePlan, from_ms: int, until_ms: int) -> list[int]:
    """Instants after `from_ms` at which the phase may change."""
    found = flips(queue, from_ms - queue.closing_grace_ms, until_ms)
    graces = [at_ms + queue.closing_grace_ms for at_ms, opens in found if not opens]
    return [at_ms for at_ms in [one for one, _ in found] + graces if from_ms < at_ms <= until_ms]
