"""The file's plans at a start: offered to each division, whose journal decides (SAFETY.md 20).

Not here: starting the hall (`gateway/up`), plans over REST (`gateway/rest_configuration`), where a plan came from
(`actors/plan_origin`).
"""

import time
from collections.abc import Callable

from actors.audit import Entry, StoreAudit
from actors.configuration import plan_digest
from actors.hall import Hall
from actors.items import PlanInForce, ReadPlan
from actors.plan_origin import at_start
from actors.store_client import StoreClient
from dispatch.commands import ApplyPlan, PlanTerms
from dispatch.effects import Reply
from dispatch.plan import Plan

BY = "operator:up"
TRIES = 5
"""A plan may come over REST while the file's is offered: then it is looked at again."""


class ConfiguredPlans:
    """Offers plans once, at a start. `say` prints to the operator."""

    def __init__(self, hall: Hall, client: StoreClient, say: Callable[[str], None], *, is_insisted: bool) -> None:
        """`is_insisted`: the file's plan is taken also where another one came over REST meanwhile."""
        self._hall = hall
        self._client = client
        self._say = say
        self._is_insisted = is_insisted

    async def offer(self, plan: Plan) -> None:
        """Raises HallUnavailable, StoreUnavailable, AuditFull."""
        sha, reply = plan_digest(plan), Reply("plan_changed")
        for _ in range(TRIES):
            in_force: PlanInForce = await self._hall.ask(ReadPlan(plan.division_id))
            verdict = at_start(in_force.digest, sha, is_insisted=self._is_insisted)
            if verdict != "take":
                self._say_kept(plan.division_id, verdict)
                return
            command = ApplyPlan(principal=BY, plan=plan, digest=sha, terms=PlanTerms(in_force.digest))
            reply = await self._hall.submit(command, plan.division_id)
            if reply.reason != "plan_changed":
                break
        await self._record(command, reply)
        if not reply.is_accepted:
            self._say(f"division {plan.division_id} keeps its former plan: {reply.reason} {reply.value or ''}")

    def _say_kept(self, division_id: str, verdict: str) -> None:
        if verdict == "pass_over":
            self._say(f"division {division_id} keeps the plan that came over REST; the file is as it was before that")
            return
        self._say(
            f"division {division_id} keeps the plan that came over REST, and the file has changed as well: compare it with "
            f"GET /v1/divisions/{division_id}/configuration, then start with --apply to take the file's"
        )

    async def _record(self, command: ApplyPlan, reply: Reply) -> None:
        """In the audit log stands who changed the configuration; the same one again changes nothing."""
        if reply.is_accepted and not (reply.value or {}).get("is_changed", True):
            return
        who, division = command.principal, command.plan.division_id
        outcome, about = reply.reason or "done", {"plan_digest": command.digest}
        at_ms = time.time_ns() // 1_000_000
        entry = Entry(at_ms=at_ms, what="apply_plan", who=who, division=division, about=about, outcome=outcome, by="up")
        await StoreAudit(self._client).record(entry)
