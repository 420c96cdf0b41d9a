"""What the store promises about data that it has acknowledged, asked of every server that holds some (SAFETY.md 18).

Two kinds of answers are refused by name. A weakness means that acknowledged data may be lost; `accept_weaker_durability` takes
it all the same. An obstacle means that the hall could not work as it was told to, and nothing takes that.

Not here: what is kept (`journal`), waiting for replicas (`store_links`).
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from actors.store_client import StoreClient, StoreUnavailable


class Durability(Struct, frozen=True):
    """What the store promises about data it has acknowledged. Of several servers: the settings of the first."""

    server: str
    append_only: str
    fsync: str
    eviction: str
    weaknesses: list[str] = field(default_factory=list)
    """Empty: what is acknowledged survives a power cut. Otherwise the settings that stand against it, by name."""


class NotDurable(Exception):
    """The store may lose what it acknowledged. Change it, or set `accept_weaker_durability`."""


class _Answers(Struct, frozen=True):
    """What one server says of itself."""

    info: dict[str, Any]
    append_only: str
    fsync: str
    eviction: str
    has_waitaof: bool


async def check_durability(client: StoreClient, *, accept_weaker: bool) -> Durability:
    """Ask all servers. Raises NotDurable, and StoreUnavailable when one does not answer or a replica is not there yet."""
    replies_by_server = await client.attempt_each(
        [
            ("INFO",),
            ("CONFIG GET", "appendonly"),
            ("CONFIG GET", "appendfsync"),
            ("CONFIG GET", "maxmemory-policy"),
            ("COMMAND INFO", "WAITAOF"),
        ]
    )
    answers_by_server = {name: _answers(replies) for name, replies in replies_by_server.items()}
    obstacles, weaknesses = [], []
    for name, answers in answers_by_server.items():
        prefix = f"{name}: " if len(answers_by_server) > 1 else ""
        obstacles += [prefix + one for one in _obstacles(answers, client)]
        weaknesses += [prefix + one for one in _weaknesses(answers)]
    if obstacles:
        raise NotDurable("; ".join(obstacles))
    if weaknesses and not accept_weaker:
        raise NotDurable("; ".join(weaknesses) + "; or set store.accept_weaker_durability")
    for name, answers in answers_by_server.items():
        _check_replicas(name, answers, client.address.replicas_min)
    first = next(iter(answers_by_server.values()))
    return Durability(_server(first.info), first.append_only, first.fsync, first.eviction, weaknesses)


def _answers(replies: list[Any]) -> _Answers:
    info = replies[0] if isinstance(replies[0], dict) else {}
    append_only, fsync, eviction = (_setting(reply) for reply in replies[1:4])
    return _Answers(info, append_only, fsync, eviction, has_waitaof=replies[4] != [None])


def _setting(reply: Any) -> str:
    """Return the one value of a CONFIG GET, `unknown` where a hosted store does not tell."""
    values = list(reply.values()) if isinstance(reply, dict) else []
    return str(values[0]) if values else "unknown"


def _server(info: dict[str, Any]) -> str:
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', 'unknown')}"


def _obstacles(answers: _Answers, client: StoreClient) -> Iterator[str]:
    if client.address.replicas_min and not answers.has_waitaof:
        yield (
            f"{_server(answers.info)} has no WAITAOF, so no replica can confirm what it has on disk: "
            "store.replicas_min needs Redis 7.2 or Valkey"
        )
    if client.address.kind != "cluster" and str(answers.info.get("cluster_enabled", 0)) == "1":
        yield "this server belongs to a cluster: write its address as redis+cluster://host:port"


def _weaknesses(answers: _Answers) -> Iterator[str]:
    info = answers.info
    if info.get("role", "master") not in ("master", "unknown"):
        yield f"this server is a {info['role']}, connect to the primary"
    if answers.append_only != "yes":
        yield f"appendonly is {answers.append_only!r}, needed is 'yes'"
    if answers.fsync != "always":
        yield f"appendfsync is {answers.fsync!r}, needed is 'always'"
    if answers.eviction != "noeviction":
        yield f"maxmemory-policy is {answers.eviction!r}, needed is 'noeviction'"
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "the last write of the append-only file failed"


def _check_replicas(name: str, answers: _Answers, replicas_min: int) -> None:
    count = int(answers.info.get("connected_slaves", replicas_min))
    if count < replicas_min:
        where = f"{name} has" if name else "the primary has"
        raise StoreUnavailable("replica_missing", f"{where} {count} replicas, store.replicas_min is {replicas_min}")
