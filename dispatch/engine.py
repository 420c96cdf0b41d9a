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
from heapq import heappop
from typing import Any, Final

from dispatch import commands as cm
from dispatch import timers as tm
from dispatch.admission import request_call
from dispatch.attendance import connect, disconnect, end_grace, lose_gateway, resume, set_activity
from dispatch.codec import decode_snapshot, digest, encode_snapshot, fingerprint, is_writable
from dispatch.deadlines import IS_DUE
from dispatch.effects import Effect, Notify, Reply
from dispatch.ending import forget, hang_up
from dispatch.events import Answered, Event, WrapUpEnded
from dispatch.folding import apply
from dispatch.folding_answers import answer_to, decode_value
from dispatch.handing import HANDING_EVENTS, MOVED, owed, redirected
from dispatch.handing_back import end_handed_call, expire_hand_over, report_end_told, report_hand_over
from dispatch.handing_in import admit_hand_over, revoke_hand_over
from dispatch.inviting import accept_invitation, expire_invitation, invite_customer
from dispatch.joint import expire_joint
from dispatch.limits import change_phase, expire_wait
from dispatch.matching import Decider
from dispatch.model import KEY_PREFIX, KEY_RETENTION_MS
from dispatch.patience import end_window, relax, request_callback, set_priority
from dispatch.placing import place
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
)
from dispatch.scripting import answer_script_step, show_script_step
from dispatch.talking import (
    complete_transfer,
    end_hold,
    invite_party,
    remove_party,
    set_hold,
    supervise,
    take_over,
    transfer,
)
from dispatch.timers import Timer

DECISIONS: Final[dict[type[Any], Callable[["Engine", Any], Reply]]] = {
    cm.ApplyPlan: apply_plan,
    cm.Connect: connect,
    cm.Disconnect: disconnect,
    cm.LoseGateway: lose_gateway,
    cm.SetActivity: set_activity,
    cm.RequestCall: request_call,
    cm.AcceptReservation: accept,
    cm.DeclineReservation: decline,
    cm.HangUp: redirected(hang_up),
    cm.FinishWrapUp: finish_wrap_up,
    cm.ExtendWrapUp: extend_wrap_up,
    cm.ReportConnected: redirected(report_connected),
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
    cm.SetPriority: redirected(set_priority),
    cm.RequestCallback: redirected(request_callback),
    cm.InviteCustomer: invite_customer,
    cm.AcceptInvitation: accept_invitation,
    cm.TransferCall: redirected(transfer),
    cm.InviteParty: redirected(invite_party),
    cm.RemoveParty: redirected(remove_party),
    cm.CompleteTransfer: redirected(complete_transfer),
    cm.TakeOver: redirected(take_over),
    cm.Supervise: redirected(supervise),
    cm.SetHold: redirected(set_hold),
    cm.ShowScriptStep: redirected(show_script_step),
    cm.AnswerScriptStep: redirected(answer_script_step),
    cm.AdmitHandOver: admit_hand_over,
    cm.RevokeHandOver: revoke_hand_over,
    cm.EndHandedCall: end_handed_call,
    cm.ReportHandOver: report_hand_over,
    cm.ReportEndTold: report_end_told,
}

REFERRING: Final = frozenset({cm.AcceptReservation, cm.ReportConnected})
"""Commands that only name what is known here, or are refused: nothing of their own is journaled, or stands in the answer."""


