"""How often one address and one client may come: requests, failed sign-ins, upgrades, messages, connections.

Rules: refused by name (`too_many`) with the time after which it would do, a little spread so that those who were refused
together do not come back together. Memory is bounded whatever comes: `BUCKETS_MAX` names of each kind. The bounds are this
process's: with several gateways each has its own.

Theory: an address may be a bank's branch, or a mobile network's with thousands behind it, so its bounds are wide, and the
networks in `unlimited_networks` (at first this machine) have none. A client is who a token names: it has one rate over REST,
its WebSocket and all its reconnects, and cannot fill it up by coming anew.

Not here: bytes and frames (`gateway/door.py`), the rate of upgrades in all (`gateway/entrance.py`).
"""

import asyncio
import random
from collections import OrderedDict

from gateway import limits
from gateway.addresses import Networks, client_of
from gateway.identity import Identity
from gateway.limits import TokenBucket
from gateway.refusals import Refused
from gateway.settings import Settings

SPREAD_RATIO = 0.5
STAFF = frozenset({"supervisor", "operator"})
"""The bank's own systems speak for many: their bound is a wider one."""


class Buckets:
    """Token buckets by name."""

    def __init__(self, rate_per_s: float, burst: float, count_max: int = limits.BUCKETS_MAX) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._count_max = count_max
        self._by_name: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_name)

    def take(self, name: str, now_s: float, count: float = 1.0) -> float:
        """Take `count` and return 0; or take nothing and return for how many seconds there are too few."""
        bucket = self._by_name.get(name)
        if bucket is None:
            bucket = self._by_name[name] = TokenBucket(self._rate_per_s, self._burst, now_s)
            if len(self._by_name) > self._count_max:
                self._by_name.popitem(last=False)
        else:
            self._by_name.move_to_end(name)
        return 0.0 if bucket.take(now_s, count) else bucket.wait_s(now_s, count)

    def wait_s(self, name: str, now_s: float) -> float:
        """Return for how many seconds there is none; takes nothing and remembers nothing."""
        bucket = self._by_name.get(name)
        return bucket.wait_s(now_s) if bucket is not None else 0.0


class Rates:
    """Of one gateway."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for a network that is none."""
        self.proxies = Networks(settings.trusted_proxies)
        self._unlimited = Networks(settings.unlimited_networks)
        self._connections_max = settings.connections_per_address_max
        self._connections: dict[str, int] = {}
        """Address -> its connections; bounded by them."""
        self._requests = Buckets(settings.requests_per_s, settings.requests_burst)
        self._failures = Buckets(settings.failed_logins_per_s, settings.failed_logins_burst)
        self._messages = Buckets(settings.messages_per_s, settings.messages_burst)
        self._staff = Buckets(settings.staff_requests_per_s, settings.staff_requests_burst)
        self._connects = Buckets(settings.connects_per_s, settings.connects_burst)
        self._offers = Buckets(limits.OFFERS_PER_S, limits.OFFERS_BURST)

    # -- addresses

    def is_limited(self, address: str) -> bool:
        return address not in self._unlimited

    def enter(self, address: str) -> bool:
        """Count one more connection of the address; False where it has its share already, or comes too often."""
        if not self.is_limited(address):
            return True
        name = client_of(address)
        count = self._connections.get(name, 0)
        if count >= self._connections_max or self._requests.wait_s(name, _now_s()):
            return False
        self._connections[name] = count + 1
        return True

    def leave(self, address: str) -> None:
        """Undo one `enter` that was granted."""
        if not self.is_limited(address):
            return
        name = client_of(address)
        count = self._connections.get(name, 0) - 1
        if count > 0:
            self._connections[name] = count
        else:
            self._connections.pop(name, None)

    def check_request(self, address: str, is_signing_in: bool) -> None:
        """Count a request; raises `Refused`. `is_signing_in`: it is for what needs a token."""
        if not self.is_limited(address):
            return
        name, now_s = client_of(address), _now_s()
        _refuse(self._requests.take(name, now_s), "too many requests from this address")
        if is_signing_in:
            _refuse(self._failures.wait_s(name, now_s), "too many failed sign-ins from this address")

    def note_failed_login(self, address: str) -> None:
        """A token was missing, false or out of date."""
        if self.is_limited(address):
            self._failures.take(client_of(address), _now_s())

    # -- clients

    def check_request_of(self, identity: Identity) -> None:
        """Count a client's request over REST; raises `Refused`."""
        buckets = self._staff if identity.role in STAFF else self._messages
        _refuse(buckets.take(_name(identity), _now_s()), "too many requests")

    def takes_message_of(self, identity: Identity) -> bool:
        """Count a client's message; False where there are too many."""
        return not self._messages.take(_name(identity), _now_s())

    def check_connect_of(self, identity: Identity, connections_count: int) -> None:
        """Count an upgrade of a client who has so many connections; raises `Refused`."""
        if connections_count >= limits.CONNECTIONS_PER_CLIENT_MAX:
            raise Refused("too_many", "too many connections", retry_after_ms=spread_ms(limits.CLOSE_GRACE_MS))
        _refuse(self._connects.take(_name(identity), _now_s()), "too many connects")

    def check_offer_of(self, identity: Identity) -> None:
        """Count an SDP offer of a client; raises `Refused`."""
        _refuse(self._offers.take(_name(identity), _now_s()), "too many SDP offers")

    def __repr__(self) -> str:
        kinds = ("requests", "failures", "messages", "staff", "connects", "offers")
        counts = " ".join(f"{kind}={len(getattr(self, f'_{kind}'))}" for kind in kinds)
        return f"<Rates {counts} addresses={len(self._connections)}>"


def spread_ms(wait_ms: float) -> int:
    """Return a time from `wait_ms` to half as much again, different for each who asks; at least 1."""
    return max(1, round(wait_ms * (1 + SPREAD_RATIO * random.random())))


def _refuse(wait_s: float, detail: str) -> None:
    if wait_s:
        raise Refused("too_many", detail, retry_after_ms=spread_ms(max(1.0, wait_s) * 1000))


def _name(identity: Identity) -> str:
    return f"{identity.division_id}\n{identity.principal}"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
