"""What a request between two parts costs: over `actors/rpc.py`, and by a call of Ray's own, in turns: `make bench-rpc`.

A part in a Ray actor as the supervisor makes it, which gives back what it gets (2,000 bytes: a batch of some letters); one
request at a time, each after a pause of 3 ms. Latency is that of the caller's loop; CPU time that of both processes, less what
they spend without requests. RESULT: `ratio` of the medians, Ray's over ours. QUICK=1: fewer turns.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import structlog
import uvloop

from actors import wiring
from actors.network import Network
from bench.measuring import IS_QUICK, machine

TURNS = 2 if IS_QUICK else 6
TURN_S, PAUSE_S, WARM_UP = 4.0, 0.003, 50
PAYLOAD = bytes(2_000)


class EchoPart:
    """Gives back what it gets."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self.ended = asyncio.Event()

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return payload


class Way:
    """One way of asking, and what it has cost."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[Any]], pid: int) -> None:
        self.name = name
        self._ask = ask
        self._processes = {"caller": psutil.Process(), "part": psutil.Process(pid)}
        self.latencies_ms: list[float] = []
        self.cpu_ms = dict.fromkeys(self._processes, 0.0)

    async def turn(self) -> None:
        for _ in range(WARM_UP):
            await self._ask()
        before, until_s = self._cpu_ms(), time.perf_counter() + TURN_S
        while (began_s := time.perf_counter()) < until_s:
            await self._ask()
            self.latencies_ms.append((time.perf_counter() - began_s) * 1_000)
            await asyncio.sleep(PAUSE_S)
        for name, cpu_ms in self._cpu_ms().items():
            self.cpu_ms[name] += cpu_ms - before[name]

    def _cpu_ms(self) -> dict[str, float]:
        return {name: 1_000 * sum(one.cpu_times()[:2]) for name, one in self._processes.items()}

    def row(self, idle: "Way") -> dict[str, float]:
        ordered, calls = sorted(self.latencies_ms), len(self.latencies_ms)
        own = {
            f"{name}_cpu_ms": self.cpu_ms[name] / calls - idle.cpu_ms[name] / len(idle.latencies_ms)
            for name in self.cpu_ms
        }
        return {"p50_ms": ordered[calls // 2], "p99_ms": ordered[int(calls * 0.99)], **own}


async def measured() -> dict[str, dict[str, float]]:
    """All ways in turns, so that a machine that is slow for a while is slow for all."""
    handle = wiring.spawn("follower", "echo-e1", "bench.rpc:EchoPart", b"")
    pid = (await handle.start())["pid"]
    over_rpc = Way("rpc", lambda: handle.receive("bench", 0, PAYLOAD), pid)
    by_ray = Way("ray", lambda: wiring.answered(handle.actor.receive.remote("bench", 0, PAYLOAD)), pid)
    idle = Way("idle", lambda: asyncio.sleep(0), pid)
    for _ in range(TURNS):
        for way in (over_rpc, by_ray, idle):
            await way.turn()
    handle.close()
    return {way.name: way.row(idle) for way in (over_rpc, by_ray)}


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        wiring.start_local(Path(folder) / "ray", 0)
        try:
            rows = uvloop.run(measured())
        finally:
            wiring.shutdown()
    names = list(rows["rpc"])
    print(f"{'':>6}" + "".join(f"{name:>16}" for name in names))
    for way, row in rows.items():
        print(f"{way:>6}" + "".join(f"{row[name]:>16.3f}" for name in names))
    result = {"ratio": rows["ray"]["p50_ms"] / rows["rpc"]["p50_ms"]}
    result |= {f"{way}_{name}": value for way, row in rows.items() for name, value in row.items()}
    print("RESULT", json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
