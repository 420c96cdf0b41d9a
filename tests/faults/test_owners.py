"""Who else wants this cluster, or this store: each is told so in one line, and the hall that runs is left alone."""

import pytest

from tests.faults.hall import FaultyHall, StoreThread
from tests.hall.running import Hall

pytestmark = pytest.mark.ray


def refused(faulty_hall: FaultyHall, name: str, store_url: str) -> str:
    """Start another `tellerhall up`; return the last line that it says before it gives up."""
    other = Hall(faulty_hall.folder / name)
    arguments = ("--config", str(faulty_hall.folder / "hall.toml"), "--address", faulty_hall.cluster.address)
    other.launch(*arguments, "--redis-url", store_url, environment=faulty_hall.cluster.environment)
    try:
        assert other.wait() == 1, other.text()
        return other.text().splitlines()[-1]
    finally:
        other.end()


def test_a_hall_on_a_cluster_has_one_owner(faulty_hall: FaultyHall) -> None:
    """19: given a hall; when somebody else starts one with the same store; then that is refused, and nothing is changed."""
    faulty_hall.assert_whole()
    parts = faulty_hall.parts()
    assert "runs a hall with this store" in refused(faulty_hall, "second", faulty_hall.store.url)
    assert faulty_hall.parts() == parts
    faulty_hall.assert_whole()


def test_a_cluster_has_one_hall(faulty_hall: FaultyHall) -> None:
    """Given a hall; when another with a store of its own is started on its cluster; then that is refused: names would clash."""
    faulty_hall.assert_whole()
    parts = faulty_hall.parts()
    store = StoreThread(faulty_hall.folder / "other-store")
    try:
        assert "a cluster is for one hall" in refused(faulty_hall, "other", store.url)
    finally:
        store.end()
    assert faulty_hall.parts() == parts
    faulty_hall.assert_whole()
