"""Placement: which slot is to host which division, where nobody has said so yet.

Rules: what stands in the directory and names a slot that exists stays; only an operator's `move` changes it. A division
without such an entry goes where the fewest are, ties in the order of the slots. The same question has the same answer,
so it does not matter who of several starters asks it.

Not here: the entries themselves (`directory`), how a division gets to its slot (`moving`).
"""

from typing import Protocol

from actors.directory import Placement

SETTLE_TRIES = 10
"""Each failure means that another starter has placed something; they place the same."""


class Placements(Protocol):
    """What is needed of `directory.Directory`."""

    async def read_placement(self) -> Placement: ...

    async def write_placement(self, division_id: str, slot_id: str, expected: int) -> bool: ...


class PlacementContested(Exception):
    """Somebody else went on changing the placement."""


def place(division_ids: list[str], slot_ids: list[str], slots: dict[str, str]) -> dict[str, str]:
    """Return the slot of every division. `slots`: what has been placed before, also of slots that are no more."""
    placed = {one: slots[one] for one in division_ids if slots.get(one) in slot_ids}
    counts = dict.fromkeys(slot_ids, 0)
    for slot_id in placed.values():
        counts[slot_id] += 1
    for division_id in division_ids:
        if division_id not in placed:
            slot_id = min(slot_ids, key=lambda one: counts[one])
            counts[slot_id] += 1
            placed[division_id] = slot_id
    return placed


async def settle(placements: Placements, division_ids: list[str], slot_ids: list[str]) -> dict[str, str]:
    """Enter a slot for every division that has none; return all. Raises StoreUnavailable, PlacementContested."""
    for _ in range(SETTLE_TRIES):
        present = await placements.read_placement()
        wanted = place(division_ids, slot_ids, present.slots)
        version = present.version
        for division_id in division_ids:
            if present.slots.get(division_id) == wanted[division_id]:
                continue
            if not await placements.write_placement(division_id, wanted[division_id], version):
                break
            version += 1
        else:
            return wanted
    raise PlacementContested(f"the placement of {len(division_ids)} divisions was changed by others again and again")
