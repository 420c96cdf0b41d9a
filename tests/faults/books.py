"""The clients' books, and what they must show when all is over. Nothing here asks the hall."""

import itertools
from collections import Counter

from msgspec import Struct, field


class Call(Struct):
    """A customer's own record of a call."""

    call_id: str
    division_id: str
    asked_s: float
    """Wall clock, like all instants here."""
    answered_s: float = 0.0
    answer: str = ""
    """`accepted`, the reason of a refusal, or empty: never answered."""
    ends: list[str] = field(default_factory=list)
    """Reasons; one each time that the customer was told of the end."""
    ended_s: float = 0.0


class AgentCall(Struct):
    """An agent's own record of a call that rang."""

    agent_id: str
    call_id: str
    rang_s: float
    is_accepted: bool = False
    hung_up_s: float = 0.0
    over_s: float = 0.0


class Books(Struct):
    calls: dict[str, Call] = field(default_factory=dict)
    agent_calls: list[AgentCall] = field(default_factory=list)
    answers: dict[str, list[float]] = field(default_factory=dict)
    """Division -> instants at which somebody had an answer to a command."""
    disorder: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    repeats: dict[str, int] = field(default_factory=dict)
    """Why commands were repeated, and how often."""
    failures: list[str] = field(default_factory=list)
    turned_away: int = 0
    """Instants at which every customer was in a call already."""

    def begin(self, call_id: str, division_id: str, now_s: float) -> Call:
        call = self.calls[call_id] = Call(call_id, division_id, now_s)
        return call

    def ring(self, agent_id: str, call_id: str, now_s: float) -> AgentCall:
        self.agent_calls.append(AgentCall(agent_id, call_id, now_s))
        return self.agent_calls[-1]

    def note_end(self, call_id: str, reason: str, now_s: float) -> None:
        call = self.calls.get(call_id)
        if call is not None:
            call.ends.append(reason)
            call.ended_s = now_s

    def note_answer(self, division_id: str, now_s: float) -> None:
        self.answers.setdefault(division_id, []).append(now_s)

    # -- judging

    def faults(self) -> list[str]:
        """Everything that may not be, each in a line; empty when every call is accounted for."""
        found = [*self.disorder, *self.doubles, *self.failures, *(f"refused: {one}" for one in self.refusals)]
        found += [f"{one}: its numbers were reset" for one in self.resets]
        for call in self.calls.values():
            if call.answer != "accepted":
                found.append(f"{call.call_id}: answered {call.answer or 'never'}")
            if len(call.ends) != 1:
                found.append(f"{call.call_id}: ended {len(call.ends)} times {call.ends}")
        takers = Counter(one.call_id for one in self.agent_calls if one.is_accepted)
        found += [f"{call_id}: taken by {count} agents" for call_id, count in takers.items() if count > 1]
        found += [f"{one.call_id}: {one.agent_id} never got out of it" for one in self.agent_calls if not one.over_s]
        served = {one.call_id for one in self.agent_calls if one.hung_up_s}
        found += [f"{one}: ended, and no agent had it" for one in self.calls.keys() - served]
        unknown = {one.call_id for one in self.agent_calls} - self.calls.keys()
        return found + [f"{one}: rang, and nobody had asked" for one in sorted(unknown)]

    def silence_s(self, division_id: str, from_s: float, to_s: float) -> float:
        """The longest time in a span without any answer of that division; the load may have ended before the span."""
        answers = sorted(one for one in self.answers.get(division_id, []) if from_s <= one <= to_s)
        instants = [from_s, *(answers or [to_s])]
        return max(later - earlier for earlier, later in itertools.pairwise(instants))

    def asked_per_s(self) -> float:
        """Calls that were asked for a second, over the whole load."""
        instants = [one.asked_s for one in self.calls.values()]
        return len(instants) / max(max(instants) - min(instants), 1e-9) if instants else 0.0

    def summary(self) -> str:
        ends = Counter(reason for call in self.calls.values() for reason in call.ends)
        return (
            f"{len(self.calls)} calls at {self.asked_per_s():.0f}/s, ends {dict(ends)}, {len(self.agent_calls)} rings, "
            f"repeats {self.repeats}, turned away {self.turned_away}"
        )
