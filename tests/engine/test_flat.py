"""A step costs the same whatever stands around it: CPU of this thread in a small hall and in a large one, in one run.

Each bound is far from what is found (1 to 2) and further from what searching through all would cost (30 to 1,000).
"""

from collections import deque
from collections.abc import Callable
from time import thread_time_ns

from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallReserved
from dispatch.plan import AgentPlan, QueuePlan
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, agent, plan, queue

LIVES_COUNT = 150
RATIO_MAX = 8


class Hall:
    """An engine whose agents answer at once; for each call that ends one comes."""

    def __init__(self, *parts: QueuePlan | AgentPlan) -> None:
        self.engine = Engine("d")
        self.now_ms = START_MS
        self.talking: deque[str] = deque()
        self.requests_count = 0
        self.do(cm.ApplyPlan(plan(*parts, live_calls_max=100_000), "p"))
        for part in parts:
            if isinstance(part, AgentPlan):
                self.do(cm.SetActivity(part.id, "ready"))

    def do(self, command: cm.Command) -> None:
        events, _ = self.engine.step(command, self.now_ms)
        for event in events:
            if isinstance(event, CallReserved):
                self.do(cm.AcceptReservation(event.reservation_id, event.agent_id))
                self.do(cm.ReportConnected(event.call_id))
                self.talking.append(event.call_id)

    def request(self, queue_id: str, count: int, wishes: Wishes | None = None) -> None:
        for _ in range(count):
            self.requests_count += 1
            self.do(cm.RequestCall(f"c{self.requests_count}", f"z{self.requests_count}", queue_id, wishes=wishes))

    def live(self) -> float:
        """CPU nanoseconds of one call's life."""
        started_ns = thread_time_ns()
        for _ in range(LIVES_COUNT):
            self.now_ms += 1_000
            self.do(cm.HangUp(self.talking.popleft()))
            self.request("loans", 1)
        return (thread_time_ns() - started_ns) / LIVES_COUNT


def ratio(make: Callable[[int], Hall], small: int, large: int) -> float:
    """The large hall's cost over the small one's, the best of three turns each."""
    halls = [make(small), make(large)]
    found = [[hall.live() for hall in halls] for _ in range(3)]
    return min(one[1] for one in found) / min(one[0] for one in found)


def test_a_capped_queue_beside_many_free_agents() -> None:
    """Given a queue at its cap with calls waiting, when one of its calls ends and one more may ring, then it does not matter
    whether 50 or 3,000 agents stand free."""

    def capped(agents_count: int) -> Hall:
        loans = queue("loans", need={"fx": 1}, in_call_max=20, wrap_up="none")
        hall = Hall(loans, *(agent(f"a{number}", skills={"fx": 1}) for number in range(agents_count)))
        hall.request("loans", 40)
        return hall

    assert ratio(capped, 50, 3_000) < RATIO_MAX


def test_a_joint_call_beside_many_kept_ones() -> None:
    """Given a call that waits for two people, when others come and go, then it does not matter how many calls are kept for
    somebody who is away."""

    def joint(kept_count: int) -> Hall:
        queues = [
            queue("loans", need={"fx": 1}, wrap_up="none"),
            queue("pairs", need={"fx": 1}, joint_need={"law": 1}, joint_hold_ms=0),
            queue("notary", need={"law": 2}, waiting_max=100_000),
        ]
        agents = [agent("anna", skills={"law": 2}, capacity_units=1), agent("ben", skills={"fx": 1})]
        hall = Hall(*queues, *agents)
        hall.request("notary", kept_count, Wishes(required_agent_id="anna"))
        hall.request("loans", 1)
        hall.request("pairs", 1)
        hall.request("loans", 20)
        return hall

    assert ratio(joint, 10, 3_000) < RATIO_MAX


def test_a_long_line_of_calls_beside_a_joint_one() -> None:
    """Given a call that waits for two people, when others come and go, then it does not matter how many of them wait."""

    def long(waiting_count: int) -> Hall:
        queues = [
            queue("loans", need={"fx": 1}, wrap_up="none", waiting_max=100_000),
            queue("pairs", need={"fx": 1}, joint_need={"law": 1}, joint_hold_ms=0),
        ]
        hall = Hall(*queues, *(agent(f"a{number}", skills={"fx": 1}) for number in range(5)))
        hall.request("loans", 5)
        hall.request("pairs", 1)
        hall.request("loans", waiting_count)
        return hall

    assert ratio(long, 20, 20_000) < RATIO_MAX
