"""Which ICE servers a client is told, with credentials for TURN that end soon.

Rules: the list is always told and always whole, empty where nothing is configured: a client that is told nothing might ask a
public server, and tell it who calls whom. The secret never leaves this process.

Theory: TURN's long-term credentials (RFC 8489 section 9.2) are made of a secret that the gateway and coturn share
(`use-auth-secret`): the name is `<seconds since the Unix epoch at which it ends>:<principal>`, the password the base64 of its
HMAC-SHA1. So coturn needs to know nobody, and what leaks is worth nothing soon. It looks at the instant when an
allocation is made: a call that talks longer than the credentials live goes on.

Not here: when a client is told (`gateway/session.py`, `gateway/talk.py`, `gateway/whip.py`).
"""

import base64
import hashlib
import hmac
from typing import Any, Literal, NamedTuple

from gateway.settings import Settings

IceTransportPolicy = Literal["all", "relay"]


class IceConfiguration(NamedTuple):
    """What an `RTCPeerConnection` is made with."""

    ice_servers: list[dict[str, Any]]
    ice_transport_policy: IceTransportPolicy
    ice_until_ms: int
    """When its credentials end; 0 where none do. A peer connection that is made later needs fresh ones."""


def ice_configuration(settings: Settings, principal: str, now_ms: int) -> IceConfiguration:
    """Return what `principal` is told now."""
    if not settings.turn_urls:
        return IceConfiguration(settings.ice_servers, settings.ice_transport_policy, 0)
    until_s = (now_ms + settings.turn_ttl_ms) // 1000
    name = f"{until_s}:{principal}"
    turn = {"urls": list(settings.turn_urls), "username": name, "credential": turn_password(settings.turn_secret, name)}
    return IceConfiguration([*settings.ice_servers, turn], settings.ice_transport_policy, until_s * 1000)


def turn_password(secret: str, name: str) -> str:
    """Return what coturn computes for the same name and secret (HMAC-SHA1, as its REST interface lays down)."""
    return base64.b64encode(hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()).decode()


def ice_links(settings: Settings, principal: str, now_ms: int) -> list[str]:
    """Return the same servers as values of `Link` headers (RFC 9725 section 4.6): one for each address."""
    found = []
    for server in ice_configuration(settings, principal, now_ms).ice_servers:
        urls = server.get("urls", [])
        for url in [urls] if isinstance(urls, str) else urls:
            words = [f"<{url}>", 'rel="ice-server"']
            words += [f"{name}={_quoted(server[name])}" for name in ("username", "credential") if name in server]
            words += ['credential-type="password"'] if "credential" in server else []
            found.append("; ".join(words))
    return found


def _quoted(text: str) -> str:
    """A quoted string (RFC 9110 section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
