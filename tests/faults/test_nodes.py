"""The loss of a machine: its raylet and every process on it at once."""

import logging
import time

import pytest

from tests.faults.hall import FaultyHall
from tests.faults.test_kills import SETTLE_S, Load, assert_accounted

pytestmark = pytest.mark.ray

log = logging.getLogger("figures")


def test_a_machine_is_lost(faulty_hall: FaultyHall, load: Load) -> None:
    """Given steady load, when the machine of a shard is lost, then all that ran there runs elsewhere, and no call is lost."""
    driver = load()
    time.sleep(SETTLE_S)
    parts = faulty_hall.parts()
    node_id = parts["shard-0"].ray_node
    lost = [slot_id for slot_id, entry in parts.items() if entry.ray_node == node_id]
    divisions = [one for slot_id in lost if slot_id.startswith("shard") for one in faulty_hall.divisions_of(slot_id)]
    killed_s = time.time()
    faulty_hall.cluster.kill_node(node_id)
    for slot_id in lost:
        entry = faulty_hall.replaced(slot_id, parts[slot_id])
        assert entry.ray_node != node_id
        log.info("%s of the lost machine: on another %.1f s later", slot_id, time.time() - killed_s)
    time.sleep(SETTLE_S)
    books = driver.end()
    for division_id in divisions:
        silence_s = books.silence_s(division_id, killed_s, killed_s + 30)
        log.info("machine lost: %s %.1f s without an answer", division_id, silence_s)
    faulty_hall.cluster.add_node()
    assert_accounted(books)
