"""What a division remembers of each call, agent and client. Plain records: only `dispatch/folding.py` changes them.

They are msgspec structs so that a snapshot is their plain encoding. What can be derived (waiting lines, pools of
idle agents, timers) is not here but in `dispatch/state.py`, rebuilt after a restore.
"""

from typing import Final

from msgspec import Struct, field

from dispatch import lifecycle as lc
from dispatch.events import Event
from dispatch.handing_facts import Handing
from dispatch.waiting import key_of
from dispatch.wishes import Favourite, Wishes

KEPT_EVENTS_MAX = 256
"""Events kept per client for a resume (SAFETY.md 10)."""
KEPT_EVENTS_MS = 900_000
"""And for how long: 27,000 agents with 256 events each would be over 1 GB; who was away for longer gets a snapshot."""
ANSWERS_MAX = 64
"""Answers kept per connected principal (SAFETY.md 6)."""
KEY_RETENTION_MS: Final = 86_400_000
"""REST idempotency keys are answered for 24 h (SAFETY.md 6)."""
KEY_PREFIX: Final = "key:"
"""Command ids that start so are REST idempotency keys."""


class Room(Struct, array_like=True, gc=False):
    """One media space of a call. A call has one that counts (`Call.room_attempt`) and some that are closing."""

    attempt: int
    state: str = lc.REQUESTED
    worker_id: str = ""
    worker_epoch: int = 0


class Reservation(Struct, array_like=True, gc=False):
    """An agent who is asked for a call and has not answered, or one of a joint pair who waits for the other."""

    id: str
    agent_id: str
    expires_at_ms: int
    cost_units: int
    """What the agent pays for it; fixed when reserved, so that a reload in between gives back the same."""
    role: str = "agent"
    """`agent` (owner to be), `expert`, `third` or `consult`."""
    agent_gone_until_ms: int = 0
    """When a disconnected agent's reservation is given back; 0 while connected."""
    is_accepted: bool = False
    """Joint need: this one has accepted already."""
    made_at_ms: int = 0
    rule: str = ""
    """Why this agent, for `explain`: as `CallReserved` has it."""
    key: int = 0
    runner_up_id: str = ""


class Party(Struct, array_like=True, gc=False, frozen=True):
    """A further agent in a call, beside its owner."""

    agent_id: str
    role: str
    cost_units: int


class ScriptStep(Struct, array_like=True, gc=False, frozen=True):
    """What the customer is shown."""

    number: int
    step_id: str
    text: str
    answers: tuple[str, ...]
    answer: str = ""
    """Empty: not answered yet."""

    def __repr__(self) -> str:
        return f"ScriptStep(number={self.number}, is_answered={bool(self.answer)})"


class Call(Struct, array_like=True, gc=False, kw_only=True):
    """One customer's contact, from request until it is forgotten."""

    id: str
    customer_id: str
    queue_id: str
    order: int
    """Admission number within the division: the last word between calls due at the same instant."""
    queued_at_ms: int
    due_at_ms: int
    business_reference: str
    is_consented: bool
    recording: str
    media: str
    state: str = lc.WAITING
    attempt: int = 0
    """Reservations made so far."""
    agent_id: str = ""
    """The owner: who talks (connecting, connected); after the end, who talked last; of an invited call who invited."""
    reservation_id: str = ""
    """The accepted one of the owner; empty before."""
    cost_units: int = 0
    """What the owner pays for it."""
    reservations: tuple[Reservation, ...] = ()
    """Who is asked now, oldest first. Rebound, never changed in place: most calls share the empty one."""
    parties: tuple[Party, ...] = ()
    media_until_ms: int = 0
    """By when the media must stand (connecting, or again after a loss); 0 when it stands."""
    refused_until_ms: dict[str, int] | None = None
    """Agent id -> until when that agent is not asked again for this call; `NEVER_MS`: excluded."""
    requeued_count: int = 0
    room_attempt: int = 0
    rooms: tuple[Room, ...] = ()
    joined: tuple[str, ...] = ()
    recording_parties: tuple[str, ...] = ()
    unsealed: tuple[int, ...] = ()
    """Attempts whose recording is not sealed yet."""
    is_customer_gone: bool = False
    connected_at_ms: int = 0
    ended_at_ms: int = 0
    end_reason: str = ""
    forget_at_ms: int = 0
    wishes: Wishes | None = None
    favourite: Favourite | None = None
    step: int = 0
    """Relaxation step that is open; 0: the queue's own need."""
    entered_at_ms: int = 0
    """Since when it waits in this queue, for `wait_ms_max`; 0: since `queued_at_ms`."""
    visited: tuple[str, ...] = ()
    """Queues it was in before: an overflow never leads back."""
    is_callback: bool = False
    """The customer need not be connected while it waits."""
    callback_count: int = 0
    """Callbacks that nobody answered."""
    not_before_ms: int = 0
    """Nobody is asked before (the next attempt of a callback); 0: at once."""
    held_agent_id: str = ""
    """Joint need: who is held until the other is free; empty: nobody."""
    held_until_ms: int = 0
    hold_not_before_ms: int = 0
    """Joint need: nobody is held again before."""
    invited_until_ms: int = 0
    on_hold_until_ms: int = 0
    """The customer is on hold until then at most; 0: not on hold."""
    supervisors: dict[str, str] | None = None
    """Supervisor id -> `monitor`, `whisper` or `barge`."""
    credit_ms: int = 0
    """Priority, as it is in `due_at_ms`."""
    is_absolute: bool = False
    handing: Handing | None = None
    """While another division is asked for it, or has it: which, and until when. Ended without an answer: whom to tell so."""
    version: int = 0
    """Of its latest hand-over; 0: there was none."""
    hops: int = 0
    """Divisions it went through before this one."""
    origins: tuple[tuple[str, int], ...] = ()
    """(division, version) of the hand-overs by which it came here; each is told when it has ended, and then taken out."""
    script_count: int = 0
    """Steps of scripts shown so far."""
    script_step: ScriptStep | None = None
    """The latest one, while the call talks to the agent who showed it, or who took over from that one."""

    @property
    def key(self) -> tuple[int, int]:
        """The one order key of waiting lines (ROUTING.md 3): absolute first, then who is due first, then who came first."""
        return key_of(self)[:2]

    def room(self) -> Room | None:
        """The room that counts, or None before the first accept and after a loss at the end."""
        for room in self.rooms:
            if room.attempt == self.room_attempt and room.state != lc.CLOSING:
                return room
        return None

    def reservation_of(self, agent_id: str) -> Reservation | None:
        """What this agent is asked for, or None."""
        for reservation in self.reservations:
            if reservation.agent_id == agent_id:
                return reservation
        return None

    def party_of(self, agent_id: str) -> Party | None:
        """What this agent is in the call beside its owner, or None."""
        for party in self.parties:
            if party.agent_id == agent_id:
                return party
        return None


