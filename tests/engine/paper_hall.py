"""A hall on paper: random courses of events as the lifecycle tables allow them, with sums kept by the plainest means.

No engine and no rules of routing: who is asked and when is chance. It exists so that counters can be doubted with every event
that counts, in orders that an engine seldom shows.
"""

from collections.abc import Callable
from random import Random

from dispatch import events as ev
from dispatch.plan import AgentPlan, Plan, QueuePlan
from dispatch.wishes import Wishes

QUEUES = ("loans", "cards", "trust")
AGENTS = tuple(f"a{number}" for number in range(8))
BEGIN_MS = 1_700_000_000_123


def plan_of(at_ms: int) -> ev.PlanApplied:
    queues = [QueuePlan(id=one) for one in QUEUES]
    return ev.PlanApplied(
        at_ms, Plan(division_id="d", queues=queues, agents=[AgentPlan(id=one) for one in AGENTS]), "p"
    )


class PaperCall:
    """What the course needs to know of a live call."""

    def __init__(self, call_id: str, queue_id: str, queued_at_ms: int, state: str = "waiting") -> None:
        self.id, self.queue_id, self.queued_at_ms, self.state = call_id, queue_id, queued_at_ms, state
        self.owner = ""
        self.ringing: list[str] = []
        self.parties: list[str] = []
        self.is_answered = False
        self.connected_at_ms = 0
        self.held_at_ms = 0

    def everybody(self) -> set[str]:
        return {*self.ringing, *self.parties, *([self.owner] if self.owner else [])}


