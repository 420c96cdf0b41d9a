"""The engine of one division: commands in, events and effects out.

    events, effects = engine.step(command, now_ms)     # a wish; effects end with the Reply
    events, effects = engine.expire(now_ms)            # what has come due
    engine.next_deadline_ms()                          # when to call expire
    engine.replay(events)                              # only `apply`: decides nothing, sends nothing

Rules: `now_ms` never runs backwards here, whatever the caller says. A step is atomic: every event in it has been applied
when `step` returns, and nothing may be shown to anybody before those events are durable. An expected
refusal is a `Reply` with a reason; an exception is a bug, after which this object must be thrown away (SAFETY.md 4).
Not here: how to decide (`admission`, `attendance`, `reservations`, `rooms`, `planning`, `matching`) and how
state changes (`folding`).
"""

from collections.abc import Callable, Iterable
from typing import Any

from dispatch import commands as cm
from dispatch import timers as tm
from dispatch.admission import forget, hang_up, request_call
from dispatch.attendance import connect, disconnect, end_grace, lose_gateway, resume, set_activity
from dispatch.codec import decode_snapshot, digest, encode_snapshot, fingerprint
from dispatch.effects import Effect, Notify, Reply
from dispatch.events import Answered, Event, WrapUpEnded
from dispatch.folding import apply
from dispatch.matching import place
from dispatch.model import KEY_PREFIX, KEY_RETENTION_MS
from dispatch.planning import apply_plan
from dispatch.reservations import accept, decline, expire, extend_wrap_up, finish_wrap_up, report_connected
from dispatch.rooms import (
    ROOM_EVENTS,
    assign,
    call_room_effects,
    expire_media,
    lose_worker,
    report_closed,
    report_failed,
    report_opened,
    report_party_joined,
    report_party_left,
    report_recording_failed,
    report_recording_sealed,
    report_recording_started,
    room_effects,
)
from dispatch.state import State
from dispatch.timers import Timer

DECISIONS: dict[type[Any], Callable[["Engine", Any], Reply]] = {
    cm.ApplyPlan: apply_plan,
    cm.Connect: connect,
    cm.Disconnect: disconnect,
    cm.LoseGateway: lose_gateway,
    cm.SetActivity: set_activity,
    cm.RequestCall: request_call,
    cm.AcceptReservation: accept,
    cm.DeclineReservation: decline,
    cm.HangUp: hang_up,
    cm.FinishWrapUp: finish_wrap_up,
    cm.ExtendWrapUp: extend_wrap_up,
    cm.ReportConnected: report_connected,
    cm.AssignRoom: assign,
    cm.ReportRoomOpened: report_opened,
    cm.ReportRoomFailed: report_failed,
    cm.ReportRoomClosed: report_closed,
    cm.ReportPartyJoined: report_party_joined,
    cm.ReportPartyLeft: report_party_left,
    cm.ReportRecordingStarted: report_recording_started,
    cm.ReportRecordingFailed: report_recording_failed,
    cm.ReportRecordingSealed: report_recording_sealed,
    cm.LoseWorker: lose_worker,
    cm.Resume: resume,
}


