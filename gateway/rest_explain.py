"""REST about why: where a call is and what comes next, and every decision that was made about it.

Rules: for staff, who may see who else was free. What the engine answers are arrays; here they have names (`histories.twin_of`).

Not here: the answer itself (`dispatch/explain.py`).
"""

from typing import TYPE_CHECKING

from msgspec import Struct

from actors.items import ReadExplanation
from dispatch.explain import explain_history
from dispatch.explanations import Asked as Decision
from dispatch.explanations import Explanation
from gateway import histories
from gateway.operations import STAFF, Asked, Operation
from gateway.refusals import Refused

if TYPE_CHECKING:
    DecisionDocument = Struct
    ExplanationDocument = Struct
else:
    DecisionDocument = histories.twin_of(Decision)
    ExplanationDocument = histories.twin_of(Explanation)


class ExplainedCall(Struct):
    """Why a call is where it is."""

    now: ExplanationDocument | None
    """Null once the hall has forgotten the call."""
    decisions: list[DecisionDocument]
    """Everybody who was asked, in order, and why; as far as the archive is, which is a moment behind."""


async def explain_call(asked: Asked) -> ExplainedCall:
    """Of a call that has ended long ago, the decisions alone."""
    speaker, call_id = asked.speaker, asked.path["id"]
    now = await speaker.within_time(speaker.hall.ask(ReadExplanation(speaker.division_id, call_id)))
    events = await speaker.within_time(speaker.hall.call(call_id, speaker.identity.division_id).history())
    if now is None and not events:
        raise Refused("unknown_call", call_id)
    decisions = [histories.named(one) for one in explain_history(events)]
    return ExplainedCall(histories.named(now) if now is not None else None, decisions)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/calls/{id}/explanation",
        handler=explain_call,
        summary="Why a call is where it is, and what comes next",
        roles=STAFF,
        whose="call",
        answer=ExplainedCall,
    ),
)
