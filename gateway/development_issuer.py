"""The embedded development issuer: tokens signed with a key of our own, for demonstrations and tests on one machine.

Rules: whoever can read the key's file can sign in as anybody, so it is readable by its owner alone, and the issuer is
refused on any address but loopback unless that is allowed by name (`gateway/identity.py`). The key lies in the data folder
and is made once.

Theory: `rotate` makes a new key. The old one's public half is kept, and its tokens count until the longest-lived of them has
ended; or not at all, where the key may have leaked. The list of retired keys is written first: a crash between the two
files leaves one key in both, which is harmless.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from dispatch.plan import Id
from gateway.messages import Role
from gateway.signing_keys import KEYS_MAX, KeyFiles, Keys, KeysUnusable, public_key

ALGORITHM = "ES256"
TTL_S_MAX = 30 * 86_400
"""Longest life of a development token, and so how long a retired key may still count."""
KEY_FILE = "development-signing-key.json"
RETIRED_FILE = "development-retired-keys.json"
LOCK_FILE = "development-keys.lock"


class DevelopmentIssuer:
    """Signs tokens for the roles it is asked for."""

    def __init__(self, key: ECKey, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def open(cls, folder: Path, issuer: str = "tellerhall", audience: str = "tellerhall") -> "DevelopmentIssuer":
        """Load the key of `folder`, making it at the first start. Raises OSError when the folder cannot be used."""
        return cls(_load_or_make_key(folder), issuer, audience)

    @property
    def kid(self) -> str:
        """The name of the key that signs."""
        return str(self._key.kid)

    def issue(self, role: str, sub: str, ttl_s: int = 8 * 3600, division_id: str = "") -> str:
        """Return a token; raises ValueError with what is wrong."""
        if role not in get_args(Role):
            raise ValueError(f"role {role!r} is not one of {', '.join(get_args(Role))}")
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


def development_keys(folder: Path) -> KeyFiles:
    """Return the public keys of `folder`: the one that signs, and retired ones whose tokens may not have ended."""
    return KeyFiles([folder / KEY_FILE, folder / RETIRED_FILE], lambda: _public_keys(folder))


def rotate(folder: Path, is_leaked: bool = False) -> tuple[str, str]:
    """Let a new key sign from now on; return the names of the old and the new one. Raises OSError, KeysUnusable.

    `is_leaked`: tokens of the old key, and of all before it, are refused from now on.
    """
    old = _load_or_make_key(folder)
    with _locked(folder):
        now_s = int(time.time())
        retired = [one for one in _retired(folder) if one["retired_until_s"] > now_s and one["kid"] != old.kid]
        kept = [] if is_leaked else [*retired, {**old.as_dict(private=False), "retired_until_s": now_s + TTL_S_MAX}]
        if len(kept) >= KEYS_MAX:
            raise KeysUnusable(f"{len(kept)} retired keys still count: at most {KEYS_MAX - 1}")
        _replace(folder / RETIRED_FILE, json.dumps({"keys": kept}))
        new = ECKey.generate_key("P-256", auto_kid=True)
        _replace(folder / KEY_FILE, json.dumps(new.as_dict(private=True)))
    return str(old.kid), str(new.kid)


def _public_keys(folder: Path) -> Keys:
    now_s = time.time()
    keys = {one["kid"]: public_key(one) for one in _retired(folder) if one["retired_until_s"] > now_s}
    own = _load_or_make_key(folder)
    keys[str(own.kid)] = public_key(own.as_dict(private=False))
    return keys


def _retired(folder: Path) -> list[dict[str, Any]]:
    try:
        content = (folder / RETIRED_FILE).read_text()
    except FileNotFoundError:
        return []
    try:
        found: list[dict[str, Any]] = json.loads(content)["keys"]
        _ = [(one["kid"], one["retired_until_s"] + 0) for one in found]
    except (ValueError, KeyError, TypeError):
        raise KeysUnusable(f"{folder / RETIRED_FILE} is not a list of keys") from None
    return found


def _load_or_make_key(folder: Path) -> ECKey:
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, json.dumps(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True)))
    if path.stat().st_mode & 0o077:
        raise PermissionError(1, "can be read by others: its mode must be 0600", str(path))
    try:
        return ECKey.import_key(json.loads(path.read_text()))
    except (JoseError, ValueError, KeyError):
        raise KeysUnusable(f"{path} is not a key") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two who rotate at once make two keys, one after the other."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _replace(path: Path, text: str) -> None:
    _draft(path, text).replace(path)


def _write_once(path: Path, text: str) -> None:
    """Make `path` with `text`, whole or not at all; of several processes at once one wins and all read its key."""
    draft = _draft(path, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