class Engine:
    """Decides for one division. Owned by one shard, the simulator or a test; not shared."""

    def __init__(self, division_id: str) -> None:
        self._take(State(division_id))

    @classmethod
    def restore(cls, division_id: str, data: bytes) -> "Engine":
        """Make an engine from `snapshot()`'s bytes. Raises ValueError when they are another division's."""
        state = decode_snapshot(data)
        if state.division_id != division_id:
            raise ValueError(f"snapshot of division {state.division_id!r}, wanted {division_id!r}")
        engine = cls.__new__(cls)
        engine._take(state)
        return engine

    def _take(self, state: State) -> None:
        state.is_live = True
        self.state = state
        self.now_ms = state.now_ms
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Engine now_ms={self.now_ms} {self.state!r}>"

    # -- deciding

    def step(self, command: cm.Command, now_ms: int) -> tuple[list[Event], list[Effect]]:
        """Carry out one command. The last effect is the `Reply`; a repeat changes nothing and gets the first reply."""
        self._advance(now_ms)
        reply = self._reply_before(command) if command.id else None
        if reply is None:
            reply = DECISIONS[type(command)](self, command)
            place(self)
            if command.id:
                self.emit(
                    Answered(
                        self.now_ms, command.principal, command.id, reply.reason, reply.value, fingerprint(command)
                    )
                )
        events, effects = self._finish()
        effects.append(reply)
        return events, effects

    def expire(self, now_ms: int) -> tuple[list[Event], list[Effect]]:
        """Do what has come due by `now_ms`, each at its own instant, in order. Cost: what is due, times log n.

        What is due at one instant is matched together: of agents who become free at once, the most due calls get theirs
        first (ROUTING.md 5.19).
        """
        timers = self.state.timers
        while (first := timers.peek()) is not None and first[0] <= now_ms:
            self._advance(first[0])
            while (timer := timers.peek()) is not None and timer[0] <= self.now_ms:
                timers.pop()
                if self.state.is_due(timer):
                    self._expire_one(timer)
            place(self)
        self._advance(now_ms)
        return self._finish()

    def next_deadline_ms(self) -> int | None:
        """When `expire` has something to do next; None when nothing waits for time."""
        timers = self.state.timers
        while (timer := timers.peek()) is not None:
            if self.state.is_due(timer):
                return timer[0]
            timers.pop()
        return None

    def emit(self, event: Event) -> None:
        """Apply a decided event and hand it out with this step. For deciding code only."""
        apply(self.state, event)
        self._events.append(event)

    def _advance(self, now_ms: int) -> None:
        if now_ms > self.now_ms:
            self.now_ms = self.state.now_ms = now_ms

    def _finish(self) -> tuple[list[Event], list[Effect]]:
        events, self._events = self._events, []
        notices, self.state.notices = self.state.notices, []
        effects: list[Effect] = [Notify(*notice) for notice in notices]
        for event in events:
            if type(event) in ROOM_EVENTS:
                effects.extend(room_effects(self.state, event))
        return events, effects

    def _expire_one(self, timer: Timer) -> None:
        _, kind, first, second = timer
        if kind == tm.WRAP_UP:
            self.emit(WrapUpEnded(self.now_ms, second, first, "time"))
        elif kind == tm.GRACE:
            end_grace(self, first)
        elif kind == tm.DELAY:
            self.state.refresh(self.state.agents[first])
        elif kind == tm.RESERVATION:
            expire(self, self.state.calls[first])
        elif kind == tm.MEDIA:
            expire_media(self, self.state.calls[first])
        elif kind == tm.REFUSED:
            self.state.unplaced.append(self.state.calls[first])
        else:
            forget(self, self.state.calls[first])

    # -- answers given before

    def _reply_before(self, command: cm.Command) -> Reply | None:
        state = self.state
        if command.id.startswith(KEY_PREFIX):
            remembered = state.keys.get(f"{command.principal}|{command.id}")
            if remembered is None and len(state.keys) >= state.plan.idempotency_keys_max:
                oldest = next(iter(state.keys.values()))
                if oldest.at_ms >= self.now_ms - KEY_RETENTION_MS:
                    return Reply("idempotency_store_full", {"keys_max": state.plan.idempotency_keys_max})
        else:
            remembered = state.answers.get(command.principal, {}).get(command.id)
        if remembered is None:
            return None
        if remembered.fingerprint != fingerprint(command):
            return Reply("key_reused")
        return Reply(remembered.reason, remembered.value)

    # -- coming back

    def apply(self, event: Event) -> None:
        """Take one journaled event in. For followers and `replay`; a deciding engine uses `step` and `expire`."""
        self.state.is_live = False
        apply(self.state, event)
        self.now_ms = self.state.now_ms

    def replay(self, events: Iterable[Event]) -> None:
        """Take journaled events in, in order. Call `wake` once after the last of them."""
        self.state.is_live = False
        for event in events:
            apply(self.state, event)
        self.now_ms = self.state.now_ms

    def wake(self) -> None:
        """Begin to decide after a replay: indexes are made anew, and what can be matched is put up for the next step."""
        self.state.is_live = True
        self.state.rebuild()

    def pending_effects(self) -> list[Effect]:
        """Everything that the state still asks of the shell: the same effects, under the same attempts, as before a crash."""
        effects: list[Effect] = []
        for call in self.state.calls.values():
            if call.rooms:
                effects.extend(call_room_effects(self.state, call))
        return effects

    def snapshot(self) -> bytes:
        """The records as bytes, for `restore`."""
        return encode_snapshot(self.state)

    def digest(self) -> str:
        """SHA-256 of the records: equal for a live engine and its replay."""
        return digest(self.state)