class PaperHall:
    """Draws one thing that may happen after the other. `calls` are the live ones; the sums are of the whole course."""

    KINDS = (
        ev.PlanApplied, ev.AgentActivityChanged, ev.CallQueued, ev.CallRefused, ev.CallInvited, ev.InvitationAccepted,
        ev.CallMoved, ev.CallTransferred, ev.CallPrioritised, ev.CallbackArranged, ev.CallReserved, ev.ReservationAccepted,
        ev.PartyAdded, ev.ReservationClosed, ev.CallConnected, ev.HoldChanged, ev.PartyRemoved, ev.OwnershipMoved,
        ev.CallRequeued, ev.CallEnded, ev.WrapUpEnded,
    )  # fmt: skip

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.now_ms = self.began_at_ms = BEGIN_MS
        self.calls: dict[str, PaperCall] = {}
        self.wrap_ups: list[tuple[str, str, int]] = []
        self.talk_ms = self.hold_ms = self.wrap_up_ms = self.wait_ms = 0
        self.kinds_seen: set[type] = set()
        self._count = 0
        self._events: list[ev.Event] = []
        self._emit(plan_of(self.now_ms))

    def run(self, steps: int) -> list[ev.Event]:
        return [event for _ in range(steps) for event in self.step()]

    def step(self) -> list[ev.Event]:
        """Let a while pass and one thing happen, if it can; return the events since the last step."""
        self.now_ms += int(self.dice.expovariate(1 / 20_000))
        moves: list[tuple[int, Callable[[], None]]] = [
            (12, self._request), (1, self._invite), (3, self._activity), (16, self._ring), (12, self._accept), (4, self._close),
            (12, self._connect), (8, self._end), (3, self._move), (2, self._transfer), (2, self._requeue), (3, self._hold),
            (2, self._add_party), (2, self._change_owner), (2, self._drop_party), (8, self._finish_wrap_up), (2, self._mark),
        ]  # fmt: skip
        (move,) = self.dice.choices([one for _, one in moves], [weight for weight, _ in moves])
        move()
        events, self._events = self._events, []
        return events

    def _emit(self, event: ev.Event) -> None:
        self.kinds_seen.add(type(event))
        self._events.append(event)

    def _some(self, *states: str) -> PaperCall | None:
        found = [call for call in self.calls.values() if call.state in states]
        return self.dice.choice(found) if found else None

    def _free_agent(self, call: PaperCall) -> str:
        wrapping = {agent_id for agent_id, call_id, _ in self.wrap_ups if call_id == call.id}
        return self.dice.choice([one for one in AGENTS if one not in call.everybody() | wrapping] or [""])

    # -- calls come

    def _request(self) -> None:
        self._count += 1
        call_id, queue_id = f"c{self._count}", self.dice.choice(QUEUES)
        if self.dice.random() < 0.1:
            self._emit(
                ev.CallRefused(self.now_ms, call_id, "z", queue_id, self.dice.choice(["queue_full", "hall_full"]))
            )
            return
        asked = self.dice.choice(["", "", "", *QUEUES])
        wishes = Wishes(is_absolute=True) if self.dice.random() < 0.1 else None
        self.calls[call_id] = PaperCall(call_id, queue_id, self.now_ms)
        self._emit(
            ev.CallQueued(
                self.now_ms, call_id, "z", queue_id, self.now_ms, self.now_ms, wishes=wishes, asked_queue_id=asked,
                is_callback=self.dice.random() < 0.1,
            )
        )  # fmt: skip

    def _invite(self) -> None:
        invited = self._some("invited")
        if invited is not None and self.dice.random() < 0.5:
            invited.state, invited.queued_at_ms = "waiting", self.now_ms
            self._emit(ev.InvitationAccepted(self.now_ms, invited.id, self.now_ms, 0, True, "off", "external"))
            return
        self._count += 1
        call = self.calls[f"c{self._count}"] = PaperCall(f"c{self._count}", self.dice.choice(QUEUES), 0, "invited")
        self._emit(ev.CallInvited(self.now_ms, call.id, "z", self.dice.choice(AGENTS), call.queue_id, 0))

    def _activity(self) -> None:
        activity, reason = self.dice.choice(
            [("ready", ""), ("ready", ""), ("not_ready", "lunch"), ("not_ready", "no_answer"), ("offline", "")]
        )
        self._emit(ev.AgentActivityChanged(self.now_ms, self.dice.choice(AGENTS), activity, reason))

    def _mark(self) -> None:
        call = self._some("waiting")
        if call is not None and self.dice.random() < 0.5:
            self._emit(ev.CallPrioritised(self.now_ms, call.id, 0, self.dice.random() < 0.5, 0))
        elif call is not None:
            self._emit(ev.CallbackArranged(self.now_ms, call.id, "asked"))

    # -- reservations

    def _ring(self) -> None:
        call = self._some("waiting", "reserved", "connected")
        if call is None or not (agent_id := self._free_agent(call)):
            return
        call.ringing.append(agent_id)
        role = "third" if call.state == "connected" else "agent"
        call.state = "reserved" if call.state == "waiting" else call.state
        self._emit(
            ev.CallReserved(self.now_ms, call.id, f"{call.id}.1", agent_id, "z", call.queue_id, 1, 0, 0, "", role=role)
        )

    def _accept(self) -> None:
        call = self._some("reserved")
        if call is None:
            return
        call.owner = call.ringing[0]
        for other in call.ringing[1:]:
            self._close_one(call, other, "rescinded")
        call.ringing, call.state = [], "connecting"
        self._emit(ev.ReservationAccepted(self.now_ms, call.id, f"{call.id}.1", call.owner, 0, 0))

    def _close(self) -> None:
        call = self._some("reserved", "connected")
        if call is not None and call.ringing:
            outcome = self.dice.choice(["declined", "busy", "expired", "agent_lost", "agent_left", "rescinded"])
            self._close_one(call, call.ringing[-1], outcome)

    def _close_one(self, call: PaperCall, agent_id: str, outcome: str) -> None:
        call.ringing.remove(agent_id)
        self._emit(ev.ReservationClosed(self.now_ms, call.id, f"{call.id}.1", agent_id, outcome))
        if call.state == "reserved" and not call.ringing:
            call.state = "waiting"

    def _add_party(self) -> None:
        call = self._some("connected")
        if call is not None and call.ringing:
            call.parties.append(call.ringing.pop())
            self._emit(ev.PartyAdded(self.now_ms, call.id, f"{call.id}.1", call.parties[-1], "third"))

    def _drop_party(self) -> None:
        call = self._some("connected")
        if call is not None and call.parties:
            self._let_go(call, call.parties[0])

    def _let_go(self, call: PaperCall, agent_id: str) -> None:
        call.parties.remove(agent_id)
        self._emit(ev.PartyRemoved(self.now_ms, call.id, agent_id, "third", "left", self._wrap_up(call, agent_id)))

    def _wrap_up(self, call: PaperCall, agent_id: str) -> str:
        kind = self.dice.choice(["none", "timed", "until_done"])
        if kind != "none":
            self.wrap_ups.append((agent_id, call.id, self.now_ms))
        return kind

    def _finish_wrap_up(self) -> None:
        if self.wrap_ups:
            agent_id, call_id, since_ms = self.wrap_ups.pop(self.dice.randrange(len(self.wrap_ups)))
            self.wrap_up_ms += self.now_ms - since_ms
            self._emit(ev.WrapUpEnded(self.now_ms, call_id, agent_id, "done"))

    # -- conversation

    def _connect(self) -> None:
        call = self._some("connecting")
        if call is None:
            return
        if not call.is_answered:
            self.wait_ms += self.now_ms - call.queued_at_ms
        call.state, call.is_answered, call.connected_at_ms = "connected", True, self.now_ms
        self._emit(ev.CallConnected(self.now_ms, call.id, call.owner, "z"))

    def _hold(self) -> None:
        call = self._some("connected")
        if call is not None:
            self._emit(ev.HoldChanged(self.now_ms, call.id, not call.held_at_ms))
            is_held = not call.held_at_ms
            self._stop_hold(call)
            call.held_at_ms = self.now_ms if is_held else 0

    def _stop_hold(self, call: PaperCall) -> None:
        self.hold_ms += self.now_ms - call.held_at_ms if call.held_at_ms else 0
        call.held_at_ms = 0

    def _stop_talk(self, call: PaperCall) -> None:
        """Whoever else is in the call is let go before it leaves the conversation."""
        for agent_id in list(call.ringing):
            self._close_one(call, agent_id, "rescinded")
        for agent_id in list(call.parties):
            self._let_go(call, agent_id)
        self._stop_hold(call)
        self.talk_ms += self.now_ms - call.connected_at_ms if call.connected_at_ms else 0
        call.connected_at_ms = 0

    def _change_owner(self) -> None:
        call = self._some("connected")
        if call is None:
            return
        if call.parties and self.dice.random() < 0.5:
            new, reason = call.parties.pop(), "consulted"
        else:
            new, reason = self._free_agent(call), "taken_over"
        if new:
            self._stop_hold(call)
            old, call.owner = call.owner, new
            self._emit(ev.OwnershipMoved(self.now_ms, call.id, old, new, reason, 100, self._wrap_up(call, old)))

    # -- elsewhere, back, over

    def _move(self) -> None:
        call = self._some("waiting")
        if call is not None:
            old, call.queue_id = call.queue_id, self.dice.choice([one for one in QUEUES if one != call.queue_id])
            call.is_answered = False
            self._emit(ev.CallMoved(self.now_ms, call.id, old, call.queue_id, 0, "waited_too_long"))

    def _transfer(self) -> None:
        call = self._some("connected")
        if call is None:
            return
        self._stop_talk(call)
        former, old, call.queue_id = call.owner, call.queue_id, self.dice.choice(QUEUES)
        call.owner, call.state, call.queued_at_ms, call.is_answered = "", "waiting", self.now_ms, False
        wrap_up = self._wrap_up(call, former)
        self._emit(
            ev.CallTransferred(
                self.now_ms, call.id, former, old, call.queue_id, self.now_ms, 0, 0, "off", 0, None, wrap_up
            )
        )  # fmt: skip

    def _requeue(self) -> None:
        call = self._some("connecting", "connected")
        if call is not None:
            self._stop_talk(call)
            owner, call.owner, call.state = call.owner, "", "waiting"
            self._emit(ev.CallRequeued(self.now_ms, call.id, owner, "media_failed"))

    def _end(self) -> None:
        call = self._some("invited", "waiting", "connecting", "connected", "connected", "connected")
        if call is None:
            return
        self._stop_talk(call)
        del self.calls[call.id]
        reason = self.dice.choice(["customer_hung_up", "customer_lost", "agent_hung_up", "callback_unanswered"])
        wrap_up = self._wrap_up(call, call.owner) if call.state == "connected" else "none"
        self._emit(ev.CallEnded(self.now_ms, call.id, "z", call.queue_id, reason, call.owner, wrap_up=wrap_up))
