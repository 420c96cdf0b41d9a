"""All that knows Ray: starting and joining it, the actor options with their reasons, and the network over it.

`ray` is imported inside functions only, after `prepare`: Ray reads its environment once, at import, and without these
settings it hangs for 20 s on its own token, joins a stranger's cluster or runs everything at nice 15 (RAY.md, traps).
"""

import asyncio
import os
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from actors.build import build_digest
from actors.mailbox import PeerGone
from actors.network import Network, PollablePeer
from actors.nodes import RayNode
from actors.rpc import Address
from actors.rpc_client import RpcClient
from actors.shard import ShardEnded

NAMESPACE = "tellerhall"
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the machine of its head."""
OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Ray takes 30 % of all memory by default; nothing of ours travels through its object store. Its least is 75 MiB."""
TMP_PREFIX = "th-"
START_TRIES = 3
"""Ray gives its own processes 30 s to come up and takes no other figure; on a machine that is overloaded, as after a power cut
when everything starts at once, that may be too short for the first time (M: with a load of 30 on 2 cores)."""

OPTIONS: dict[str, dict[str, Any]] = {
    # max_restarts=0 everywhere: a successor has another name with a higher epoch, and the supervisor makes it, so
    # that a frozen predecessor can never be taken for it (SAFETY.md 13).
    # num_cpus=0 except for media: routing parts share cores, a media worker is planned for a core of its own; on a
    # small machine Ray is told of more CPUs than there are, so that it still starts (`start_local`).
    "supervisor": {"num_cpus": 0, "max_restarts": 0},
    "shard": {"num_cpus": 0, "max_restarts": 0},
    "follower": {"num_cpus": 0, "max_restarts": 0},
    "gateway": {"num_cpus": 0, "max_restarts": 0},
    "webhooks": {"num_cpus": 0, "max_restarts": 0},
    "media": {"num_cpus": 1, "max_restarts": 0},
}
CONCURRENCY = 1_000
"""Polls and batches of all gateways wait inside one actor at the same time."""
CONTROL = "control"
"""A concurrency group: Ray gives it a thread and a loop of its own, so a part that replays or steps for long still answers
whether it lives (M: 12 to 32 ms beside a busy main loop). An actor's class needs it, a call names it."""
CONTROL_CALLS_MAX = 8
ADDRESS_S = 5.0
"""A part's control thread answers within ms; Ray needs 2 s to notice that its process is gone."""
HEAD_S = 10.0
"""An answer of Ray's head takes ms."""
T = TypeVar("T")

PRIVATE_UMASK = 0o077
"""Recordings, histories and logs are for the user who runs the hall, and for nobody else on the machine."""

log = structlog.get_logger()


def prepare(tmp_folder: Path | None = None) -> None:
    """Set what Ray reads at import. Call before anything imports ray; settings that exist already win."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DEDUP_LOGS": "0",
        "RAY_ROTATION_MAX_BYTES": str(16 * 1024 * 1024),
        "RAY_ROTATION_BACKUP_COUNT": "3",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if tmp_folder is not None:
        os.environ["RAY_TMPDIR"] = str(tmp_folder)


def make_tmp_folder() -> Path:
    """A short folder for Ray's sockets: the kernel takes 107 characters."""
    return Path(tempfile.mkdtemp(prefix=TMP_PREFIX))


def start_local(tmp_folder: Path, media_workers: int) -> None:
    """Start a private Ray on this machine, bound to loopback."""
    # Ray takes 127.0.0.1 for a mistake and binds all addresses instead (2.60), unless it is told that there is no cluster.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    prepare(tmp_folder)
    for attempt in range(1, START_TRIES + 1):
        try:
            _init_local(tmp_folder, media_workers)
            return
        except Exception:
            if attempt == START_TRIES:
                raise
            log.warning("ray.started_again", attempt=attempt, exc_info=True)
            shutdown()


def _init_local(tmp_folder: Path, media_workers: int) -> None:
    import ray

    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=max(os.cpu_count() or 1, media_workers + 1),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=str(tmp_folder),
    )


def join(address: str) -> None:
    """Join an existing cluster. Its token must stand in RAY_AUTH_TOKEN."""
    prepare()
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")


def shutdown() -> None:
    """Leave Ray; a private one ends with this process's connection to it."""
    import ray

    ray.shutdown()


class PeerEnded(PeerGone):
    """For certain: that incarnation will never answer again."""


