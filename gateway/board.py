"""A board: rows by key, at a version; and what makes the last version into this one. Pure.

Rules: a board shows at most `ROWS_MAX` rows and says when it is cut. A version exists only where something differs from the one
before. Rows keep the order in which the division gives them, but a client need not: each has a key.

Theory: whoever has the version before gets the rows that differ; anybody else the whole. So a watcher who is behind is brought
up to date by one message, however many versions were missed.

Not here: reading the division and who watches (`gateway/boards.py`).
"""

from msgspec import UNSET

from dispatch import views
from gateway.messages_watching import AgentRow, BoardDelta, BoardSnapshot, CallRow, QueueRow, Row
from gateway.people import mask_id
from gateway.supervisor_translation import MODE_WORDS

ROWS_MAX = 500
"""Some 120 KiB as JSON: a snapshot fits a connection's send buffer twice (`limits.SEND_BUFFER_BYTES_MAX`)."""


class Board:
    """One board of one division."""

    def __init__(self, name: str, division_id: str) -> None:
        self.name = name
        self.division_id = division_id
        self.version = 0
        """0: nothing is known yet, and nothing told."""
        self.is_stale = False
        self._rows: dict[str, Row] = {}
        self._is_cut = False
        self._delta: tuple[list[Row], list[str]] = ([], [])

    def __repr__(self) -> str:
        return f"<Board {self.division_id}/{self.name} version={self.version} rows={len(self._rows)}>"

    def take(self, rows: list[Row], is_cut: bool = False) -> bool:
        """Show `rows` from now on; True where that makes a new version. O(rows)."""
        found = {key_of(row): row for row in rows[:ROWS_MAX]}
        is_cut = is_cut or len(rows) > ROWS_MAX
        changed = [row for key, row in found.items() if self._rows.get(key) != row]
        gone = [key for key in self._rows if key not in found]
        is_same = self.version and not (changed or gone or self.is_stale or is_cut != self._is_cut)
        self._rows, self._is_cut, self.is_stale = found, is_cut, False
        if is_same:
            return False
        self._delta = (changed, gone)
        self.version += 1
        return True

    def lose(self) -> bool:
        """The division does not answer; True where that was not known yet. The rows stay as they were read last."""
        if self.is_stale:
            return False
        self.is_stale = True
        self._delta = ([], [])
        self.version += 1
        return True

    def snapshot(self) -> BoardSnapshot:
        """The whole board."""
        rows = list(self._rows.values())
        return BoardSnapshot(self.name, self.division_id, self.version, rows, self._is_cut, self.is_stale)

    def delta(self) -> BoardDelta:
        """What makes the version before into this one."""
        rows, gone = self._delta
        return BoardDelta(self.name, self.division_id, self.version, rows, gone, self._is_cut, self.is_stale)


def key_of(row: Row) -> str:
    """The row's key: its first field."""
    key: str = getattr(row, row.__struct_fields__[0])
    return key


def queue_row(view: views.QueueView) -> QueueRow:
    """A queue, as staff see it."""
    return QueueRow(
        view.queue_id,
        view.name,
        view.waiting_count,
        view.longest_wait_ms,
        view.agents,
        view.live_calls,
        view.estimate_ms,
    )


def agent_row(view: views.AgentView) -> AgentRow:
    """An agent, as staff see it; what never changes (skills) is not in it."""
    return AgentRow(
        view.agent_id,
        view.name,
        view.activity,
        view.reason,
        view.occupation,
        view.is_connected,
        view.idle_since_ms,
        view.call_ids,
        view.wrap_ups[0].until_ms if view.wrap_ups else UNSET,
    )


def call_row(view: views.CallView) -> CallRow:
    """A live call, as staff see it. Its place in the line is not in it: one call that leaves would change all the others."""
    return CallRow(
        view.call_id,
        view.state,
        view.queue_id,
        mask_id(view.customer_id),
        view.queued_at_ms,
        view.media,
        view.agent_id,
        view.agent_name,
        view.connected_at_ms,
        bool(view.recording_parties),
        view.credit_ms,
        view.is_absolute,
        {supervisor_id: MODE_WORDS[mode] for supervisor_id, mode in view.supervisors.items()},
        view.is_callback or UNSET,
        view.on_hold_until_ms or UNSET,
        len(view.parties) or UNSET,
    )
