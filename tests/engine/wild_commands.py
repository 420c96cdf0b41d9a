"""Any command for `busy_hall`: hypothesis strategies for what is plausible there, and for what nobody should ever send."""

from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from dispatch import commands as cm
from dispatch.handing_facts import HandedCall
from dispatch.hours import Hours
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.busy_hall import AGENTS, QUEUES, handed
from tests.engine.scene import START_MS

# -- what may stand in a field

NUMBERS = st.sampled_from([0, 1, -1, 2, 7, 90_001, 86_400_001, 1 << 31, 1 << 53, 1 << 62, (1 << 63) - 1, -(1 << 63)])
BEYOND = st.sampled_from([1 << 63, 1 << 64, -(1 << 63) - 1, 10**30])
WILD = st.one_of(
    st.sampled_from(
        ["", " ", ".", ":", "|", "\0", "\n", "\x1b[2J", "x" * 201, "y" * 3_000, "贷款", "nobody", "\ud800"]
    ),
    st.text(max_size=9),
)
CALL_IDS = [
    "declined", "old-talks", "old-waits", "back", "again", "talks", "works", "visit", "held", "holds-later", "both", "waits",
    "moved", "rings", "connects", "chooses", "came", "goes", "leaves", "n1", "n2", "n3",
]  # fmt: skip
AGENT_IDS = [one.id for one in AGENTS] + ["old"]
QUEUE_IDS = [one.id for one in QUEUES] + ["old"]
CUSTOMER_IDS = ["zoe", "yan", "xia", "vic", "of-waits", "of-both", "nina"]
CLIENTS = [
    *(f"agent:{one}" for one in AGENT_IDS),
    *(f"customer:{one}" for one in CUSTOMER_IDS),
    "supervisor:sue",
    "operator:olga",
]
RINGING = [
    ("rings.1", "talk3"),
    ("talks.3", "talk2"),
    ("both.2", "too"),
    ("both.1", "two"),
    ("old-waits.2", "ring"),
    ("chooses.1", "call"),
]
PLAUSIBLE: dict[str, list[str]] = {
    "principal": [*CLIENTS, *["system:shell", "operator:olga", "supervisor:sue"] * 8],
    "id": [*[""] * 9, "m1", "m2", "key:1", "key:2", "key:"],
    "agent_id": AGENT_IDS,
    "to_agent_id": ["", *AGENT_IDS],
    "supervisor_id": ["sue", "tom", "law"],
    "call_id": CALL_IDS,
    "customer_id": CUSTOMER_IDS,
    "queue_id": QUEUE_IDS,
    "to_queue_id": ["", *QUEUE_IDS],
    "reservation_id": [f"{call_id}.{attempt}" for call_id in CALL_IDS for attempt in (1, 2, 3)]
    + [one for one, _ in RINGING] * 9,
    "recipient": CLIENTS,
    "connection_id": ["k1", "k2", "k3"],
    "gateway_id": ["g1", "g2"],
    "worker_id": ["w1", "w2"],
    "activity": ["ready", "not_ready", "offline"],
    "party": ["customer", "agent"],
    "role": ["consult", "expert", "third", "agent"],
    "mode": ["monitor", "whisper", "barge", ""],
    "digest": ["plan-1", "p1", "p2"],
}
SKILLS = st.dictionaries(
    st.sampled_from(["law", "talk", "ring", "nobody"]) | WILD, st.integers(1, 5) | NUMBERS, max_size=20
)
WISHES = st.builds(
    Wishes,
    need=st.just({}) | SKILLS,
    joint_need=st.just({}) | SKILLS,
    credit_ms=st.just(0) | NUMBERS | BEYOND,
    is_absolute=st.booleans(),
    required_agent_id=st.sampled_from(["", *AGENT_IDS]) | WILD,
    preferred_agent_id=st.sampled_from(["", *AGENT_IDS]) | WILD,
    manager_id=st.sampled_from(["", *AGENT_IDS]) | WILD,
    excluded_agent_ids=st.lists(st.sampled_from(AGENT_IDS) | WILD, max_size=20),
    region=WILD,
    carrier=WILD,
    is_callback=st.booleans(),
)
WAYS = st.lists(
    st.builds(
        Way,
        st.sampled_from(["overflow", "overflow", "callback", "message", "refuse"]),
        st.lists(st.sampled_from([*QUEUE_IDS, "nobody"]), max_size=2),
    ),
    max_size=3,
)
HOURS = st.none() | st.builds(
    Hours,
    weekly=st.sampled_from([[], [[]] * 7, [[(0, 1_440)]] * 7, [[(540, 720), (700, 900)]] * 7]),
    offset_minutes=st.sampled_from([-840, 0, 840]),
)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "need": st.sampled_from([{}, {"law": 1}, {"talk": 10}]),
    "strategy": st.sampled_from(["longest_idle", "most_skilled", "round_robin", "relationship", "nearest", "no_such"]),
    "target_ms": st.sampled_from([0, 86_400_000]),
    "priority_credit_ms_max": st.sampled_from([0, 86_400_000]),
    "relaxation": st.sampled_from(
        [[], [Relaxation(after_ms=1)], [Relaxation(after_ms=9, need={"law": 9}), Relaxation(after_ms=9)]]
    ),
    "needs_max": st.just(1),
    "reservations_max": st.sampled_from([1, 50]),
    "last_agent_window_ms": st.sampled_from([0, 86_400_000]),
    "joint_need": st.sampled_from([{}, {"law": 1}]),
    "joint_hold_ms": st.sampled_from([0, 1_000, 86_400_000]),
    "reservation_timeout_ms": st.sampled_from([1_000, 86_400_000]),
    "misses_max": st.just(1),
    "wrap_up": st.sampled_from(["none", "timed", "until_done"]),
    "wrap_up_ms": st.sampled_from([0, 86_400_000]),
    "cost_units": st.sampled_from([1, 50, 10_000]),
    "waiting_max": st.sampled_from([0, 1]),
    "wait_ms_max": st.sampled_from([0, 1, 86_400_000]),
    "in_call_max": st.sampled_from([0, 1]),
    "hours": HOURS,
    "closing_grace_ms": st.sampled_from([0, 1_000]),
    "on_full": WAYS,
    "on_wait": WAYS,
    "on_no_agents": WAYS,
    "on_closed": WAYS,
    "callbacks_max": st.sampled_from([0, 1]),
    "callback_attempts_max": st.just(1),
    "hold_ms_max": st.just(1_000),
    "media": st.sampled_from(["room", "external"]),
    "recording": st.sampled_from(["required", "optional", "off"]),
}


