"""Whose address a request comes from: the socket's, or what a proxy of ours says.

Rules: `X-Forwarded-For` counts from a configured proxy alone, and of it the rightmost entry that is no proxy of ours: what
stands left of that, its sender has written. An IPv4 address is one client, of IPv6 a network of 64 bits is: everybody
has that many (RFC 6177). An address is never logged.

Not here: what an address may do (`gateway/rates.py`).
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

UNKNOWN = "unknown"
"""What is no address: all of these count as one."""
HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}\Z")
_KEPT_MAX = 8_192

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """Some networks, written as `10.0.0.0/8` or as one address. Raises ValueError for what is neither."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(text) for text in texts)
        self._holds = lru_cache(_KEPT_MAX)(self._looks)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._holds(address)

    def _looks(self, text: str) -> bool:
        address = address_of(text)
        return address is not None and any(address in network for network in self._networks)


def address_of(text: str) -> Address | None:
    """Read an address, also with a port behind it; of an IPv4 address in IPv6's clothes the former."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(_KEPT_MAX)
def client_of(text: str) -> str:
    """Return the name under which an address is counted."""
    address = address_of(text)
    if address is None:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def forwarded_for(peer: str, headers: Sequence[str], proxies: Networks) -> str:
    """Return the address of who is behind `peer`: `peer` itself unless it is a proxy of ours."""
    if peer not in proxies:
        return peer
    entries = [entry for header in headers for entry in header.split(",")]
    for entry in reversed(entries):
        if entry.strip() not in proxies:
            return entry.strip()
    return peer
