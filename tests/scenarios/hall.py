"""The hall of a scenario, line by line: queues, agents and the division's settings, every unit spelled.

    queue loans: needs loan 3 and english 2; target 20 s; on_full overflow to cards or gold, else message "Please write"
    agents anna, ben: loan 5; capacity 200 units; region south; carrier mobile
    division: reconnect_grace 30 s; live_calls_max 2 calls

A setting has the name it has in the configuration, without `_ms`: its value says the unit (`wrap_up_for` is `wrap_up_ms`).
What a line does not say is the configuration's default, but for media and recording: `media external; recording off`,
since most rules are easier to follow without rooms. A line about a queue or agent that exists changes what it names.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from dispatch.hours import Hours
from dispatch.plan import AgentPlan, Plan, QueuePlan, Relaxation, Way
from tests.scenarios.times import WEEKDAYS, Clock, duration_ms

Settings = dict[str, Any]


def shown_name(field: str) -> str:
    """The name under which a setting stands in a scenario."""
    known = {"wrap_up_ms": "wrap_up_for", "cost_units": "cost", "capacity_units": "capacity", "need": "needs"}
    return known.get(field) or field.replace("_ms", "")


QUEUE_FIELDS = {shown_name(field): field for field in QueuePlan.__struct_fields__}
AGENT_FIELDS = {shown_name(field): field for field in AgentPlan.__struct_fields__}
DIVISION_FIELDS = {shown_name(field): field for field in Plan.__struct_fields__}


def with_line(plan: Plan, line: str, offset_minutes: int) -> Plan:
    """The plan as this line of a hall changes it. Raises ValueError for what is no such line."""
    removed = re.fullmatch(r"without (queue|agent) ([\w-]+)", line)
    if removed:
        kind, gone = removed.groups()
        return msgspec.structs.replace(plan, **{kind + "s": [one for one in _items(plan, kind) if one.id != gone]})
    retired = re.fullmatch(r"([\w-]+) goes to ([\w-]+)", line)
    if retired:
        return msgspec.structs.replace(plan, retired={**plan.retired, retired[1]: retired[2]})
    what, _, said = line.partition(":")
    kind, _, names = what.partition(" ")
    settings = [one.strip() for one in said.split(";") if one.strip()]
    if kind == "division":
        return msgspec.structs.replace(plan, **_settings(settings, DIVISION_FIELDS, {}))
    if kind.rstrip("s") not in ("queue", "agent"):
        raise ValueError(f"neither queue, agent nor division: {line!r}")
    for name in names.split(", "):
        plan = _with_one(plan, kind.rstrip("s"), name, settings, offset_minutes)
    return plan


def checked(plan: Plan) -> Plan:
    """The plan, after every bound of its types and every contradiction in it has been looked at."""
    return msgspec.convert(msgspec.to_builtins(plan), Plan)


def _items(plan: Plan, kind: str) -> list[Any]:
    items: list[Any] = plan.queues if kind == "queue" else plan.agents  # type: ignore[assignment]
    return items


def _with_one(plan: Plan, kind: str, name: str, settings: list[str], offset_minutes: int) -> Plan:
    items = _items(plan, kind)
    known = next((one for one in items if one.id == name), None)
    if kind == "agent":
        one: Any = known or AgentPlan(id=name)
        one = msgspec.structs.replace(one, **_settings(settings, AGENT_FIELDS, {"": _agent_skills}))
    else:
        one = known or QueuePlan(id=name, media="external", recording="off")
        said: dict[str, Callable[[str], Settings]] = {
            key: lambda value, key=key: _hours(one.hours, key, value, offset_minutes)  # type: ignore[misc]
            for key in ("hours", "special", "clock_change")
        }
        for setting in settings:
            one = msgspec.structs.replace(one, **_settings([setting], QUEUE_FIELDS, said))
    items = [one if other.id == name else other for other in items] if known else [*items, one]
    return msgspec.structs.replace(plan, **{kind + "s": items})


def _settings(settings: list[str], fields: dict[str, str], said: dict[str, Callable[[str], Settings]]) -> Settings:
    found: Settings = {}
    for setting in settings:
        key, _, value = setting.partition(" ")
        if key in said:
            found |= said[key](value)
        elif key in fields:
            found[fields[key]] = _value(fields[key], value)
        elif "" in said:
            found |= said[""](setting)
        else:
            raise ValueError(f"no such setting: {setting!r}")
    return found


def _value(field: str, text: str) -> object:
    """One setting's value, by the name of its field."""
    if field in ("need", "joint_need"):
        return need(text)
    if field == "relaxation":
        return [_step(part) for part in text.split(", ")]
    if field.startswith("on_"):
        return [_way(part) for part in text.split(", else ")]
    if "_ms" in field:
        return duration_ms(text)
    number = re.fullmatch(r"(\d+)(?: \w+)?", text)
    return int(number[1]) if number else text


def need(text: str) -> dict[str, int]:
    """`loan 3 and english 2`; `nothing`: no skill."""
    found: dict[str, int] = {}
    for part in [] if text == "nothing" else text.split(" and "):
        skill, _, level = part.partition(" ")
        found[skill] = int(level)
    return found


def _agent_skills(text: str) -> Settings:
    return {"skills": need(text)}


def _step(text: str) -> Relaxation:
    found = re.fullmatch(r"after (\d+ \w+(?: \d+ \w+)?) ([\w-]+(?: \d+)?(?: and [\w-]+ \d+)*)", text)
    if not found:
        raise ValueError(f"no relaxation step: {text!r}")
    return Relaxation(duration_ms(found[1]), need(found[2]))


def _way(text: str) -> Way:
    if text.startswith("overflow to "):
        return Way("overflow", text.removeprefix("overflow to ").split(" or "))
    do, _, said = text.partition(" ")
    return Way(do, text=said.strip('"'))  # type: ignore[arg-type]


def _hours(known: Hours | None, key: str, text: str, offset_minutes: int) -> Settings:
    """`hours Mon-Fri 09:00-12:00 13:00-17:00, Sat 10:00-12:00`; `special 2026-03-03 closed, 2026-03-04 10:00-12:00`.

    `clock_change 2026-03-29 02:00 UTC+02:00`: from that time, by the clock before it, local time has that offset.
    """
    hours = known or Hours(weekly=[[] for _ in range(7)], offset_minutes=offset_minutes)
    if key == "clock_change":
        change = _clock_change(text, offset_minutes)
        return {"hours": msgspec.structs.replace(hours, offset_changes=[*hours.offset_changes, change])}
    for part in text.split(", "):
        days, *spans = part.split(" ")
        found = [] if spans == ["closed"] else [_span(span) for span in spans]
        if key == "special":
            hours = msgspec.structs.replace(hours, special={**hours.special, days: found})
        else:
            first, _, last = days.partition("-")
            meant = range(WEEKDAYS.index(first), WEEKDAYS.index(last or first) + 1)
            weekly = [found if day in meant else spans for day, spans in enumerate(hours.weekly)]
            hours = msgspec.structs.replace(hours, weekly=weekly)
    return {"hours": hours}


def _clock_change(text: str, offset_minutes: int) -> tuple[int, int]:
    day, clock, offset = text.split(" ")
    hours, minutes = (int(part) for part in offset.removeprefix("UTC").split(":"))
    at_ms = Clock(date.fromisoformat(day), offset_minutes).instant_ms(clock + ":00")
    return at_ms, hours * 60 + minutes


def _span(text: str) -> tuple[int, int]:
    opens, closes = ([int(part) for part in one.split(":")] for one in text.split("-"))
    return opens[0] * 60 + opens[1], closes[0] * 60 + closes[1]
