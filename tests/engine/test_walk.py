"""Long seeded walks of engine and twin through a busy hall: deeper than hypothesis goes, in halls that rarely empty.

Same checks as in `test_twin.py`, other choices: wishes are weighted so that calls arrive, ring, stand, are lost and end all the
time. `DOUBT_SEEDS=1000 pytest tests/engine/test_walk.py` walks on from the last seed of the ordinary run.
"""

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.folding_handing import HANDING_ARMS
from tests.engine.test_twin import EngineAndTwin
from tests.engine.twin_halls import HALLS, PLANS, WISHES

STEPS = 800
SEEDS = range(12 + int(os.environ.get("DOUBT_SEEDS", "0")))

AGENTS = ["anna", "ben", "cleo", "dora", "emil"]
REPORTS = [
    cm.ReportPartyLeft, cm.ReportPartyLeft, cm.ReportPartyJoined, cm.ReportRecordingFailed, cm.ReportRoomFailed,
    cm.ReportRoomClosed, cm.ReportRoomClosed, cm.ReportRecordingSealed, cm.ReportRecordingSealed,
]  # fmt: skip

WHO = ["owner"] * 8 + ["supervisor:sam", "operator:olga", "agent:ben", "customer:u"]


def _request(hall: EngineAndTwin, dice: Random) -> None:
    wishes = dice.choice(WISHES) if dice.random() < 0.4 else None
    id = dice.choice([""] * 9 + ["m1", "key:1"])
    hall.request(
        f"c{dice.randrange(60)}", dice.choice("abcdefghijklmnopqr"), dice.randrange(11), dice.random() < 0.9, wishes, id
    )


def _activity(hall: EngineAndTwin, dice: Random) -> None:
    activity = dice.choice(["ready"] * 7 + ["not_ready", "offline"])
    hall.activity(dice.choice(AGENTS), activity, "", "", "system:shell")


def _invite(hall: EngineAndTwin, dice: Random) -> None:
    if dice.random() < 0.5:
        hall.come(dice.randrange(1, 9), dice.random() < 0.9, True)
    else:
        hall.invite(
            f"c{dice.randrange(60)}", dice.choice("abcdefghijklmnopqr"), dice.choice(AGENTS), dice.randrange(11),
            dice.choice([0, 7_000]), True,
        )  # fmt: skip


def _connection_goes(hall: EngineAndTwin, dice: Random) -> None:
    how = dice.choice(["disconnect", "disconnect", "old", "gateway"])
    hall.connection_goes(dice.randrange(9), dice.choice(["customer", "agent", "spy"]), how)


def _connect(hall: EngineAndTwin, dice: Random) -> None:
    recipient = dice.choice(["agent:" + dice.choice(AGENTS), "customer:" + dice.choice("abcdefgh")])
    hall.connect(recipient, "g1", dice.choice(["k1", "k2"]))


def _talk(hall: EngineAndTwin, dice: Random) -> None:
    """Something with a call that talks."""
    pick, who, agent_id = dice.randrange(1, 9), dice.choice(WHO), dice.choice(AGENTS)
    match dice.randrange(10):
        case 0:
            hall.transfer(pick, dice.randrange(11), agent_id, dice.choice(["queue", "agent"]), -1, who)
        case 1 | 2 | 3:
            role = dice.choice(["consult", "expert", "third"])
            hall.invite_party(pick, dice.randrange(11), agent_id, dice.choice(["queue", "agent", "agent"]), role, who)
        case 4:
            hall.party(pick, who, dice.choice(["remove", "complete", "leave"]), agent_id)
        case 5:
            hall.take_over(pick, agent_id, who)
        case 6:
            hall.supervise(pick, who, dice.choice(["monitor", "whisper", "barge", ""]), 0)
        case 7:
            hall.hold(pick, dice.random() < 0.7, who)
        case 8:
            hall.show(pick, dice.choice(["owner", "owner", who]), dice.choice([[], ["yes", "no"], ["yes", "no"]]), 0)
        case _:
            hall.answer_what_is_shown(
                pick, dice.randrange(10) // 9, dice.choice(["yes", "yes", "no"]), dice.choice(["owner", who])
            )


def _wait(hall: EngineAndTwin, dice: Random) -> None:
    """Something with a call that waits."""
    pick, who = dice.randrange(1, 9), dice.choice(WHO)
    if dice.random() < 0.5:
        hall.prioritise(pick, dice.choice([0, 1_000, 20_000]), dice.random() < 0.2, who)
    else:
        hall.call_back(pick, who)


Move = Callable[[EngineAndTwin, Random], None]
MOVES: list[tuple[int, Move]] = [
    (20, _request),
    (8, _activity),
    (8, lambda hall, dice: hall.accept(dice.randrange(1, 9), 0, "", dice.choice([""] * 9 + ["m1", "key:2"]))),
    (3, lambda hall, dice: hall.accept(dice.randrange(9), dice.randrange(2), "", "")),
    (4, lambda hall, dice: hall.decline(dice.randrange(1, 9), 0, "", 0, dice.random() < 0.3)),
    (6, lambda hall, dice: hall.a_call_is_answered(dice.randrange(1, 9), "all")),
    (14, lambda hall, dice: hall.media_comes_up(dice.randrange(1, 9), dice.choice(["all", "all", "assign", "open"]), 0)),
    (10, lambda hall, dice: hall.media_report(
        dice.randrange(1, 9), dice.choice(REPORTS), dice.choice(["customer", "agent"]), dice.randrange(10) // 9
    )),
    (8, lambda hall, dice: hall.hang_up(dice.randrange(9), dice.choice(["customer", "agent", "operator"]), "")),
    (4, lambda hall, dice: hall.wrap_up(dice.randrange(1, 9), dice.choice([1, 15_000, 3_600_000]), dice.random() < 0.3)),
    (12, _talk),
    (4, _wait),
    (3, _invite),
    (3, _connection_goes),
    (3, _connect),
    (1, lambda hall, dice: hall.reload(dice.choice(sorted(PLANS)), "operator:olga")),
    (1, lambda hall, dice: hall.reload("every", "operator:olga")),
    (1, lambda hall, dice: hall.outage(dice.choice([1_000, 30_000]), dice.randrange(1, 9))),
    (1, lambda hall, dice: hall.lose_worker(dice.choice(["w0", "w1"]), dice.choice([1, 2, 9]))),
    (2, lambda hall, dice: hall.crash(dice.random() < 0.5)),
    (14, lambda hall, dice: hall.until_the_next_deadline()),
    (12, lambda hall, dice: hall.time_passes(dice.choice([0, 1, 500, 2_000, 5_000]))),
    (1, lambda hall, dice: hall.time_passes(dice.choice([30_000, 130_000, 90_000_000]))),
]  # fmt: skip


def walk(seed: int) -> Counter[type[ev.Event]]:
    hall, dice = EngineAndTwin(), Random(seed)
    hall.open_hall(HALLS[seed % len(HALLS)], AGENTS)
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


walked = cache(walk)
"""One walk a seed is enough: what happened in it is asked twice."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_walk(seed: int) -> None:
    """Given a seed, when engine and twin walk, then they never disagree, and in the end the hall is empty."""
    assert walked(seed)[ev.CallEnded]


def test_walks_meet_every_event() -> None:
    """Given a few walks, then every kind of event happened: no comparison above was empty. Hand-over has its own walk."""
    seen = sum((walked(seed) for seed in range(6)), Counter())
    assert set(ev.Event.__args__) - set(seen) == set(HANDING_ARMS)
