"""REST about a division's configuration: what is in force, and another one in its place.

Rules: what is shown is what may be sent back, changed; its `ETag` says what a change is to follow, and one that follows another
is refused. All mistakes are named at once. The plan becomes the journal's; the configuration file is offered again at the
next start and does not win over it (`actors/plan_origin.py`).

Not here: what a plan is (`dispatch/plan.py`), what taking one means for calls (`dispatch/planning.py`).
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from actors.checking import find_problems
from actors.configuration import plan_digest
from actors.items import PlanInForce, ReadPlan
from actors.plan_origin import over_rest, sha_of
from actors.time_zones import replace_time_zones
from dispatch.commands import ApplyPlan, PlanTerms
from dispatch.plan import Plan
from gateway import answers
from gateway.operations import Asked, Operation
from gateway.problems import json_response
from gateway.refusals import Mistake, Refused
from gateway.speaker import Speaker

PLAN_BYTES_MAX = 3_932_160
"""3.75 MiB: some 20,000 agents with their skills; a connection may send 4 MiB at once (`limits.HTTP_BYTES_BURST`)."""
MISTAKES_MAX = 100
TAG_LENGTH_MAX = 256
NO_PLAN = "none"
DIVISION = "divisions[0]"
"""Where a single plan stands in the table in which time zones are looked up."""


class ConfigurationQuery(Struct, forbid_unknown_fields=True):
    """How a configuration is to be taken."""

    dry_run: bool = False
    """Say what would become of it, and change nothing."""


async def show_configuration(asked: Asked) -> web.Response:
    """The plan that the division decides by, in the form in which it may be sent back; keys at their defaults are left out."""
    in_force = await _in_force(asked.speaker, asked.path["id"])
    return json_response(in_force.plan, headers={"ETag": _tag(in_force.digest)})


async def change_configuration(asked: Asked) -> web.Response:
    """Takes effect with the answer. `If-Match` carries the `ETag` of the configuration that it was made from.

    A queue that goes while calls wait in it says in `retired` where they go. All mistakes are in `problems`.
    """
    division_id, speaker = asked.path["id"], asked.speaker
    _check_division(speaker, division_id)
    expected = await _expected(asked)
    plan, sha = await asyncio.to_thread(_checked, asked.body)
    # What it follows, unchanged, stays what it is: also where it came from.
    digest = expected if sha == sha_of(expected) else over_rest(sha, expected)
    terms = PlanTerms(expected, asked.query.dry_run)
    command = ApplyPlan(
        principal=speaker.identity.principal, id=asked.command_id, plan=plan, digest=digest, terms=terms
    )
    value = await speaker.value_of(speaker.hall.submit(command, division_id))
    taken = answers.ConfigurationTaken(bool(value["is_changed"]), asked.query.dry_run)
    return json_response(taken, headers={"ETag": _tag(expected if asked.query.dry_run else digest)})


def _check_division(speaker: Speaker, division_id: str) -> None:
    if division_id != speaker.division_id:
        raise Refused("unknown_division", "a token is good for one division")


async def _in_force(speaker: Speaker, division_id: str) -> PlanInForce:
    _check_division(speaker, division_id)
    found: PlanInForce = await speaker.within_time(speaker.hall.ask(ReadPlan(division_id)))
    return found


async def _expected(asked: Asked) -> str:
    """Return the digest that the plan is to follow; raises `Refused`."""
    given = asked.headers.get(hdrs.IF_MATCH)
    if given is None:
        raise Refused(
            "precondition_required", "If-Match: send the ETag of the configuration that this one was made from"
        )
    if given.strip() == "*":
        return (await _in_force(asked.speaker, asked.path["id"])).digest
    tag = given.strip()
    if len(tag) < 3 or len(tag) > TAG_LENGTH_MAX or not (tag[0] == tag[-1] == '"'):
        raise Refused("precondition_failed", "If-Match: this is no ETag of a configuration")
    return tag[1:-1].removeprefix(NO_PLAN)


def _tag(digest: str) -> str:
    """A strong entity tag (RFC 9110 section 8.8.3); of a division without any plan so far that of none."""
    return f'"{digest or NO_PLAN}"'


def _checked(content: bytes) -> tuple[Plan, str]:
    """Return the plan and its digest; raises `Refused` with everything that is wrong. Takes a while where it is large."""
    try:
        table = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed", str(error)) from None
    zones = replace_time_zones({"divisions": [table]}, datetime.now(UTC))
    mistakes = [Mistake(one.path.removeprefix(DIVISION).removeprefix("."), one.what, one.seen) for one in zones]
    mistakes += [Mistake(one.path, one.what, one.seen) for one in find_problems("", table, Plan)]
    if mistakes:
        raise Refused("bad_value", _summed_up(mistakes), problems=mistakes[:MISTAKES_MAX])
    plan = msgspec.convert(table, Plan)
    return plan, plan_digest(plan)


def _summed_up(mistakes: list[Mistake]) -> str:
    first = mistakes[0]
    more = f", and {len(mistakes) - 1} more" if len(mistakes) > 1 else ""
    return f"{first.path or 'the plan'}: {first.what}{more}"


COMMON: dict[str, Any] = {"path": "/v1/divisions/{id}/configuration", "roles": ("operator",), "whose": "division"}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        handler=show_configuration,
        summary="What a division decides by: queues, agents, limits",
        answer=Plan,
        is_tagged=True,
        **COMMON,
    ),
    Operation(
        method="PUT",
        handler=change_configuration,
        summary="Another configuration in its place",
        query=ConfigurationQuery,
        body=Plan,
        body_bytes_max=PLAN_BYTES_MAX,
        answer=answers.ConfigurationTaken,
        is_tagged=True,
        headers=(hdrs.IF_MATCH,),
        more_statuses=(412, 428),
        **COMMON,
    ),
)