class Engine(Decider):
    """Decides for one division. Owned by one shard, the simulator or a test; not shared."""

    @classmethod
    def restore(cls, division_id: str, data: bytes) -> "Engine":
        """Make an engine from `snapshot()`'s bytes, to be woken after what follows is replayed.

        Raises ValueError when they are another division's.
        """
        state = decode_snapshot(data)
        if state.division_id != division_id:
            raise ValueError(f"snapshot of division {state.division_id!r}, wanted {division_id!r}")
        engine = cls(division_id)
        engine.state, engine.now_ms = state, state.now_ms
        return engine

    def __repr__(self) -> str:
        return f"<Engine now_ms={self.now_ms} {self.state!r}>"

    # -- deciding

    def step(self, command: cm.Command, now_ms: int) -> tuple[list[Event], list[Effect]]:
        """Carry out one command. The last effect is the `Reply`; a repeat changes nothing and gets the first reply."""
        state = self.state
        if now_ms > self.now_ms:
            self.now_ms = state.now_ms = now_ms
        if not state.is_live:
            self.wake()
        kind = type(command)
        if (command.id or kind not in REFERRING) and not is_writable(command):
            return [], [Reply("bad_value", {"allowed": "numbers of 64 bits, texts of Unicode"})]
        if command.id:
            reply = self._answer(command)
        else:
            reply = DECISIONS[kind](self, command)
            if state.is_touched or state.holds:
                place(self)
        events, self._events = self._events, []
        effects = self._effects_of(events) if state.notices or state.has_rooms else []
        effects.append(reply)
        return events, effects

    def _answer(self, command: cm.Command) -> Reply:
        """The reply to a command with an id: the first one again, or a new one that is remembered."""
        reply = self._reply_before(command)
        if reply is not None:
            # Nothing new; but the first step after a wake has everybody still to place, whatever it is about.
            place(self)
            return reply
        reply = DECISIONS[type(command)](self, command)
        place(self)
        if reply.reason == MOVED:
            return reply
        self.emit(Answered(self.now_ms, command.principal, command.id, reply.reason, reply.value, fingerprint(command)))
        return reply

    def expire(self, now_ms: int) -> tuple[list[Event], list[Effect]]:
        """Do what has come due by `now_ms`, each at its own instant, in order. Cost: what is due, times log n.

        What is due at one instant is matched together: of agents who become free at once, the most due calls get theirs
        first (ROUTING.md 5.19).
        """
        if not self.state.is_live:
            self.wake()
        state, timers = self.state, self.state.timers
        due: list[Timer] = []
        while due or timers.next_ms <= now_ms:
            # What was taken in an earlier round may mean nothing by now, also when it is the first again.
            is_fresh = not due
            if timers.next_ms <= now_ms:
                timers.take(now_ms, due, IS_DUE, state)
            if due and due[0][0] > self.now_ms:
                self.now_ms = state.now_ms = due[0][0]
            while due and due[0][0] <= self.now_ms:
                timer = heappop(due)
                # Whatever was done since it was taken may have made it mean nothing.
                if is_fresh or IS_DUE[timer[1]](state, timer):
                    EXPIRIES[timer[1]](self, timer)
                is_fresh = False
                if timers.next_ms <= self.now_ms:
                    timers.take(now_ms, due, IS_DUE, state)
            place(self)
        if now_ms > self.now_ms:
            self.now_ms = state.now_ms = now_ms
        if state.is_touched:
            # After a wake everybody is still to be placed, whether or not anything was due.
            place(self)
        events, self._events = self._events, []
        return events, self._effects_of(events) if state.notices or state.has_rooms else []

    def next_deadline_ms(self) -> int | None:
        """When `expire` has something to do next; None when nothing waits for time."""
        if not self.state.is_live:
            self.wake()
        return self.state.timers.first_ms(IS_DUE, self.state)

    def _effects_of(self, events: list[Event]) -> list[Effect]:
        state = self.state
        effects: list[Effect] = [Notify(*notice) for notice in state.notices]
        state.notices = []
        if state.has_rooms:
            for event in events:
                if type(event) in ROOM_EVENTS:
                    call = state.calls.get(event.call_id)  # type: ignore[union-attr]
                    effects.extend(call_room_effects(state, call) if call is not None else ())
            for call_id in dict.fromkeys(one.call_id for one in events if type(one) in HANDING_EVENTS):  # type: ignore[union-attr]
                effects.extend(owed(state, state.calls[call_id]) if call_id in state.calls else ())
        return effects

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
            remembered = answer_to(state, command.principal, command.id)
        if remembered is None:
            return None
        if remembered.fingerprint != fingerprint(command):
            return Reply("key_reused")
        return Reply(remembered.reason, decode_value(remembered.value))

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
            if call.handing is not None or call.origins:
                effects.extend(owed(self.state, call))
        return effects

    def snapshot(self) -> bytes:
        """The records as bytes, for `restore`."""
        return encode_snapshot(self.state)

    def digest(self) -> str:
        """SHA-256 of the records: equal for a live engine and its replay."""
        return digest(self.state)


EXPIRIES: Final[dict[int, Callable[["Engine", Timer], None]]] = {
    tm.RESERVATION: lambda engine, timer: expire(engine, engine.state.calls[timer[2]], timer[3]),
    tm.MEDIA: lambda engine, timer: expire_media(engine, engine.state.calls[timer[2]]),
    tm.WRAP_UP: lambda engine, timer: engine.emit(WrapUpEnded(engine.now_ms, timer[3], timer[2], "time")),
    tm.GRACE: lambda engine, timer: end_grace(engine, timer[2]),
    tm.DELAY: lambda engine, timer: engine.state.refresh(engine.state.agents[timer[2]]),
    tm.REFUSED: lambda engine, timer: engine.state.look_again(engine.state.calls[timer[2]]),
    tm.FORGET: lambda engine, timer: forget(engine, engine.state.calls[timer[2]]),
    tm.RELAX: lambda engine, timer: relax(engine, engine.state.calls[timer[2]]),
    tm.FAVOURITE: lambda engine, timer: end_window(engine, engine.state.calls[timer[2]]),
    tm.WAIT: lambda engine, timer: expire_wait(engine, engine.state.calls[timer[2]]),
    tm.HOLD: lambda engine, timer: end_hold(engine, engine.state.calls[timer[2]]),
    tm.JOINT: lambda engine, timer: expire_joint(engine, engine.state.calls[timer[2]]),
    tm.CALLBACK: lambda engine, timer: engine.state.look_again(engine.state.calls[timer[2]]),
    tm.INVITATION: lambda engine, timer: expire_invitation(engine, engine.state.calls[timer[2]]),
    tm.HAND_OVER: lambda engine, timer: expire_hand_over(engine, engine.state.calls[timer[2]]),
    tm.HOURS: lambda engine, timer: change_phase(engine, engine.state.queues[timer[2]]),
}
"""What to do when a deadline has come, by the kind of its timer."""
