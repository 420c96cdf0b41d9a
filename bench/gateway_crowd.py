"""The client processes of `bench/gateway.py`: each has its share of the people; the driver tells them what to do.

Not here: what people do (`gateway_people.py`).
"""

import gc
import multiprocessing
import resource
import ssl
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.gateway_people import People
from bench.gateway_wire import SOURCES, Peer, Wire
from gateway.development_issuer import DevelopmentIssuer

TOKEN_S = 3 * 3600
ANSWER_S = 60.0
LOOK_S = 0.5


def work(
    pipe: Connection, number: int, count: int, port: int, keys: str, sizes: tuple[int, int, int], tls: bool
) -> None:
    """Be client process `number` of `count`. `sizes`: customers who talk, agents, customers who wait, of all processes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wire = Wire(port, 1 + number * SOURCES, lambda *_: None)
    if tls:
        wire.tls = ssl._create_unverified_context()
    people = People(wire, 20_261_128 + number)
    issuer = DevelopmentIssuer.open(Path(keys))
    for role, prefix, those, size in (
        ("customer", "c", people.customers, sizes[0]),
        ("agent", "a", people.agents, sizes[1]),
        ("customer", "w", people.waiters, sizes[2]),
    ):
        for index in range(number, size, count):
            name = f"{prefix}-{index}"
            those.append(Peer(role == "agent", name, issuer.issue(role, name, TOKEN_S)))
    gc.collect()
    gc.freeze()
    gc.disable()  # Nothing here makes circles; a collection of all peers would be the generator's own lateness.
    is_over = False

    def obey() -> None:
        nonlocal is_over
        order, *arguments = pipe.recv()
        if order == "stop":
            is_over = True
        else:
            pipe.send(getattr(people, order)(*arguments))

    wire.watch(pipe.fileno(), obey)
    pipe.send("ready")
    while not is_over:
        wire.run_once()


class Crowd:
    """All client processes, as the driver sees them."""

    def __init__(self, port: int, keys: Path, sizes: tuple[int, int, int], count: int, tls: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self.count = count
        self.pipes = []
        self.processes = []
        for number in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=work, args=(there, number, count, port, str(keys), sizes, tls), daemon=True
            )
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        for pipe in self.pipes:
            assert pipe.recv() == "ready"

    @property
    def pids(self) -> list[int]:
        return [int(process.pid or 0) for process in self.processes]

    def tell(self, order: str, *arguments: Any) -> list[Any]:
        """Give each process the same order, and return their answers. Raises SystemExit where one is silent."""
        for pipe in self.pipes:
            pipe.send((order, *arguments))
        answers = []
        for pipe in self.pipes:
            if not pipe.poll(ANSWER_S):
                raise SystemExit(f"a client process does not answer to {order}")
            answers.append(pipe.recv())
        return answers

    def counts(self) -> Counter[str]:
        return sum((Counter(one) for one in self.tell("counts")), Counter())

    def report(self) -> dict[str, Any]:
        """The figures of all together."""
        whole: dict[str, Any] = {}
        for one in self.tell("report"):
            for name, value in one.items():
                if name in whole and isinstance(value, dict):
                    whole[name] = Counter(whole[name]) + Counter(value)
                else:
                    whole[name] = whole[name] + value if name in whole else value
        return whole

    def wait(self, is_so: Any, within_s: float, what: str) -> float:
        """Return after how many seconds `is_so(counts)`. Raises SystemExit."""
        began_s = time.perf_counter()
        while not is_so(counts := self.counts()):
            if time.perf_counter() - began_s > within_s:
                raise SystemExit(
                    f"not within {within_s:.0f} s: {what}; {dict(counts)} {self.report()['failures']} {self.report()['losses']}"
                )
            time.sleep(LOOK_S)
        return time.perf_counter() - began_s

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(("stop",))
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()
