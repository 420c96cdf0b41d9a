"""What the follower answers from its archives and reports: histories, events in order, ended calls, counters.

Rules: each answer is of what is durable now, so the follower catches up first; who reads events in order comes again
  by itself.
Trouble of one division is a refusal by name, and nobody else's.

Not here: following (`follower`), the files (`archive`), counting (`reports`).
"""

from datetime import date

from actors.archive import Archive, ArchiveUnavailable
from actors.follower import Follower, FollowerStopped
from actors.history_items import DropHistory, EventsPage, HistoryItem, ReadEnded, ReadEvents, ReadReport, Report
from actors.items import ReadHistory, encode, encode_refusal
from actors.journal import StoreUnavailable
from actors.reports import Reports, TooManyRows

EVENTS_MAX = 500
"""In one answer: some 60 KiB; other answers on the same connection wait behind it."""
ENDED_MAX = 500


class Histories:
    """Of all divisions that one follower part has."""

    def __init__(
        self, followers: dict[str, Follower], archives: dict[str, Archive], reports: dict[str, Reports]
    ) -> None:
        self._followers = followers
        self._archives = archives
        self._reports = reports

    async def answer(self, item: ReadHistory | HistoryItem) -> bytes:
        """Return the encoded answer, or the refusal that says what is in the way."""
        if item.division_id not in self._followers:
            return encode_refusal("unknown_division")
        try:
            return encode(await self._answer(item))
        except (StoreUnavailable, ArchiveUnavailable):
            return encode_refusal("store_unavailable")
        except FollowerStopped:
            return encode_refusal("history_stopped")
        except TooManyRows:
            return encode_refusal("report_too_large")

    async def _answer(self, item: ReadHistory | HistoryItem) -> object:
        division_id = item.division_id
        archive, follower = self._archives[division_id], self._followers[division_id]
        if isinstance(item, ReadEvents):
            return await self._events(archive, item)
        if isinstance(item, DropHistory):
            return await archive.drop_before(date.fromisoformat(item.before_day))
        if isinstance(item, ReadHistory):
            return await follower.history(item.call_id)
        await follower.catch_up()
        if isinstance(item, ReadEnded):
            count = min(item.count_max, ENDED_MAX)
            return await archive.ended_on(date.fromisoformat(item.day), item.after, count, item.wanted)
        return await self._report(item)

    async def _events(self, archive: Archive, item: ReadEvents) -> EventsPage:
        end = (await archive.cursor(), 1 << 62)
        if item.after is None:
            return EventsPage([], end)
        return EventsPage(await archive.after(item.after, min(item.count_max, EVENTS_MAX)), end)

    async def _report(self, item: ReadReport) -> Report:
        return await self._reports[item.division_id].report(item.kind, item.from_ms, item.to_ms, item.interval_ms)