class Handle:
    """A part that runs: its name and its actor.

    Waits are bounded by `asyncio.timeout`: `wait_for` of Python 3.11 loses a cancellation that meets an answer, and who
    asks in a loop would then never end.
    """

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self.actor = actor
        self._client: RpcClient | None = None

    def __repr__(self) -> str:
        return f"<Handle {self.name}>"

    @property
    def actor_id(self) -> bytes:
        """Of this incarnation."""
        return bytes(self.actor._actor_id.binary())

    async def start(self) -> dict[str, Any]:
        """Takes as long as it takes: `pulse` tells whether it gets on. Raises PeerGone, or what the part's own start raised."""
        facts: dict[str, Any] = await answered(self.actor.start.remote())
        return facts

    async def stand_by(self) -> None:
        """Let it wait for its start. Raises PeerGone, or what making the part raised."""
        await answered(self.actor.stand_by.remote())

    async def pulse(self, timeout_s: float) -> tuple[float, int]:
        """Ask the part's control thread for `PartActor.pulse`. Raises PeerGone, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            lag_s, progress = await answered(self.actor.pulse.options(concurrency_group=CONTROL).remote())
        return lag_s, progress

    async def facts(self, timeout_s: float) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            facts: dict[str, Any] = await answered(self.actor.facts.remote())
        return facts

    async def status(self, timeout_s: float) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            status: dict[str, Any] = await answered(self.actor.status.remote())
        return status

    async def stop(self, timeout_s: float) -> None:
        """Stop the part in good order, within `timeout_s`. Raises PeerGone, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await answered(self.actor.stop.remote())

    def kill(self) -> None:
        """End the actor's process at once."""
        import ray

        ray.kill(self.actor, no_restart=True)

    # -- over `rpc`

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._rpc().receive(sender, number, payload)

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        return await self._rpc().poll(gateway_id, cursor, wait_s)

    def _rpc(self) -> RpcClient:
        if self._client is None:
            self._client = RpcClient(self.name, self._address)
        return self._client

    async def _address(self) -> Address:
        """Raises PeerGone."""
        try:
            async with asyncio.timeout(ADDRESS_S):
                found = await answered(self.actor.address.options(concurrency_group=CONTROL).remote())
        except TimeoutError as error:
            raise PeerGone(f"{self.name} does not say where it listens") from error
        if found is None:
            raise PeerGone(f"{self.name} does not listen yet")
        return Address(*found)

    def close(self) -> None:
        """Speak with the part no more; who waits for it is told `PeerGone`."""
        if self._client is not None:
            self._client.close()


def ray_address() -> str:
    """Return the address at which this machine is known to the others of the cluster."""
    import ray

    return str(ray.util.get_node_ip_address())


def ray_node() -> str:
    """Name the machine of the cluster on which this process runs: process ids mean something there alone."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def ray_nodes() -> list[RayNode]:
    """Return the cluster's machines, as Ray's head knows them: one that was lost counts as alive for 14 s (RAY.md)."""
    import ray

    return [
        RayNode(one["NodeID"], bool(one["Alive"]), int(one["Resources"].get("CPU", 0)), HEAD in one["Resources"])
        for one in ray.nodes()
    ]


def spawn(kind: str, name: str, class_path: str, settings: bytes, node_id: str = "") -> Handle:
    """Make a detached actor for a part, on the given machine or where Ray likes. Raises ValueError while the name is taken.

    The machine is chosen by us and binding: Ray would take one that it has not yet seen to be lost, and wait for it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from actors.part_actor import PartActor  # Stands on this file.

    part_class = type(kind.capitalize(), (PartActor,), {"__module__": PartActor.__module__})
    actor_class = ray.remote(concurrency_groups={CONTROL: CONTROL_CALLS_MAX})(part_class)
    place = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)} if node_id else {}
    actor = actor_class.options(
        name=name, namespace=NAMESPACE, lifetime="detached", max_concurrency=CONCURRENCY, **OPTIONS[kind], **place
    ).remote(name.partition("-e")[0], class_path, settings, msgspec.msgpack.encode(build_digest()))
    return Handle(name, actor)


def names() -> list[str]:
    """Return the names of all parts that Ray knows to run, whoever started them."""
    from ray.util import list_named_actors

    return [str(one) for one in list_named_actors()]


async def asked(ask: Callable[..., T], *arguments: Any) -> T:
    """Ask Ray's head in a thread, for `HEAD_S` at most. Raises TimeoutError, and what `ask` raises."""
    async with asyncio.timeout(HEAD_S):
        return await asyncio.to_thread(ask, *arguments)


async def answered(reference: Awaitable[Any]) -> Any:
    """Await an actor's answer. What says that the actor is gone, or may be, becomes PeerGone."""
    from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

    try:
        return await reference
    except ActorDiedError as error:
        # One that never came up (another build, a package that is missing) says why in its last line.
        reason = str(error).strip().splitlines()[-1] if error.actor_init_failed else type(error).__name__
        raise PeerEnded(reason) from error
    except RayActorError as error:
        raise PeerGone(type(error).__name__) from error
    except ShardEnded as error:
        raise PeerGone(type(error).__name__) from error
    except RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, Exception) else error from None


class RayNetwork(Network):
    """Parts by actor name. Names carry epochs, so a handle once found stays right for as long as its actor lives."""

    HANDLES_MAX = 10_000

    def __init__(self) -> None:
        self._handles: OrderedDict[str, Handle] = OrderedDict()

    async def peer(self, name: str) -> PollablePeer:
        handle = self._handles.get(name)
        if handle is not None and has_epoch(name):
            self._handles.move_to_end(name)
            return handle
        return self._keep(await asyncio.to_thread(find, name))

    def close(self) -> None:
        """Speak with nobody any more."""
        while self._handles:
            self._handles.popitem()[1].close()

    def _keep(self, found: Handle) -> Handle:
        """One handle, and so one connection, an actor; the one that was not needed for longest goes first."""
        handle = self._handles.pop(found.name, None)
        if handle is None or handle.actor_id != found.actor_id:
            if handle is not None:
                handle.close()
            handle = found
        self._handles[found.name] = handle
        if len(self._handles) > self.HANDLES_MAX:
            self._handles.popitem(last=False)[1].close()
        return handle


def has_epoch(name: str) -> bool:
    return name.rpartition("-e")[2].isdigit()


def find(name: str) -> Handle:
    """Return the running part of that name. Raises PeerGone."""
    import ray

    try:
        return Handle(name, ray.get_actor(name, namespace=NAMESPACE))
    except ValueError as error:
        raise PeerGone(f"no actor {name!r}") from error
