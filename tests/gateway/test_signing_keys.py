"""Sets of keys: what is taken, rotation while the gateway runs, an issuer in trouble, the development issuer's own keys."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import ECKey, RSAKey

from gateway.development_issuer import KEY_FILE, RETIRED_FILE, TTL_S_MAX, DevelopmentIssuer, development_keys, rotate
from gateway.identity import Verifier, is_loopback, open_verifier
from gateway.refusals import Refused
from gateway.settings import Settings
from gateway.signing_keys import (
    KEYS_MAX,
    SET_BYTES_MAX,
    KeySetUrl,
    KeysUnusable,
    SigningKeys,
    key_set_file,
    parse_key_set,
)
from gateway.tls import development_certificate, server_context
from tests.gateway.keys import NoSource, key_set, made_key, signed

KEY = made_key("k-1")
OTHER = made_key("k-2")


def reason_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(Refused) as refused:
        verifier.identify(token)
    return refused.value.reason


# -- sets of keys


def test_only_keys_for_us_are_taken() -> None:
    """Given a set with keys of other kinds and purposes; then they are left out, and the good one counts."""
    good = KEY.as_dict(private=False)
    others = [
        RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=False),
        ECKey.generate_key("P-384", {"kid": "p384"}).as_dict(private=False),
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "sign", "key_ops": ["sign"]},
        {**good, "kid": "es384", "alg": "ES384"},
        {**good, "kid": 7},
        {**good, "kid": "k" * 201},
        {name: value for name, value in good.items() if name != "kid"},
    ]
    assert list(parse_key_set(json.dumps({"keys": [*others, {**good, "use": "sig", "alg": "ES256"}]}).encode())) == [
        "k-1"
    ]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "bytes"),
        (b"[" * 50_000, "JSON"),
        (b"[]", "JSON"),
        (b'{"keys": 1}', "keys"),
        (b'{"keys": []}', "no P-256 key"),
        (b'{"keys": [1]}', "objects"),
        (key_set(KEY, made_key("k-1")), "two keys"),
        (key_set(KEY, y="AAAA"), "malformed"),
        (key_set(KEY, x=KEY.as_dict()["y"]), "malformed"),
        (json.dumps({"keys": [KEY.as_dict(private=True)]}).encode(), "private"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "k-1"}]}).encode(), "secret"),
        (json.dumps({"keys": [KEY.as_dict(private=False)] * (KEYS_MAX + 1)}).encode(), "at most 64"),
        (key_set(KEY) + b" " * SET_BYTES_MAX, "bytes"),
    ],
)
def test_a_set_is_taken_whole_or_not_at_all(content: bytes, word: str) -> None:
    """Given a set that is none, has two keys of a kid, a private key, too much; then it is refused, and says why."""
    with pytest.raises(KeysUnusable, match=word) as error:
        parse_key_set(content)
    assert KEY.as_dict(private=True)["d"] not in str(error.value)


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Given a key set's file; when a key is added or taken out; then its first token counts, or its last no more."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(KEY))
    verifier = open_verifier(Settings(jwks_path=path, host="0.0.0.0"))
    verifier.keys._source.unknown_s_min = 0.0
    with pytest.raises(Refused):
        await verifier.admit(signed(OTHER))
    replace(path, key_set(KEY, OTHER))
    assert (await verifier.admit(signed(OTHER))).key_id == "k-2"
    removed: list[frozenset[str]] = []
    verifier.keys.on_removed = removed.append
    replace(path, key_set(OTHER))
    await verifier.keys._refresh()
    assert removed == [frozenset({"k-1"})]
    with pytest.raises(Refused) as refused:
        await verifier.admit(signed(KEY))
    assert refused.value.reason == "not_signed_in"


def replace(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


async def test_a_file_that_went_bad_changes_nothing(tmp_path: Path) -> None:
    """Given a file that is cut, gone or unreadable for a while; then the last good set counts, and the failure is said."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(KEY))
    files = key_set_file(path)
    keys = SigningKeys(files, files.read_now())
    for spoil in (lambda: replace(path, key_set(KEY)[:50]), path.unlink, lambda: replace(path, b'{"keys": []}')):
        spoil()
        await keys._refresh()
        assert keys.failure
        assert keys.get("k-1") is not None
    replace(path, key_set(OTHER))
    await keys._refresh()
    assert (keys.failure, keys.get("k-1")) == ("", None)
    assert keys.get("k-2") is not None


