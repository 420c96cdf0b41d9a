"""Halls drawn from a seed: a few divisions whose queues differ in everything that matters to a fault."""

import random

from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way

DIVISIONS = ("main", "east", "west")
RETENTION_MS = 30_000
"""An ended call is remembered for so long: whoever repeats a request for it must not do that later."""


def draw_plans(chance: random.Random) -> list[Plan]:
    """Draw the plans of one run's divisions."""
    division_ids = DIVISIONS[: chance.choice((1, 2, 2, 3, 3))]
    return [_plan(one, list(division_ids), chance) for one in division_ids]


def _plan(division_id: str, division_ids: list[str], chance: random.Random) -> Plan:
    others = [one for one in division_ids if one != division_id]
    ways = [Way("overflow", [f"{one}/loans" for one in others])] if others else []
    queues = [
        QueuePlan(
            id="loans", media="external", recording="off", waiting_max=chance.choice((2, 4, 50)), on_full=ways,
            wait_ms_max=chance.choice((0, 6_000, 15_000)), on_wait=ways, in_call_max=chance.choice((0, 0, 2)),
            reservations_max=chance.choice((1, 1, 2)), callbacks_max=0, **_times(chance),
        ),
        QueuePlan(
            id="cards", media="room", recording=chance.choice(("required", "off")), need={"cards": 2},
            relaxation=[Relaxation(chance.choice((2_000, 5_000)), {"cards": 1})], on_no_agents=ways[: chance.choice((0, 1))],
            strategy=chance.choice(("longest_idle", "most_skilled", "fewest_calls")), **_times(chance),
        ),
        QueuePlan(id="desk", media="external", recording="off", cost_units=50, **_times(chance)),
    ]  # fmt: skip
    agents = [
        AgentPlan(id=f"a{number}", skills={"cards": chance.choice((1, 2, 3))} if chance.random() < 0.7 else {})
        for number in range(chance.choice((2, 3, 4)))
    ]
    return Plan(
        division_id=division_id,
        queues=queues,
        agents=agents,
        reconnect_grace_ms=chance.choice((2_000, 8_000)),
        reservation_grace_ms=1_000,
        ended_retention_ms=RETENTION_MS,
        recording_timeout_ms=15_000,
        hand_over_timeout_ms=chance.choice((2_000, 5_000)),
        hand_over_give_up_ms=chance.choice((10_000, 40_000)),
    )


def _times(chance: random.Random) -> dict[str, object]:
    """What every queue has, at the speed of a run."""
    return {
        "reservation_timeout_ms": chance.choice((1_000, 4_000)),
        "decline_delay_ms": chance.choice((0, 3_000)),
        "reject_delay_ms": chance.choice((0, 1_000)),
        "no_answer_delay_ms": chance.choice((0, 2_000)),
        "disconnect_delay_ms": chance.choice((0, 2_000)),
        "misses_max": chance.choice((2, 5)),
        "wrap_up": chance.choice(("none", "timed", "until_done")),
        "wrap_up_ms": 2_000,
        "wrap_up_ms_max": 6_000,
        "connecting_timeout_ms": chance.choice((4_000, 8_000)),
        "hold_ms_max": 3_000,
        "priority_credit_ms_max": 0,
        "transfer_credit_ms": 0,
    }
