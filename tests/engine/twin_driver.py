"""What drives engine and twin side by side, and compares them: answers, facts and records."""

from collections import Counter
from collections.abc import Iterator

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.effects import Reply
from dispatch.model import Agent, Call
from dispatch.state import State
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, plan
from tests.engine.twin import Fact, Twin, TwinAgent, TwinCall
from tests.engine.twin_facts import FACTS
from tests.engine.twin_halls import LOANS, PLANS
from tests.engine.twin_hours import phase
from tests.engine.twin_time import expire
from tests.engine.twin_wishes import step

NO_CALL = Call(id="c9", customer_id="u", queue_id="loans", order=0, queued_at_ms=0, due_at_ms=0, business_reference="",
               is_consented=True, recording="off", media="room", agent_id="anna")  # fmt: skip
"""What wishes are about while there is no call at all."""


class Driver:
    """Engine, twin, and what happened so far."""

    def __init__(self) -> None:
        self.scene = Scene(LOANS)
        self.twin = Twin("d")
        self.counts: Counter[type[ev.Event]] = Counter()
        step(self.twin, cm.ApplyPlan(plan(LOANS), "plan-1"), self.scene.now_ms)

    def begin(self, hall: str) -> None:
        self.wish(cm.ApplyPlan(PLANS[hall], hall))

    # -- side by side

    def wish(self, command: cm.Command) -> Reply:
        reply = self.scene.do(command)
        reason, facts = step(self.twin, command, self.scene.now_ms, self._reservations())
        assert reply.reason == reason, (command, reply.reason, reason)
        self._compare(facts)
        return reply

    def pass_time(self, pause: int) -> None:
        self.scene.wait(pause)
        self._compare(expire(self.twin, self.scene.now_ms, self._reservations()))

    def _reservations(self) -> list[tuple[int, str, str]]:
        made = [event for event in self.scene.last if isinstance(event, ev.CallReserved)]
        return [(one.at_ms, one.call_id, one.agent_id) for one in made]

    def _compare(self, expected: list[Fact]) -> None:
        """Same facts at the same instants. Within a step their order is open, but for what `compare_halls` sees of it."""
        seen = sorted([(event.at_ms, *FACTS[type(event)](event)) for event in self.scene.last], key=repr)
        wanted = sorted(expected, key=repr)
        assert seen == wanted, {
            "only engine": [one for one in seen if one not in wanted],
            "only twin": [one for one in wanted if one not in seen],
        }
        self.counts.update(type(event) for event in self.scene.last)

    # -- choosing

    def some_call(self, pick: int, *states: str) -> Call:
        """A call in one of `states` where there is one: most wishes should make sense. `pick` 0 takes any."""
        calls = list(self.scene.engine.state.calls.values())
        fitting = [call for call in calls if call.state in states] if pick else []
        chosen = fitting or calls
        return chosen[pick % len(chosen)] if chosen else NO_CALL

    def some_ring(self, pick: int, back: int) -> tuple[str, str]:
        """A pending reservation where there is one, or (`back`) one that is over: (its id, the agent)."""
        calls = self.scene.engine.state.calls.values()
        rings = [(call, one) for call in calls for one in call.reservations]
        if pick and rings:
            call, one = rings[pick % len(rings)]
            return (f"{call.id}.{call.attempt - 1}" if back else one.id), one.agent_id
        call = self.some_call(pick, "connecting")
        return f"{call.id}.{call.attempt - back}", call.agent_id or "anna"

    def some_party(self, pick: int, agent_id: str) -> tuple[Call, str]:
        """A further party, in a call or asked into one."""
        calls = [one for one in self.scene.engine.state.calls.values() if one.state == "connected"]
        found = [(call, one.agent_id) for call in calls for one in (*call.parties, *call.reservations)]
        return found[pick % len(found)] if found and pick else (self.some_call(pick, "connected"), agent_id)

    def some_queue(self, at: int) -> str:
        ids = [queue.id for queue in self.twin.plan.queues]
        return ids[at % len(ids)] if at < 11 else "nowhere"

    @staticmethod
    def owner_or(call: Call, who: str) -> str:
        return "agent:" + call.agent_id if who == "owner" else who

    def media_commands(self, call: Call, way: str, back: int) -> Iterator[cm.Command]:
        attempt = call.room_attempt - back
        if way != "open":
            yield cm.AssignRoom(call.id, attempt, f"w{attempt % 2}", attempt)
        if way != "assign":
            yield cm.ReportRoomOpened(call.id, attempt)
        if way == "all":
            for party in ("customer", "agent"):
                yield cm.ReportPartyJoined(call.id, attempt, party)
                yield cm.ReportRecordingStarted(call.id, attempt, party)
        yield cm.ReportConnected(call.id, principal="system:shell" if back else "agent:anna")
        yield cm.ReportConnected(call.id)

    @staticmethod
    def strange_commands(principal: str) -> Iterator[cm.Command]:
        """What is malformed, or not theirs."""
        yield cm.RequestCall("", "u", "loans")
        yield cm.RequestCall("c0", "v", "loans", "r" * 201)
        yield cm.RequestCall("c0", "v", "loans", principal="customer:u")
        yield cm.RequestCall("c0", "v", "loans", wishes=Wishes(credit_ms=1), principal=principal)
        yield cm.HangUp("c0", "r" * 201)
        yield cm.HangUp("c1", principal=principal)
        yield cm.SetActivity("ben", "ready", principal=principal)
        yield cm.SetPriority("c8", 0)
        yield cm.SetPriority("c0", 0, True, principal=principal)
        yield cm.RequestCallback("c8")
        yield cm.InviteCustomer("", "u", "anna", "loans")
        yield cm.InviteCustomer("c8", "u", "zoe", "loans")
        yield cm.InviteCustomer("c8", "u", "anna", "loans", "r" * 201)
        yield cm.InviteCustomer("c8", "u", "anna", "loans", principal="agent:ben")
        yield cm.AcceptInvitation("c8", "u")
        yield cm.AcceptInvitation("c0", "nobody")
        yield cm.TransferCall("c8", "loans")
        yield cm.TransferCall("c0", "loans", reason="r" * 201)
        yield cm.InviteParty("c8", "third", "anna")
        yield cm.RemoveParty("c8", "anna")
        yield cm.RemoveParty("c0", "zoe")
        yield cm.CompleteTransfer("c0", "zoe")
        yield cm.TakeOver("c0", "zoe")
        yield cm.Supervise("c0", "", "barge", principal="operator:olga")
        yield cm.Supervise("c0", "other", "barge", principal="supervisor:sam")
        yield cm.SetHold("c8", True)
        yield cm.ShowScriptStep("c8", "risk", "It may lose value.")
        yield cm.ShowScriptStep("c0", "risk", "It may lose value.", ["yes", "yes"])
        yield cm.AnswerScriptStep("c8", 1, "yes", principal="customer:u")
        yield cm.AnswerScriptStep("c0", 1, "yes", principal="customer:nobody")

    # -- comparing records

    def compare_halls(self) -> None:
        state, twin, now_ms = self.scene.engine.state, self.twin, self.scene.now_ms
        for call, other in zip(state.calls.values(), twin.calls, strict=True):
            _same(_call(call, now_ms), _twin_call(other, now_ms))
        for agent, other_agent in zip(state.agents.values(), twin.agents, strict=True):
            _same(_agent(agent, now_ms), _twin_agent(twin, other_agent))
        for queue_id, queue in state.queues.items():
            line = [key[-1] for key in sorted(key for line in queue.lines() for key in line)]
            assert line == [call.id for call in twin.line(queue_id)], queue_id
            assert queue.phase_now(now_ms) == phase(queue.plan, now_ms), queue_id
        _compare_memory(state, twin)


