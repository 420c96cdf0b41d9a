"""Long seeded walks of engine and twin through a busy hall: deeper than hypothesis goes, in halls that rarely empty.

Same checks as in `test_twin.py`, other choices: wishes are weighted so that calls arrive, ring, stand, are lost and end all the
time. `DOUBT_SEEDS=1000 pytest tests/engine/test_walk.py` walks on from the last seed of the ordinary run.
"""

import os
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from tests.engine.test_twin import PLANS, EngineAndTwin

STEPS = 800
SEEDS = range(12 + int(os.environ.get("DOUBT_SEEDS", "0")))

AGENTS = ["anna", "ben", "cleo", "dora"]
REPORTS = [
    cm.ReportPartyLeft, cm.ReportPartyLeft, cm.ReportPartyJoined, cm.ReportRecordingFailed, cm.ReportRoomFailed,
    cm.ReportRoomClosed, cm.ReportRoomClosed, cm.ReportRecordingSealed, cm.ReportRecordingSealed,
]  # fmt: skip

Move = Callable[[EngineAndTwin, Random], None]
MOVES: list[tuple[int, Move]] = [
    (20, lambda hall, dice: hall.request(
        f"c{dice.randrange(60)}", dice.choice("abcdefghijklmnopqr"), dice.choice(["loans", "rooms", "small", "mixed"]),
        dice.random() < 0.9, dice.choice([""] * 9 + ["m1", "key:1"]),
    )),
    (6, lambda hall, dice: hall.activity(dice.choice(AGENTS), "ready", "", "", "system:shell")),
    (1, lambda hall, dice: hall.activity(dice.choice(AGENTS), dice.choice(["not_ready", "offline"]), "", "", "system:shell")),
    (8, lambda hall, dice: hall.accept(dice.randrange(1, 9), 0, "", dice.choice([""] * 9 + ["m1", "key:2"]))),
    (3, lambda hall, dice: hall.accept(dice.randrange(9), dice.randrange(2), "", "")),
    (4, lambda hall, dice: hall.decline(dice.randrange(1, 9), 0, "", 0)),
    (16, lambda hall, dice: hall.media_comes_up(dice.randrange(1, 9), dice.choice(["all", "all", "assign", "open"]), 0)),
    (10, lambda hall, dice: hall.media_report(
        dice.randrange(1, 9), dice.choice(REPORTS), dice.choice(["customer", "agent"]), dice.randrange(10) // 9
    )),
    (8, lambda hall, dice: hall.hang_up(dice.randrange(9), dice.choice(["customer", "agent", "operator"]), "")),
    (4, lambda hall, dice: hall.wrap_up(dice.randrange(1, 9), dice.choice([1, 15_000, 3_600_000]), dice.random() < 0.3)),
    (3, lambda hall, dice: hall.connection_goes(
        dice.randrange(9), dice.choice(["customer", "agent"]), dice.choice(["disconnect", "old", "gateway"])
    )),
    (3, lambda hall, dice: hall.connect(
        dice.choice(["agent:" + dice.choice(AGENTS), "customer:" + dice.choice("abcdefgh")]), "g1", dice.choice(["k1", "k2"])
    )),
    (1, lambda hall, dice: hall.reload(dice.choice(sorted(PLANS)), "operator:olga")),
    (1, lambda hall, dice: hall.reload("all", "operator:olga")),
    (1, lambda hall, dice: hall.outage(dice.choice([1_000, 30_000]), dice.randrange(1, 9))),
    (1, lambda hall, dice: hall.lose_worker(dice.choice(["w0", "w1"]), dice.choice([1, 2, 9]))),
    (2, lambda hall, dice: hall.crash(dice.random() < 0.5)),
    (14, lambda hall, dice: hall.until_the_next_deadline()),
    (12, lambda hall, dice: hall.time_passes(dice.choice([0, 1, 500, 2_000, 5_000]))),
    (1, lambda hall, dice: hall.time_passes(dice.choice([30_000, 130_000, 90_000_000]))),
]  # fmt: skip


def walk(seed: int) -> Counter[type[ev.Event]]:
    hall, dice = EngineAndTwin(), Random(seed)
    for _ in range(STEPS):
        (move,) = dice.choices([one for _, one in MOVES], [weight for weight, _ in MOVES])
        move(hall, dice)
        hall.same_hall()
        hall.conservation()
    for call in list(hall.scene.engine.state.calls.values()):
        hall.wish(cm.HangUp(call.id, principal="operator:olga"))
    hall.time_passes(90_000_000)
    assert not hall.scene.engine.state.calls
    assert not any(one.used_units for one in hall.scene.engine.state.agents.values())
    return hall.counts


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_walk(seed: int) -> None:
    """Given a seed, when engine and twin walk, then they never disagree, and in the end the hall is empty."""
    walk(seed)


def test_walks_meet_every_event() -> None:
    """Given a few walks, then every kind of event happened in them: none of the comparisons above was empty."""
    seen = sum((walk(seed) for seed in range(6)), Counter())
    assert set(ev.Event.__args__) - set(seen) == set()
