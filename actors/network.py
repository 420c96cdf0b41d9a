"""How one part reaches another by name, without knowing Ray. `wiring` has the real one, `local` the one inside a process."""

import contextlib
from typing import Protocol
from uuid import uuid4

from actors.mailbox import Peer, PeerGone


class Network(Protocol):
    async def peer(self, name: str) -> "PollablePeer":
        """Return the part of that name. Raises PeerGone while there is none."""


async def ask_once(network: Network, name: str, payload: bytes) -> bytes:
    """Deliver one batch to a part outside of any mailbox, and return its answers. Raises PeerGone.

    A lost connection says nothing of the batch: it is repeated once, as the same one, so that it is never carried out twice.
    """
    sender = uuid4().hex
    with contextlib.suppress(PeerGone):
        return await (await network.peer(name)).receive(sender, 0, payload)
    return await (await network.peer(name)).receive(sender, 0, payload)


class PollablePeer(Peer, Protocol):
    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Shards only: wait for the gateway's next notices. Raises PeerGone."""
