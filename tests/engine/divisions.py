"""Several divisions and what travels between them, for tests of hand-over: every step checked, no network, no clock.

Theory: an engine a division, each with its journal and a follower that only applies. What an engine owes to another division
(`HandOver`, `TakeBack`, `TellEnd`) becomes a message on its way; a test delivers it when and as often as it likes, or loses it.
The answer is a message too. Whatever happens, `check_all` recounts over all divisions as of this cut: each call is in exactly
one division's books, or has ended once.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.codec import decode_command, decode_events, encode_command, encode_events
from dispatch.effects import Effect, HandOver, Notify, Reply, TakeBack, TellEnd
from dispatch.engine import Engine
from dispatch.handing import MOVED
from dispatch.handing_facts import number_of
from dispatch.measures import Measures
from dispatch.plan import Plan
from tests.engine.invariants import check
from tests.engine.paper import balance
from tests.engine.scene import START_MS

HOPS_FOLLOWED = 4


@dataclass
class Message:
    """On its way to a division."""

    to: str
    command: cm.Command
    back: tuple[str, cm.Command] | None = None
    """(division, the report that a final answer becomes)."""


@dataclass
class Book:
    """What the events of all divisions said of one call."""

    admitted: set[tuple[str, int]] = field(default_factory=set)
    """(division, hand-over) that were admitted."""
    ended: list[str] = field(default_factory=list)
    """Reasons, in order."""
    given_up_count: int = 0
    """Divisions that ended it because they were not answered at all: the other may have it, and end it for itself."""


class Divisions:
    """Engines by division, and the messages between them."""

    def __init__(self, *plans: Plan, skews_ms: tuple[int, ...] = ()) -> None:
        """`skews_ms`: how far each division's clock is off."""
        self.now_ms = START_MS
        self.skew_ms = dict(zip((plan.division_id for plan in plans), (*skews_ms, *[0] * len(plans)), strict=False))
        self.engines = {plan.division_id: Engine(plan.division_id) for plan in plans}
        self.followers = {one: Engine(one) for one in self.engines}
        self.measures = {one: Measures() for one in self.engines}
        self.seen: Counter[type] = Counter()
        self.journals: dict[str, list[bytes]] = {one: [] for one in self.engines}
        self.messages: list[Message] = []
        self.books: dict[str, Book] = {}
        self.told: dict[tuple[str, str], list[tuple[int, ev.Event]]] = {}
        """(division, client) -> what it was told, with numbers."""
        self.last: list[ev.Event] = []
        for plan in plans:
            assert self.do(plan.division_id, cm.ApplyPlan(plan, "first")).is_accepted

    # -- doing

    def do(self, division: str, command: cm.Command) -> Reply:
        """One command, written and read as between processes."""
        events, effects = self.engines[division].step(decode_command(encode_command(command)), self.clock_ms(division))
        reply = effects.pop()
        assert isinstance(reply, Reply)
        self._keep(division, events, effects)
        return reply

    def clock_ms(self, division: str) -> int:
        """What its clock says."""
        return self.now_ms + self.skew_ms[division]

    def wait(self, ms: int) -> None:
        """Let `ms` pass in all divisions."""
        self.now_ms += ms
        for division in self.engines:
            self.expire(division)

    def expire(self, division: str) -> None:
        engine = self.engines[division]
        handing = {call.id for call in engine.state.calls.values() if call.state == lc.HANDING_OVER}
        events, effects = engine.expire(self.clock_ms(division))
        for event in events:
            if isinstance(event, ev.CallEnded) and event.call_id in handing:
                self.books[event.call_id].given_up_count += 1
        self._keep(division, events, effects)

    def crash(self, division: str, *, with_snapshot: bool) -> None:
        """Memory is gone, and with it what was on its way from here; what is owed is sent again."""
        old, engine = self.engines[division], Engine(division)
        if with_snapshot:
            engine = Engine.restore(division, old.snapshot())
        else:
            for entry in self.journals[division]:
                engine.replay(decode_events(entry))
        assert engine.digest() == old.digest()
        engine.wake()
        self.engines[division] = engine
        self.messages = [one for one in self.messages if one.back is None or one.back[0] != division]
        self._send(division, engine.pending_effects())
        self.expire(division)

    def _keep(self, division: str, events: list[ev.Event], effects: list[Effect]) -> None:
        self.last = events
        if events:
            self.journals[division].append(encode_events(events))
            for event in decode_events(self.journals[division][-1]):
                self.followers[division].apply(event)
                self.measures[division].apply(event)
                self.seen[type(event)] += 1
                self._note(division, event)
        for effect in effects:
            if isinstance(effect, Notify):
                told = self.told.setdefault((division, effect.recipient), [])
                told.append((effect.seq, effect.event))
        self._send(division, effects)

    def _note(self, division: str, event: Any) -> None:
        if isinstance(event, ev.CallQueued | ev.HandOverAdmitted):
            book = self.books.setdefault(event.call_id, Book())
            if isinstance(event, ev.HandOverAdmitted):
                one = (division, number_of(event.call.version))
                assert all(number != one[1] for _, number in book.admitted), f"one hand-over admitted twice: {event}"
                book.admitted.add(one)
        elif isinstance(event, ev.CallEnded):
            self.books[event.call_id].ended.append(event.reason)

    # -- messages

    def _send(self, division: str, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, HandOver):
                report = cm.ReportHandOver(effect.call.call_id, effect.call.version)
                self.messages.append(Message(effect.to_division, cm.AdmitHandOver(effect.call), (division, report)))
            elif isinstance(effect, TakeBack):
                wish = cm.RevokeHandOver(
                    effect.call_id, effect.version, effect.from_division, effect.valid_until_ms, effect.reason
                )
                report = cm.ReportHandOver(effect.call_id, effect.version)
                self.messages.append(Message(effect.to_division, wish, (division, report)))
            elif isinstance(effect, TellEnd):
                news = cm.EndHandedCall(effect.call_id, effect.version, effect.reason)
                told = cm.ReportEndTold(effect.call_id, effect.version)
                self.messages.append(Message(effect.to_division, news, (division, told)))

    def deliver(self, at: int = 0, *, is_kept: bool = False, is_answer_lost: bool = False) -> Reply:
        """Deliver a message. `is_kept`: it comes once more later; `is_answer_lost`: nobody hears what became of it."""
        message = self.messages[at] if is_kept else self.messages.pop(at)
        reply = self.do(message.to, message.command)
        if message.back is None or is_answer_lost:
            return reply
        division, report = message.back
        answer = self._final(message.command, reply)
        if answer is not None:
            if isinstance(report, cm.ReportHandOver):
                value = answer.value or {}
                report = cm.ReportHandOver(report.call_id, report.version, answer.reason, value.get("seq", 0))
            self.messages.append(Message(division, report))
        return reply

    def _final(self, command: cm.Command, reply: Reply) -> Reply | None:
        """The answer that counts, or None: ask again. A hang-up follows a call that went on."""
        if reply.is_accepted or (reply.value or {}).get("is_final"):
            return reply
        if reply.reason != MOVED or not isinstance(command, cm.RevokeHandOver):
            return None
        seq, division = (reply.value or {}).get("seq", 0), (reply.value or {})["division_id"]
        for _ in range(HOPS_FOLLOWED):
            followed = self.do(division, cm.HangUp(command.call_id, command.reason))
            if followed.reason != MOVED:
                return Reply("", {"seq": seq})
            division = (followed.value or {})["division_id"]
        return None

    def deliver_all(self) -> None:
        """Until nothing is on its way."""
        for _ in range(10_000):
            if not self.messages:
                return
            self.deliver()
        raise AssertionError("messages without end")

    def heal(self) -> None:
        """Nothing gets lost any more: what is owed is sent again, and all of it arrives."""
        self.messages = [one for one in self.messages if one.back is None]
        for division, engine in self.engines.items():
            self._send(division, engine.pending_effects())
        self.deliver_all()

    # -- looking

    def state(self, division: str, call_id: str) -> str:
        """The call's state there; empty where it is not in memory."""
        call = self.engines[division].state.calls.get(call_id)
        return call.state if call is not None else ""

    def owners(self, call_id: str) -> list[str]:
        """The divisions that have the call in their books as live, as of this cut."""
        owners = []
        for division, engine in self.engines.items():
            call = engine.state.calls.get(call_id)
            if call is None or call.state not in lc.LIVE_STATES:
                continue
            if call.state == lc.HANDING_OVER and call.handing is not None:
                there = (call.handing.to_division, number_of(call.handing.version))
                if there in self.books[call_id].admitted:
                    continue
            owners.append(division)
        return owners

    def check_all(self) -> None:
        """SAFETY.md 14: conservation over all divisions, and each division's own invariants and replay."""
        for division, engine in self.engines.items():
            check(engine)
            assert self.followers[division].digest() == engine.digest()
            for queue_id in engine.state.queues:
                assert balance(self.measures[division].queue(queue_id)) == 0, f"10: {division}/{queue_id}"
        for call_id, book in self.books.items():
            owners = self.owners(call_id)
            total = len(owners) + len(book.ended)
            assert len(owners) <= 1 <= total <= 1 + book.given_up_count, (call_id, owners, book)
