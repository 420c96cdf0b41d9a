"""Tokens: what must be in them, forgeries, times, sizes."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.identity import TOKEN_LENGTH_MAX, Verifier
from gateway.refusals import Refused
from gateway.signing_keys import (
    SigningKeys,
    parse_key_set,
)
from tests.gateway.keys import CLAIMS, NoSource, key_set, made_key, raw, signed

KEY = made_key("k-1")
OTHER = made_key("k-2")
LEEWAY_S = 5.0


@pytest.fixture
def verifier() -> Verifier:
    return verifier_of(KEY)


def verifier_of(*keys: ECKey) -> Verifier:
    return Verifier(SigningKeys(NoSource(), parse_key_set(key_set(*keys))), "tellerhall", "tellerhall", LEEWAY_S)


def reason_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(Refused) as refused:
        verifier.identify(token)
    assert KEY.kid is not None
    assert token == "" or token[-40:] not in refused.value.detail
    return refused.value.reason


# -- what must be in a token


def test_a_good_token_says_who(verifier: Verifier) -> None:
    """Given a token with all that is asked for; then it speaks for its subject in its division, until it ends."""
    identity = verifier.identify(
        signed(KEY, division="north", role="agent", sub="a-1", exp=4_000_000_000, extra={"x": 1})
    )
    assert (identity.principal, identity.division_id, identity.key_id) == ("agent:a-1", "north", "k-1")
    assert identity.expires_at_s == 4_000_000_000
    assert verifier.identify(signed(KEY, aud=["else", "tellerhall"])).principal == "customer:c-1"


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "role", "exp"])
def test_a_missing_claim_is_refused(verifier: Verifier, claim: str) -> None:
    """Given a signed token without one of the claims; then it signs nobody in."""
    assert reason_of(verifier, signed(KEY, **{claim: None})) == "not_signed_in"


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "else"},
        {"aud": []},
        {"aud": ["else"]},
        {"aud": {"tellerhall": 1}},
        {"iss": "else"},
        {"iss": "tellerhall "},
        {"role": "boss"},
        {"role": ["customer"]},
        {"sub": "../x"},
        {"sub": ""},
        {"sub": "x" * 200},
        {"exp": "soon"},
        {"exp": True},
        {"exp": -1},
        {"exp": 1e300},
        {"nbf": "now"},
        {"iat": "now"},
        {"division": "no such/id"},
    ],
)
def test_a_wrong_claim_is_refused(verifier: Verifier, change: dict[str, Any]) -> None:
    """Given a signed token with a claim that is not ours or no value at all; then it signs nobody in."""
    assert reason_of(verifier, signed(KEY, **change)) == "not_signed_in"


def test_times_have_a_small_leeway(verifier: Verifier) -> None:
    """Given clocks that differ: then within the leeway a token counts, beyond it its end and its begin are kept."""
    now_s = time.time()
    verifier.identify(signed(KEY, exp=now_s - LEEWAY_S + 2))
    assert reason_of(verifier, signed(KEY, exp=now_s - LEEWAY_S - 1)) == "token_expired"
    for claim in ("nbf", "iat"):
        verifier.identify(signed(KEY, **{claim: now_s + LEEWAY_S - 2}))
        assert reason_of(verifier, signed(KEY, **{claim: now_s + LEEWAY_S + 2})) == "not_signed_in"


# -- forgeries


def test_no_signature_is_no_token(verifier: Verifier) -> None:
    """RFC 8725, 3.1: given `alg: none`, whatever its case, with and without a kid; then it is refused."""
    for alg in ("none", "None", "NONE", ""):
        for kid in ({}, {"kid": "k-1"}):
            assert reason_of(verifier, raw({"alg": alg, **kid}, {**CLAIMS, "exp": 4e9})) == "not_signed_in"
    header, payload, _ = signed(KEY).split(".")
    assert reason_of(verifier, f"{header}.{payload}.") == "not_signed_in"


def test_the_public_key_is_no_secret_for_hmac(verifier: Verifier) -> None:
    """RFC 8725, 2.1: given tokens that are signed by HMAC with each form of the public key; then they are refused."""
    public = json.loads(key_set(KEY))["keys"][0]
    pem = KEY.as_pem(private=False)
    secrets = [pem, pem.strip(), json.dumps(public).encode(), base64.urlsafe_b64decode(public["x"] + "="), b""]
    for secret in secrets:
        for kid in ({}, {"kid": "k-1"}):
            header = {"alg": "HS256", **kid}
            unsigned = raw(header, {**CLAIMS, "exp": 4e9}).rpartition(".")[0]
            token = raw(header, {**CLAIMS, "exp": 4e9}, hmac.digest(secret, unsigned.encode(), hashlib.sha256))
            assert reason_of(verifier, token) == "not_signed_in"


def test_other_algorithms_are_refused(verifier: Verifier) -> None:
    """Given well-signed tokens of other algorithms and curves under our kid; then they are refused."""
    rsa, p384 = RSAKey.generate_key(2048), ECKey.generate_key("P-384")
    claims = {**CLAIMS, "exp": 4e9}
    for alg, key in (("RS256", rsa), ("PS256", rsa), ("ES384", p384)):
        token = jwt.encode({"alg": alg, "kid": "k-1"}, claims, key, algorithms=[alg])
        assert reason_of(verifier, token) == "not_signed_in"


def test_a_token_brings_no_key_of_its_own(verifier: Verifier) -> None:
    """Given a stranger's token that names or holds the stranger's key; then nothing of that is followed."""
    stranger = made_key("k-1")
    public = stranger.as_dict(private=False)
    for header in ({}, {"jwk": public}, {"jku": "https://127.0.0.1:1/keys"}, {"x5u": "https://127.0.0.1:1/c"}):
        assert reason_of(verifier, signed(stranger, header)) == "not_signed_in"
    assert reason_of(verifier, signed(made_key("unknown"))) == "not_signed_in"


def test_the_key_is_chosen_by_its_name() -> None:
    """Given two keys; when a token names the other one, none or nonsense; then no other key is tried."""
    verifier = verifier_of(KEY, OTHER)
    verifier.identify(signed(OTHER))
    for kid in ("k-1", "", 1, None, ["k-2"], "k" * 201):
        header = {"alg": "ES256", **({} if kid is None else {"kid": kid})}
        good = signed(OTHER)
        forged = raw(header, {}).split(".")[0] + "." + good.partition(".")[2]
        assert reason_of(verifier, forged) == "not_signed_in"


def test_an_unknown_critical_header_is_refused(verifier: Verifier) -> None:
    """RFC 7515, 4.1.11: given a header that must be understood and is not; then the token is refused."""
    header = {"alg": "ES256", "kid": "k-1", "crit": ["exp"], "exp": 1}
    unsigned = raw(header, {**CLAIMS, "exp": 4e9}).rpartition(".")[0]
    good = signed(KEY).split(".")
    assert reason_of(verifier, f"{unsigned}.{good[2]}") == "not_signed_in"


def test_a_changed_token_is_refused(verifier: Verifier) -> None:
    """Given a good token with one character of any part changed, cut or doubled; then it is refused."""
    token = signed(KEY)
    parts = token.split(".")
    for place in range(3):
        for at in (0, len(parts[place]) // 2):
            part = parts[place]
            changed = part[:at] + ("A" if part[at] != "A" else "B") + part[at + 1 :]
            assert reason_of(verifier, ".".join([*parts[:place], changed, *parts[place + 1 :]])) == "not_signed_in"
    for bad in ("", ".", "..", "...", token + ".x", token[:-2], parts[0], "é" + token, "\x00" + token):
        assert reason_of(verifier, bad) == "not_signed_in"


def test_a_token_has_a_bound(verifier: Verifier) -> None:
    """Given a token at the bound; then it counts; one character more is refused before anything is parsed."""
    fill = 0
    while len(signed(KEY, fill="x" * (fill + 3))) <= TOKEN_LENGTH_MAX:
        fill += 3
    assert TOKEN_LENGTH_MAX - 8 < len(signed(KEY, fill="x" * fill)) <= TOKEN_LENGTH_MAX
    verifier.identify(signed(KEY, fill="x" * fill))
    assert reason_of(verifier, signed(KEY, fill="x" * (fill + 8))) == "not_signed_in"
    deep = "[" * 2_000
    nested = base64.urlsafe_b64encode(deep.encode()).rstrip(b"=").decode()
    assert reason_of(verifier, f"{nested}.{nested}.AA") == "not_signed_in"