@st.composite
def queue_plans(draw: st.DrawFn, queues: list[QueuePlan] = QUEUES) -> QueuePlan:
    """One of the hall's queues with up to five keys at their ends or beyond reason."""
    queue = draw(st.sampled_from(queues))
    names = draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=5, unique=True))
    return msgspec.structs.replace(queue, **{name: draw(CHANGES[name]) for name in names})


SANE_PLANS = st.builds(
    Plan,
    division_id=st.just("d"),
    queues=st.tuples(*(st.just(one) | queue_plans([one]) for one in QUEUES)).map(list),
    agents=st.lists(st.sampled_from(AGENTS), min_size=9, max_size=14, unique_by=lambda one: one.id) | st.just(AGENTS),
).filter(lambda plan: not any(plan.problems()))


PLANS = st.builds(
    Plan,
    division_id=st.sampled_from(["d", "d", "d", "e"]),
    queues=st.lists(queue_plans(), max_size=9, unique_by=lambda one: one.id) | st.lists(queue_plans(), max_size=3),
    agents=st.lists(st.sampled_from(AGENTS), max_size=14, unique_by=lambda one: one.id)
    | st.just(AGENTS)
    | st.lists(
        st.builds(AgentPlan, st.sampled_from(AGENT_IDS), capacity_units=st.sampled_from([1, 10_000])), max_size=3
    ),
    retired=st.just(dict.fromkeys(QUEUE_IDS, "loans"))
    | st.dictionaries(st.sampled_from(QUEUE_IDS), st.sampled_from([*QUEUE_IDS, "nobody"]), max_size=9),
    reconnect_grace_ms=st.sampled_from([0, 30_000]),
    ended_retention_ms=st.sampled_from([0, 120_000]),
    idempotency_keys_max=st.sampled_from([1, 200_000]),
    live_calls_max=st.sampled_from([1, 60_000]),
    last_agents_max=st.sampled_from([0, 100_000]),
)
HANDED_CALLS = st.builds(
    HandedCall,
    call_id=st.sampled_from([*CALL_IDS, "goes", "leaves", "came", "h1"]) | WILD,
    customer_id=st.sampled_from(CUSTOMER_IDS) | WILD,
    queue_id=st.sampled_from(QUEUE_IDS) | WILD,
    from_division=st.sampled_from(["north", "south", "d"]) | WILD,
    version=st.sampled_from([1, 4, 5, 8, 12]) | NUMBERS,
    valid_until_ms=st.sampled_from([START_MS + 400_000, START_MS + 900_000]) | NUMBERS,
    hops=st.sampled_from([1, 4, 5]) | NUMBERS,
    queued_at_ms=st.just(START_MS) | NUMBERS,
    credit_ms=st.sampled_from([-1, 0, 5]) | NUMBERS | BEYOND,
    is_absolute=st.booleans(),
    is_consented=st.booleans(),
    wishes=st.none() | WISHES,
    visited=st.lists(WILD, max_size=5).map(tuple),
    attempt=st.sampled_from([0, 3]) | NUMBERS,
    room_attempt=st.sampled_from([0, 3]) | NUMBERS,
    seq=st.sampled_from([-1, 0, 9]) | NUMBERS,
)
FILES = st.lists(st.dictionaries(WILD, WILD | NUMBERS | BEYOND, max_size=3), max_size=3)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: WILD,
    int: st.sampled_from([1, 2, 7, 1_000]) | NUMBERS | BEYOND,
    bool: st.booleans(),
    Plan: PLANS,
    Wishes | None: st.none() | WISHES,
    cm.PlanTerms | None: st.none() | st.builds(cm.PlanTerms, st.sampled_from(["", "p1", "p2"]) | WILD, st.booleans()),
    list[dict[str, str | int]]: FILES,
    list[str]: st.lists(WILD, max_size=3),
    HandedCall: HANDED_CALLS,
}


