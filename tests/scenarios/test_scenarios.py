"""Every scenario decides what its file says, also when it crashes after every step; and no rule is without a scenario.

`pytest tests/scenarios --rewrite` writes the traces anew, and the names of the scenarios in docs/routing.md; `git diff` shows
what changed in what is decided.
"""

import re
from difflib import unified_diff
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args

import pytest

from dispatch.choice import register
from dispatch.commands import Command
from dispatch.events import Event
from dispatch.model import Agent
from dispatch.plan import QueuePlan
from tests.scenarios.runner import Played, play, read

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "routing.md"
FILES = sorted(HERE.glob("*.txt"))
SCENARIOS_MIN = 60
PAGE_WIDTH = 140

RULE_TABLES = (
    "Which agent: strategies",
    "Favourites: preferred, required, last agent",
    "Limits, and what happens then",
    "A reservation",
)
"""Sections whose tables say one rule a line."""
WITHOUT_SCENARIO = "What always holds"
"""A section that every scenario shows: its numbers are checked after each of their steps."""
TABLE_HEADS = {"strategy", "rule", "limit", "what happens"}


def fewest_skills(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    """A strategy of one's own: who can do least is asked first."""
    return len(agent.skills)


register("fewest_skills", fewest_skills)


@cache
def played(path: Path) -> Played:
    return play(path)


def difference(path: Path, text: str) -> str:
    """What the engine decides now (+) beside what the file says (-); empty when they agree."""
    lines = unified_diff(path.read_text().splitlines(), text.splitlines(), path.name, "decided now", lineterm="", n=3)
    return "\n".join(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    """Given a scenario's hall and commands, then every decision is the one that its file tells."""
    text = played(path).text
    if request.config.getoption("--rewrite"):
        path.write_text(text)
    found = difference(path, text)
    assert not found, f"\n{found}\n\nIf that is right: pytest tests/scenarios --rewrite, and review the diff."


@pytest.mark.parametrize("crash", ["journal", "snapshot"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_with_a_crash_after_every_step(path: Path, crash: str) -> None:
    """Given a crash after every step, when it goes on from what is durable, then it decides the same (ROUTING.md 5.6)."""
    found = difference(path, play(path, crash).text)
    assert not found, f"\n{found}"


def test_no_kind_of_command_or_event_is_without_a_scenario() -> None:
    """Given all scenarios, then each kind of command is given and each kind of event happens in one of them."""
    seen: set[type[Any]] = set()
    for path in FILES:
        seen |= played(path).kinds
    unseen = [kind.__name__ for kind in (*get_args(Command), *get_args(Event)) if kind not in seen]
    assert not unseen, f"in no scenario: {', '.join(unseen)}"


RULE = (
    re.compile(r"(?:- )?\*\*(.+?)\.?\*\*"),
    re.compile(r"- `(\w+)`:"),
    re.compile(r"(\d)\. "),
)
"""How a rule of its own begins on the page: in bold, as a named way, or numbered."""


def rules() -> set[str]:
    """The rules of docs/routing.md: `Section`, and `Section / rule` for each paragraph, way, number and table line."""
    found: set[str] = set()
    section = ""
    for line in PAGE.read_text().splitlines():
        row = re.match(r"\| (.+?) \| ", line) if section in RULE_TABLES else None
        named = next((begun for pattern in RULE if (begun := pattern.match(line))), row)
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if section == WITHOUT_SCENARIO:
            continue
        if line.startswith("## "):
            found.add(section)
        elif named:
            found.add(f"{section} / {re.split(r'[:(]', named[1].replace('`', ''))[0].strip(' .')}")
    return {rule for rule in found if rule.rpartition(" / ")[2] not in TABLE_HEADS}


def shown() -> dict[str, list[str]]:
    """Rule -> the scenarios that show it. A paragraph's or table line's scenario shows its section too."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        for rule in read(path.read_text()).shows:
            found.setdefault(rule, []).append(path.stem)
    return found


def test_every_rule_has_a_scenario_and_every_scenario_a_rule() -> None:
    """Given docs/routing.md, then a scenario shows each section, bold paragraph and line of a rule table, and all exist."""
    known, used = rules(), shown()
    sections = {rule.partition(" / ")[0] for rule in used}
    missing = sorted(known - set(used) - sections)
    unknown = sorted(f"{rule} ({', '.join(names)})" for rule, names in used.items() if rule not in known)
    assert not missing, "no scenario shows: " + "; ".join(missing)
    assert not unknown, "no such rule in docs/routing.md: " + "; ".join(unknown)
    assert len(FILES) >= SCENARIOS_MIN


def with_scenarios(page: str) -> str:
    """The page with the names of the scenarios as the last paragraph of each section that has some."""
    names: dict[str, set[str]] = {}
    for rule, stems in shown().items():
        names.setdefault(rule.partition(" / ")[0], set()).update(stems)
    head, *sections = re.sub(r"\nScenarios: (?:.+\n)+", "", page).split("\n## ")
    written = [head]
    for section in sections:
        title = section.partition("\n")[0]
        told = "Scenarios: " + ", ".join(f"`{name}`" for name in sorted(names.get(title, ())))
        lines = wrap(told, PAGE_WIDTH, break_on_hyphens=False) if title in names else []
        written.append("\n".join([section.rstrip("\n"), *([""] if lines else []), *lines, ""]))
    return "\n## ".join(written)


def test_the_page_names_the_scenarios_of_each_section(request: pytest.FixtureRequest) -> None:
    """Given docs/routing.md, then each section ends with the names of the scenarios that show it, in order."""
    page = PAGE.read_text()
    if request.config.getoption("--rewrite"):
        PAGE.write_text(with_scenarios(page))
    found = "\n".join(
        unified_diff(page.splitlines(), with_scenarios(page).splitlines(), "is", "should be", lineterm="")
    )
    assert not found or request.config.getoption("--rewrite"), f"\n{found}"
