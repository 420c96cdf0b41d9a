"""What crosses from one division to another with a call, and what each of the two remembers of it.

Plain records without rules: the origin's decisions stand in `dispatch/handing.py` and `dispatch/handing_back.py`, the
target's in `dispatch/handing_in.py`. `HandedCall` is part of the durable format: new fields only at the end, with a default.
"""

from msgspec import Struct

from dispatch.wishes import Wishes

HOPS_MAX = 4
"""Hand-overs of one call (SAFETY.md 14); one more is refused as `too_many_hops`."""
VERSIONS = 4
"""Versions of one hand-over: the call itself, then what is sent after it (taken back, hung up), each higher than before."""
VALID_MS_MAX = 900_000
"""A target remembers a hand-over until it can no longer be admitted; one that is valid for longer is not even looked at."""
HANDED_IN_MAX = 100_000
"""Hand-overs that a division remembers as their target; one more has to wait: `hand_overs_full`."""
COUNT_MAX = 1 << 31
"""No count of a call comes near it."""
VISITED_MAX = 32
"""Queues that a call names as visited: each division adds at most four, and the one that it leaves."""
FORWARDING_MS = 86_400_000
"""How long a division says where a call went on if the target never tells its end: no call of a bank lasts a day."""
UNTOLD_MS = 1_800_000
"""How long a target remembers an ended call at least whose origin does not know of the end. Whoever asks later than that about
a hand-over that is not known here gets no final answer: it may have been admitted, ended and forgotten."""
ARRIVAL_MS_MIN = 10_000
"""How long a connected customer has at least to come to the new division, however short the reconnect grace is."""


class HandedCall(Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """The facts of a call that another division is to admit."""

    call_id: str
    customer_id: str
    queue_id: str
    """The queue that is asked for, in the target."""
    from_division: str
    version: int
    """Of this hand-over; only grows along the whole way of a call."""
    valid_until_ms: int
    """Afterwards it must not be admitted any more."""
    hops: int
    """Hand-overs, this one included."""
    queued_at_ms: int
    credit_ms: int = 0
    """Priority; -1: the target queue's `transfer_credit_ms`."""
    is_absolute: bool = False
    business_reference: str = ""
    is_consented: bool = False
    wishes: Wishes | None = None
    """Without anything that names agents: the same id is another person there."""
    visited: tuple[str, ...] = ()
    """Queues it was in, each as `division/queue`: an overflow never leads back."""
    cause: str = ""
    """Which limit sent it on, or `transferred`."""
    attempt: int = 0
    room_attempt: int = 0
    """Of reservations and rooms so far: their numbers go on, since rooms and recordings are named by them."""
    requeued_count: int = 0
    seq: int = -1
    """The customer's last event number; -1: the customer is not connected, so there is nobody to wait for."""
    script_count: int = 0
    """Of steps shown so far: their numbers go on."""


class Handing(Struct, array_like=True, frozen=True, gc=False):
    """A call's way to another division, as its origin remembers it until the call has ended there."""

    to_division: str
    queue_id: str
    version: int
    """Of what was sent last."""
    until_ms: int
    """By when the answer must be there; once handed over: until when it is said where the call went on."""
    valid_until_ms: int
    cause: str
    credit_ms: int
    is_revoked: bool = False
    """Asked back, or hung up: the target has been told so."""
    reason: str = ""
    """Why the call is to end whoever has it; empty: it need not."""

    @property
    def address(self) -> str:
        """`division/queue`."""
        return f"{self.to_division}/{self.queue_id}"


class HandedIn(Struct, array_like=True, frozen=True, gc=False):
    """What a target once answered, for repeats: a tombstone where `reason` is not empty."""

    version: int
    reason: str
    """Empty: admitted."""
    until_ms: int
    seq: int = 0
    """Where the customer's event numbers go on."""


def number_of(version: int) -> int:
    """Which hand-over of the call a version belongs to, from 1."""
    return version // VERSIONS


def split_address(address: str, own_division: str) -> tuple[str, str]:
    """`division/queue` or `queue` as (division, queue); the division is empty where it is the own one."""
    division, _, queue_id = address.rpartition("/")
    return ("" if division == own_division else division), queue_id
