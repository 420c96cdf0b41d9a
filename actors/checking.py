"""Checks plain values, as a TOML file gives them, against struct types, and names everything that is wrong at once.

Rules: every problem says where (key path), what was seen and what is allowed. Nothing is corrected or guessed. What
the types say is the only source: a struct field's annotation with its `msgspec.Meta` is both the check and the
text.

Theory: msgspec's own conversion stops at the first mistake. So containers are walked here and only leaves are
converted one by one; a table without problems is then converted as a whole by whoever asked.

Not here: which sections and keys there are (`configuration`, `dispatch/plan`).
"""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, inspect

SEEN_CHARACTERS_MAX = 80


class Problem(Struct, frozen=True):
    """One mistake."""

    path: str
    """As in `divisions[0].queues[2].need.loans`; empty for the whole."""
    seen: str
    """The value, shortened; empty when a key is missing or the value says nothing."""
    what: str
    """What is wrong, or what is allowed."""


def find_problems(path: str, value: object, hint: Any) -> Iterator[Problem]:
    """Yield everything at or below `path` that does not fit the type `hint`, in the order of the file."""
    origin = get_origin(hint)
    if origin is UnionType and (inner := _struct_or_none(hint)) is not None and value is not None:
        hint, origin = inner, None
    if origin is Annotated and get_origin(get_args(hint)[0]) in (list, dict):
        origin, arguments = get_origin(get_args(hint)[0]), get_args(get_args(hint)[0])
    else:
        arguments = get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield from _struct_problems(path, value, hint)
    elif origin is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_problems(f"{path}[{index}]", item, arguments[0])
        yield from _leaf_problems(path, value, hint, is_shallow=True)
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _leaf_problems(join(path, key), key, arguments[0])
            yield from find_problems(join(path, key), item, arguments[1])
    else:
        yield from _leaf_problems(path, value, hint)


def _struct_or_none(hint: Any) -> type[Struct] | None:
    """Return the struct of a hint `Struct | None`; None for any other union."""
    kinds = [one for one in get_args(hint) if one is not type(None)]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Struct) else None


def join(path: str, key: str) -> str:
    """Return the path of `key` in the table at `path`."""
    return f"{path}.{key}" if path else key


def allowed(hint: Any) -> str:
    """Say in words what the type takes."""
    return _allowed(inspect.type_info(hint))


def _struct_problems(path: str, value: object, hint: type[Struct]) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, _shown(value), f"allowed is {allowed(hint)}")
        return
    hints = get_type_hints(hint, include_extras=True)
    for key, item in value.items():
        if key in hints:
            yield from find_problems(join(path, key), item, hints[key])
        else:
            yield Problem(join(path, key), _shown(item), f"unknown key; known are {', '.join(hints)}")
    for one in msgspec.structs.fields(hint):
        if one.required and one.name not in value:
            yield Problem(join(path, one.name), "", f"missing; allowed is {allowed(hints[one.name])}")


def _leaf_problems(path: str, value: object, hint: Any, *, is_shallow: bool = False) -> Iterator[Problem]:
    """`is_shallow`: the items of the list have been looked at, only its own bounds count."""
    checked = hint
    if is_shallow:
        bounds = [argument for argument in get_args(hint)[1:] if isinstance(argument, msgspec.Meta)]
        checked = Annotated[list[Any], *bounds] if bounds else list
    try:
        msgspec.convert(value, checked)
    except msgspec.ValidationError:
        yield Problem(path, _shown(value), f"allowed is {allowed(hint)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SEEN_CHARACTERS_MAX else text[: SEEN_CHARACTERS_MAX - 3] + "..."


def _allowed(info: inspect.Type) -> str:
    match info:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            kind = "a whole number" if isinstance(info, inspect.IntType) else "a number"
            return kind + _range(info.ge, info.le)
        case inspect.StrType(pattern=str(pattern)):
            return f"a text that matches {pattern}"
        case inspect.StrType():
            return "a text" + _range(info.min_length, info.max_length, " characters")
        case inspect.LiteralType():
            return "one of " + ", ".join(repr(value) for value in info.values)
        case inspect.ListType():
            return f"a list{_range(info.min_length, info.max_length, ' items')}, each {_allowed(info.item_type)}"
        case inspect.TupleType():
            return f"a list of {len(info.item_types)}: {', '.join(_allowed(one) for one in info.item_types)}"
        case inspect.DictType():
            return f"a table, each value {_allowed(info.value_type)}"
        case inspect.StructType():
            return "a table with the keys " + ", ".join(one.name for one in info.fields)
        case inspect.UnionType():
            return " or ".join(_allowed(one) for one in info.types if not isinstance(one, inspect.NoneType))
        case _:
            return "any value"


def _range(low: float | None, high: float | None, unit: str = "") -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" from {low}{unit} up"
    return f" from {low if low is not None else 0} to {high}{unit}"
