"""Who somebody is: what must be in a token (JWT, ES256), whose signatures count, where the development issuer may be used.

Rules: algorithm, key, signature, issuer, audience, role, division and times are each checked by name. The key is chosen by
`kid` from our own sets and from nowhere else: what a token says of keys (`jwk`, `jku`, `x5c`) or of other algorithms is
never followed. A token names one role and one division. No token is ever logged.

Theory: a bank has its own issuer and publishes its public keys (`gateway/signing_keys.py`). For a start without one, a
development issuer makes tokens with a key in the data folder (`gateway/development_issuer.py`); whoever can read that file
can sign in as anybody, so it is refused on any address but loopback unless it is allowed by name.

Not here: what a role may do (`gateway/client_messages.py` for messages, the entries of `gateway/rest.py` for paths).
"""

import ipaddress
import time
from typing import Annotated, Any, get_args

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from msgspec import Meta, Struct

from dispatch.plan import Id
from gateway.development_issuer import ALGORITHM, development_keys
from gateway.messages import Role
from gateway.refusals import Refused
from gateway.settings import Settings
from gateway.signing_keys import KeyFiles, KeySetUrl, SigningKeys, key_set_file

TOKEN_LENGTH_MAX = 4_096
ROLES: tuple[str, ...] = get_args(Role)
Instant = Annotated[float, Meta(ge=0, le=253_402_300_799)]
"""Seconds since 1970, up to the end of the year 9999."""


class Claims(Struct):
    """What must be in a token; more is ignored."""

    iss: str
    aud: str | list[str]
    sub: Id
    role: Role
    exp: Instant
    nbf: Instant = 0
    iat: Instant = 0
    division: Id | None = None


class Identity(Struct, frozen=True):
    """Somebody who is signed in."""

    role: str
    subject: str
    division_id: str
    """Empty: the hall's first division."""
    expires_at_s: float
    key_id: str = ""
    """Which key vouches for it: taken out of the set, it vouches for nobody."""

    @property
    def principal(self) -> str:
        """The name under which commands are given: `agent:a-17`."""
        return f"{self.role}:{self.subject}"


class Verifier:
    """Reads tokens of one issuer for one audience."""

    def __init__(self, keys: SigningKeys, issuer: str, audience: str, leeway_s: float = 0.0) -> None:
        """`leeway_s`: how far the issuer's clock may be from ours."""
        self.keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s

    def identify(self, token: str) -> Identity:
        """Return who the token speaks for, by the keys known now; raises `Refused` (`not_signed_in`, `token_expired`)."""
        parsed = _parse(token)
        return self._read(parsed, self.keys.get(_kid_of(parsed)))

    async def admit(self, token: str) -> Identity:
        """As `identify`, after a look for a key that is not known yet. Also `not_ready`: no keys could be had so far."""
        parsed = _parse(token)
        key = await self.keys.look_for(_kid_of(parsed))
        if key is None and not len(self.keys):
            raise Refused("not_ready", "the issuer's keys cannot be had", retry_after_ms=KEYS_RETRY_AFTER_MS)
        return self._read(parsed, key)

    def check_still(self, identity: Identity) -> None:
        """Raise `Refused` where the token behind `identity` counts no more: its key is gone, or it has ended."""
        if self.keys.get(identity.key_id) is None:
            raise Refused("not_signed_in", NOT_VALID)
        if identity.expires_at_s <= time.time() - self._leeway_s:
            raise Refused("token_expired", "the token has expired")

    def _read(self, parsed: jws.CompactSignature, key: ECKey | None) -> Identity:
        try:
            if key is None or not jws.validate_compact(parsed, key, algorithms=[ALGORITHM]):
                raise Refused("not_signed_in", NOT_VALID)
            claims = msgspec.json.decode(parsed.payload, type=Claims)
        except (JoseError, msgspec.DecodeError, ValueError, RecursionError):
            raise Refused("not_signed_in", NOT_VALID) from None
        self._check(claims)
        return Identity(claims.role, claims.sub, claims.division or "", claims.exp, str(key.kid))

    def _check(self, claims: Claims) -> None:
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss != self._issuer or self._audience not in audiences:
            raise Refused("not_signed_in", NOT_VALID)
        now_s = time.time()
        if max(claims.nbf, claims.iat) > now_s + self._leeway_s:
            raise Refused("not_signed_in", "the token is not valid yet: see the issuer's clock")
        if claims.exp <= now_s - self._leeway_s:
            raise Refused("token_expired", "the token has expired")


NOT_VALID = "the token is not valid here"
KEYS_RETRY_AFTER_MS = 5_000


def _parse(token: str) -> jws.CompactSignature:
    if not token or len(token) > TOKEN_LENGTH_MAX:
        raise Refused("not_signed_in", "a token is needed")
    try:
        return jws.extract_compact(token.encode("ascii"))
    except (JoseError, ValueError, RecursionError):
        raise Refused("not_signed_in", NOT_VALID) from None


def _kid_of(parsed: jws.CompactSignature) -> str:
    """Raises `Refused` for a header that names another algorithm, or no key: no other key is ever tried."""
    header: dict[str, Any] = parsed.headers()
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str):
        raise Refused("not_signed_in", NOT_VALID)
    return kid


def open_verifier(settings: Settings) -> Verifier:
    """Return the verifier that `settings` ask for; raises ValueError where they would let anybody in.

    Keys in files are read now; those of an address are fetched by the first look (`SigningKeys.start`).
    """
    if settings.jwks_url:
        keys = SigningKeys(KeySetUrl(settings.jwks_url, settings.jwks_ca_path))
        return Verifier(keys, settings.issuer, settings.audience, settings.clock_leeway_s)
    if settings.jwks_path is not None:
        return _verifier_of(key_set_file(settings.jwks_path), settings)
    if settings.keys_folder is None:
        raise ValueError(
            "settings need jwks_path or jwks_url (the bank's issuer) or keys_folder (the development issuer)"
        )
    if not is_loopback(settings.host) and not settings.are_development_keys_allowed:
        raise ValueError(
            f"the development issuer is refused on {settings.host}, which others can reach: "
            "set gateway.jwks_file or gateway.jwks_url, or gateway.are_development_keys_allowed = true"
        )
    return _verifier_of(development_keys(settings.keys_folder), settings)


def _verifier_of(files: KeyFiles, settings: Settings) -> Verifier:
    keys = SigningKeys(files, files.read_now())
    return Verifier(keys, settings.issuer, settings.audience, settings.clock_leeway_s)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`. A name other than `localhost` counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
