"""The loss of a machine: its raylet and every process on it at once."""

import logging
import os
import signal
import time

import pytest

from actors.incarnation import is_alive
from tests.faults.hall import DIVISIONS, FaultyHall
from tests.faults.test_kills import FROZEN_S, SETTLE_S, Load, assert_accounted

pytestmark = pytest.mark.ray

HEADLESS_S = 12.0
"""Far below the 60 s after which Ray's own processes give up without a head."""

log = logging.getLogger("figures")


def lose(faulty_hall: FaultyHall, node_id: str, load: Load) -> None:
    """Kill everything on that machine under load; what ran there must run elsewhere, and no call may be lost."""
    driver = load()
    time.sleep(SETTLE_S)
    parts = faulty_hall.parts()
    lost = [slot_id for slot_id, entry in parts.items() if entry.ray_node == node_id]
    assert lost
    divisions = [one for slot_id in lost if slot_id.startswith("shard") for one in faulty_hall.divisions_of(slot_id)]
    killed_s = time.time()
    faulty_hall.cluster.kill_node(node_id)
    for slot_id in lost:
        assert faulty_hall.replaced(slot_id, parts[slot_id]).ray_node != node_id
        log.info("%s of the lost machine: on another %.1f s later", slot_id, time.time() - killed_s)
    time.sleep(SETTLE_S)
    books = driver.end()
    for division_id in divisions:
        silence_s = books.silence_s(division_id, killed_s, killed_s + 30)
        log.info("machine lost: %s %.1f s without an answer", division_id, silence_s)
    faulty_hall.cluster.add_node()
    assert_accounted(books)


def test_a_machine_is_lost(faulty_hall: FaultyHall, load: Load) -> None:
    """Given steady load, when the machine of a shard is lost, then all that ran there runs elsewhere, and no call is lost."""
    lose(faulty_hall, faulty_hall.part("shard-0").ray_node, load)


def test_the_machine_of_the_supervisor_is_lost(faulty_hall: FaultyHall, load: Load) -> None:
    """Given a supervisor that a gateway has started, beside itself; when that machine is lost; then it is followed again.

    `tellerhall up` stands still for the first, so that it is the gateway that follows, and follows itself the second time.
    """
    assert faulty_hall.up.process is not None
    before = faulty_hall.part("supervisor")
    os.kill(faulty_hall.up.process.pid, signal.SIGSTOP)
    try:
        faulty_hall.signal("supervisor", signal.SIGKILL)
        after = faulty_hall.replaced("supervisor", before)
    finally:
        os.kill(faulty_hall.up.process.pid, signal.SIGCONT)
    assert after.ray_node == faulty_hall.part("gateway-1").ray_node
    lose(faulty_hall, after.ray_node, load)


def test_a_machine_stands_still_and_goes_on(faulty_hall: FaultyHall, load: Load) -> None:
    """13: given a shard whose machine stood still for 30 s; when it goes on, and nobody ends it; then it ends itself.

    Its raylet stands still a little longer: what Ray was told to end there lives on for as long.
    """
    driver = load()
    time.sleep(SETTLE_S)
    parts = faulty_hall.parts()
    stale = parts["shard-1"]
    frozen_s = time.time()
    faulty_hall.cluster.freeze_node(stale.ray_node)
    try:
        divisions = faulty_hall.divisions_of("shard-1")
        after = faulty_hall.replaced("shard-1", stale)
        time.sleep(max(0.0, frozen_s + FROZEN_S - time.time()))
        assert is_alive(stale.pid)
    finally:
        faulty_hall.cluster.thaw_parts(stale.ray_node)
        try:
            went_on_s = time.time()
            faulty_hall.eventually(lambda: not is_alive(stale.pid) or None, "the stale shard did not end")
            log.info("a shard that stood still ended itself %.1f s after it went on", time.time() - went_on_s)
        finally:
            faulty_hall.cluster.thaw_raylet(stale.ray_node)
    assert faulty_hall.part("shard-1") == after
    assert [faulty_hall.owner(one) for one in divisions] == [after.name] * len(divisions)
    books = driver.end()
    for division_id in divisions:
        silence_s = books.silence_s(division_id, frozen_s, frozen_s + FROZEN_S)
        log.info("machine frozen: %s %.1f s without an answer", division_id, silence_s)
    assert_accounted(books)


def test_the_head_of_ray_is_killed_and_comes_back(faulty_hall: FaultyHall, load: Load) -> None:
    """Given steady load, when Ray's head is killed, then calls go on; when it is back, what was killed meanwhile comes back.

    Without a head nothing can be started: a part that ends then is missing until there is one again.
    """
    driver = load()
    time.sleep(SETTLE_S)
    killed_s = time.time()
    faulty_hall.cluster.kill_head()
    time.sleep(HEADLESS_S / 2)
    media = faulty_hall.signal("media-1", signal.SIGKILL)
    time.sleep(HEADLESS_S / 2)
    started_s = time.time()
    faulty_hall.cluster.start_head()
    faulty_hall.replaced("media-1", media)
    log.info("head killed: a part that died meanwhile was back %.1f s after the head", time.time() - started_s)
    books = driver.end()
    for division_id in DIVISIONS:
        silence_s = books.silence_s(division_id, killed_s, started_s)
        log.info("no head for %.0f s: %s at most %.1f s without an answer", HEADLESS_S, division_id, silence_s)
    assert_accounted(books)
