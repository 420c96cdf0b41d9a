"""What attacks cost a gateway: CPU, memory and what somebody else has to wait meanwhile, one line an attack.

A gateway runs in a process of its own, on uvloop, before a hall in that process; the attackers and a bystander run here. Each
attack lasts `SECONDS`. CPU is that of the gateway's process as a share of a core; memory is how far its RSS had grown at the
end. To compare with an earlier version run this file in that version's tree: it uses nothing of ours but the gateway itself.

    python -m bench.attacks [attack ...]
"""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop

SECONDS = float(os.environ.get("ATTACK_S", "5"))
PAUSE_S = 0.02
JSON = "tellerhall.v1.json"


async def serve(folder: str) -> None:
    """The gateway's process: prints port and tokens, runs until it is ended."""
    from actors.local import local_hall
    from dispatch.plan import Plan, QueuePlan
    from gateway.app import Gateway, tune_process
    from gateway.development_issuer import DevelopmentIssuer
    from gateway.settings import Settings

    tune_process()
    async with local_hall(Plan(division_id="main", queues=[QueuePlan(id="loans")])) as local:
        gateway = Gateway(local.hall("g"), Settings(keys_folder=Path(folder)))
        await gateway.start()
        issuer = DevelopmentIssuer.open(Path(folder))
        tokens = [issuer.issue("customer", f"c-{number}") for number in range(50)]
        sys.stderr.write(json.dumps({"port": gateway.port, "tokens": tokens}) + "\n")
        sys.stderr.flush()
        await asyncio.Event().wait()


class Target:
    """Where to, and as whom."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.port, self.tokens = port, tokens
        self.connections_count = 0

    async def open(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connections_count += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def again(self, number: int, data: bytes, block: bytes, *, is_upgrade: bool = False) -> None:
        """Connect, say `data`, pour `block`, and come back when cut off."""
        while True:
            try:
                reader, writer = await self.open(self.upgrade(number) if is_upgrade else data)
                if is_upgrade:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(data)
                while block:
                    writer.write(block)
                    await writer.drain()
                    await asyncio.sleep(0)
                while await reader.read(65_536):
                    pass
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(PAUSE_S)

    def upgrade(self, number: int) -> bytes:
        lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
        offered = f"Sec-WebSocket-Protocol: {JSON}, bearer.{self.tokens[number]}"
        return head("GET", "/v1/ws", *lines, key, offered)


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *lines, "", ""]).encode()


async def many(count: int, make: Callable[[int], Awaitable[Any]]) -> None:
    await asyncio.gather(*(make(number) for number in range(count)))


def attacks(target: Target) -> dict[str, Callable[[], Awaitable[None]]]:
    bomb = gzip.compress(b"0" * 40_000_000)
    packed = head("POST", "/v1/calls", f"Content-Length: {len(bomb)}", "Content-Encoding: gzip",
                  f"Authorization: Bearer {target.tokens[1]}")  # fmt: skip
    pages = head("GET", "/pages/style.css") * 30
    return {
        "idle connections": lambda: many(2_000, lambda number: target.again(number, b"", b"")),
        "slow headers": lambda: many(500, lambda number: target.again(number, head("GET", "/healthz")[:-2], b"")),
        "no http": lambda: many(20, lambda number: target.again(number, b"\x16\x03\x01" * 20, b"")),
        "packed bodies": lambda: many(10, lambda number: target.again(number, packed + bomb, b"")),
        "unread pages": lambda: many(100, lambda number: _unread(target, pages)),
        "pings": lambda: many(4, lambda n: target.again(n + 1, b"", b"\x89\x80\0\0\0\0" * 4_000, is_upgrade=True)),
        "fragments": lambda: many(
            4, lambda n: target.again(n + 1, b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0" * 4_000, is_upgrade=True)
        ),
        "messages": lambda: many(4, lambda n: target.again(n + 1, b"", b"\x81\x82\0\0\0\0{}" * 4_000, is_upgrade=True)),
    }


async def _unread(target: Target, pages: bytes) -> None:
    _, writer = await target.open(pages)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def bystander(target: Target, waits_ms: list[float]) -> None:
    """Ask now and then, and note how long the answer took."""
    async with aiohttp.ClientSession() as http:
        while True:
            began_s = time.perf_counter()
            async with http.get(f"http://127.0.0.1:{target.port}/healthz") as response:
                await response.read()
            waits_ms.append(1000 * (time.perf_counter() - began_s))
            await asyncio.sleep(PAUSE_S)


async def measure(name: str) -> dict[str, Any]:
    """One attack on a fresh gateway."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.attacks", "serve", folder]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as served:  # noqa: ASYNC220
            assert served.stderr is not None
            told = json.loads(next(line for line in served.stderr if line.startswith(b'{"port"')))
            target, process = Target(**told), psutil.Process(served.pid)
            draining = asyncio.create_task(asyncio.to_thread(served.stderr.read))
            rss, used_s, began_s = process.memory_info().rss, sum(process.cpu_times()[:2]), time.monotonic()
            waits_ms: list[float] = []
            tasks = [asyncio.ensure_future(attacks(target)[name]()), asyncio.create_task(bystander(target, waits_ms))]
            await asyncio.sleep(SECONDS)
            cpu = (sum(process.cpu_times()[:2]) - used_s) / (time.monotonic() - began_s)
            grown = process.memory_info().rss - rss
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            served.kill()
            await draining
    waits_ms.sort()
    p99 = round(waits_ms[int(0.99 * len(waits_ms))], 1) if waits_ms else -1.0
    row = {"cpu": round(cpu, 2), "mib": round(grown / 2**20, 1), "p99_ms": p99, "connections": target.connections_count}
    print(f"{name:18} {row}", flush=True)
    return row


async def run(names: list[str]) -> None:
    names = names or list(attacks(Target(0, ["t"] * 50)))
    print("RESULT", json.dumps({name: await measure(name) for name in names}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(sys.argv[2]))
    else:
        uvloop.run(run(sys.argv[1:]))
