"""The halls in which engine and twin are compared: every setting of a queue is off its default in one of them."""

from dispatch.choice import register
from dispatch.hours import Hours
from dispatch.model import Agent
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from dispatch.wishes import NEVER_MS, Wishes
from tests.engine.scene import agent, plan, queue, room_queue

LIMITS: dict[str, object] = {
    "live_calls_max": 12, "idempotency_keys_max": 6, "reconnect_grace_ms": 12_000, "recording_timeout_ms": 300_000,
    "last_agents_max": 3, "invitation_ms": 90_000,
}  # fmt: skip


def by_name(one: Agent, queue: QueuePlan, now_ms: int) -> int:
    """A strategy of one's own: the shortest id first, and `cleo` before all."""
    return -1 if one.id == "cleo" else len(one.id)


register("by_name", by_name)

LOANS = queue("loans", target_ms=20_000, waiting_max=4, wrap_up_ms=10_000, wrap_up_ms_max=60_000, misses_max=2)
ROOMS = room_queue(
    "rooms", need={"fx": 5}, target_ms=5_000, wrap_up="until_done", wrap_up_ms_max=40_000, hold_ms_max=9_000
)
SMALL = queue(
    "small", cost_units=50, decline_delay_ms=0, no_answer_delay_ms=0, wrap_up="none", waiting_max=0, misses_max=1,
    busy_delay_ms=0, strategy="most_skilled", disconnect_delay_ms=4_000,
)  # fmt: skip
MIXED = room_queue(
    "mixed", recording="optional", target_ms=1_000, wrap_up_ms=0, need={"fx": 2}, strategy="fewest_calls"
)

WIDENING = queue(
    "widening", need={"fx": 7}, relaxation=[Relaxation(10_000, {"fx": 4}), Relaxation(30_000, {"fx": 1}), Relaxation(45_000)],
    strategy="nearest", wait_ms_max=60_000, on_wait=[Way("overflow", ["capped", "wide"]), Way("message")],
    preferred_window_ms=15_000, priority_credit_ms_max=20_000, needs_max=2, wrap_up="none",
)  # fmt: skip
WIDE = queue(
    "wide", reservations_max=3, strategy="round_robin", last_agent_window_ms=300_000, preferred_window_ms=8_000,
    reject_delay_ms=3_000, busy_delay_ms=7_000, disconnect_delay_ms=2_000, wait_ms_max=40_000,
    on_wait=[Way("callback"), Way("refuse")], callback_retry_ms=20_000, callback_attempts_max=2, callbacks_max=2,
)  # fmt: skip
CAPPED = queue(
    "capped", in_call_max=1, waiting_max=1, strategy="least_occupied", wrap_up_ms=5_000, callbacks_max=1,
    on_full=[Way("overflow", ["widening"]), Way("callback"), Way("message")], callback_answer_ms=10_000, cost_units=50,
    transfer_credit_ms=5_000,
)  # fmt: skip
BANKING = Hours(
    weekly=[[(540, 1_080)], [(0, 1_334)], [(480, 720), (780, 1_440)], [(0, 1_440)], [(0, 60)], [], [(600, 601)]],
    special={"2023-11-15": [(2, 3), (5, 9), (1_410, 1_440)], "2023-11-17": []},
    offset_minutes=0,
)
"""Scenes begin on Tuesday 2023-11-14 at 22:13:20: this hall closes 40 seconds later."""
TIMED = room_queue(
    "timed", hours=BANKING, closing_grace_ms=90_000, strategy="by_name", recording="optional", target_ms=0,
    on_closed=[Way("callback"), Way("overflow", ["wide"]), Way("refuse")], callbacks_max=1, callback_answer_ms=10_000,
    callback_retry_ms=0, callback_attempts_max=2, in_call_max=2, wrap_up="none",
)  # fmt: skip
MINDED = queue(
    "minded", need={"wealth": 5}, relaxation=[Relaxation(20_000, {"wealth": 2})], strategy="relationship",
    on_no_agents=[Way("overflow", ["timed", "wide"]), Way("message")], preferred_window_ms=5_000, waiting_max=2,
    on_full=[Way("message")], last_agent_window_ms=60_000,
)  # fmt: skip
PAIRED = queue(
    "paired", joint_need={"fx": 3}, joint_hold_ms=4_000, reservations_max=2, wait_ms_max=50_000, preferred_window_ms=6_000,
    on_wait=[Way("callback")], wrap_up_ms=5_000, busy_delay_ms=1_000,
)  # fmt: skip
HASTY = room_queue(
    "hasty", need={"wealth": 1}, joint_need={"wealth": 4}, joint_hold_ms=0, recording="off", target_ms=0, cost_units=60,
)  # fmt: skip

