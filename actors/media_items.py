"""What travels in a batch to a media worker, and what comes back."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from actors.items import ReadPart


class OpenRoomOrder(Struct, array_like=True, tag="open"):
    call_id: str
    attempt: int
    parties: list[str]
    recording: str
    business_reference: str
    division_id: str
    queue_id: str
    traceparent: str = ""
    """Of the request that the call began with (`tracing`)."""


class CloseRoomOrder(Struct, array_like=True, tag="close"):
    call_id: str
    attempt: int


class SdpOffer(Struct, array_like=True, tag="offer"):
    call_id: str
    attempt: int
    party: str
    sdp: str


MediaItem = OpenRoomOrder | CloseRoomOrder | SdpOffer | ReadPart


class MediaAnswer(Struct, array_like=True):
    reason: str = ""
    """Empty: done."""
    sdp: str = ""


_items_decoder: msgspec.msgpack.Decoder[list[MediaItem]] = msgspec.msgpack.Decoder(list[MediaItem])
_answer_decoder: msgspec.msgpack.Decoder[MediaAnswer] = msgspec.msgpack.Decoder(MediaAnswer)


def decode_media_items(payload: bytes) -> list[Any]:
    return _items_decoder.decode(payload)


def decode_media_answer(body: Raw) -> MediaAnswer:
    return _answer_decoder.decode(body)
