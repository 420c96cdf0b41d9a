"""What travels in a batch to a shard, and what comes back. MessagePack, typed; no pickled classes (SAFETY.md 7).

A batch is a list of items; the answer is a list of as many bodies, in the same order. Which type a body has follows from
its item, so bodies are decoded by the asker (`ANSWER_TYPES`).
"""

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from actors.archive_reading import EndedPage
from actors.history_items import DropHistory, EventsPage, HistoryItem, ReadEnded, ReadEvents, ReadReport, Report
from dispatch.commands import AdmitHandOver, Command, InviteCustomer, RequestCall
from dispatch.effects import Reply
from dispatch.events import Event
from dispatch.explanations import Explanation
from dispatch.plan import Plan
from dispatch.views import AgentView, CallView, PositionView, QueueView, SessionView


class Submit(Struct, array_like=True, tag="submit"):
    """A command for the division's engine. Answer: `Reply`, once durable."""

    division_id: str
    command: Command
    traceparent: str = ""
    """Of the request that it is part of (`tracing`); nothing decides by it."""


class Subscribe(Struct, array_like=True, tag="subscribe"):
    """Connect a client through a gateway and send it its events from `after` on. Answer: `Subscribed`."""

    division_id: str
    recipient: str
    connection_id: str
    gateway_id: str
    after: int | None
    """The client's last event number; None asks for a snapshot."""
    is_renewal: bool = False
    """The connection is an old one: where a newer one has taken its place, refuse as `replaced` instead of taking it back."""


class Unsubscribe(Struct, array_like=True, tag="unsubscribe"):
    """The connection is gone. Answer: `Reply`."""

    division_id: str
    recipient: str
    connection_id: str


class ReadCall(Struct, array_like=True, tag="call"):
    division_id: str
    call_id: str


class ReadAgent(Struct, array_like=True, tag="agent"):
    division_id: str
    agent_id: str


class ReadQueue(Struct, array_like=True, tag="queue"):
    division_id: str
    queue_id: str


class ReadQueues(Struct, array_like=True, tag="queues"):
    division_id: str


class ReadAgents(Struct, array_like=True, tag="agents"):
    division_id: str


class ReadCalls(Struct, array_like=True, tag="calls"):
    """Calls in these states, in the order in which they came to the division, at most `count_max` of them."""

    division_id: str
    states: list[str]
    count_max: int


class ReadCallsPage(Struct, array_like=True, tag="calls_page"):
    """As `ReadCalls`, after a place, of one queue or of all (empty). Answer: `CallsPage`."""

    division_id: str
    states: list[str]
    queue_id: str
    after: int
    """The place of the last call that was seen; it may have been forgotten meanwhile. 0: from the beginning."""
    count_max: int


class ReadExplanation(Struct, array_like=True, tag="explain"):
    """Why the call is where it is. Answer: `Explanation`, or nil once the division has forgotten it."""

    division_id: str
    call_id: str


class ReadPlan(Struct, array_like=True, tag="plan"):
    """What is configured. Answer: `PlanInForce`."""

    division_id: str


class ReadPositions(Struct, array_like=True, tag="positions"):
    division_id: str
    call_ids: list[str]


class WorkerHello(Struct, array_like=True, tag="worker"):
    """A media worker lives and holds these rooms. Answer: `Reply` with `disowned`: rooms to close (SAFETY.md 16)."""

    division_id: str
    worker_id: str
    worker_epoch: int
    rooms: list[tuple[str, int]]
    """(call id, attempt) of this division's rooms."""
    rooms_count: int
    """Rooms of all divisions."""
    rooms_max: int
    is_disk_low: bool = False
    """Where it would record, less is free than the floor (`disk`)."""


class ReadStatus(Struct, array_like=True, tag="status"):
    """Counts for operators. Answer: names to numbers and texts."""

    division_id: str


class LetGo(Struct, array_like=True, tag="let_go"):
    """Another shard takes the division: finish this turn and own it no more. Answer: `Reply` with `at_ms`, when that was.

    Refused as `owner_changed` unless it is owned under `epoch`: the word of a move that was given up must not end a later one.
    """

    division_id: str
    epoch: int


class TakeDivision(Struct, array_like=True, tag="take"):
    """The placement gives the division to this shard's slot. Answer: `Reply` once it serves, or why it does not."""

    division_id: str


class ReadHistory(Struct, array_like=True, tag="history"):
    """For the follower: all events of a call, also of one that left the engine's memory long ago."""

    division_id: str
    call_id: str


class ReadPart(Struct, array_like=True, tag="part"):
    """For a part that is no shard (follower, media worker): what it says of itself. Answer: names to values."""


class Drain(Struct, array_like=True, tag="drain"):
    """For a gateway: send its clients to the others and end; a successor takes its slot. Answer: how many clients it had."""


_BEGINNINGS = (RequestCall, InviteCustomer, AdmitHandOver)
Read = (
    ReadStatus
    | ReadCall
    | ReadAgent
    | ReadQueue
    | ReadQueues
    | ReadAgents
    | ReadCalls
    | ReadCallsPage
    | ReadPositions
    | ReadExplanation
    | ReadPlan
)
Item = Submit | Subscribe | Unsubscribe | WorkerHello | LetGo | TakeDivision | Read