async def test_unknown_names_do_not_flood_the_issuer() -> None:
    """Given many tokens with made-up kids at once and after each other; then the source is looked at once in the time set."""
    source = NoSource()
    source.unknown_s_min = 3600.0
    keys = SigningKeys(source, parse_key_set(key_set(KEY)))
    assert await asyncio.gather(*(keys.look_for(f"made-up-{n}") for n in range(100))) == [None] * 100
    for n in range(100):
        await keys.look_for(f"again-{n}")
    assert source.looks_count == 1
    assert await keys.look_for("k-1") is not None


@asynccontextmanager
async def issuer_at(folder: Path, answer: Any) -> AsyncIterator[tuple[str, Path]]:
    """An https server with a certificate of its own; `answer(request)` makes the responses."""
    certificate, key = development_certificate(folder, ["127.0.0.1"])
    application = web.Application()
    application.router.add_get("/keys", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(certificate, key))
    await site.start()
    port = runner.addresses[0][1]
    yield f"https://127.0.0.1:{port}/keys", certificate
    await runner.cleanup()


async def test_an_address_is_asked_again(tmp_path: Path) -> None:
    """Given an issuer on the network; when it rotates; then its new key counts without a restart, and the old one no more."""
    published, asked = [key_set(KEY)], 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(body=published[0])

    async with issuer_at(tmp_path, answer) as (url, ca):
        settings = Settings(jwks_url=url, jwks_ca_path=ca, host="0.0.0.0")
        verifier = open_verifier(settings)
        verifier.keys._source.unknown_s_min = 0.0
        await verifier.keys.start()
        assert (await verifier.admit(signed(KEY))).key_id == "k-1"
        assert asked == 1
        published[0] = key_set(OTHER)
        assert (await verifier.admit(signed(OTHER))).key_id == "k-2"
        assert asked == 2
        with pytest.raises(Refused):
            await verifier.admit(signed(KEY))
        await verifier.keys.stop()


async def test_an_issuer_in_trouble_leaves_the_last_good_set(tmp_path: Path) -> None:
    """Given answers that are errors, redirects, too large, nonsense, or none; then the last good set stays in force."""
    answers = [
        lambda: web.Response(body=key_set(KEY)),
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/keys"}),
        lambda: web.Response(body=key_set(OTHER) + b" " * SET_BYTES_MAX),
        lambda: web.Response(body=b"<html>"),
    ]

    async def answer(_: web.Request) -> web.Response:
        return answers.pop(0)()

    async with issuer_at(tmp_path, answer) as (url, ca):
        keys = SigningKeys(KeySetUrl(url, ca))
        await keys._refresh()
        assert keys.failure == ""
        while answers:
            await keys._refresh()
            assert keys.failure
            assert keys.get("k-1") is not None
    await keys._refresh()
    assert "cannot be fetched" in keys.failure
    assert keys.get("k-1") is not None


