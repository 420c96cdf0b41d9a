"""Events about a script: what was shown to the customer word for word, and what the customer answered.

Neither is printed with its words: what is said to a customer, and what the customer says, has no business in a log.
"""

from dispatch.fact import Fact


class ScriptStepShown(Fact, tag=70, frozen=True):
    """The call's agent shows the customer a step; it takes the place of the one before, answered or not."""

    call_id: str
    agent_id: str
    number: int
    """Of the steps shown in this call, from 1, whatever their ids."""
    step_id: str
    text: str
    answers: tuple[str, ...] = ()
    """What may be answered; none: the step is only shown."""

    def __repr__(self) -> str:
        return f"ScriptStepShown(at_ms={self.at_ms}, call_id={self.call_id!r}, number={self.number})"


class ScriptStepAnswered(Fact, tag=71, frozen=True):
    """The customer has answered; a step is answered once."""

    call_id: str
    number: int
    step_id: str
    answer: str

    def __repr__(self) -> str:
        return f"ScriptStepAnswered(at_ms={self.at_ms}, call_id={self.call_id!r}, number={self.number})"
