"""One cluster, one store and one hall for all tests of a session; a load and its books a test."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.driver import Driver, DriverSettings
from tests.faults.hall import AGENTS_EACH, CUSTOMERS_EACH, DIVISIONS, FaultyHall, StoreThread

RATE = 55.0


@pytest.fixture(scope="session")
def faulty_hall() -> Iterator[FaultyHall]:
    """Ends with everything ended, and nothing left."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        store = StoreThread(folder / "store")
        stack.callback(store.end)
        cluster = Cluster(folder / "ray", secrets.token_hex(32), folder / "data" / "logs")
        stack.callback(cluster.end)
        hall = FaultyHall(folder, cluster, store)
        stack.callback(hall.up.end)
        hall.start()
        yield hall
        assert hall.up.interrupt() == 0, hall.up.text()


@pytest.fixture
def load(faulty_hall: FaultyHall) -> Iterator[Callable[[], Driver]]:
    """Starts the load, on a hall that is whole."""
    drivers: list[Driver] = []

    def start() -> Driver:
        faulty_hall.assert_whole()
        settings = DriverSettings(
            faulty_hall.cluster.address,
            faulty_hall.store.url,
            DIVISIONS,
            AGENTS_EACH,
            CUSTOMERS_EACH,
            RATE,
            str(faulty_hall.folder / "books.json"),
        )
        drivers.append(Driver(settings, faulty_hall.environment))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()