async def test_an_untrusted_certificate_is_not_believed(tmp_path: Path) -> None:
    """Given an issuer whose certificate this machine does not trust, or plain http; then no key of it is taken."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=key_set(KEY))

    async with issuer_at(tmp_path, answer) as (url, _ca):
        with pytest.raises(KeysUnusable):
            await KeySetUrl(url).read()
        with pytest.raises(ValueError, match="https"):
            KeySetUrl(url.replace("https", "http"))
    with pytest.raises((ssl.SSLError, OSError)):
        KeySetUrl(url, tmp_path / "no-such-file")


async def test_without_any_keys_the_gateway_says_so() -> None:
    """Given an issuer that could not be asked yet; then a token is refused as `not_ready`, to be tried again."""
    source = NoSource()
    source.answers = [KeysUnusable("down"), parse_key_set(key_set(KEY))]
    verifier = Verifier(SigningKeys(source), "tellerhall", "tellerhall")
    with pytest.raises(Refused) as refused:
        await verifier.admit(signed(KEY))
    assert refused.value.reason == "not_ready"
    assert (await verifier.admit(signed(KEY))).principal == "customer:c-1"


# -- the development issuer


async def test_a_rotated_development_key_counts_until_its_tokens_end(tmp_path: Path) -> None:
    """Given a token; when the key is rotated; then it and new ones count; after the longest life the old key counts no more."""
    folder = tmp_path / "keys"
    old = DevelopmentIssuer.open(folder).issue("customer", "c-1")
    verifier = open_verifier(Settings(keys_folder=folder))
    old_kid, new_kid = rotate(folder)
    new = DevelopmentIssuer.open(folder)
    assert (new.kid, new.kid == old_kid) == (new_kid, False)
    await verifier.keys._refresh()
    assert (await verifier.admit(old)).key_id == old_kid
    assert (await verifier.admit(new.issue("customer", "c-1"))).key_id == new_kid
    for name in (KEY_FILE, RETIRED_FILE):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    retired = json.loads((folder / RETIRED_FILE).read_text())
    assert [("d" in one, one["kid"]) for one in retired["keys"]] == [(False, old_kid)]
    assert abs(retired["keys"][0]["retired_until_s"] - time.time() - TTL_S_MAX) < 60
    retired["keys"][0]["retired_until_s"] = time.time() - 1
    replace(folder / RETIRED_FILE, json.dumps(retired).encode())
    await verifier.keys._refresh()
    with pytest.raises(Refused):
        await verifier.admit(old)


async def test_a_leaked_development_key_counts_no_more(tmp_path: Path) -> None:
    """Given three keys of which one leaked; when it is rotated as leaked; then no earlier token counts."""
    folder = tmp_path / "keys"
    tokens = [DevelopmentIssuer.open(folder).issue("customer", "c-1")]
    rotate(folder)
    tokens.append(DevelopmentIssuer.open(folder).issue("customer", "c-1"))
    rotate(folder, is_leaked=True)
    files = development_keys(folder)
    verifier = Verifier(SigningKeys(files, files.read_now()), "tellerhall", "tellerhall")
    for token in tokens:
        assert reason_of(verifier, token) == "not_signed_in"
    verifier.identify(DevelopmentIssuer.open(folder).issue("customer", "c-1"))


def test_retired_keys_have_a_bound(tmp_path: Path) -> None:
    """Given as many retired keys as may count; then one more rotation is refused and changes nothing."""
    DevelopmentIssuer.open(tmp_path)
    for _ in range(KEYS_MAX - 1):
        rotate(tmp_path)
    before = DevelopmentIssuer.open(tmp_path).kid
    with pytest.raises(KeysUnusable, match="retired"):
        rotate(tmp_path)
    assert DevelopmentIssuer.open(tmp_path).kid == before
    assert len(development_keys(tmp_path).read_now() or {}) == KEYS_MAX
    rotate(tmp_path, is_leaked=True)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "10.1.2.3",
        "192.168.1.1",
        "fe80::1",
        "bank.example",
        "localhost.bank.example",
        "127.1",
        "LOCALHOST",
        "",
    ],
)
def test_the_development_issuer_is_refused_where_others_reach_it(tmp_path: Path, host: str) -> None:
    """Given any address or name but loopback; then the development issuer is refused, unless it is allowed by name."""
    assert not is_loopback(host)
    with pytest.raises(ValueError, match="development issuer is refused"):
        open_verifier(Settings(keys_folder=tmp_path, host=host))
    assert not (tmp_path / KEY_FILE).exists()
    open_verifier(Settings(keys_folder=tmp_path, host=host, are_development_keys_allowed=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_the_development_issuer_works_at_home(tmp_path: Path, host: str) -> None:
    """Given a loopback address; then a key is made for its owner alone, and one that others can read is refused."""
    open_verifier(Settings(keys_folder=tmp_path, host=host))
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        open_verifier(Settings(keys_folder=tmp_path, host=host))
