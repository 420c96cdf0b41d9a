"""The arms of `apply` that concern scripts."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from dispatch import events as ev
from dispatch.folding_calls import call_of, move
from dispatch.lifecycle import ImpossibleEvent
from dispatch.model import ScriptStep
from dispatch.state import State


def _script_step_shown(state: State, event: ev.ScriptStepShown) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.script_count = event.number
    call.script_step = ScriptStep(event.number, event.step_id, event.text, event.answers)
    state.tell_parties(call, event)


def _script_step_answered(state: State, event: ev.ScriptStepAnswered) -> None:
    call = call_of(state, event)
    step = call.script_step
    if step is None or step.number != event.number or step.answer:
        raise ImpossibleEvent(f"step {event.number} is not open in {event.call_id}")
    move(state, call, event)
    call.script_step = replace(step, answer=event.answer)
    state.tell_parties(call, event)


SCRIPT_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.ScriptStepShown: _script_step_shown,
    ev.ScriptStepAnswered: _script_step_answered,
}
