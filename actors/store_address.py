"""Where the store is: the forms that `store.url` may have, checked, and told apart.

    unix:///path                                   one server on this machine
    redis://user:password@host:6379/0              one server; `rediss://`: over TLS
    redis+sentinel://host:26379,host:26379/name    the primary that these Sentinels know by that name; `rediss+sentinel://`
    redis+cluster://host:6379,host:6379            a cluster, found through any of these; `rediss+cluster://`

Options follow as `?name=value&name=value`; the names are in `OPTIONS`. An unknown one is an error: a misspelt one would
silently not apply, and none may switch off the checks of TLS.

Not here: connecting (`store_links`), the keys of the configuration that become options (`configuration`).
"""

import re
from typing import Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from msgspec import Struct, structs

Kind = Literal["server", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Kind, bool, int]] = {
    "redis": ("server", False, 6379),
    "rediss": ("server", True, 6379),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
"""Scheme -> what it leads to, whether over TLS, and the port where none is named."""

OPTIONS = ("replicas_min", "ca_file", "certificate_file", "key_file", "sentinel_user", "sentinel_password")
TLS_OPTIONS = ("ca_file", "certificate_file", "key_file")
REPLICAS_MAX = 8
"""More than any store that was planned for has; each is one more disk to wait for."""
NODES_MAX = 64
"""Addresses in one URL. A client needs a few to begin with and learns the others from them."""

_NODE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")


class Node(Struct, frozen=True, order=True):
    """One server's host, an IPv6 address without brackets, and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AddressWrong(ValueError):
    """The URL cannot be used; the text says what is wrong with it, without user and password."""


class StoreAddress(Struct, frozen=True):
    """A checked `store.url`."""

    kind: Kind
    is_tls: bool = False
    socket_path: str = ""
    """A Unix socket instead of nodes."""
    nodes: tuple[Node, ...] = ()
    service: str = ""
    """What the Sentinels call the primary."""
    credentials: str = ""
    """`user:password@` as in the URL, or empty."""
    database: str = ""
    replicas_min: int = 0
    """How many replicas must confirm each write on their disks."""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""

    def server_url(self, node: Node) -> str:
        """Return how the client library is told of one server that holds data."""
        return self._url(node, self.credentials, f"/{self.database}" if self.database else "")

    def sentinel_url(self, node: Node) -> str:
        """Return how the client library is told of one Sentinel; those have users of their own."""
        password = f":{quote(self.sentinel_password, safe='')}@" if self.sentinel_password else ""
        return self._url(node, quote(self.sentinel_user, safe="") + password, "")

    @property
    def socket_url(self) -> str:
        """Return how the client library is told of the Unix socket."""
        return f"unix://{self.credentials}{self.socket_path}" + (f"?db={self.database}" if self.database else "")

    def _url(self, node: Node, credentials: str, path: str) -> str:
        files = {
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.certificate_file,
            "ssl_keyfile": self.key_file,
        }
        query = urlencode({name: path for name, path in files.items() if path})
        return f"{'rediss' if self.is_tls else 'redis'}://{credentials}{node}{path}" + (f"?{query}" if query else "")


def parse_address(url: str) -> StoreAddress:
    """Read a `store.url`. Raises AddressWrong."""
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme != "unix" and scheme not in _SCHEMES):
        raise AddressWrong(f"begins with none of {', '.join(f'{one}://' for one in ('unix', *_SCHEMES))}")
    parts = urlsplit("//" + rest)
    options = _options(parts.query)
    replicas_min = _replicas_min(options.pop("replicas_min", "0"))
    credentials, at, hosts = parts.netloc.rpartition("@")
    common = StoreAddress("server", credentials=credentials + at, replicas_min=replicas_min)
    if parts.fragment:
        raise AddressWrong("has a '#', which a user or password writes as %23")
    if scheme == "unix":
        if hosts or len(parts.path) < 2:
            raise AddressWrong("has no absolute path after unix://")
        database = options.pop("db", "")
        _refuse_options(options, ())
        return structs.replace(common, socket_path=parts.path, database=_database(database))
    kind, is_tls, port = _SCHEMES[scheme]
    _refuse_options(options, _allowed(kind, is_tls))
    if bool(options.get("certificate_file")) != bool(options.get("key_file")):
        raise AddressWrong("needs certificate_file and key_file, both or neither")
    service, database = _path(kind, parts.path.strip("/"))
    nodes = _nodes(hosts, port, 1 if kind == "server" else NODES_MAX)
    return structs.replace(common, kind=kind, is_tls=is_tls, nodes=nodes, service=service, database=database, **options)


def with_options(url: str, options: dict[str, str]) -> str:
    """Return `url` with further options; those that stand in it already win."""
    base, _, query = url.partition("?")
    merged = {**{name: value for name, value in options.items() if value}, **dict(parse_qsl(query))}
    return base + (f"?{urlencode(merged)}" if merged else "")


def _allowed(kind: Kind, is_tls: bool) -> tuple[str, ...]:
    sentinel = ("sentinel_user", "sentinel_password") if kind == "sentinel" else ()
    return (*(TLS_OPTIONS if is_tls else ()), *sentinel)


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise AddressWrong("names an option twice")
    return dict(pairs)


def _refuse_options(options: dict[str, str], allowed: tuple[str, ...]) -> None:
    for name in options:
        if name in TLS_OPTIONS and name not in allowed:
            raise AddressWrong(f"has {name}, which needs TLS: rediss://, rediss+sentinel:// or rediss+cluster://")
        if name not in allowed:
            known = ", ".join(("replicas_min", *allowed))
            raise AddressWrong(f"has an option {name!r} that does not belong there; known are {known}")


def _replicas_min(text: str) -> int:
    if not text.isdecimal() or int(text) > REPLICAS_MAX:
        raise AddressWrong(f"has replicas_min {text!r}; allowed is 0 to {REPLICAS_MAX}")
    return int(text)


def _path(kind: Kind, path: str) -> tuple[str, str]:
    """Return (service, database)."""
    if kind == "server":
        return "", _database(path)
    if kind == "cluster":
        if path not in ("", "0"):
            raise AddressWrong("has a path, but a cluster has no databases")
        return "", ""
    service, _, database = path.partition("/")
    if not service:
        raise AddressWrong("lacks the name by which the Sentinels know the primary: redis+sentinel://host:26379/name")
    return service, _database(database)


def _database(text: str) -> str:
    if text and not text.isdecimal():
        raise AddressWrong("ends in something else than the number of a database")
    return text


def _nodes(hosts: str, port: int, count_max: int) -> tuple[Node, ...]:
    texts = hosts.split(",")
    if len(texts) > count_max:
        what = "one server; several belong to redis+sentinel:// or redis+cluster://"
        raise AddressWrong(
            f"names {len(texts)} servers; allowed is {what if count_max == 1 else f'at most {count_max}'}"
        )
    return tuple(_node(number, text, port) for number, text in enumerate(texts, start=1))


def _node(place: int, text: str, port: int) -> Node:
    match = _NODE.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 1 <= number <= 65_535:
        # The text itself is not shown: a password that was not quoted lands here.
        raise AddressWrong(
            f"has no host:port with a port from 1 to 65535 at place {place}; a password writes / as %2F, @ as %40, # as %23"
        )
    return Node(match["host"].strip("[]"), number)
