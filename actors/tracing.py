"""Trace context: which request a log line belongs to, over all processes (W3C Trace Context, level 1).

Rules
- A client may bring a `traceparent`; where it brings none, or one that is malformed, the gateway makes one. It travels beside
  the command to the shard and on to the media worker, never into the journal.
- A call belongs to the trace of the request that it began with. Who has not heard of that one, as a shard after a failover,
  says the trace that follows from the call's id: the same in every process. Its lines are then joined by `call_id`.
- Nothing decides by a trace.

Not here: what is logged (`transitions`), how (`logs`).
"""

import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

CALLS_MAX = 100_000
"""Calls whose trace a process remembers, 250 bytes each; the one begun longest ago goes first."""

DERIVED_MAX = 16_384
"""Derived ones kept at hand: calls of which something is told again and again."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z")
"""Version `ff` and all-zero ids are invalid; a later version may add parts at the end (section 3.2)."""
_LENGTH_MAX = 128

_current: ContextVar[str] = ContextVar("traceparent", default="")


def new_traceparent() -> str:
    """Begin a trace."""
    ids = secrets.token_hex(24)
    return f"00-{ids[:32]}-{ids[32:]}-01"


def is_traceparent(text: str) -> bool:
    """Is it well formed? What a client sends is not believed."""
    return len(text) <= _LENGTH_MAX and _TRACEPARENT.match(text) is not None


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits that all lines of a trace share."""
    return traceparent[3:35]


def begin_trace(traceparent: str) -> str:
    """Let what this asyncio task does from now on belong to that trace, or to a new one where it is none; returns it."""
    own = traceparent if is_traceparent(traceparent) else new_traceparent()
    _current.set(own)
    return own


def current_traceparent() -> str:
    """Of the request being carried out; empty outside of any."""
    return _current.get()


@lru_cache(maxsize=DERIVED_MAX)
def derived_traceparent(call_id: str) -> str:
    """The trace of a call that nobody brought one for: the same in every process. Not sampled: it has no beginning anywhere."""
    digest = hashlib.sha256(call_id.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-00"


class CallTraces:
    """Which trace each call of this process began with."""

    def __init__(self, calls_max: int = CALLS_MAX) -> None:
        self._calls_max = calls_max
        self._traceparents: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._traceparents)

    def remember(self, call_id: str, traceparent: str) -> None:
        """Keep it, unless the call has one or this is none."""
        if call_id and call_id not in self._traceparents and is_traceparent(traceparent):
            self._traceparents[call_id] = traceparent
            if len(self._traceparents) > self._calls_max:
                self._traceparents.popitem(last=False)

    def of(self, call_id: str) -> str:
        """The call's traceparent."""
        return self._traceparents.get(call_id) or derived_traceparent(call_id)

    def forget(self, call_id: str) -> None:
        self._traceparents.pop(call_id, None)


CALLS = CallTraces()
"""Of this process: a log line knows its call's id and nothing else."""


def add_trace(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Give a log line `call_id` and `trace_id`: of its call, or of the request that is carried out."""
    # The media worker knows rooms, and a room has its call's id.
    call_id = line.get("call_id") or line.pop("call", "") or line.get("room_id")
    if call_id:
        line["call_id"] = call_id
    if "trace_id" in line:
        return line
    traceparent = current_traceparent() or (CALLS.of(str(call_id)) if call_id else "")
    if traceparent:
        line["trace_id"] = trace_id_of(traceparent)
    return line
