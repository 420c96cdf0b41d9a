"""The load, in a process of its own: `python -m tests.faults.driver SETTINGS`, which ends when its input is closed.

Prints `open` when everybody is signed in and asks from then on; writes the books when told to end and every call is over.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import msgspec
import uvloop
from msgspec import Struct

from actors import wiring
from actors.parts import HallSettings, open_hall
from tests.faults.books import Books
from tests.faults.people import END_S, Floor

OPEN_S = 120.0
REPOSITORY = Path(__file__).parents[2]


class DriverSettings(Struct):
    address: str
    store_url: str
    division_ids: list[str]
    agents_each: int
    customers_each: int
    rate: float
    books_path: str


class Driver:
    """The tests' side."""

    def __init__(self, settings: DriverSettings, environment: dict[str, str]) -> None:
        self._settings = settings
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver", msgspec.json.encode(settings).decode()],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert any(line.strip() == "open" for line in self._process.stdout), "the driver has ended"

    def end(self) -> Books:
        """Stop asking, wait until every call is over or should have been, and return the books."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(END_S + OPEN_S) == 0
        return msgspec.json.decode(Path(self._settings.books_path).read_bytes(), type=Books)

    def kill(self) -> None:
        """For fixtures."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


async def run(settings: DriverSettings) -> Books:
    hall, client = open_hall(
        HallSettings(settings.division_ids, settings.store_url), wiring.RayNetwork(), f"gateway-of-{uuid4().hex}"
    )
    floor = Floor(hall, settings.division_ids, settings.agents_each, settings.customers_each)
    async with asyncio.timeout(OPEN_S):
        await floor.open()
    stopping = asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: stopping.set())
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await floor.press(settings.rate, stopping)
    await floor.finish()
    await hall.close()
    await client.close()
    return floor.books


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=DriverSettings)
    wiring.join(settings.address)
    Path(settings.books_path).write_bytes(msgspec.json.encode(uvloop.run(run(settings))))
    wiring.shutdown()


if __name__ == "__main__":
    main()
