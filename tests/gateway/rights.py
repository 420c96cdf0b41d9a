"""Who may do what to whose: the one table of verdicts that the tests of rights are made from, and a hall to try them in.

A verdict follows from the operation's entry (`roles`, `whose`) or, for messages, from `WHOSE_BY_TYPE` here; a new operation or
message without a verdict fails its test. Two divisions, `main` and `north`, in which the same ids mean other people.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
from msgspec import Struct
from msgspec.structs import fields

from actors.archive_reading import START
from actors.local import local_hall
from actors.store_client import StoreClient
from actors.webhook_book import Endpoint, WebhookBook
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer
from gateway.messages import Role
from gateway.operations import Operation
from gateway.settings import Settings
from gateway.webhook_signing import new_secret
from media.evidence import MANIFEST_FILE, Manifest, ManifestFile
from tests.gateway.client import Client, Visitor

LOANS: dict[str, Any] = {"id": "loans", "media": "external", "recording": "off", "wrap_up": "until_done"}
MAIN = Plan("main", [QueuePlan(**LOANS)], [AgentPlan(f"a-{n}", name=f"Secret Name {n}") for n in (1, 2, 3)])
NORTH = Plan("north", [QueuePlan(**{**LOANS, "id": "cards"})], [AgentPlan("a-1", name="Other One"), AgentPlan("n-1")])
REFERENCE = "secret-reference"
MARKS = (REFERENCE, "Secret Name 1", "kim")
"""What stands in the owners' things, and in no refusal."""

Verdict = Literal["allowed", "not_signed_in", "token_expired", "wrong_role", "not_yours", "unknown"]
Relation = Literal["mine", "anothers", "my_division", "other_division"]

RELATION_RULES: dict[str, dict[Relation, Verdict]] = {
    # whose      -> what it is to the one who asks
    "call": {"mine": "allowed", "anothers": "not_yours", "my_division": "allowed", "other_division": "unknown"},
    "agent": {"mine": "allowed", "anothers": "not_yours", "my_division": "allowed", "other_division": "unknown"},
    "division": {"mine": "allowed", "anothers": "allowed", "my_division": "allowed", "other_division": "unknown"},
    "own": {"mine": "allowed", "anothers": "not_yours", "my_division": "allowed", "other_division": "allowed"},
    "hall": {"mine": "allowed", "anothers": "allowed", "my_division": "allowed", "other_division": "allowed"},
}
"""`own`: everybody asks for their own, staff within the division of their token. `hall`: the roles decide alone."""


class Caller(Struct, frozen=True):
    """Somebody who asks. The things of the hall are those of customer kim and agent a-1 in `main`."""

    name: str
    role: Role
    subject: str
    division: str
    relation: Relation
    seconds: int = 600

    def token(self, issuer: DevelopmentIssuer) -> str:
        return issuer.issue(self.role, self.subject, self.seconds, self.division)


CALLERS = (
    Caller("its customer", "customer", "kim", "main", "mine"),
    Caller("another customer", "customer", "lee", "main", "anothers"),
    Caller("a customer of that id elsewhere", "customer", "kim", "north", "anothers"),
    Caller("its agent", "agent", "a-1", "main", "mine"),
    Caller("another agent", "agent", "a-3", "main", "anothers"),
    Caller("an agent of that id elsewhere", "agent", "a-1", "north", "anothers"),
    Caller("a supervisor", "supervisor", "s-1", "main", "my_division"),
    Caller("a supervisor elsewhere", "supervisor", "s-1", "north", "other_division"),
    Caller("an operator", "operator", "o-1", "main", "my_division"),
    Caller("an operator elsewhere", "operator", "o-1", "north", "other_division"),
)


def verdict_of(operation: Operation, caller: Caller) -> Verdict:
    """What the table says of this operation of REST and this caller."""
    if caller.role not in operation.roles:
        return "wrong_role"
    verdict = RELATION_RULES[operation.whose][caller.relation]
    if operation.whose == "division" and verdict == "allowed" and caller.division != "main" and operation.parameters:
        return "unknown"
    if operation.whose == "division" and verdict == "unknown" and not operation.parameters:
        return "allowed"  # Of their own division; the answer must hold nothing of another.
    if operation.whose == "own" and (operation.id != "create_call" or caller.subject == "kim"):
        return "allowed"  # Nobody else can be named, or nobody else is.
    if operation.whose == "agent" and caller.division != "main":
        return "allowed"  # Sees the agent of that id in their own division, and must see nothing of `main`.
    return verdict


