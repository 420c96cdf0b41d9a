"""Reads a scenario file, plays it through a scene, and writes it anew with the trace of what was decided.

A file is: a title; `Shows:` with the rules of docs/routing.md that it shows; the rule in plain words; the hall; then
commands at times of the day, each followed by its trace. Lines that begin with a time or with `until` are the author's, as are
remarks (`#`) and empty lines. Indented lines below a command, and `time passes` with what is below it, are the trace: the
runner writes them. What is due before or at a command's time is played before it, each deadline at its own instant.

The same file is played three times: as it is, and with a crash after every step, from the journal and from a snapshot. The
trace must be the same. Sentences stand in `sentences.py` (events) and `phrases.py` (commands), the hall in `hall.py`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from dispatch.commands import Resume
from dispatch.effects import CloseRoom, Effect, OpenRoom, Reply, RequestRoom
from dispatch.events import CallReserved, Event, PlanApplied
from dispatch.measures import Measures
from dispatch.plan import Plan
from dispatch.viewing import position_views
from tests.engine.scene import Scene
from tests.scenarios.hall import checked, with_line
from tests.scenarios.looks import Sight, answer
from tests.scenarios.phrases import Cast, commands
from tests.scenarios.sentences import sentence
from tests.scenarios.sentences_handing import asked_of_a_division
from tests.scenarios.times import INSTANT, Clock, duration_ms, in_words

DAY = date(2026, 3, 2)
"""A Monday: the day of every scenario that names no other."""
DEADLINES_MAX = 1_000
"""More between two commands of a small hall: the engine does not come to rest."""
INDENT = "    "


@dataclass(frozen=True)
class Scenario:
    """A scenario as its author wrote it."""

    head: list[str]
    """All lines before the first command, as they are."""
    shows: list[str]
    clock: Clock
    plan: Plan
    lines: list[str]
    """Commands, remarks and empty lines, without the trace."""

    @property
    def begins_at_ms(self) -> int:
        """The first command's instant: from then on the hall has its plan."""
        return self.clock.instant_ms(re.match(INSTANT, self.lines[0])[0])  # type: ignore[index]


@dataclass
class Played:
    """A scenario with its trace, and the kinds of commands and events it had."""

    text: str = ""
    kinds: set[type[Any]] = field(default_factory=set)


def read(text: str) -> Scenario:
    """Raises ValueError for what is no scenario, naming the line."""
    lines = text.splitlines()
    first = next(at for at, line in enumerate(lines) if re.match(rf"{INSTANT}  |until ", line))
    head = lines[:first]
    shows = next(line.removeprefix("Shows: ") for line in head if line.startswith("Shows: "))
    clock = _clock(next((line for line in head if line.startswith("Day ")), ""))
    plan = Plan(division_id="d")
    for line in _hall_lines(head):
        plan = with_line(plan, line, clock.offset_minutes)
    own = [line for line in lines[first:] if not line.startswith(INDENT) and not line.endswith("  time passes")]
    return Scenario(head, shows.split("; "), clock, checked(plan), own)


def _clock(line: str) -> Clock:
    found = re.fullmatch(r"Day (\d{4}-\d\d-\d\d)(?: \(\w+\))?(?:, UTC([+-])(\d\d):(\d\d))?", line)
    if not found:
        return Clock(DAY)
    minutes = int(found[3] or 0) * 60 + int(found[4] or 0)
    return Clock(date.fromisoformat(found[1]), -minutes if found[2] == "-" else minutes)


def _hall_lines(head: list[str]) -> Iterator[str]:
    """Lines below `Hall`; one that is indented deeper goes on with the one above."""
    current = ""
    for line in head[head.index("Hall") + 1 :]:
        if line.startswith(INDENT * 2):
            current += " " + line.strip()
        else:
            if current:
                yield current
            current = line.strip()
    if current:
        yield current