@st.composite
def commands(draw: st.DrawFn) -> cm.Command:
    """Any command: all fields plausible, or any of them wild."""
    kind = draw(st.sampled_from(get_args(cm.Command)))
    is_sane = draw(st.booleans())
    values = {}
    for field in msgspec.structs.fields(kind):
        known = PLAUSIBLE.get(field.name)
        if known is not None and (is_sane or draw(st.integers(0, 3))):
            values[field.name] = draw(st.sampled_from(known))
        elif field.type is int and is_sane:
            values[field.name] = draw(st.sampled_from([1, 2, 7, 1_000]))
        else:
            values[field.name] = draw(BY_TYPE[field.type])
    return kind(**values)


BANK = {"principal": "operator:olga"}
LIKELY: list[cm.Command] = [
    *(cm.SetActivity(one, activity, "lunch") for one in AGENT_IDS for activity in ("ready", "not_ready", "offline")),
    *(cm.HangUp(one, **BANK) for one in CALL_IDS),
    *(cm.Connect(one, "g1", "k3") for one in CLIENTS),
    *(cm.Disconnect(one, "k1") for one in CLIENTS),
    *(cm.RequestCall(f"n{number}", f"nina{number}", one, "ref", True) for number, one in enumerate(QUEUE_IDS)),
    cm.RequestCall("n1", "nina", "loans", "ref", True, Wishes(preferred_agent_id="talk3", credit_ms=90_000)),
    cm.RequestCall("n2", "nora", "rooms", "", True, Wishes(required_agent_id="law", excluded_agent_ids=["talk0"])),
    cm.RequestCall("n3", "nils", "wide", "", False, Wishes(need={"ring": 3}, joint_need={"talk": 1}, is_absolute=True)),
    cm.RequestCall("n4", "noah", "small", "", False, Wishes(is_callback=True)),
    *(cm.AcceptReservation(*one) for one in RINGING),
    *(cm.DeclineReservation(*one, "no", is_busy) for one in RINGING for is_busy in (False, True)),
    *(cm.FinishWrapUp("talk0", "works") for _ in range(2)),
    cm.ExtendWrapUp("talk0", "works", 60_000),
    cm.ReportConnected("connects"),
    *(cm.SetPriority(one, 90_000, True, **BANK) for one in ("waits", "moved", "rings", "held", "back")),
    *(cm.RequestCallback(one) for one in ("waits", "moved", "again", "held")),
    cm.AcceptInvitation("visit", "yan", True),
    cm.InviteCustomer("n5", "nell", "talk3", "loans", **BANK),
    *(cm.TransferCall("talks", to_queue_id=one, **BANK) for one in QUEUE_IDS),
    *(cm.TransferCall("talks", to_agent_id=one, **BANK) for one in ("talk1", "talk3", "law", "ring")),
    *(cm.InviteParty("talks", one, "dial", **BANK) for one in ("consult", "expert", "third")),
    cm.InviteParty("talks", "expert", to_queue_id="later", **BANK),
    *(cm.RemoveParty("talks", one, **BANK) for one in ("talk1", "talk2")),
    cm.CompleteTransfer("talks", "talk1", **BANK),
    *(cm.TakeOver("talks", one, **BANK) for one in ("talk1", "talk3", "ring")),
    *(cm.Supervise("talks", "sue", one, principal="supervisor:sue") for one in ("monitor", "barge", "")),
    *(cm.SetHold("talks", one, principal="agent:law") for one in (True, False)),
    *(
        cm.ShowScriptStep("talks", one, "It may lose value.", ["yes", "no"], principal="agent:law")
        for one in ("risk", "fees")
    ),
    *(cm.AnswerScriptStep("talks", one, "yes", principal="customer:zoe") for one in (1, 2)),
    *(cm.AssignRoom("talks", one, "w2", 1) for one in (2, 3)),
    *(cm.ReportRoomOpened("talks", one) for one in (2, 3)),
    *(kind("talks", 1, "customer") for kind in (cm.ReportPartyJoined, cm.ReportPartyLeft, cm.ReportRecordingStarted)),
    cm.ReportRecordingFailed("talks", 1, "agent", "disk_full"),
    *(cm.ReportRoomFailed(one, 1, "gone") for one in ("talks", "again")),
    *(cm.ReportRoomClosed(one, 1) for one in ("talks", "again")),
    *(cm.ReportRecordingSealed(one, 1, "ab", [{"party": "agent", "bytes": 9}]) for one in ("talks", "again")),
    cm.LoseWorker("w1", 7),
    cm.LoseGateway("g2"),
    cm.Resume(1_000),
    cm.AdmitHandOver(handed("h1", "loans", START_MS)),
    cm.AdmitHandOver(handed("came", "wide", START_MS, 8)),
    *(cm.RevokeHandOver("came", 5, "north", START_MS + 600_000, why) for why in ("", "customer_hung_up")),
    *(
        cm.ReportHandOver(*one)
        for one in (("goes", 4), ("goes", 4, "queue_full"), ("leaves", 5), ("leaves", 5, "revoked"))
    ),
    *(cm.EndHandedCall(one, 4, "customer_hung_up") for one in ("goes", "leaves")),
    cm.ReportEndTold("came", 4),
]
"""What may well be done in the hall: so that what is sent meets it in many states."""

A_NEW_ROOM = [
    cm.ReportRoomFailed("talks", 1, "gone"),
    cm.AssignRoom("talks", 2, "w2", 1),
    cm.ReportRoomOpened("talks", 2),
]
GONE_AND_ENDED = [cm.ReportHandOver("goes", 4), cm.EndHandedCall("goes", 4, "customer_hung_up")]
TERMS = st.none() | st.builds(cm.PlanTerms, st.sampled_from(["", "p1", "p2"]), st.booleans())
RELOADS = st.builds(
    cm.ApplyPlan, SANE_PLANS, st.sampled_from(["p1", "p2", "p3"]), terms=TERMS, principal=st.just("operator:olga")
)
STEPS = st.lists(
    st.tuples(commands() | st.sampled_from(LIKELY) | RELOADS, st.sampled_from([0, 0, 0, 0, 1, 5_000, 30_000, 600_000])),
    min_size=5,
    max_size=30,
)