WHOSE_BY_TYPE: dict[str, str] = {
    "session.pong": "self",
    "session.ack": "self",
    "call.request": "self",
    "agent.state": "self",
    "customer.invite": "self",
    "watch.unsubscribe": "board",
    "watch.subscribe": "board",
    "reservation.accept": "reservation",
    "reservation.decline": "reservation",
    "wrapup.done": "wrap_up",
    "wrapup.extend": "wrap_up",
    "agent.force_state": "agent",
    "call.callback": "call",
    "call.hang_up": "call",
    "call.transfer": "call",
    "call.hold": "call",
    "script.step": "call",
    "script.answer": "call",
    "call.connected": "call",
    "call.monitor": "call",
    "call.priority": "call",
    "invitation.accept": "call",
    "party.invite": "call",
    "party.remove": "call",
    "transfer.complete": "call",
    "rtc.sdp_offer": "call",
    "rtc.candidate": "call",
    "rtc.bye": "call",
    "rtc.config": "self",
    "rtc.stats": "call",
}
"""Whose thing a client's message touches. `self`: it names nobody else's."""

MESSAGE_REFUSALS: dict[tuple[str, Relation], frozenset[str]] = {
    ("call", "anothers"): frozenset({"not_yours"}),
    ("call", "other_division"): frozenset({"unknown_call"}),
    ("reservation", "anothers"): frozenset({"not_yours"}),
    ("wrap_up", "anothers"): frozenset({"not_in_wrap_up"}),
    ("agent", "other_division"): frozenset({"unknown_agent"}),
    ("board", "other_division"): frozenset({"not_yours"}),
}
"""What a message is refused with that touches what is not one's own."""
ALLOWED_IS_NOT = frozenset({"not_yours", "wrong_role", "unknown_call", "unknown_type", "not_signed_in"})
"""Whatever else the state of things says to one who may ask, it is none of these."""

SAMPLES: dict[str, Any] = {
    "queue_id": "loans",
    "customer_id": "kim",
    "agent_id": "a-3",
    "to_agent_id": "a-3",
    "to_queue_id": "no-such-queue",
    "supervisor_id": "s-1",
    "is_consented": True,
    "credit_ms": 1_000,
    "slot_id": "shard-0",
    "division_id": "main",
    "before": "2020-01-01",
    "mode": "whisper",
    "role": "third",
    "activity": "not_ready",
    "reason": "",
    "attempt": 1,
    "sdp": "v=0",
    "stats": {"jitter_ms": 1.0},
    "is_held": True,
    "step_id": "risk",
    "text": "It may lose value.",
    "number": 1,
    "answer": "yes",
    "extra_ms": 1,
    "seq": 0,
    "board": "calls",
    "candidate": "",
    "url": "https://crm.bank.example/calls",
}
"""A good value of each field that a request may need."""


