"""REST about webhooks: who is told of what happens to calls, how that goes, and what could not be told.

Rules: for operators, each in the token's division. The id of an endpoint follows from who registers it and the idempotency key,
so a repeat finds the first one. A secret is shown when it is made, and never again.

Not here: sending (`gateway/webhook_sender.py`), which URLs are allowed (`gateway/webhook_urls.py`).
"""

import time
import uuid
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from actors.history_items import EventsPage, ReadEvents
from actors.webhook_book import (
    SECRETS_MAX,
    DeadLetter,
    Endpoint,
    Progress,
    Secret,
    TooManyEndpoints,
    WebhookBook,
)
from gateway.answers import Nothing
from gateway.operations import Asked, Operation
from gateway.refusals import Refused
from gateway.speaker import Speaker
from gateway.webhook_events import TYPES
from gateway.webhook_signing import new_secret, shown
from gateway.webhook_urls import URL_LENGTH_MAX, url_problem

NAMESPACE = uuid.UUID("0d0b7f55-6a43-4a38-9a1f-8d8c5a1f3f52")
OVERLAP_MS = 86_400_000
OVERLAP_MS_MAX = 7 * 86_400_000
LETTERS_MAX = 500

Url = Annotated[str, Meta(min_length=1, max_length=URL_LENGTH_MAX)]
Types = Annotated[list[str], Meta(max_length=len(TYPES))]


