"""What travels in a batch to a media worker, and what comes back."""

from typing import Any, Literal

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
    flow: Literal["both", "up", "down"] = "both"
    """What of the party's media goes over this link: `up` is a WHIP session, `down` a WHEP one."""


class Candidates(Struct, array_like=True, tag="candidates"):
    """Addresses that a party trickles for one of its links; for the newest, where `link_id` is empty."""

    call_id: str
    attempt: int
    party: str
    texts: list[str]
    from_address: str
    """Where the party's connection to the gateway comes from: the only address that is checked."""
    link_id: str = ""
    ufrag: str = ""


class LeaveOrder(Struct, array_like=True, tag="leave"):
    """A party ends one of its links, or all where `link_id` is empty. Its place in the room stays."""

    call_id: str
    attempt: int
    party: str
    link_id: str = ""


MediaItem = OpenRoomOrder | CloseRoomOrder | SdpOffer | Candidates | LeaveOrder | ReadPart


class MediaAnswer(Struct, array_like=True):
    reason: str = ""
    """Empty: done."""
    sdp: str = ""
    link_id: str = ""


_items_decoder: msgspec.msgpack.Decoder[list[MediaItem]] = msgspec.msgpack.Decoder(list[MediaItem])
_answer_decoder: msgspec.msgpack.Decoder[MediaAnswer] = msgspec.msgpack.Decoder(MediaAnswer)


def decode_media_items(payload: bytes) -> list[Any]:
    return _items_decoder.decode(payload)


def decode_media_answer(body: Raw) -> MediaAnswer:
    return _answer_decoder.decode(body)