def sample_of(kind: type[Struct], wanted: dict[str, Any], also: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a good instance of `kind`, as JSON: what it needs, and the optional fields `also`; `wanted` replaces samples."""
    values: dict[str, Any] = {}
    for one in fields(kind):
        if one.required or one.name in wanted or one.name in also:
            assert one.name in wanted or one.name in SAMPLES, f"{kind.__name__}.{one.name} needs a sample in rights.py"
            values[one.encode_name] = wanted.get(one.name, SAMPLES.get(one.name))
    try:
        msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{kind.__name__}: the samples in rights.py are none of it: {error}") from error
    return values


class World:
    """A call of kim that talks with a-1, one of lee that rings at a-2, recordings in both divisions."""

    def __init__(self, visitor: Visitor, issuer: DevelopmentIssuer) -> None:
        self.visitor = visitor
        self.issuer = issuer
        self.call_id = ""
        self.reservation_id = ""
        self.clients: list[Client] = []

    async def connect(self, caller: Caller) -> Client:
        client = await self.visitor.greeted(caller.token(self.issuer))
        self.clients.append(client)
        return client

    async def build(self) -> None:
        agent, other = await self.sign_in("agent", "a-1"), None
        await agent.ask("agent.state", {"activity": "ready"})
        customer = await self.sign_in("customer", "kim")
        request = {"queue_id": "loans", "is_consented": True, "business_reference": REFERENCE}
        self.call_id = (await customer.ask("call.request", request))["data"]["value"]["call_id"]
        new = (await agent.until("reservation.new"))["data"]
        await agent.ask("reservation.accept", {"reservation_id": new["reservation_id"]})
        await agent.ask("call.connected", {"call_id": self.call_id})
        other = await self.sign_in("agent", "a-2")
        await other.ask("agent.state", {"activity": "ready"})
        theirs = {**request, "business_reference": "their-own"}
        await (await self.sign_in("customer", "lee")).ask("call.request", theirs)
        self.reservation_id = (await other.until("reservation.new"))["data"]["reservation_id"]

    async def sign_in(self, role: Role, subject: str, division: str = "main") -> Client:
        return await self.connect(Caller("", role, subject, division, "mine"))


def write_recording(folder: Path, call_id: str, division: str) -> None:
    """Put a sealed recording there."""
    own = folder / "2026-11-28" / call_id / "attempt-1"
    own.mkdir(parents=True)
    capture = own / "agent.capture"
    capture.write_bytes(REFERENCE.encode())
    manifest = Manifest(
        call_id=call_id, attempt=1, business_reference=REFERENCE, parties=[], labels={"division": division}, worker_id="1",
        worker_epoch=1, started_at_ms=0, ended_at_ms=0, duration_ms=0, sealed_at_ms=0,
        files=[ManifestFile(party="agent", kind="capture", path=str(capture.relative_to(folder)), bytes=16, sha256="")],
    )  # fmt: skip
    (own / MANIFEST_FILE).write_bytes(msgspec.json.encode(manifest))


async def register_webhook(client: StoreClient) -> WebhookBook:
    """Return the book of webhooks, in which `main` has one."""
    book = WebhookBook(client)
    url = f"https://crm.bank.example/{REFERENCE}"
    await book.put(Endpoint("w-1", "main", url, [], [new_secret()], 1), START)
    return book


@asynccontextmanager
async def world(folder: Path, client: StoreClient | None = None) -> AsyncIterator[World]:
    """Run a hall of two divisions with a gateway before it; with a store there are webhooks."""
    issuer = DevelopmentIssuer.open(folder / "keys")
    settings = Settings(
        keys_folder=folder / "keys", recordings_folder=folder / "recordings", stop_ms=100,
        messages_per_s=10_000, messages_burst=10_000,
    )  # fmt: skip
    async with local_hall(MAIN, None, (NORTH,), shards_count=1) as local, aiohttp.ClientSession() as http:
        hall = local.hall("g-1")
        hall.webhooks = await register_webhook(client) if client is not None else None
        gateway = Gateway(hall, settings)
        await gateway.start()
        made = World(Visitor(http, f"http://127.0.0.1:{gateway.port}"), issuer)
        try:
            await made.build()
            write_recording(folder / "recordings", made.call_id, "main")
            yield made
        finally:
            for client in made.clients:
                await client.socket.close()
            await gateway.stop()
            await hall.close()


PATH_SAMPLES: dict[str, Callable[[World], str]] = {
    "/v1/calls/{id}": lambda world: world.call_id,
    "/v1/recordings/{id}": lambda world: world.call_id,
    "/v1/agents/{id}": lambda _: "a-1",
    "/v1/queues/{id}": lambda _: "loans",
    "/v1/divisions/{id}": lambda _: "main",
    "/v1/gateways/{id}": lambda _: "gateway-1",
    "/v1/customers/{id}": lambda _: "kim",
    "/v1/webhooks/{id}": lambda _: "w-1",
}
"""What stands in a path's first parameter: the thing whose owners are tried. Other parameters have samples by name."""
PARAMETERS = {"attempt": "1", "file": "agent.capture", "agent_id": "a-3", "session_id": f"1-{'0' * 32}"}


def path_of(operation: Operation, world: World, first: str = "") -> str:
    """Return the operation's path to the owner's thing, or to `first`."""
    path = operation.path
    if "{id}" in path:
        prefix = path[: path.index("{id}") + 4]
        assert prefix in PATH_SAMPLES, f"{operation.path} needs a sample in rights.py"
        path = path.replace("{id}", first or PATH_SAMPLES[prefix](world))
    for name in operation.parameters:
        if name != "id":
            assert name in PARAMETERS, f"{operation.path}: {name} needs a sample in rights.py"
            path = path.replace(f"{{{name}}}", PARAMETERS[name])
    return path
