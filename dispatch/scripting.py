"""Decisions about scripts: the agent shows the customer a step, and the customer answers it.

What was shown, word for word, and what was answered stands in the call's history for good, in order and by the same clock as
the recording: that is what makes a consent provable. The texts are the bank's; nothing is known of them here.
"""

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Reply
from dispatch.matching import Decider
from dispatch.model import agent_recipient, customer_recipient
from dispatch.talking import find_connected

STEPS_MAX = 100
"""Steps of one call: each is an event that the clients' resume and the call's history hold."""
STEP_ID_MAX = 64
STEP_TEXT_MAX = 1_000
"""Characters; a longer text is several steps."""
ANSWERS_MAX = 8
ANSWER_TEXT_MAX = 64

_ALLOWED = {
    "allowed": f"step_id 1 to {STEP_ID_MAX} characters, text 1 to {STEP_TEXT_MAX}, "
    f"at most {ANSWERS_MAX} different answers of 1 to {ANSWER_TEXT_MAX}"
}


def show_script_step(engine: Decider, command: cm.ShowScriptStep) -> Reply:
    """Show the customer a step; it takes the place of the one before. By the owner alone: the event says who showed it."""
    call = find_connected(engine, command.call_id, command.principal)
    if isinstance(call, Reply):
        return call
    if command.principal != agent_recipient(call.agent_id):
        return Reply("not_yours")
    if not _is_step(command):
        return Reply("bad_value", _ALLOWED)
    if call.script_count >= STEPS_MAX:
        return Reply("too_many_steps", {"steps_max": STEPS_MAX})
    number = call.script_count + 1
    engine.emit(
        ev.ScriptStepShown(
            engine.now_ms, call.id, call.agent_id, number, command.step_id, command.text, tuple(command.answers)
        )
    )
    return Reply("", {"number": number})


def _is_step(command: cm.ShowScriptStep) -> bool:
    answers = command.answers
    return (
        0 < len(command.step_id) <= STEP_ID_MAX
        and 0 < len(command.text) <= STEP_TEXT_MAX
        and len(set(answers)) == len(answers) <= ANSWERS_MAX
        and all(0 < len(one) <= ANSWER_TEXT_MAX for one in answers)
    )


def answer_script_step(engine: Decider, command: cm.AnswerScriptStep) -> Reply:
    """The customer chooses one of the answers. The same one again changes nothing; another one comes too late."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    if command.principal != customer_recipient(call.customer_id):
        return Reply("not_yours")
    if call.state != lc.CONNECTED:
        return Reply("wrong_state", {"state": call.state})
    step = call.script_step
    if step is None or step.number != command.number:
        return Reply("step_replaced", {"number": step.number if step is not None else 0})
    if command.answer not in step.answers:
        return Reply("bad_value", {"allowed": list(step.answers)})
    if step.answer:
        return Reply() if step.answer == command.answer else Reply("already_answered", {"answer": step.answer})
    engine.emit(ev.ScriptStepAnswered(engine.now_ms, call.id, step.number, step.step_id, command.answer))
    return Reply()
