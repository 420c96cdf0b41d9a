"""A division at work, as a shard would drive it: real engine, real journal entries, an instant that moves by hand."""

from actors.journal import Append, Journal
from dispatch import commands as cm
from dispatch.codec import encode_events
from dispatch.engine import Engine
from dispatch.events import Event
from dispatch.plan import AgentPlan, Plan, QueuePlan

DAY_MS = 86_400_000
NOON_MS = 19_700 * DAY_MS + DAY_MS // 2
"""2023-12-09, 12:00 UTC."""

PLAN = Plan(
    division_id="main",
    queues=[QueuePlan(id="loans", media="external", recording="off", wrap_up="none")],
    agents=[AgentPlan(id="anna")],
)


class Division:
    """Steps the engine and appends what it decided, one batch a command."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.engine = Engine("main")
        self.now_ms = NOON_MS
        self.epoch = 0
        self.batch = 0
        self.events: list[Event] = []
        """All that was decided, in order."""

    async def open(self) -> None:
        """Begin with one agent who is ready."""
        self.epoch = (await self.journal.open("main")).epoch
        await self.do(cm.ApplyPlan(plan=PLAN, digest="1"))
        await self.do(cm.Connect(recipient="agent:anna", gateway_id="g", connection_id="c"))
        await self.do(cm.SetActivity(agent_id="anna", activity="ready"))

    async def do(self, command: cm.Command) -> None:
        """Decide and append."""
        await self.append(self.engine.step(command, self.now_ms)[0])

    async def append(self, events: list[Event]) -> None:
        """Append what was decided."""
        self.batch += 1
        self.events += events
        await self.journal.append([Append("main", self.epoch, self.batch, encode_events(events))])

    async def wait(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
        events, _ = self.engine.expire(self.now_ms)
        if events:
            await self.append(events)

    async def request(self, number: int, business_reference: str = "") -> str:
        """A customer calls; return the call's id."""
        customer = f"customer:c{number}"
        await self.do(cm.Connect(recipient=customer, gateway_id="g", connection_id=f"c{number}"))
        call_id = f"call-{number}"
        await self.do(
            cm.RequestCall(
                call_id=call_id, customer_id=f"c{number}", queue_id="loans", business_reference=business_reference
            )
        )
        return call_id

    async def hang_up(self, call_id: str) -> None:
        """The customer has had enough."""
        await self.do(cm.HangUp(principal="system:shell", call_id=call_id))

    def events_of(self, call_id: str) -> list[Event]:
        """What the history of this call should be."""
        return [event for event in self.events if getattr(event, "call_id", "") == call_id]