ANNA, BEN = agent("anna"), agent("ben", skills={"fx": 5})
CLEO, DORA = agent("cleo", skills={"fx": 3}, capacity_units=200), agent("dora", skills={"fx": 9})
STAFFED: tuple[AgentPlan, ...] = (
    agent("anna", skills={"wealth": 2}, region="north", carrier="one"),
    agent("ben", skills={"fx": 5}, region="north", carrier="two"),
    agent("cleo", skills={"fx": 3, "wealth": 6}, capacity_units=200, region="south", carrier="one"),
    agent("dora", skills={"fx": 9}, region="south"),
    agent("emil", capacity_units=150, skills={"fx": 1}),
)


def _hall(*parts: QueuePlan | AgentPlan, to: str) -> Plan:
    """A plan whose every absent queue leaves its waiting calls to queue `to`."""
    present = {part.id for part in parts if isinstance(part, QueuePlan)}
    return plan(*parts, retired={one.id: to for one in QUEUES if one.id not in present}, **LIMITS)


QUEUES = (LOANS, ROOMS, SMALL, MIXED, WIDENING, WIDE, CAPPED, TIMED, MINDED, PAIRED, HASTY)
PLANS: dict[str, Plan] = {
    "all": plan(LOANS, ROOMS, SMALL, MIXED, ANNA, BEN, CLEO, **LIMITS),
    "retired": plan(LOANS, MIXED, BEN, DORA, CLEO, retired={"small": "mixed", "rooms": "loans"}, **LIMITS),
    "stranding": plan(LOANS, ANNA, BEN, **LIMITS),
    "skilled": _hall(MIXED, LOANS, ROOMS, SMALL, agent("anna", skills={"fx": 5}), DORA, agent("cleo"), to="mixed"),
    "limited": _hall(WIDENING, WIDE, CAPPED, TIMED, MINDED, *STAFFED, to="wide"),
    "paired": _hall(PAIRED, HASTY, LOANS, CAPPED, WIDENING, WIDE, *STAFFED, to="loans"),
    "every": _hall(*QUEUES, *STAFFED, to="loans"),
    "broken": plan(LOANS, LOANS),
}
HALLS = ("all", "limited", "paired", "every")
"""The plans to begin with."""

WISHES: tuple[Wishes, ...] = (
    Wishes(credit_ms=5_000),
    Wishes(credit_ms=20_001),
    Wishes(credit_ms=-1),
    Wishes(is_absolute=True, credit_ms=20_000),
    Wishes(need={"fx": 3}),
    Wishes(need={"fx": 4}, region="north", carrier="one"),
    Wishes(need={"wealth": 1, "fx": 1}),
    Wishes(joint_need={"fx": 1}),
    Wishes(joint_need={"wealth": 1}, need={"fx": 1}, preferred_agent_id="cleo"),
    Wishes(required_agent_id="ben"),
    Wishes(required_agent_id="anna", is_callback=True),
    Wishes(required_agent_id="zoe"),
    Wishes(required_agent_id="ben", excluded_agent_ids=["ben"]),
    Wishes(preferred_agent_id="dora", region="south", carrier="one"),
    Wishes(preferred_agent_id="cleo", excluded_agent_ids=["cleo", "anna"]),
    Wishes(preferred_agent_id="zoe", manager_id="cleo"),
    Wishes(manager_id="cleo"),
    Wishes(excluded_agent_ids=["ben", "dora"]),
    Wishes(region="north", carrier="two"),
    Wishes(region="south"),
    Wishes(is_callback=True),
    Wishes(is_callback=True, is_absolute=True),
    Wishes(is_callback=True, joint_need={"fx": 2}, region="nowhere"),
)
assert NEVER_MS > 1 << 50
