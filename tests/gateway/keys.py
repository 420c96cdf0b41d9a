"""Keys, key sets and hand-made tokens for the tests of identity."""

import asyncio
import base64
import json
import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.signing_keys import Keys, KeysUnusable

CLAIMS: dict[str, Any] = {"iss": "tellerhall", "aud": "tellerhall", "sub": "c-1", "role": "customer"}


def made_key(kid: str) -> ECKey:
    """Return a new P-256 key of that name."""
    return ECKey.generate_key("P-256", {"kid": kid})


def key_set(*keys: ECKey, **changes: Any) -> bytes:
    """Return the JWKS document of the public halves, each with `changes`."""
    return json.dumps({"keys": [{**key.as_dict(private=False), **changes} for key in keys]}).encode()


def signed(key: ECKey, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a token of `key`; a claim that is changed to None is left out."""
    now_s = time.time()
    claims = {**CLAIMS, "iat": now_s, "exp": now_s + 600, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": key.kid, **(header or {})}, claims, key)


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Return a token of these very parts, signed or not."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts)


class NoSource:
    """Nothing to look at; counts the looks."""

    poll_s = 3600.0
    unknown_s_min = 0.0

    def __init__(self) -> None:
        self.looks_count = 0
        self.answers: list[Keys | KeysUnusable | None] = []

    async def read(self) -> Keys | None:
        self.looks_count += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, KeysUnusable):
            raise answer
        return answer
