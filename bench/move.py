"""How long a division's commands wait while it moves to another shard: `make bench-move`.

A hall as `tellerhall up` starts it, with two shards, Ray and a store that syncs each append; 5,000 live calls, everybody's page
connected. Steady commands go on while the division moves there and back. A command's latency is from sending to the durable
answer; the pause of a move is the longest latency of all that were sent in it. QUICK=1: fewer moves.
"""

import asyncio
import json
import statistics
import time
from typing import Any

from bench.measuring import IS_QUICK, machine
from bench.shard_crowd import Crowd, crowd_agents, crowd_queues
from bench.shard_hall import BenchHall, bench_hall, fsync_p50_ms, settle_memory
from dispatch.plan import Plan

TALKING, WAITING = 2_400, 2_600
MOVES = 4 if IS_QUICK else 20
SENDERS = 20
EVERY_S = 0.04
"""Together 500 commands a second, half of what one shard is built for."""
QUIET_S = 4.0
"""Between two moves: all pages have subscribed again by then, and what a command costs without a move is seen."""


class Probes:
    """Commands about calls that wait, one after another from each sender."""

    def __init__(self, hall: BenchHall) -> None:
        self._hall = hall.hall
        self.sent: list[tuple[float, float]] = []
        """(sent at, answered at) of each, in seconds."""
        self._is_done = False
        self._tasks = [asyncio.create_task(self._send(number)) for number in range(SENDERS)]

    async def _send(self, number: int) -> None:
        count = 0
        while not self._is_done:
            count += 1
            sent_s = time.perf_counter()
            call = self._hall.call(f"line-{number}")
            reply = await call.set_priority(count % 1_000, command_id=f"p-{number}-{count}")
            if not reply.is_accepted:
                raise SystemExit(f"a command was refused in a move: {reply}")
            self.sent.append((sent_s, time.perf_counter()))
            await asyncio.sleep(EVERY_S)

    async def stop(self) -> None:
        self._is_done = True
        await asyncio.gather(*self._tasks)

    def worst_ms(self, from_s: float, to_s: float) -> float:
        """The longest latency of those that were under way between two instants."""
        return max((done - sent) * 1_000 for sent, done in self.sent if sent <= to_s and done >= from_s)

    def p50_ms(self) -> float:
        return statistics.median((done - sent) * 1_000 for sent, done in self.sent)


async def moved(hall: BenchHall, probes: Probes) -> tuple[list[float], list[float]]:
    """Move there and back; return the pause and the whole time of each move, in ms."""
    pauses_ms, wholes_ms = [], []
    for number in range(MOVES):
        await asyncio.sleep(QUIET_S)
        began_s = time.perf_counter()
        await hall.hall.move(hall.plan.division_id, f"shard-{(number + 1) % 2}")
        wholes_ms.append((time.perf_counter() - began_s) * 1_000)
        await asyncio.sleep(QUIET_S)
        pauses_ms.append(probes.worst_ms(began_s, began_s + QUIET_S))
        told = taken(hall)[-1]
        print(
            f"move {number + 1}: pause {pauses_ms[-1]:.0f} ms, whole {wholes_ms[-1]:.0f} ms; by the target's log "
            f"warm-up {told['warm_up_ms']} ms, without an owner {told['pause_ms']} ms",
            flush=True,
        )
    return pauses_ms, wholes_ms


async def run() -> None:
    queues = crowd_queues(TALKING, WAITING)
    plan = Plan(division_id="moving", queues=queues, agents=crowd_agents(TALKING), reconnect_grace_ms=60_000)
    print(f"{machine()}, fsync p50 {fsync_p50_ms():.2f} ms", flush=True)
    async with bench_hall(plan, shards_count=2) as hall:
        await Crowd(hall.hall, TALKING, WAITING).come()
        settle_memory()
        before = await live(hall)
        probes = Probes(hall)
        pauses_ms, wholes_ms = await moved(hall, probes)
        await probes.stop()
        lost = before - await live(hall)
    result = {
        "live_calls": before,
        "lost_calls": lost,
        "moves": MOVES,
        "pause_p50_ms": round(statistics.median(pauses_ms)),
        "pause_max_ms": round(max(pauses_ms)),
        "whole_p50_ms": round(statistics.median(wholes_ms)),
        "command_p50_ms": round(probes.p50_ms(), 1),
        "commands": len(probes.sent),
    }
    print("RESULT", json.dumps(result))
    if lost or before != TALKING + WAITING:
        raise SystemExit("calls were lost")


def taken(hall: BenchHall) -> list[dict[str, Any]]:
    """What the shards' logs say of each move, in order."""
    paths = (hall.folder / "logs").glob("shard-*.log")
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines() if "division.taken" in line]
    return sorted(lines, key=lambda line: str(line["timestamp"]))


async def live(hall: BenchHall) -> int:
    """Live calls, by the shard that serves the division."""
    status = (await hall.hall.status())["divisions"][hall.plan.division_id]
    return sum(value for name, value in status.items() if name.startswith("live_"))


if __name__ == "__main__":
    asyncio.run(run())