def _compare_memory(state: State, twin: Twin) -> None:
    keys = {one[:2] for one in twin.answers if one[1].startswith("key:")}
    assert len(state.keys) == len(keys)
    talks = [(one.customer_id, one.agent_id, one.at_ms) for one in twin.talks]
    assert [(who, one.agent_id, one.at_ms) for who, one in state.last_agents.items()] == talks
    assert state.reservations_count == twin.reserved


def _same(one: dict[str, object], other: dict[str, object]) -> None:
    different = {key: (value, other[key]) for key, value in one.items() if value != other[key]}
    assert not different, (one.get("id"), "engine, twin:", different)


def _call(call: Call, now_ms: int) -> dict[str, object]:
    favourite, shown = call.favourite, call.script_step
    return {
        "id": call.id, "state": call.state, "queue": call.queue_id, "due": call.due_at_ms, "queued": call.queued_at_ms,
        "agent": call.agent_id, "cost": call.cost_units, "attempt": call.attempt, "step": call.step,
        "rooms": [(room.attempt, room.state) for room in call.rooms], "unsealed": list(call.unsealed),
        "rings": [(one.id, one.agent_id, one.role, one.cost_units, one.is_accepted) for one in call.reservations],
        "parties": sorted((one.agent_id, one.role, one.cost_units) for one in call.parties),
        "refused": {one: at for one, at in (call.refused_until_ms or {}).items() if at > now_ms},
        "favourite": (favourite.agent_id, favourite.rule, favourite.until_ms) if favourite else None,
        "gone": call.is_customer_gone and call.state != "ended", "visited": list(call.visited),
        "credit": (call.credit_ms, call.is_absolute),
        "callback": (call.is_callback, call.callback_count if call.state != "ended" else 0),
        "later": max(0, call.not_before_ms - now_ms) if call.state == "waiting" else 0,
        "held": (call.held_agent_id, call.held_until_ms, call.hold_not_before_ms), "supervisors": call.supervisors or {},
        "hold": call.on_hold_until_ms, "media": call.media, "recording": call.recording, "until": call.media_until_ms,
        "scripts": call.script_count,
        "script": (shown.number, shown.step_id, shown.text, list(shown.answers), shown.answer) if shown else None,
    }  # fmt: skip


