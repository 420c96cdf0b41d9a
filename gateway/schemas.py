"""JSON schemas of our types, for OpenAPI and AsyncAPI: what msgspec makes of them, and what it leaves out.

Rules: nothing is written twice. Descriptions are the docstrings of classes and of fields in the source; patterns are written as
JSON Schema understands them (ECMA 262 has no `\\Z`, its `$` means that).

Theory: msgspec refuses a union of structs without tags, since it could not read one. The server only writes such unions, so
their fields are left open for msgspec and filled in afterwards.

Not here: the documents (`gateway/openapi.py`, `gateway/asyncapi.py`).
"""

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def components(kinds: Sequence[type[Struct]]) -> dict[str, Schema]:
    """Schemas of `kinds` and of every struct in them, by name; raises ValueError where two structs have the same."""
    wanted = list(dict.fromkeys(one for kind in kinds for one in (kind, *_open_members(kind))))
    plain = {kind: _without_open_unions(kind) for kind in wanted}
    _, found = msgspec.json.schema_components(list(plain.values()), ref_template=REF)
    classes = _classes_by_title(plain.values())
    for schema in found.values():
        for field, text in field_docs(classes[schema["title"]]).items():
            if field in schema.get("properties", {}):
                schema["properties"][field] = _described(schema["properties"][field], text)
    if twice := [name for name in found if "." in name]:
        raise ValueError(f"one name for several structs: {twice}")
    for kind in wanted:
        for field, members in _open_unions(kind).items():
            anyof = {"anyOf": [reference(one) for one in members]}
            properties = found[kind.__name__]["properties"]
            is_list = properties[field].get("type") == "array"
            properties[field] |= {"items": anyof} if is_list else anyof
    return {name: rewritten(schema) for name, schema in sorted(found.items())}


def reference(kind: type[Struct]) -> Schema:
    """A reference to the schema of `kind` in `components`."""
    return {"$ref": REF.format(name=kind.__name__)}


def _described(schema: Schema, text: str) -> Schema:
    """A description may stand beside `$ref` in JSON Schema 2020-12, but readers of draft 7 would lose it: hence `allOf`."""
    return {"allOf": [schema], "description": text} if "$ref" in schema else {**schema, "description": text}


def rewritten(value: Any) -> Any:
    """`value` with patterns as ECMA 262 has them."""
    if isinstance(value, dict):
        return {key: _ecma(one) if key == "pattern" else rewritten(one) for key, one in value.items()}
    return [rewritten(one) for one in value] if isinstance(value, list) else value


def _ecma(pattern: Any) -> Any:
    return pattern.replace(r"\Z", "$") if isinstance(pattern, str) else rewritten(pattern)


# -- unions that are only written


def _open_unions(kind: type[Struct]) -> dict[str, tuple[type[Struct], ...]]:
    """Field -> members, for each field that is a union of structs without tags, or a list of it."""
    found = {}
    for field, hint in get_type_hints(kind).items():
        inner = get_args(hint)[0] if get_origin(hint) is list else hint
        if get_origin(inner) in (Union, types.UnionType):
            members = tuple(one for one in get_args(inner) if isinstance(one, type) and issubclass(one, Struct))
            if len(members) > 1 and not members[0].__struct_config__.tag:
                found[field] = members
    return found


def _open_members(kind: type[Struct]) -> Iterable[type[Struct]]:
    return (one for members in _open_unions(kind).values() for one in members)


@cache
def _without_open_unions(kind: type[Struct]) -> type[Struct]:
    """`kind`, or a twin of it with such fields left open."""
    unions = _open_unions(kind)
    if not unions:
        return kind
    hints = get_type_hints(kind)
    fields = []
    for one in msgspec.structs.fields(kind):
        is_list = get_origin(hints[one.name]) is list
        fields.append((one.name, (list[Any] if is_list else Any) if one.name in unions else one.type))
    twin = msgspec.defstruct(kind.__name__, fields, namespace={"__doc__": kind.__doc__}, module=kind.__module__)
    twin.DOCUMENTED_BY = kind  # type: ignore[attr-defined]
    return twin


# -- what the source says


def _classes_by_title(kinds: Iterable[type[Struct]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for info in msgspec.inspect.multi_type_info(list(kinds)):
        _collect(info, found)
    return found


def _collect(info: Any, found: dict[str, Any]) -> None:
    if isinstance(info, msgspec.inspect.StructType):
        kind = info.cls
        if kind.__name__ in found and found[kind.__name__] is kind:
            return
        found[kind.__name__] = kind
        for field in info.fields:
            _collect(field.type, found)
    for name in ("type", "item_type", "key_type", "value_type"):
        inner = getattr(info, name, None)
        if isinstance(inner, msgspec.inspect.Type):
            _collect(inner, found)
    for inner in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
        _collect(inner, found)


@cache
def field_docs(kind: type[Struct]) -> dict[str, str]:
    """What the source says below each field of `kind` and its bases."""
    kind = getattr(kind, "DOCUMENTED_BY", kind)
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, Struct) and one is not Struct:
            found |= _own_field_docs(one)
    return found


def _own_field_docs(kind: type[Struct]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name, value = getattr(field.target, "id", ""), text.value.value
            if isinstance(value, str):
                found[name] = " ".join(value.split())
    return found
