"""What strikes while the weather is bad: one function a kind, called every now and then.

Whatever is stopped for a while goes on by itself, at the latest when the faults stop (`Hall.heal`).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from actors.stepping import JOURNAL_AHEAD_MS_MAX
from tests.simulation.clockwork import Process
from tests.simulation.slots import Keeper
from tests.simulation.store import STORE

FREEZE_S = (0.3, 30.0)
STALL_S = (0.3, 20.0)
CUT_S = (0.2, 12.0)
STEPS_MAX = 4_000
"""A shard does about a thousand callbacks a second here."""
JUMPS_MS = (50, 4_000, 4_000, 3_600_000)


def struck(hall: Any, kind: str) -> None:
    """Let it strike once."""
    DISASTERS[kind](hall, hall.chance)


def _kill(slots: str) -> Callable[[Any, random.Random], None]:
    def kill(hall: Any, chance: random.Random) -> None:
        keeper = _some(hall, slots, chance)
        if keeper.handle is not None:
            hall.trace("disaster", "kill", keeper.handle.name)
            hall.loop.kill(keeper.handle.process)

    return kill


def _freeze(slots: str) -> Callable[[Any, random.Random], None]:
    def freeze(hall: Any, chance: random.Random) -> None:
        keeper = _some(hall, slots, chance)
        if keeper.handle is not None:
            process, wait_s = keeper.handle.process, chance.uniform(*FREEZE_S) ** chance.choice((0.5, 1.0))
            hall.trace("disaster", "freeze", keeper.handle.name, round(wait_s, 3))
            hall.loop.freeze(process)
            hall.wire.later(wait_s, hall.loop.go_on, process)

    return freeze


def _kill_at_a_step(hall: Any, chance: random.Random) -> None:
    """After so many more callbacks, whatever it is doing then; also a standby, or one that just starts."""
    handles = [one for keeper in hall.keepers.values() for one in keeper.handles if not one.process.is_dead]
    if not handles:
        return
    handle = chance.choice(handles)
    process: Process = handle.process
    hall.trace("disaster", "doom", handle.name)
    process.doom = (chance.randrange(STEPS_MAX), lambda: hall.loop.kill(process))


def _usurp(hall: Any, chance: random.Random) -> None:
    keeper = _some(hall, "shard", chance)
    if keeper.handle is not None and not keeper.handle.process.is_dead:
        hall.trace("disaster", "usurp", keeper.handle.name)
        keeper.usurp()


def _stall_store(hall: Any, chance: random.Random) -> None:
    wait_s = chance.uniform(*STALL_S)
    hall.trace("disaster", "stall", round(wait_s, 3))
    hall.store.stall()
    hall.wire.later(wait_s, hall.store.go_on)


def _jump_clock(hall: Any, chance: random.Random) -> None:
    """A process's wall clock is wrong from now on; so is its successors', until somebody sets it."""
    keeper = _some(hall, chance.choice(("shard", "follower", "media", "gateway")), chance)
    by_ms = chance.choice(JUMPS_MS) * chance.choice((-1, 1))
    hall.trace("disaster", "jump", keeper.slot_id, by_ms)
    hall.wall_offsets_ns[keeper.slot_id] = by_ms * 1_000_000
    hall.is_ahead |= by_ms > JOURNAL_AHEAD_MS_MAX
    for handle in keeper.handles:
        handle.process.wall_offset_ns = by_ms * 1_000_000


def _cut_sockets(hall: Any, chance: random.Random) -> None:
    people = [one for one in hall.people if one.socket is not None]
    hall.trace("disaster", "cut sockets")
    for person in people:
        if chance.random() < 0.5:
            person.cut()


def _cut_wires(hall: Any, chance: random.Random) -> None:
    """Nothing passes between two, in one direction or both, or from one to anybody."""
    names = sorted(hall.keepers)
    one, other = chance.choice(names), chance.choice([*names, STORE, ""])
    pairs = [(one, other), (other, one)][: chance.choice((1, 2))]
    hall.trace("disaster", "cut", *pairs[0])
    for pair in pairs:
        hall.wire.cut.add(pair)
        hall.wire.later(chance.uniform(*CUT_S), hall.wire.cut.discard, pair)


def _move(hall: Any, chance: random.Random) -> None:
    division_id, keeper = chance.choice(hall.division_ids), _some(hall, "shard", chance)
    hall.begin(_moved(hall, division_id, keeper.slot_id))


async def _moved(hall: Any, division_id: str, slot_id: str) -> None:
    reason = await hall.move(division_id, slot_id)
    hall.trace("moved", division_id, slot_id, reason or "done")


def _some(hall: Any, slots: str, chance: random.Random) -> Keeper:
    keeper: Keeper = chance.choice([one for slot_id, one in hall.keepers.items() if slot_id.startswith(slots)])
    return keeper


async def strike(hall: Any, kind: str, every_s: float) -> None:
    """Strike about every so many seconds, for as long as there are faults."""
    while True:
        await asyncio.sleep(hall.chance.expovariate(1 / every_s))
        if hall.is_healed:
            return
        struck(hall, kind)


DISASTERS: dict[str, Callable[[Any, random.Random], None]] = {
    "kill_shard": _kill("shard"),
    "kill_at_a_step": _kill_at_a_step,
    "freeze_shard": _freeze("shard"),
    "usurp_shard": _usurp,
    "kill_gateway": _kill("gateway"),
    "freeze_gateway": _freeze("gateway"),
    "kill_media": _kill("media"),
    "freeze_media": _freeze("media"),
    "kill_follower": _kill("follower"),
    "freeze_follower": _freeze("follower"),
    "stall_store": _stall_store,
    "jump_clock": _jump_clock,
    "cut_sockets": _cut_sockets,
    "cut_wires": _cut_wires,
    "move": _move,
}
