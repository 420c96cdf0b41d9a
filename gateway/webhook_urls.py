"""Which URLs webhooks may go to: an allow-list of hosts, HTTPS, and no address that is nobody's server.

Rules. Whoever may register an endpoint could otherwise have this hall send requests to whatever it reaches (SSRF), so:
- The host must be configured (`webhooks.allowed_hosts`, exact or `*.bank.example`); empty: no webhooks at all.
- HTTPS, except to this machine (loopback) or where `is_plain_http_allowed` is set. No user, password or fragment in the URL.
- Addresses that a name leads to are looked at when the connection is made, by the very look-up that it is made with: link-local
  ones (where clouds keep their credentials), multicast and unspecified are refused, and loopback for a name that is not local.
- Redirects are not followed (`gateway/webhook_sender`).

A bank's own private addresses are allowed: its systems are there, and the allow-list says which.
"""

import ipaddress
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from msgspec import Struct
from yarl import URL

URL_LENGTH_MAX = 2_000
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class UrlRules(Struct, frozen=True):
    """What is configured."""

    allowed_hosts: list[str]
    is_plain_http_allowed: bool = False


def url_problem(text: str, rules: UrlRules) -> str:
    """Say what is wrong with a URL; empty: it may be sent to."""
    if len(text) > URL_LENGTH_MAX:
        return f"longer than {URL_LENGTH_MAX} characters"
    try:
        url = URL(text)
        host = (url.host or "").lower()
        _ = url.port
    except ValueError as error:
        return f"no URL: {error}"
    if url.scheme not in ("http", "https") or not host:
        return "an https URL with a host is needed"
    if url.user is not None or url.password is not None or url.fragment:
        return "a user, a password or a fragment has no place in it"
    if not _is_listed(host, rules.allowed_hosts):
        return f"the host {host!r} is not in webhooks.allowed_hosts"
    if address_problem(host, host):
        return address_problem(host, host)
    if url.scheme == "http" and host not in LOCAL_NAMES and not rules.is_plain_http_allowed:
        return "https is needed: http is for this machine alone, unless webhooks.is_plain_http_allowed is set"
    return ""


def _is_listed(host: str, allowed: list[str]) -> bool:
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in (x.lower() for x in allowed))


def address_problem(address: str, host: str) -> str:
    """Say why no connection may be made to an address that `host` leads to; empty for one that may, and for a name."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    plain = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped else found
    if plain.is_loopback:
        is_said = host in LOCAL_NAMES or host == str(plain)
        return "" if is_said else f"{host} leads to this machine"
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved:
        return f"{host} leads to {address}, which is no server's address"
    return ""


class GuardedResolver(AbstractResolver):
    """Looks names up, and leaves out addresses that must not be connected to."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError where nothing is left."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if not address_problem(one["host"], host.lower())]
        if found and not allowed:
            raise OSError(address_problem(found[0]["host"], host.lower()))
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


def connector_options() -> dict[str, Any]:
    return {"resolver": GuardedResolver(), "use_dns_cache": False}