class CreateWebhook(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/webhooks`. No types: all."""

    url: Url
    types: Types = []


class ChangeWebhook(Struct, forbid_unknown_fields=True):
    """Body of `PATCH /v1/webhooks/{id}`: what is in it replaces what was."""

    url: Url | UnsetType = UNSET
    types: Types | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


class ChangeSecret(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/webhooks/{id}/secret`; it may be missing."""

    overlap_ms: Annotated[int, Meta(ge=0, le=OVERLAP_MS_MAX)] = OVERLAP_MS
    """How long is signed with the old secret too."""


class WebhookDocument(Struct, kw_only=True):
    """An endpoint, and how it goes."""

    webhook_id: str
    division_id: str
    url: str
    types: list[str]
    is_enabled: bool
    created_at_ms: int
    delivered_count: int
    failed_count: int
    """Attempts in vain."""
    waiting_count: int
    """Read and not delivered yet, as of the last half second or so."""
    dead_letters_count: int
    dropped_count: int
    """Dead letters that made room for later ones: these are lost."""
    failing_since_ms: int | None
    last_failure: str
    delivered_at_ms: int | None
    secret: str | UnsetType = UNSET
    """Only where it was made just now."""


class WebhookList(Struct):
    webhooks: list[WebhookDocument]


class DeadLetterDocument(Struct):
    """An event that was given up."""

    event_id: str
    type: str
    call_id: str
    given_up_at_ms: int
    failure: str
    is_wanted: bool
    """It is being sent once more."""


class DeadLetterList(Struct):
    """The oldest first."""

    dead_letters: list[DeadLetterDocument]
    is_cut: bool
    """There are more."""


class LettersCount(Struct):
    letters_count: int


async def create_webhook(asked: Asked) -> WebhookDocument:
    """Its events begin now. The answer has the secret, and is the only one that does."""
    speaker, body = asked.speaker, asked.body
    book = _book(speaker)
    _check(speaker, body.url, body.types)
    division_id = speaker.division_id
    name = f"{division_id}\n{speaker.identity.principal}\n{asked.command_id}"
    endpoint_id = str(uuid.uuid5(NAMESPACE, name))
    known = await speaker.within_time(book.endpoint(endpoint_id))
    if known is not None:
        if (known.url, known.types) != (body.url, body.types):
            raise Refused("key_reused", "another endpoint was registered under this key")
        return await _document(speaker, known, known.secrets[0])
    page: EventsPage = await speaker.within_time(speaker.hall.ask_follower(ReadEvents(division_id, None, 1)))
    secret = new_secret()
    endpoint = Endpoint(endpoint_id, division_id, body.url, body.types, [secret], _now_ms())
    try:
        await speaker.within_time(book.put(endpoint, page.end))
    except TooManyEndpoints:
        raise Refused("too_many_webhooks", "remove one first") from None
    return await _document(speaker, endpoint, secret)


async def list_webhooks(asked: Asked) -> WebhookList:
    """Of the token's division, without their secrets."""
    speaker = asked.speaker
    book = _book(speaker)
    own = [one for one in await speaker.within_time(book.endpoints()) if one.division_id == speaker.division_id]
    progress = await speaker.within_time(book.progress())
    counts = await speaker.within_time(book.dead_counts([one.id for one in own]))
    return WebhookList([_drawn(one, progress.get(one.id), count) for one, count in zip(own, counts, strict=True)])


async def show_webhook(asked: Asked) -> WebhookDocument:
    """Without its secret."""
    return await _document(asked.speaker, await _own(asked))


async def change_webhook(asked: Asked) -> WebhookDocument:
    """Holds within a second. While it is not enabled nothing is sent, and its place stays."""
    endpoint, body = await _own(asked), asked.body
    changes = {name: value for name, value in structs.asdict(body).items() if value is not UNSET}
    changed: Endpoint = structs.replace(endpoint, **changes)
    _check(asked.speaker, changed.url, changed.types)
    await asked.speaker.within_time(_book(asked.speaker).put(changed))
    return await _document(asked.speaker, changed)


async def remove_webhook(asked: Asked) -> Any:
    """With its place and its dead letters: what was not delivered stays in the calls' histories alone."""
    endpoint = await _own(asked)
    await asked.speaker.within_time(_book(asked.speaker).remove(endpoint.id))
    return {}


async def change_secret(asked: Asked) -> WebhookDocument:
    """Both are signed with for `overlap_ms`; the one before the last ends at once. The answer has the new secret."""
    endpoint, now_ms = await _own(asked), _now_ms()
    overlap_ms = asked.body.overlap_ms if asked.body is not None else OVERLAP_MS
    if endpoint.secret_by == asked.command_id:
        return await _document(asked.speaker, endpoint, endpoint.secrets[0])
    kept = [Secret(one.key, now_ms + overlap_ms) for one in endpoint.secrets[:1] if overlap_ms]
    secret = new_secret()
    endpoint.secrets = [secret, *kept][:SECRETS_MAX]
    endpoint.secret_by = asked.command_id
    await asked.speaker.within_time(_book(asked.speaker).put(endpoint))
    return await _document(asked.speaker, endpoint, secret)


async def list_dead_letters(asked: Asked) -> DeadLetterList:
    """What was given up, the oldest first."""
    letters = await _letters(asked)
    return DeadLetterList([_letter(one) for one in letters[:LETTERS_MAX]], len(letters) > LETTERS_MAX)


async def redeliver_dead_letters(asked: Asked) -> LettersCount:
    """All are tried once more, in their order; what fails again stays a dead letter."""
    letters = await _letters(asked)
    await asked.speaker.within_time(_book(asked.speaker).want_again(asked.path["id"], letters))
    return LettersCount(len(letters))


async def discard_dead_letters(asked: Asked) -> LettersCount:
    """None of them will be sent."""
    letters = await _letters(asked)
    await asked.speaker.within_time(_book(asked.speaker).unbury(asked.path["id"], letters))
    return LettersCount(len(letters))


# -- parts of these


def _book(speaker: Speaker) -> WebhookBook:
    if speaker.hall.webhooks is None:
        raise Refused("not_ready", "this hall has no store")
    return speaker.hall.webhooks


async def _own(asked: Asked) -> Endpoint:
    """The endpoint of the path, if it is of the token's division; raises `Refused`."""
    endpoint = await asked.speaker.within_time(_book(asked.speaker).endpoint(asked.path["id"]))
    if endpoint is None or endpoint.division_id != asked.speaker.division_id:
        raise Refused("not_found", "no such webhook")
    return endpoint


async def _letters(asked: Asked) -> list[DeadLetter]:
    endpoint = await _own(asked)
    return await asked.speaker.within_time(_book(asked.speaker).dead_letters(endpoint.id))


def _check(speaker: Speaker, url: str, types: list[str]) -> None:
    problem = url_problem(url, speaker.services.settings.webhook_urls)
    if problem:
        raise Refused("bad_value", f"url: {problem}")
    unknown = [one for one in types if one not in TYPES]
    if unknown:
        raise Refused("bad_value", f"types: unknown are {', '.join(unknown)[:400]}")


async def _document(speaker: Speaker, endpoint: Endpoint, secret: Secret | None = None) -> WebhookDocument:
    book = _book(speaker)
    progress = await speaker.within_time(book.progress())
    [count] = await speaker.within_time(book.dead_counts([endpoint.id]))
    document = _drawn(endpoint, progress.get(endpoint.id), count)
    if secret is not None:
        document.secret = shown(secret)
    return document


def _drawn(endpoint: Endpoint, progress: Progress | None, dead_letters_count: int) -> WebhookDocument:
    found = progress or Progress((0, -1))
    return WebhookDocument(
        webhook_id=endpoint.id,
        division_id=endpoint.division_id,
        url=endpoint.url,
        types=endpoint.types,
        is_enabled=endpoint.is_enabled,
        created_at_ms=endpoint.created_at_ms,
        delivered_count=found.delivered_count,
        failed_count=found.failed_count,
        waiting_count=found.waiting_count,
        dead_letters_count=dead_letters_count,
        dropped_count=found.dropped_count,
        failing_since_ms=found.failing_since_ms or None,
        last_failure=found.last_failure if found.failing_since_ms else "",
        delivered_at_ms=found.delivered_at_ms or None,
    )


def _letter(one: DeadLetter) -> DeadLetterDocument:
    return DeadLetterDocument(one.event_id, one.type, one.call_id, one.given_up_at_ms, one.failure, one.is_wanted)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/v1/webhooks",
        handler=create_webhook,
        summary="Register an endpoint that is told of what happens to calls",
        roles=("operator",),
        whose="division",
        body=CreateWebhook,
        answer=WebhookDocument,
        status=201,
        location="/v1/webhooks/{webhook_id}",
    ),
    Operation(
        method="GET",
        path="/v1/webhooks",
        handler=list_webhooks,
        summary="All endpoints, and how they go",
        roles=("operator",),
        whose="division",
        answer=WebhookList,
    ),
    Operation(
        method="GET",
        path="/v1/webhooks/{id}",
        handler=show_webhook,
        summary="An endpoint, and how it goes",
        roles=("operator",),
        whose="division",
        answer=WebhookDocument,
    ),
    Operation(
        method="PATCH",
        path="/v1/webhooks/{id}",
        handler=change_webhook,
        summary="Change where an endpoint is, what it hears of, or whether anything is sent",
        roles=("operator",),
        whose="division",
        body=ChangeWebhook,
        answer=WebhookDocument,
    ),
    Operation(
        method="DELETE",
        path="/v1/webhooks/{id}",
        handler=remove_webhook,
        summary="Remove an endpoint",
        roles=("operator",),
        whose="division",
        answer=Nothing,
    ),
    Operation(
        method="POST",
        path="/v1/webhooks/{id}/secret",
        handler=change_secret,
        summary="Make a new secret; the old one fits for a while",
        roles=("operator",),
        whose="division",
        body=ChangeSecret,
        is_body_optional=True,
        answer=WebhookDocument,
    ),
    Operation(
        method="GET",
        path="/v1/webhooks/{id}/dead-letters",
        handler=list_dead_letters,
        summary="Events that were given up",
        roles=("operator",),
        whose="division",
        answer=DeadLetterList,
    ),
    Operation(
        method="POST",
        path="/v1/webhooks/{id}/dead-letters/redelivery",
        handler=redeliver_dead_letters,
        summary="Send once more what was given up",
        roles=("operator",),
        whose="division",
        answer=LettersCount,
    ),
    Operation(
        method="DELETE",
        path="/v1/webhooks/{id}/dead-letters",
        handler=discard_dead_letters,
        summary="Forget what was given up",
        roles=("operator",),
        whose="division",
        answer=LettersCount,
    ),
)