def _twin_call(call: TwinCall, now_ms: int) -> dict[str, object]:
    favourite, shown = call.favourite, call.script
    return {
        "id": call.id, "state": call.state, "queue": call.queue_id, "due": call.due_at_ms, "queued": call.queued_at_ms,
        "agent": call.agent_id, "cost": call.cost, "attempt": call.attempt, "step": call.step,
        "rooms": [(room.attempt, room.state) for room in call.rooms], "unsealed": call.unsealed,
        "rings": [(one.id, one.agent_id, one.role, one.cost, one.is_accepted) for one in call.rings],
        "parties": sorted((one.agent_id, one.role, one.cost) for one in call.parties),
        "refused": {one: at for one, at in call.refused.items() if at > now_ms},
        "favourite": (favourite.agent_id, favourite.rule, favourite.until_ms) if favourite else None,
        "gone": call.is_gone and call.state != "ended", "visited": call.visited, "credit": (call.credit_ms, call.is_absolute),
        "callback": (call.is_callback, call.callback_count if call.state != "ended" else 0),
        "later": max(0, call.not_before_ms - now_ms) if call.state == "waiting" else 0,
        "held": (call.held_agent_id, call.held_until_ms, call.hold_not_before_ms), "supervisors": call.supervisors,
        "hold": call.on_hold_until_ms, "media": call.media, "recording": call.recording, "until": call.media_until_ms,
        "scripts": call.scripts_count,
        "script": (shown.number, shown.step_id, shown.text, shown.answers, shown.answer) if shown else None,
    }  # fmt: skip


def _agent(agent: Agent, now_ms: int) -> dict[str, object]:
    return {
        "id": agent.id, "activity": (agent.activity, agent.reason), "misses": agent.misses, "units": agent.used_units,
        "idle": agent.idle_since_ms, "gone": agent.is_gone, "retired": agent.is_retired, "held": agent.held_for_call_id,
        "delay": max(0, agent.not_before_ms - now_ms), "order": agent.reserved_order, "answered": agent.answered_count,
        "counts": (agent.missed_count, agent.declined_count, agent.busy_count, agent.lost_count),
    }  # fmt: skip


def _twin_agent(twin: Twin, agent: TwinAgent) -> dict[str, object]:
    held_for = twin.held_by(agent)
    return {
        "id": agent.plan.id, "activity": (agent.activity, agent.reason), "misses": agent.misses,
        "units": twin.used_units(agent), "idle": agent.idle_since_ms, "gone": agent.is_gone, "retired": agent.is_retired,
        "held": held_for.id if held_for else "", "delay": max(0, agent.not_before_ms - twin.now_ms),
        "order": agent.reserved_order, "answered": agent.answered_count,
        "counts": (agent.missed_count, agent.declined_count, agent.busy_count, agent.lost_count),
    }  # fmt: skip
