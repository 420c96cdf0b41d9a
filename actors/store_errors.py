"""What may go wrong with the store, by name: one exception, a short list of reasons, and how the library's errors map to it.

Rules: a server's error text is never passed on to be parsed; who needs to tell cases apart looks at `reason`.

Not here: when to repeat a request (`store_client`'s callers know whether that is harmless).
"""

import ssl
from typing import Literal, Self

from redis import exceptions

Reason = Literal[
    "not_connected",
    "timeout",
    "loading",
    "out_of_memory",
    "disk_failed",
    "read_only",
    "replica_missing",
    "tls_failed",
    "not_allowed",
    "script_lost",
    "slot_moving",
    "refused",
]
"""`disk_failed`: the server cannot write its append-only file. `loading`: it reads its files after a start.

`replica_missing`: written, perhaps also on some replicas, but fewer than asked for have confirmed it on their disks: the
outcome is unknown, as with a lost reply. `tls_failed`: one side does not trust the other. `slot_moving`: the cluster is moving
these keys.
"""

_REASON_BY_ERROR: list[tuple[type[Exception], Reason]] = [
    (exceptions.OutOfMemoryError, "out_of_memory"),
    (exceptions.ReadOnlyError, "read_only"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.NoPermissionError, "not_allowed"),
    (exceptions.AuthenticationError, "not_allowed"),
    (exceptions.AuthorizationError, "not_allowed"),
    (exceptions.TryAgainError, "slot_moving"),
    (exceptions.AskError, "slot_moving"),
    (exceptions.MovedError, "slot_moving"),
    (exceptions.ClusterDownError, "not_connected"),
    (exceptions.SlotNotCoveredError, "not_connected"),
    (exceptions.MasterDownError, "not_connected"),
    (exceptions.NoScriptError, "script_lost"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (ssl.SSLError, "tls_failed"),
    (exceptions.ConnectionError, "not_connected"),
    (OSError, "not_connected"),
]
"""In this order: the library derives most of the upper ones from its ConnectionError."""

_REASON_BY_PREFIX: dict[str, Reason] = {
    "MISCONF": "disk_failed",
    "NOAUTH": "not_allowed",
    "WRONGPASS": "not_allowed",
    "NOREPLICAS": "replica_missing",
}
CAUSES_MAX = 5
"""How deep a library wraps what happened; two were seen."""


class StoreUnavailable(Exception):
    """The store did not do it, or nobody knows whether it did. Repeat the SAME request, or read what is true."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Self], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


def unavailable(error: Exception) -> StoreUnavailable:
    """Name what happened."""
    if isinstance(error, StoreUnavailable):
        return error
    text = str(error)
    error = _root(error)
    for kind, reason in _REASON_BY_ERROR:
        if isinstance(error, kind):
            return StoreUnavailable(reason, text)
    return StoreUnavailable(_REASON_BY_PREFIX.get(str(error).partition(" ")[0], "refused"), text)


def _root(error: Exception) -> Exception:
    """What happens while connecting, a wrong password say, arrives wrapped in a ConnectionError: look below it."""
    for _ in range(CAUSES_MAX):
        below = error.__cause__ or error.__context__
        if type(error) is not exceptions.ConnectionError or not isinstance(below, exceptions.RedisError | ssl.SSLError):
            break
        error = below
    return error
