"""Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over id, instant and body.

    webhook-id: main.17.0
    webhook-timestamp: 1795468663
    webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=

Rules: the instant is that of the attempt, so that an old request played again is recognised (receivers refuse what is more
than five minutes off). While a secret is being changed there are two signatures, separated by a space; one that fits is enough.

Not here: where secrets are kept (`actors/webhook_book`).
"""

import base64
import hashlib
import hmac
import secrets

from actors.webhook_book import Secret

KEY_BYTES = 32
PREFIX = "whsec_"
TOLERANCE_S = 300


def new_secret() -> Secret:
    return Secret(secrets.token_bytes(KEY_BYTES))


def shown(secret: Secret) -> str:
    """Return the secret as its receiver is given it, once."""
    return PREFIX + base64.b64encode(secret.key).decode()


def signing(keys: list[Secret], now_ms: int) -> list[Secret]:
    """Return the secrets that are signed with now."""
    return [one for one in keys if not one.until_ms or one.until_ms > now_ms]


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signed_headers(keys: list[Secret], message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
    """Return the three headers of one attempt."""
    timestamp_s = now_ms // 1_000
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(
            signature(one.key, message_id, timestamp_s, body) for one in signing(keys, now_ms)
        ),
    }
