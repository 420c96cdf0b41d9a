"""How one part reaches another by name, without knowing Ray. `wiring` has the real one, `local` the one inside a process."""

from typing import Protocol

from actors.mailbox import Peer


class Network(Protocol):
    async def peer(self, name: str) -> "PollablePeer":
        """Return the part of that name. Raises PeerGone while there is none."""


class PollablePeer(Peer, Protocol):
    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Shards only: wait for the gateway's next notices. Raises PeerGone."""
