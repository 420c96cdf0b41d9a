"""Who somebody is: tokens (JWT, ES256 alone), the embedded development issuer, and the rule where it may be used.

Rules: algorithm, signature, issuer, audience and expiry are each checked by name, since decoding alone checks only the
signature. A token names one role and one division. No token is ever logged.

Theory: a bank has its own issuer and hands us its public keys (a JWKS file). For a start without one, a key pair is made
once in the data folder, readable by its owner alone; whoever can read that file can sign in as anybody, so
the development issuer is refused on any address but loopback unless it is allowed by name.

Not here: what a role may do (`gateway/client_messages.py` for messages, the entries of `gateway/rest.py` for paths).
"""

import ipaddress
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any, get_args

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, KeySet
from msgspec import Struct

from dispatch.plan import Id
from gateway.messages import Role
from gateway.refusals import Refused
from gateway.settings import Settings

ALGORITHM = "ES256"
TTL_S_MAX = 30 * 86_400
"""Longest life of a development token. A bank's own issuer decides for itself."""
TOKEN_LENGTH_MAX = 4_096
KEY_FILE = "development-signing-key.json"
ROLES: tuple[str, ...] = get_args(Role)


class Claims(Struct):
    """What must be in a token; more is ignored."""

    sub: Id
    role: Role
    exp: float
    division: Id | None = None


class Identity(Struct, frozen=True):
    """Somebody who is signed in."""

    role: str
    subject: str
    division_id: str
    """Empty: the hall's first division."""
    expires_at_s: float

    @property
    def principal(self) -> str:
        """The name under which commands are given: `agent:a-17`."""
        return f"{self.role}:{self.subject}"


class Verifier:
    """Reads tokens of one issuer for one audience."""

    def __init__(self, keys: KeySet, issuer: str, audience: str) -> None:
        self._keys = keys
        self._registry = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )

    def identify(self, token: str) -> Identity:
        """Return who the token speaks for; raises `Refused` (`not_signed_in`, `token_expired`)."""
        if not token or len(token) > TOKEN_LENGTH_MAX:
            raise Refused("not_signed_in", "a token is needed")
        try:
            decoded = jwt.decode(token, self._keys, algorithms=[ALGORITHM])
            self._registry.validate(decoded.claims)
            claims = msgspec.convert(decoded.claims, Claims)
        except ExpiredTokenError:
            raise Refused("token_expired", "the token has expired") from None
        except (JoseError, msgspec.ValidationError, ValueError):
            raise Refused("not_signed_in", "the token is not valid here") from None
        return Identity(claims.role, claims.sub, claims.division or "", claims.exp)


class DevelopmentIssuer:
    """Signs tokens with a key of its own; for demonstrations and tests on one machine."""

    def __init__(self, key: ECKey, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def open(cls, folder: Path, issuer: str = "tellerhall", audience: str = "tellerhall") -> "DevelopmentIssuer":
        """Load the key of `folder`, making it at the first start. Raises OSError when the folder cannot be used."""
        return cls(_load_or_make_key(folder), issuer, audience)

    def issue(self, role: str, sub: str, ttl_s: int = 8 * 3600, division_id: str = "") -> str:
        """Return a token; raises ValueError with what is wrong."""
        if role not in ROLES:
            raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
        if not -TTL_S_MAX <= ttl_s <= TTL_S_MAX:
            raise ValueError(f"ttl_s {ttl_s} is more than {TTL_S_MAX}")
        now_s = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": msgspec.convert(sub, Id),
            "role": role,
            "iat": now_s,
            "exp": now_s + ttl_s,
        }
        if division_id:
            claims["division"] = division_id
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key, algorithms=[ALGORITHM])

    def verifier(self) -> Verifier:
        """Return what reads this issuer's tokens."""
        return Verifier(KeySet([self._key]), self._issuer, self._audience)


def open_verifier(settings: Settings) -> Verifier:
    """Return the verifier that `settings` ask for; raises ValueError where they would let anybody in."""
    if settings.jwks_path is not None:
        keys = KeySet.import_key_set(json.loads(settings.jwks_path.read_text()))
        return Verifier(keys, settings.issuer, settings.audience)
    if settings.keys_folder is None:
        raise ValueError("settings need jwks_path (the bank's issuer) or keys_folder (the development issuer)")
    if not is_loopback(settings.host) and not settings.are_development_keys_allowed:
        raise ValueError(
            f"the development issuer is refused on {settings.host}, which others can reach: "
            "set gateway.jwks_file, or gateway.are_development_keys_allowed = true"
        )
    return DevelopmentIssuer.open(settings.keys_folder, settings.issuer, settings.audience).verifier()


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`. A name other than `localhost` counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _load_or_make_key(folder: Path) -> ECKey:
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, json.dumps(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True)))
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others: its mode must be 0600")
    return ECKey.import_key(json.loads(path.read_text()))


def _write_once(path: Path, text: str) -> None:
    """Make `path` with `text`, whole or not at all; of several processes at once one wins and all read its key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