class WrapUpWork(Struct, array_like=True, gc=False):
    """What an agent still has to do for a call that ended."""

    call_id: str
    kind: str
    started_at_ms: int
    until_ms: int
    cost_units: int
    queue_id: str = ""
    """Whose `wrap_up_ms_max` bounds an extension, even when the call has left memory."""


class Agent(Struct, array_like=True, gc=False, kw_only=True):
    """One employee: what the plan says, and what occupies the person now."""

    id: str
    order: int
    """Place in the plan: the last word between agents idle since the same instant."""
    name: str
    skills: dict[str, int]
    capacity_units: int
    activity: str = lc.OFFLINE
    reason: str = ""
    used_units: int = 0
    idle_since_ms: int = 0
    """Since the last wrap-up ended or since becoming ready first, whichever is later (ROUTING.md 2)."""
    not_before_ms: int = 0
    """No reservation before this instant (after a missed one)."""
    misses: int = 0
    """Reservations not answered, in a row; an answer and becoming ready reset it."""
    is_gone: bool = False
    """The connection dropped and its grace runs: not asked meanwhile."""
    is_retired: bool = False
    """No longer in the plan: finishes what runs, gets nothing new."""
    engagements: dict[str, str] = field(default_factory=dict)
    """Call id -> reserved, in_call or wrap_up."""
    wrap_ups: dict[str, WrapUpWork] = field(default_factory=dict)
    region: str = ""
    carrier: str = ""
    held_for_call_id: str = ""
    """The joint call for which this agent is held; empty: none."""
    reserved_order: int = 0
    """Number of this agent's latest reservation within the division: `round_robin`."""
    answered_count: int = 0
    """Calls accepted since sign-in: `fewest_calls`."""
    signed_in_at_ms: int = 0
    not_ready_since_ms: int = 0
    """0 while ready, or busy."""
    not_ready_ms: int = 0
    """Time not ready and not busy since sign-in, until the latest change."""
    busy_since_ms: int = 0
    """Since when there is a call or wrap-up; 0: there is none."""
    busy_ms: int = 0
    """Time with a call or wrap-up since sign-in, until the latest change."""
    missed_count: int = 0
    declined_count: int = 0
    busy_count: int = 0
    lost_count: int = 0
    """Reservations since sign-in that ended so: not answered, declined, busy elsewhere, connection lost (FreeSWITCH #152)."""
    occupancy_millionths: int = 0
    """Busy / (busy + ready) since sign-in as of the end of the latest work; before, 0: `least_occupied`."""


class Recipient(Struct, array_like=True, kw_only=True):
    """A client as the engine knows it: its event numbers and its connection."""

    id: str
    seq: int = 0
    """The last event's number. A new client begins after `State.forgotten_seq_max`."""
    kept: list[tuple[int, Event]] = field(default_factory=list)
    gateway_id: str = ""
    connection_id: str = ""
    grace_until_ms: int = 0
    """0 while connected, or when nothing waits for it to come back."""


class LastAgent(Struct, array_like=True, gc=False, frozen=True):
    """Whom a customer talked to last, and when that ended."""

    agent_id: str
    at_ms: int


class Pace(Struct, array_like=True, gc=False):
    """How fast a queue is answered, for `dispatch/estimate.py`."""

    answered_at_ms: int = 0
    gap_ms: int = 0
    """Smoothed time between two answers."""
    talk_ms: int = 0
    """Smoothed talk."""
    line_since_ms: int = 0
    """Since when somebody stands in the line, as far as not yet in `pending_ms`; 0: nobody does."""
    pending_ms: int = 0
    """Time with a line since the last call left it."""
    line_ms: int = 0
    """Time with a line until the last call left it, the older the less."""
    left_units: int = 0
    """Calls that left it in that time, the older the less, in `estimate.LEFT_UNIT`ths."""


class Remembered(Struct, array_like=True, gc=False, frozen=True):
    """The answer once given to a command."""

    reason: str
    value: bytes
    """MessagePack of the reply's value, empty for none: a dictionary would cost 200 bytes more, 60,000 times."""
    fingerprint: int
    at_ms: int
    id: str = ""
    """The command's, where answers are kept in a list by principal."""


def customer_recipient(customer_id: str) -> str:
    """The recipient (and principal) that a customer is."""
    return "customer:" + customer_id


def agent_recipient(agent_id: str) -> str:
    """The recipient (and principal) that an agent is."""
    return "agent:" + agent_id
