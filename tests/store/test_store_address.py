"""Where the store may be: each form of address, each mistake, and the keys of the configuration that become part of it."""

from pathlib import Path

import pytest

from actors.configuration import ConfigurationError, load
from actors.store_address import NODES_MAX, REPLICAS_MAX, AddressWrong, Node, parse_address, with_options

SENTINELS = (
    "rediss+sentinel://bank:p%40ss@one:1,two,[::1]:3/tellers/4?sentinel_user=s&sentinel_password=x%26&replicas_min=1"
)


def test_one_server_in_each_form() -> None:
    """Given a socket, a name, and TLS with files, when parsed, then the client library is told the same."""
    assert parse_address("unix://u:p@/run/store.sock?db=2").socket_url == "unix://u:p@/run/store.sock?db=2"
    plain = parse_address("redis://host")
    assert (plain.kind, plain.server_url(plain.nodes[0])) == ("server", "redis://host:6379")
    secure = parse_address("rediss://u:p%40@host:1/2?ca_file=/ca.pem&certificate_file=/own.pem&key_file=/own.key")
    files = "ssl_ca_certs=%2Fca.pem&ssl_certfile=%2Fown.pem&ssl_keyfile=%2Fown.key"
    assert secure.server_url(secure.nodes[0]) == f"rediss://u:p%40@host:1/2?{files}"


def test_sentinels_and_their_own_users() -> None:
    """Given Sentinels by name and number, when parsed, then data and Sentinels each have their own user, port and database."""
    address = parse_address(SENTINELS)
    assert address.nodes == (Node("one", 1), Node("two", 26379), Node("::1", 3))
    assert (address.service, address.database, address.replicas_min) == ("tellers", "4", 1)
    assert address.server_url(Node("::2", 6379)) == "rediss://bank:p%40ss@[::2]:6379/4"
    assert address.sentinel_url(address.nodes[0]) == "rediss://s:x%26@one:1"


def test_a_cluster_is_found_through_any_of_its_servers() -> None:
    """Given two servers of a cluster, when parsed, then both are known."""
    address = parse_address("redis+cluster://:secret@a:7000,b")
    assert (address.kind, address.nodes) == ("cluster", (Node("a", 7000), Node("b", 6379)))
    assert address.server_url(address.nodes[1]) == "redis://:secret@b:6379"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://host", "begins with none of"),
        ("host:6379", "begins with none of"),
        ("unix://here", "no absolute path"),
        ("redis://a,b", "names 2 servers; allowed is one server"),
        ("redis+cluster://" + ",".join(["a"] * (NODES_MAX + 1)), f"at most {NODES_MAX}"),
        ("redis://host:0", "port from 1 to 65535"),
        ("redis://host:65536", "port from 1 to 65535"),
        ("redis://", "no host:port"),
        ("redis://host/x", "number of a database"),
        ("redis+sentinel://host", "lacks the name"),
        ("redis+cluster://host/1", "a cluster has no databases"),
        ("redis://host?ssl_cert_reqs=none", "does not belong there"),
        ("redis://host?ca_file=/x", "needs TLS"),
        ("rediss://host?key_file=/x", "both or neither"),
        ("redis://host?sentinel_password=x", "does not belong there"),
        (f"redis://host?replicas_min={REPLICAS_MAX + 1}", f"0 to {REPLICAS_MAX}"),
        ("redis://host?replicas_min=", "replicas_min ''"),
        ("redis://host?replicas_min=1&replicas_min=2", "twice"),
        ("redis://:a#b@host", "%23"),
    ],
)
def test_each_mistake_is_named(url: str, what: str) -> None:
    """Given one mistake, when parsed, then the error says it."""
    with pytest.raises(AddressWrong, match=what):
        parse_address(url)


@pytest.mark.parametrize("password", ["pa/ss", "pa@s/s", "p?a", "p#a", "p a:s"])
def test_no_mistake_shows_a_password(password: str) -> None:
    """Given a password that was not quoted, when the URL cannot be read for it, then it is not in the error."""
    with pytest.raises(AddressWrong) as wrong:
        parse_address(f"redis+cluster://user:{password}@host:port")
    assert not {"pa", "ss", "s/s"} & set(str(wrong.value).replace("'", " ").replace(":", " ").split())


def test_options_of_the_url_win() -> None:
    """Given an option in the URL and as a key, when put together, then the URL's stays and empty ones are left away."""
    assert with_options("redis://h?replicas_min=2", {"replicas_min": "1", "ca_file": ""}) == "redis://h?replicas_min=2"
    assert with_options("redis://h", {"ca_file": "/a b", "key_file": ""}) == "redis://h?ca_file=%2Fa+b"


def written(folder: Path, text: str) -> Path:
    """A configuration file with this [store] section."""
    path = folder / "hall.toml"
    path.write_text(f'[store]\n{text}\n[[divisions]]\ndivision_id = "main"\n')
    return path


def test_the_keys_become_part_of_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given keys with relative files, when loaded, then whoever gets the URL has all, from any folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("")
    path = written(tmp_path, 'url = "rediss://host"\nreplicas_min = 1\nca_file = "ca.pem"')
    address = parse_address(load(path).store.url)
    assert (address.replicas_min, address.ca_file) == (1, str(tmp_path / "ca.pem"))
    assert load(written(tmp_path, "")).store.url == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("replicas_min = 1", "store.replicas_min: 1 is there: needs store.url"),
        ('url = "rediss://h"\nca_file = "nowhere.pem"', "store.ca_file: 'nowhere.pem' is there: is no file"),
        ('url = "redis://u:secret@h,i"', "store.url: (not shown) is there: names 2 servers"),
        ('url = "redis://h"\nca_file = "hall.toml"', "store.url: (not shown) is there: has ca_file, which needs TLS"),
    ],
)
def test_mistakes_in_the_keys_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: str) -> None:
    """Given one mistake, when loaded, then one line names it and shows no password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as wrong:
        load(written(tmp_path, text))
    [found] = wrong.value.lines
    assert line in found
    assert "secret" not in found
