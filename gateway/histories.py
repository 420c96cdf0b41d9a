"""A call's history as documents: events with names, as auditors and back ends read them.

Rules: a document has the event's name as `type` and its fields by name, in the journal's order; an array of the journal (a
wish, a favourite) is an object by name too.

Theory: events are arrays on their way into the journal, which is no form for people. So each struct gets a twin of the same
fields that is written as an object, made once from the event's own type; OpenAPI describes the twins.

Not here: the events (`dispatch/events.py`), reading a history (`actors/archive.py`).
"""

import re
import types
from functools import cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from dispatch import events

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def history_of(facts: list[events.Event]) -> "History":
    """Return the document of a call's events."""
    return History([named(fact) for fact in facts])


def event_types() -> list[type[Struct]]:
    """The documents' types: one for each event that names a call."""
    return [twin_of(one) for one in get_args(events.Event) if "call_id" in one.__struct_fields__]


def event_name(kind: type[Any]) -> str:
    """`CallQueued` is `call_queued`."""
    return _WORD.sub("_", kind.__name__).lower()


@cache
def twin_of(kind: type[Struct]) -> type[Struct]:
    """The type of `kind`'s documents. An event's twin is tagged with its name."""
    fields = [(one.name, _twin_type(one.type)) for one in msgspec.structs.fields(kind)]
    is_event = kind in get_args(events.Event)
    twin = msgspec.defstruct(
        f"{kind.__name__}{'Event' if is_event else ''}",
        fields,
        namespace={"__doc__": kind.__doc__},
        tag_field="type" if is_event else None,
        tag=event_name(kind) if is_event else None,
    )
    twin.DOCUMENTED_BY = kind  # type: ignore[attr-defined]
    return twin


def _twin_type(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return twin_of(hint)
    arguments = tuple(_twin_type(one) for one in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return Union[arguments]  # noqa: UP007
    return get_origin(hint)[arguments] if get_origin(hint) in (list, dict, tuple) else hint


def named(value: Any) -> Any:
    """Return the value with every array that is a struct written as an object."""
    if isinstance(value, Struct):
        return twin_of(type(value))(*(named(getattr(value, name)) for name in value.__struct_fields__))
    if isinstance(value, dict):
        return {key: named(one) for key, one in value.items()}
    return [named(one) for one in value] if isinstance(value, list | tuple) else value


if TYPE_CHECKING:
    EventDocument = Struct
else:
    EventDocument = Union[tuple(event_types())]  # noqa: UP007


class History(Struct):
    """What happened to a call, in order. `type` is the event's name: `call_queued`, `reservation_accepted`, ..."""

    events: list[EventDocument]
