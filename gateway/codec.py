"""Bytes to messages and back, by subprotocol: JSON in text frames, MessagePack in binary frames.

Rules: whatever a client sends becomes a typed value or a `Refused` with a reason, never another exception. Decoders and
encoders are made once; they hold no state between messages.

Not here: frames and sockets (`gateway/connection.py`), the types themselves (`gateway/messages.py`).
"""

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from dispatch.model import KEY_PREFIX
from gateway.client_fields import Envelope, FromClient
from gateway.client_messages import ALL_CLIENT_TYPES, CLIENT_TYPES
from gateway.messages import Outgoing
from gateway.refusals import Refused

JSON_SUBPROTOCOL = "tellerhall.v1.json"
MSGPACK_SUBPROTOCOL = "tellerhall.v1.msgpack"


class _Decoder(Protocol):
    def decode(self, payload: bytes, /) -> Any: ...


class _IdOnly(Struct):
    """Just enough of a broken envelope to tell its sender which message was broken."""

    id: str = ""


class Codec:
    """One subprotocol. `is_text` says which frame type it uses."""

    def __init__(self, name: str, is_text: bool) -> None:
        self.name = name
        self.is_text = is_text
        kind: Any = msgspec.json if is_text else msgspec.msgpack
        self._encode = kind.Encoder().encode
        self._envelope: _Decoder = kind.Decoder(Envelope)
        self._id_only: _Decoder = kind.Decoder(_IdOnly)
        self._data: dict[type[FromClient], _Decoder] = {
            one: kind.Decoder(one) for types in CLIENT_TYPES.values() for one in types.values()
        }
        self._nothing: bytes = self._encode({})

    def encode(self, message: Outgoing) -> bytes:
        """Return the payload of one frame."""
        payload: bytes = self._encode(message)
        return payload

    def envelope(self, payload: bytes) -> Envelope:
        """Read who and what; raises `Refused` (`malformed`, `bad_value`) whose `re` is the id where one could be read."""
        try:
            envelope: Envelope = self._envelope.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused("malformed", str(error), re=self._id_of(payload)) from None
        if envelope.id.startswith(KEY_PREFIX):
            # Remembered for a day, and more are then refused: only who calls REST may fill that.
            raise Refused("bad_value", f"an id does not begin with {KEY_PREFIX}", re=envelope.id)
        return envelope

    def data(self, envelope: Envelope, role: str) -> FromClient:
        """Read the data of `envelope` as `role` may send it; raises `Refused`."""
        expected = CLIENT_TYPES[role].get(envelope.type)
        if expected is None:
            if envelope.type in ALL_CLIENT_TYPES:
                raise Refused("wrong_role", f"{envelope.type} is not for the role {role}", re=envelope.id)
            raise Refused("unknown_type", envelope.type, re=envelope.id)
        try:
            data: FromClient = self._data[expected].decode(bytes(envelope.data) or self._nothing)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused("bad_value", str(error), re=envelope.id) from None
        return data

    def _id_of(self, payload: bytes) -> str:
        try:
            found: str = self._id_only.decode(payload).id
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
        return found[:64]


CODECS = {
    JSON_SUBPROTOCOL: Codec(JSON_SUBPROTOCOL, is_text=True),
    MSGPACK_SUBPROTOCOL: Codec(MSGPACK_SUBPROTOCOL, is_text=False),
}
