"""Moving a division to another shard's slot, at an operator's word, while its calls go on.

In order: look whether slot and division exist; write the placement; ask the shard in that slot to take the division, which it
would find by itself within a second; wait. Where it does not come to own it, the placement is put back, so that nobody tries
again what an operator was told had failed; unless another move has placed it elsewhere meanwhile.

Not here: how it is taken (`takeover`), where divisions go that nobody has placed (`placement`).
"""

import asyncio
from typing import Protocol

import structlog

from actors.directory import Owner, PartEntry
from actors.items import HallUnavailable, TakeDivision, decode_answer, decode_bodies, encode
from actors.mailbox import PeerGone
from actors.network import Network, ask_once
from actors.placement import Placements
from dispatch.effects import Reply

MOVE_S = 60.0
"""Reading a division of 50,000 calls takes some seconds; what takes longer is in trouble."""
SHARD_SLOT = "shard-"
WRITE_TRIES = 3
"""Each failure means that somebody else has moved or placed something at the same instant."""

log = structlog.get_logger()


class MoveDirectory(Placements, Protocol):
    """What is needed of `directory.Directory`."""

    async def read_owner(self, division_id: str) -> Owner | None: ...

    async def read_parts(self) -> dict[str, PartEntry]: ...


class MoveRefused(Exception):
    """The division stays where it is; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MoveRefused"], tuple[str]]:
        return type(self), (self.reason,)


async def move(network: Network, directory: MoveDirectory, division_id: str, slot_id: str) -> None:
    """Return once the slot's shard serves the division. Raises MoveRefused, StoreUnavailable."""
    part = (await directory.read_parts()).get(slot_id)
    if part is None or not slot_id.startswith(SHARD_SLOT):
        raise MoveRefused("unknown_slot")
    owner = await directory.read_owner(division_id)
    if owner is None:
        raise MoveRefused("not_ready")
    before = await _place(directory, division_id, slot_id) or owner.slot_id
    reason = await _ask_to_take(network, part.name, division_id)
    owner = await directory.read_owner(division_id)
    if owner is None or owner.slot_id != slot_id:
        reason = reason or "not_ready"
    if reason:
        log.warning("division.not_moved", division=division_id, slot=slot_id, reason=reason)
        await _place(directory, division_id, before, only_from=slot_id)
        raise MoveRefused(reason)


async def _place(directory: MoveDirectory, division_id: str, slot_id: str, only_from: str = "") -> str:
    """Write the placement; return what it was. Raises MoveRefused.

    `only_from`: where it says something else by now, that is another move's word, and stands.
    """
    for _ in range(WRITE_TRIES):
        placement = await directory.read_placement()
        if only_from and placement.slots.get(division_id) != only_from:
            return placement.slots.get(division_id, "")
        if await directory.write_placement(division_id, slot_id, placement.version):
            return placement.slots.get(division_id, "")
    raise MoveRefused("placement_changed")


async def _ask_to_take(network: Network, actor_name: str, division_id: str) -> str:
    """Return why the shard did not take it; empty: it did."""
    try:
        async with asyncio.timeout(MOVE_S):
            [body] = decode_bodies(await ask_once(network, actor_name, encode([TakeDivision(division_id)])))
            reply: Reply = decode_answer(TakeDivision, body)
    except HallUnavailable as error:
        return error.reason
    except (PeerGone, TimeoutError):
        return "not_ready"
    return reply.reason
