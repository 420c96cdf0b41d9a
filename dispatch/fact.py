"""The base of all events: a fact and its instant. The events themselves stand in `events` and the files it names."""

from msgspec import Struct


class Fact(Struct, array_like=True, gc=False, frozen=True):
    """Something that happened in a division."""

    at_ms: int
    """The engine's instant of the fact, ms since the Unix epoch."""
