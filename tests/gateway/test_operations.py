"""The route table: every entry is whole, served, documented, and for its roles alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from gateway.messages import Role
from gateway.operations import Operation, Whose
from gateway.rest import OPERATIONS
from tests.gateway.client import Visitor

Token = Callable[..., str]
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
ROLES: tuple[Role, ...] = get_args(Role)

all_operations = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)


def test_ids_and_routes_are_unique() -> None:
    """Given the whole table; then no two entries share an id, nor method and path."""
    assert len({one.id for one in OPERATIONS}) == len(OPERATIONS)
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


@all_operations
def test_an_entry_is_whole(operation: Operation) -> None:
    """Given an entry; then it says what it does, for whom, and whose thing it is; only commands have a body."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation.id)
    assert operation.summary
    assert not operation.summary.endswith(".")
    assert operation.handler.__doc__
    assert operation.roles
    assert operation.whose in get_args(Whose)
    assert operation.body is None or operation.is_command
    assert operation.body is None or operation.body.__struct_config__.forbid_unknown_fields


@all_operations
def test_an_entry_stands_in_the_page(operation: Operation) -> None:
    """Given an entry; then docs/protocol.md names its method and path."""
    assert re.search(rf"`{operation.method} {re.escape(operation.path)}`", PROTOCOL.read_text()), operation.path


@all_operations
async def test_an_entry_is_for_its_roles_alone(visitor: Visitor, token: Token, operation: Operation) -> None:
    """Given each role, and nobody; then `wrong_role` and `not_signed_in` come exactly where the table says so."""
    path = operation.path.replace("{", "x-").replace("}", "")
    status, problem, _ = await visitor.request(operation.method, path)
    assert (status, problem["reason"]) == (401, "not_signed_in")
    for role in ROLES:
        _, answer, _ = await visitor.request(operation.method, path, token(role, "x-1"))
        assert (answer.get("reason") == "wrong_role") is (role not in operation.roles), (role, answer)
