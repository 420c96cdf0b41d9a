"""Whatever is sent, in whatever order: a typed answer, and of what was refused no trace.

Any command that Python can build may come, also such as the gateway would never let pass: numbers beyond 64 bits, texts of any
length with any character, ids of nobody and of somebody else, wishes out of bounds, plans that contradict themselves. The hall
is `busy_hall`, so that most things that can be asked for exist. An exception is a failure.

`DOUBT_EXAMPLES=5000 pytest tests/engine/test_bad_input.py` tries so many more.
"""

import functools
import os
from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.attendance import OUTAGE_MS_MAX
from dispatch.codec import decode_events, encode_events
from dispatch.effects import Refusal, Reply
from dispatch.engine import Engine
from dispatch.plan import Plan, QueuePlan
from dispatch.wishes import EXCLUDED_MAX, SKILLS_MAX, Wishes
from tests.engine.busy_hall import AGENTS, QUEUES, busy_hall
from tests.engine.invariants import check
from tests.engine.wild_commands import A_NEW_ROOM, BANK, GONE_AND_ENDED, LIKELY, STEPS

EXAMPLES = 100 + int(os.environ.get("DOUBT_EXAMPLES", "0"))
REFUSALS = set(get_args(Refusal))
TRACES = {ev.Answered, ev.CallRefused, ev.HandOverDeclined}
"""What a refused command may leave: its answer, also to a hand-over, and that a call was turned away (it is counted)."""


def wishing(**wishes: Any) -> cm.RequestCall:
    return cm.RequestCall("n1", "nina", "loans", "", True, Wishes(**wishes))


@functools.cache
def hall() -> bytes:
    return busy_hall().engine.snapshot()


class Hall:
    """The busy hall, and what it wrote since."""

    def __init__(self) -> None:
        self.engine = Engine.restore("d", hall())
        self.now_ms = self.engine.now_ms
        self.journal: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.wait(0)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        events, _ = self.engine.expire(self.now_ms)
        self.journal.append(encode_events(events))
        check(self.engine)

    def put(self, command: cm.Command) -> None:
        """Give the command to the engine, and look at everything that came of it."""
        before = digest_without_answers(self.engine)
        events, effects = self.engine.step(command, self.now_ms)
        reply = effects[-1]
        assert isinstance(reply, Reply)
        self.counts[reply.reason or "accepted"] += 1
        self.counts[type(command).__name__ if reply.is_accepted else ""] += 1
        if not reply.is_accepted:
            assert reply.reason in REFUSALS
            assert {type(event) for event in events} <= TRACES
            assert digest_without_answers(self.engine) == before, "a refused command left a trace"
        msgspec.json.encode(reply.value)
        self.journal.append(encode_events(events))
        assert decode_events(self.journal[-1]) == events
        check(self.engine)

    def end(self) -> None:
        """What was written leads to the very same hall."""
        again = Engine.restore("d", hall())
        for entry in self.journal:
            again.replay(decode_events(entry))
        assert again.digest() == self.engine.digest()
        assert Engine.restore("d", self.engine.snapshot()).digest() == self.engine.digest()


def digest_without_answers(engine: Engine) -> str:
    state = engine.state
    answers, keys, handed_in = state.answers, state.keys, state.handed_in
    state.answers, state.keys, state.handed_in = {}, {}, {}
    try:
        return engine.digest()
    finally:
        state.answers, state.keys, state.handed_in = answers, keys, handed_in


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(STEPS)
def test_any_commands_in_any_order(steps: list[tuple[cm.Command, int]]) -> None:
    """Given a busy hall, when any commands come in any order, then each is answered by name; a refused one leaves no trace."""
    one = Hall()
    for command, ms in steps:
        if ms:
            one.wait(ms)
        one.put(command)
    one.end()


def test_every_command_can_succeed_here() -> None:
    """Given the busy hall, then every kind of command is accepted in some order: what is refused above is not all there is."""
    accepted: Counter[str] = Counter()
    for commands_in_turn in [[one] for one in LIKELY] + [
        A_NEW_ROOM,
        GONE_AND_ENDED,
        [cm.ApplyPlan(Plan("d", QUEUES, AGENTS), "p1", **BANK)],
    ]:
        one = Hall()
        for command in commands_in_turn:
            one.put(command)
        one.end()
        accepted += one.counts
    assert {kind.__name__ for kind in get_args(cm.Command)} - set(accepted) == set()


@pytest.mark.parametrize(
    "command",
    [
        cm.ExtendWrapUp("talk0", "works", 10**30, id="m1"),
        cm.AssignRoom("talks", 1, "w1", 1 << 64),
        cm.Connect("customer:zoe", "g1", "\ud800"),
        cm.FinishWrapUp("\ud800", "works"),
        cm.Resume(OUTAGE_MS_MAX + 1),
        cm.Resume(-1),
        wishing(need={f"s{number}": 1 for number in range(SKILLS_MAX + 1)}),
        wishing(joint_need={f"s{number}": 1 for number in range(SKILLS_MAX + 1)}),
        wishing(need={"law": 11}),
        wishing(need={"law": 0}),
        wishing(need={"no skill": 1}),
        wishing(excluded_agent_ids=["ring"] * (EXCLUDED_MAX + 1)),
        wishing(credit_ms=90_001),
        wishing(credit_ms=-1),
        cm.ApplyPlan(Plan("d", [QueuePlan("loans", target_ms=86_400_001)]), "p1", **BANK),
    ],
    ids=str,
)
def test_beyond_bounds(command: cm.Command) -> None:
    """Given a number, text or wish one past its bound, when asked for, then `bad_value`; nothing of it is journaled."""
    one = Hall()
    one.put(command)
    assert one.counts["bad_value"] == 1
    assert decode_events(one.journal[-1]) == []


@pytest.mark.parametrize(
    "command",
    [
        cm.Resume(OUTAGE_MS_MAX),
        wishing(need={f"s{number}": 1 for number in range(SKILLS_MAX)}),
        wishing(joint_need={f"s{number}": 10 for number in range(SKILLS_MAX)}),
        wishing(excluded_agent_ids=["ring"] * EXCLUDED_MAX),
        wishing(credit_ms=90_000),
        cm.AssignRoom("again", 2, "w1", (1 << 63) - 1),
    ],
    ids=str,
)
def test_at_bounds(command: cm.Command) -> None:
    """Given the same at its bound, then it is not the value that is refused."""
    one = Hall()
    one.put(command)
    one.end()
    assert one.counts["bad_value"] == 0


def test_a_reload_that_takes_a_joint_need_away() -> None:
    """Given somebody held for a pair, when a reload says that one person is enough, then that one is asked at once."""
    one = Hall()
    assert one.engine.state.calls["held"].held_agent_id == "pair"
    queues = [msgspec.structs.replace(queue, joint_need={}) if queue.id == "pairs" else queue for queue in QUEUES]
    one.put(cm.ApplyPlan(Plan("d", queues, AGENTS), "p1", **BANK))
    assert [asked.agent_id for asked in one.engine.state.calls["held"].reservations] == ["pair"]
    one.end()


def test_a_deadline_that_another_one_took_away() -> None:
    """Given a call on hold whose media are lost for good, when ten minutes pass at once, then the hold ends with the call."""
    one = Hall()
    one.put(cm.ReportRoomFailed("talks", 1, "gone"))
    one.wait(600_000)
    one.end()
