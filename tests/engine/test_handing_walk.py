"""Hand-over under a courier that delays, repeats, reorders and loses, with crashes at any event (SAFETY.md 14)."""

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dispatch import commands as cm
from dispatch import lifecycle as lc
from dispatch.folding_handing import HANDING_ARMS
from dispatch.plan import Plan, Way
from tests.engine.divisions import Divisions
from tests.engine.scene import agent, queue

IDS = ("a", "b", "c")


def plan_of(division: str) -> Plan:
    """Two queues each; whoever finds no place goes round the ring of divisions."""
    after = IDS[(IDS.index(division) + 1) % len(IDS)]
    before = IDS[(IDS.index(division) - 1) % len(IDS)]
    ring = [Way("overflow", [f"{after}/loans", f"{before}/loans"])]
    return Plan(
        division_id=division,
        queues=[
            queue("loans", waiting_max=1, on_full=ring, wait_ms_max=15_000, on_wait=ring, wrap_up="none"),
            queue("cards", need={"cards": 1}, on_no_agents=ring, wrap_up="none"),
        ],
        agents=[agent("anna"), agent("carl", skills={"cards": 1})],
        reconnect_grace_ms=12_000,
        ended_retention_ms=3_000,
        hand_over_timeout_ms=4_000,
        hand_over_give_up_ms=20_000,
    )


class Walk:
    """Turns picks into what happens."""

    def __init__(self, skews_ms: tuple[int, ...] = ()) -> None:
        self.world = Divisions(*map(plan_of, IDS), skews_ms=skews_ms)
        self.calls_count = 0
        self.hung_up: set[str] = set()
        """Calls that were hung up, as far as that was acknowledged."""

    def some_call(self, division: str, pick: int, *states: str) -> Any:
        calls = [one for one in self.world.engines[division].state.calls.values() if not states or one.state in states]
        return calls[pick % len(calls)] if calls else None

    def act(self, what: str, division: str, pick: int) -> None:
        world = self.world
        if what == "request":
            self.calls_count += 1
            customer = f"u{pick % 4}-{division}"
            if pick & 8:
                world.do(division, cm.Connect(f"customer:{customer}", "g", f"k{self.calls_count}"))
            queue_id = "cards" if pick & 4 else "loans"
            world.do(division, cm.RequestCall(f"n{self.calls_count}", customer, queue_id, is_consented=True))
        elif what == "ready":
            agent_id = "carl" if pick & 1 else "anna"
            world.do(division, cm.SetActivity(agent_id, "offline" if pick & 6 == 6 else "ready"))
        elif what == "answer" and (call := self.some_call(division, pick, lc.RESERVED)):
            ring = call.reservations[0]
            world.do(division, cm.AcceptReservation(ring.id, ring.agent_id))
            world.do(division, cm.ReportConnected(call.id))
        elif what == "transfer" and (call := self.some_call(division, pick, lc.CONNECTED)):
            to = IDS[pick % 3]
            world.do(division, cm.TransferCall(call.id, f"{to}/loans", principal=f"agent:{call.agent_id}"))
        elif what == "hang up" and (call := self.some_call(division, pick)):
            if world.do(division, cm.HangUp(call.id, principal=f"customer:{call.customer_id}")).is_accepted:
                self.hung_up.add(call.id)
        elif what == "connect" and (call := self.some_call(division, pick)):
            world.do(division, cm.Connect(f"customer:{call.customer_id}", "g", f"k{pick}"))
        elif what == "wait":
            world.wait((100, 1_000, 4_000, 13_000)[pick % 4])
        elif what == "crash":
            world.crash(division, with_snapshot=bool(pick & 1))
        elif what in ("deliver", "repeat", "lose", "lose answer") and world.messages:
            self._carry(what, pick % len(world.messages))

    def _carry(self, what: str, at: int) -> None:
        if what == "lose":
            self.world.messages.pop(at)
        else:
            self.world.deliver(at, is_kept=what == "repeat", is_answer_lost=what == "lose answer")

    def finish(self) -> None:
        """Faults stop: what was hung up ends at once, within a stated time every call does, and nothing is left on its way."""
        self.world.heal()
        for call_id in self.hung_up:
            assert not self.world.owners(call_id), f"{call_id} was hung up"
        for _ in range(12):
            self.world.heal()
            self.world.wait(5_000)
            self.world.check_all()
        for engine in self.world.engines.values():
            assert not [one for one in engine.state.calls.values() if one.state == lc.HANDING_OVER]
        for division, engine in self.world.engines.items():
            for call in list(engine.state.calls.values()):
                if call.state in lc.LIVE_STATES:
                    self.world.do(division, cm.HangUp(call.id))
        for _ in range(12):
            self.world.heal()
            self.world.wait(5_000)
            self.world.check_all()
        for call_id, book in self.world.books.items():
            assert book.ended, call_id
        for engine in self.world.engines.values():
            assert not engine.state.calls, "a call, or a word about where it went, is left"
        assert not self.world.messages


WHAT = (
    *["request"] * 4, *["ready"] * 2, *["answer"] * 3, *["transfer"] * 3, "hang up", *["connect"] * 2, *["wait"] * 3, "crash",
    *["deliver"] * 8, *["repeat"] * 3, "lose", *["lose answer"] * 2,
)  # fmt: skip
ACTS = st.tuples(st.sampled_from(WHAT), st.sampled_from(IDS), st.integers(0, 63))


SKEWS = st.tuples(*[st.sampled_from([0, 0, -3_000, 2_000, 60_000])] * len(IDS))


@given(st.lists(ACTS, min_size=20, max_size=120), SKEWS)
def test_every_call_is_in_exactly_one_divisions_books(acts: list[tuple[str, str, int]], skews: tuple[int, ...]) -> None:
    """Given any events and faults, and clocks that differ, then every call is live in one division or has ended once."""
    walk = Walk(skews)
    for act in acts:
        walk.act(*act)
        walk.world.check_all()
    walk.finish()


def test_walks_meet_every_event_of_a_hand_over() -> None:
    """Given a few walks from dice, then every kind of event of a hand-over happened, and every reason to end one."""
    seen: Counter[type] = Counter()
    ended: set[str] = set()
    for seed in range(60):
        dice, walk = Random(seed), Walk((0, -3_000, 2_000))
        for _ in range(80):
            walk.act(dice.choice(WHAT), dice.choice(IDS), dice.randrange(64))
            walk.world.check_all()
        walk.finish()
        seen += walk.world.seen
        ended |= {reason for book in walk.world.books.values() for reason in book.ended}
    assert set(HANDING_ARMS) - set(seen) == set()
    assert ended >= {"customer_hung_up", "customer_lost", "hand_over_unanswered", "queue_full", "waited_too_long"}