class Player:
    """Plays one scenario once. `crash`: `` (never), `journal` or `snapshot`, after every step."""

    def __init__(self, scenario: Scenario, crash: str = "") -> None:
        self._scenario = scenario
        self._clock = scenario.clock
        self._crash = crash
        self._scene = Scene()
        self._scene.now_ms = scenario.begins_at_ms
        assert self._scene.replan(scenario.plan).is_accepted, "the hall is no plan"
        self._measures = Measures()
        self._measures.apply(self._scene.only(PlanApplied))
        self._cast = Cast(self._scene, scenario.clock.offset_minutes)
        self._positions: dict[str, list[str]] = {}
        self._written: list[str] = []
        self._trace: list[str] = []
        self.kinds: set[type[Any]] = set()

    def play(self) -> str:
        """Return the whole file anew."""
        for line in self._scenario.lines:
            if line.startswith("until "):
                self._written.append(line)
                self._wait_until(self._clock.instant_ms(line.removeprefix("until ")))
            elif not line or line.startswith("#"):
                self._written.append(line)
            else:
                self._command(line)
        return "\n".join([*self._scenario.head, *self._written, ""])

    # -- doing

    def _command(self, line: str) -> None:
        found = re.fullmatch(rf"({INSTANT})  (.+)", line)
        if not found:
            raise ValueError(f"neither a time with a command, nor a remark: {line!r}")
        self._come_to(self._clock.instant_ms(found[1]), found[2])
        seen = answer(found[2], Sight(self._scene.engine.state, self._clock, self._measures))
        if seen is not None:
            self._trace = seen
        else:
            for command in commands(found[2], self._cast):
                self.kinds.add(type(command))
                self._tell_step(self._scene.do(command))
                self._come_back()
        self._write(line)

    def _come_to(self, at_ms: int, text: str) -> None:
        """Play what is due until then; in an outage nothing is looked at, so its deadlines are met only after it."""
        outage = re.fullmatch(r"the hall comes back after (.+)", text)
        self._wait_until(at_ms - (duration_ms(outage[1]) if outage else 0))
        self._scene.now_ms = at_ms

    def _wait_until(self, at_ms: int) -> None:
        scene = self._scene
        if at_ms < scene.now_ms:
            raise ValueError(f"{self._clock.tell(at_ms)} is over already")
        for _ in range(DEADLINES_MAX):
            due_at_ms = scene.engine.next_deadline_ms()
            if due_at_ms is None or due_at_ms > at_ms:
                break
            # A deadline that was over when its call came back is met at once.
            scene.wait(max(0, due_at_ms - scene.now_ms))
            self._tell_step(None)
            if self._trace:
                self._write(f"{self._clock.tell(scene.now_ms)}  time passes")
            if scene.last:
                # A deadline that changed nothing is not durable: after a crash it would come up again, for ever.
                self._come_back()
        else:
            raise AssertionError("the engine does not come to rest")
        scene.wait(at_ms - scene.now_ms)
        assert not scene.last, f"not announced by next_deadline_ms: {scene.last}"

    def _come_back(self) -> None:
        """Where this run crashes: go on from what is durable, and see that nothing is decided anew by that alone."""
        if self._crash:
            self._scene.crash(with_snapshot=self._crash == "snapshot")
            self._scene.do(Resume(0))
            assert not self._scene.last, f"decided only because of a crash: {self._scene.last}"

    # -- telling

    def _tell_step(self, reply: Reply | None) -> None:
        scene = self._scene
        for event in scene.last:
            self.kinds.add(type(event))
            self._measures.apply(event)
            self._note(event)
            self._tell(sentence(event, self._clock), event.at_ms)
        for effect in scene.effects:
            if asked := _asked_of_the_shell(effect):
                self._tell(asked)
        if reply is not None and not reply.is_accepted:
            value = f" ({_in_short(reply.value, self._clock)})" if reply.value else ""
            self._tell(f"refused: {reply.reason}{value}")
        elif reply is not None and not scene.last:
            self._tell("nothing changes")
        self._tell_positions()

    def _note(self, event: Event) -> None:
        if isinstance(event, CallReserved):
            self._cast.reservations[event.call_id, event.agent_id] = event.reservation_id

    def _tell_positions(self) -> None:
        state = self._scene.engine.state
        standing: dict[str, list[tuple[int, str]]] = {queue_id: [] for queue_id in state.queues}
        for view in position_views(state, list(state.calls)):
            standing[state.calls[view.call_id].queue_id].append((view.position, view.call_id))
        for queue_id, places in standing.items():
            line = [call_id for _, call_id in sorted(places)]
            if line and line != self._positions.get(queue_id, []):
                self._tell(f"line of {queue_id}: " + ", ".join(f"{at} {call_id}" for at, call_id in enumerate(line, 1)))
        self._positions = {queue_id: [call_id for _, call_id in sorted(one)] for queue_id, one in standing.items()}

    def _tell(self, text: str, at_ms: int = 0) -> None:
        self._trace.append(f"{self._clock.tell(at_ms or self._scene.now_ms)}  {text}")

    def _write(self, header: str) -> None:
        self._written += [header, *(INDENT + line for line in self._trace)]
        self._trace = []


def _asked_of_the_shell(effect: Effect) -> str:
    """What the engine asks for beside its events: rooms. Messages to clients repeat the events."""
    if isinstance(effect, RequestRoom):
        return f"asked of the shell: choose a worker for room {effect.call_id}/{effect.attempt}"
    if isinstance(effect, OpenRoom):
        recording = "" if effect.recording == "off" else f", recording {effect.recording}"
        return f"asked of worker {effect.worker_id}: open room {effect.call_id}/{effect.attempt}{recording}"
    if isinstance(effect, CloseRoom):
        return f"asked of worker {effect.worker_id}: close room {effect.call_id}/{effect.attempt}"
    return asked_of_a_division(effect)


def _in_short(value: dict[str, Any], clock: Clock) -> str:
    """A refusal's details; durations and instants with their units."""
    told = {
        key: clock.tell(one)
        if key.endswith("_at_ms")
        else in_words(one)
        if "_ms" in key and isinstance(one, int)
        else one
        for key, one in value.items()
        if one != ""
    }
    lists = {key: ", ".join(str(part) for part in one) if isinstance(one, list) else one for key, one in told.items()}
    return ", ".join(f"{key} {one}" for key, one in lists.items())


def play(path: Path, crash: str = "") -> Played:
    """Read and play one file."""
    player = Player(read(path.read_text()), crash)
    return Played(player.play(), player.kinds)