def begins_call(item: Any) -> bool:
    """Would it bring one more call in? Under overload these are refused first, so that calls in progress come to their end."""
    return type(item) is Submit and type(item.command) in _BEGINNINGS


class Notice(Struct, array_like=True):
    """`event` as number `seq` of `recipient`."""

    recipient: str
    seq: int
    event: Event


class Subscribed(Struct, array_like=True):
    kind: Literal["welcome", "resumed", "reset", "refused"]
    seq: int
    session: SessionView | None
    missed: list[Notice]
    reason: str = ""
    epoch: int = 0
    """Under which the shard that answered owns the division: only that one tells the client anything."""


class CallsPage(Struct, array_like=True):
    """Some calls, and the place to go on after; None: that was all."""

    calls: list[CallView]
    next: int | None


class PlanInForce(Struct, array_like=True):
    """What is configured in a division now."""

    plan: Plan
    digest: str
    """As `ApplyPlan` gave it."""


class Polled(Struct, array_like=True):
    """Answer to a poll: notices up to `cursor`. `is_lost`: some were dropped, subscribe again."""

    cursor: int
    notices: list[Notice]
    is_lost: bool = False
    epoch: int = 0
    """Under which the shard that was polled owns the division."""


ANSWER_TYPES: dict[type[Any], Any] = {
    Submit: Reply,
    Subscribe: Subscribed,
    Unsubscribe: Reply,
    WorkerHello: Reply,
    LetGo: Reply,
    TakeDivision: Reply,
    ReadCall: CallView | None,
    ReadAgent: AgentView | None,
    ReadQueue: QueueView | None,
    ReadQueues: list[QueueView],
    ReadAgents: list[AgentView],
    ReadCalls: list[CallView],
    ReadCallsPage: CallsPage,
    ReadPositions: list[PositionView],
    ReadExplanation: Explanation | None,
    ReadPlan: PlanInForce,
    ReadStatus: dict[str, Any],
    ReadHistory: list[Event],
    ReadPart: dict[str, Any],
    Drain: int,
    ReadReport: Report,
    ReadEnded: EndedPage,
    ReadEvents: EventsPage,
    DropHistory: list[str],
}

_REFUSAL_HEAD = b"\x81"
"""A map of one pair; every answer proper is an array, nil or a map of more."""


class HallUnavailable(Exception):
    """What was asked may or may not happen: repeat it with the same id. `retry_after_ms` says when."""

    def __init__(self, reason: str, retry_after_ms: int = 1_000) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_ms = retry_after_ms

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reason, self.retry_after_ms))


_refusal_decoder: msgspec.msgpack.Decoder[dict[str, str]] = msgspec.msgpack.Decoder(dict[str, str])
_encoder = msgspec.msgpack.Encoder()
_items_decoder: msgspec.msgpack.Decoder[list[Item]] = msgspec.msgpack.Decoder(list[Item])
_bodies_decoder: msgspec.msgpack.Decoder[list[Raw]] = msgspec.msgpack.Decoder(list[Raw])
_answer_decoders = {item: msgspec.msgpack.Decoder(answer) for item, answer in ANSWER_TYPES.items()}
_polled_decoder: msgspec.msgpack.Decoder[Polled] = msgspec.msgpack.Decoder(Polled)


FollowerItem = ReadHistory | ReadPart | HistoryItem
_follower_decoder: msgspec.msgpack.Decoder[list[FollowerItem]] = msgspec.msgpack.Decoder(list[FollowerItem])


GatewayItem = ReadPart | Drain
_gateway_decoder: msgspec.msgpack.Decoder[list[GatewayItem]] = msgspec.msgpack.Decoder(list[GatewayItem])


def decode_gateway_items(payload: bytes) -> list[GatewayItem]:
    return _gateway_decoder.decode(payload)


def decode_follower_items(payload: bytes) -> list[FollowerItem]:
    return _follower_decoder.decode(payload)


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def encode_array(bodies: list[bytes]) -> bytes:
    """An array of values that are encoded already."""
    count = len(bodies)
    if count < 16:
        head = bytes([0x90 | count])
    elif count < 65_536:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return b"".join([head, *bodies])


def decode_items(payload: bytes) -> list[Item]:
    return _items_decoder.decode(payload)


def decode_bodies(payload: bytes) -> list[Raw]:
    return _bodies_decoder.decode(payload)


def encode_refusal(reason: str) -> bytes:
    """An item that was never stepped: no answer of its type, but why not."""
    return _encoder.encode({"refused": reason})


NOT_OWNER = encode_refusal("not_owner")
"""The answer to an item whose division lives elsewhere: not carried out here; its sender looks again and sends it there."""


def decode_answer(item_type: type[Any], body: Raw | bytes) -> Any:
    """Return the item's typed answer. Raises HallUnavailable where the item was refused unstepped."""
    if bytes(memoryview(body)[:1]) == _REFUSAL_HEAD:
        raise HallUnavailable(_refusal_decoder.decode(body)["refused"])
    return _answer_decoders[item_type].decode(body)


def decode_polled(payload: bytes) -> Polled:
    return _polled_decoder.decode(payload)
