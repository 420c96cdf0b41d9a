"""What a gateway is told at its start. Each default carries its reason; nothing is read from the environment here.

Not here: the configuration file and its messages (`actors/configuration.py`), the console command (`gateway/cli.py`).
"""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from gateway.webhook_urls import UrlRules


class Settings(Struct, frozen=True, kw_only=True):
    """One gateway process."""

    gateway_id: str = "gateway-1"
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port; `Gateway.port` says which."""
    is_port_shared: bool = False
    """SO_REUSEPORT: several processes listen on one port, since one may open only 20,000 files on common machines."""

    certificate_path: Path | None = None
    key_path: Path | None = None
    """Both or neither: TLS in this process. Phones give no camera to a page without (SAFETY.md 12)."""

    keys_folder: Path | None = None
    """Where the embedded development issuer keeps its key; made at the first start."""
    jwks_path: Path | None = None
    """Public keys of the bank's own issuer; then the development issuer is not used at all. Read again when it changes."""
    jwks_url: str = ""
    """The same, fetched from the issuer over https; at most one of the two."""
    jwks_ca_path: Path | None = None
    """Whose certificates are trusted there; None: those that this machine trusts."""
    clock_leeway_s: float = 5.0
    """How far the issuer's clock may be from ours: machines with NTP are within 0.1 s."""
    issuer: str = "tellerhall"
    audience: str = "tellerhall"
    are_development_keys_allowed: bool = False
    """Allow the development issuer on an address that is not loopback."""

    allowed_origins: tuple[str, ...] = ()
    """Origins beside this server's own, exactly as browsers send them: `https://bank.example`."""
    recordings_folder: Path | None = None
    audit_folder: Path | None = None
    """Where the follower archives the audit log; None: only what the store still has is shown."""
    ice_servers: list[dict[str, Any]] = field(default_factory=list)
    """Handed to clients as they are. Empty: host candidates only, never a public server by default."""
    turn_urls: tuple[str, ...] = ()
    """Of a TURN server that shares `turn_secret`: each client gets credentials of its own for it."""
    turn_secret: str = ""
    turn_ttl_ms: int = 3_600_000
    """How long they are good for: longer than a client stays without coming back for fresh ones."""
    ice_transport_policy: Literal["all", "relay"] = "all"
    """`relay`: clients are told to send media through TURN alone."""

    webhook_urls: UrlRules = UrlRules([])
    """Where webhooks may be sent to; nobody: none can be registered."""

    ping_ms: int = 25_000
    """Below the 30 s after which common middleboxes forget an idle connection."""
    connections_max: int = 18_000
    """Below 20,000 files, with room for what else the process opens."""
    upgrades_per_s: int = 1_500
    messages_per_s: float = 20.0
    """A busy agent desktop sends fewer than 2 in a second."""
    messages_burst: int = 60
    """Of one client, over REST, its WebSocket and its reconnects together."""
    connects_per_s: float = 5.0
    connects_burst: int = 100
    """Upgrades of one client. A page that comes back does so every second at most; each costs the hall a subscription."""
    staff_requests_per_s: float = 500.0
    staff_requests_burst: int = 2_000
    """Of one supervisor or operator over REST: the bank's own systems, which speak for many."""
    requests_per_s: float = 100.0
    requests_burst: int = 2_000
    """Of one address, upgrades and pages among them. A branch, or a mobile network's users, may share one."""
    connections_per_address_max: int = 2_000
    failed_logins_per_s: float = 1.0
    failed_logins_burst: int = 50
    """Of one address: enough for a branch whose tokens all end at once."""
    admission_target_ms: int = 500
    """Commands slower than this, all of them: fewer calls are let begin at a time, until half of it is kept."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-*` headers are believed."""
    unlimited_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Addresses without bounds of their own: at first this machine, where a proxy that nobody named may stand."""
    command_timeout_ms: int = 15_000
    """How long a command may wait for the shard; then the client repeats it under the same id."""
    stop_ms: int = 1_000
    """How long clients are given to leave by themselves when the whole hall ends: nobody is there to take them."""
    spread_ms: int = 60_000
    """The same where other gateways take over: 15,000 reconnects at once would be a storm (1,500 upgrades/s a core)."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """None: `/metrics` stands on the main port, when that is loopback. Otherwise on this port of its own; 0: any."""
