"""Carries calls, and the news of their end, from one division's shard to another's, and the answers back.

What is to be carried is an effect of the origin's engine, derived from its state: an errand that is lost with its shard is
given out again by the successor. So nothing here is durable, and all may happen twice; (call, version) tells repeats apart.

Rules
- One errand a call: a later version takes the place of the one before it, whose answer counts no more. It goes through the
  same mailbox, so it never overtakes.
- Only a final answer goes back to the origin's engine. Anything else (no owner, a stalled store, `hand_overs_full`) is asked
  again, with a growing pause, for `ERRAND_S`; the engine's own deadline is shorter, and sends a later version.
- A hang-up for a call that has gone on from the target follows it, over `HOPS_MAX` divisions.
- Bound: `ERRANDS_MAX` at once; one more is left out by name, and the engine's deadline is its way out.

Not here: what is said (`dispatch/handing.py`), letters and batches (`mailbox`).
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from actors.directory import Owner
from actors.items import HallUnavailable, Submit, decode_answer
from actors.mailbox import Mailbox, Peer, PeerGone
from actors.network import Network
from actors.store_client import StoreUnavailable
from actors.tracing import CALLS
from dispatch.commands import (
    AdmitHandOver,
    Command,
    EndHandedCall,
    HangUp,
    ReportEndTold,
    ReportHandOver,
    RevokeHandOver,
)
from dispatch.effects import Carried, HandOver, Reply, TakeBack, TellEnd
from dispatch.handing import MOVED
from dispatch.handing_facts import HOPS_MAX, UNTOLD_MS

ERRANDS_MAX = 20_000
"""As many as a mailbox takes letters; a hall hands over some calls a second, each for some milliseconds."""
ERRAND_S = UNTOLD_MS / 1_000
"""As long as an ended call waits at least for its origin to know."""
RETRY_FIRST_S = 0.05
RETRY_MAX_S = 2.0
UNKNOWN_DIVISION = "unknown_division"
"""Nobody ever owned it, so nobody can have admitted a call there: the one final answer that no engine gave."""

ReadOwner = Callable[[str], Awaitable[Owner | None]]
"""Who owned the division last; None: nobody ever did. Raises StoreUnavailable."""
Key = tuple[str, str, int]
"""(origin, call id, version of the end that is told, or 0)."""

log = structlog.get_logger()


class Courier:
    """Belongs to one shard. `take` never blocks and never raises."""

    def __init__(self, network: Network, read_owner: ReadOwner, submit: Callable[[str, Command], None]) -> None:
        """`submit` puts a report into the shard's own inbox."""
        self._network = network
        self._read_owner = read_owner
        self._submit = submit
        self._errands: dict[Key, tuple[int, asyncio.Task[None]]] = {}
        """With the version that is under way."""
        self._mailboxes: dict[str, Mailbox] = {}
        """By target; bounded by the divisions that ever had an owner."""

    def __repr__(self) -> str:
        return f"<Courier errands={len(self._errands)} targets={list(self._mailboxes)}>"

    def __len__(self) -> int:
        return len(self._errands)

    def take(self, division_id: str, errand: Carried) -> None:
        """Begin an errand of a division; one that is under way already goes on, an older version of it is over."""
        key, version = key_of(division_id, errand)
        under_way = self._errands.get(key)
        if under_way is not None:
            if under_way[0] >= version:
                return
            under_way[1].cancel()
        elif len(self._errands) >= ERRANDS_MAX:
            log.error("errand.left_out", division=division_id, call=key[1], to=errand.to_division)
            return
        task = asyncio.create_task(self._run(division_id, errand))
        self._errands[key] = (version, task)
        task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: Key, task: "asyncio.Task[None]") -> None:
        if key in self._errands and self._errands[key][1] is task:
            del self._errands[key]

    def drop(self, division_id: str) -> None:
        """The origin lives elsewhere: its next owner gives out what is still owed."""
        for key, (_, task) in self._errands.items():
            if key[0] == division_id:
                task.cancel()

    async def close(self) -> None:
        tasks = [task for _, task in self._errands.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(mailbox.close() for mailbox in self._mailboxes.values()))
        self._mailboxes.clear()

    async def _run(self, division_id: str, errand: Carried) -> None:
        loop, pause_s = asyncio.get_running_loop(), RETRY_FIRST_S
        until_s = loop.time() + ERRAND_S
        while loop.time() < until_s:
            answer = await self._ask(errand.to_division, command_of(errand))
            if answer is not None and answer.reason == MOVED and isinstance(errand, TakeBack):
                answer = await self._follow(errand, answer)
            if answer is not None and is_final(answer):
                self._submit(division_id, report_of(errand, answer))
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)
        log.error("errand.given_up", division=division_id, to=errand.to_division, errand=type(errand).__name__)

    async def _follow(self, errand: TakeBack, moved: Reply) -> Reply | None:
        """The target had the call and handed it on: end it where it is. Answers as the target does once that is done."""
        value = moved.value or {}
        division_id = value["division_id"]
        for _ in range(HOPS_MAX):
            answer = await self._ask(division_id, HangUp(errand.call_id, errand.reason))
            if answer is None:
                return None
            if answer.reason != MOVED:
                return Reply("", {"seq": value.get("seq", 0)})
            division_id = (answer.value or {})["division_id"]
        return None

    async def _ask(self, division_id: str, command: Command) -> Reply | None:
        """The division's durable answer; None: nobody knows."""
        try:
            mailbox = self._mailboxes.get(division_id)
            if mailbox is None:
                if await self._read_owner(division_id) is None:
                    return Reply(UNKNOWN_DIVISION, {"is_final": True})
                # Another errand may have met it meanwhile.
                mailbox = self._mailboxes.setdefault(
                    division_id, self._mailboxes.get(division_id) or self._new(division_id)
                )
            answer: Reply = decode_answer(
                Submit, await mailbox.send(Submit(division_id, command, traceparent_of(command)))
            )
        except (HallUnavailable, StoreUnavailable) as error:
            log.info("errand.not_answered", to=division_id, reason=error.reason)
            return None
        return answer

    def _new(self, division_id: str) -> Mailbox:
        async def resolve() -> Peer:
            try:
                owner = await self._read_owner(division_id)
            except StoreUnavailable as error:
                raise PeerGone(f"the directory does not answer: {error.reason}") from error
            if owner is None:
                raise PeerGone(f"nobody owns {division_id}")
            return await self._network.peer(owner.actor_name)

        return Mailbox(division_id, resolve)


def traceparent_of(command: Command) -> str:
    """A call that is handed over stays in the trace that it began with."""
    return CALLS.of(command.call.call_id) if isinstance(command, AdmitHandOver) else ""


def key_of(division_id: str, errand: Carried) -> tuple[Key, int]:
    """What the errand is about, and its version."""
    if isinstance(errand, HandOver):
        return (division_id, errand.call.call_id, 0), errand.call.version
    if isinstance(errand, TakeBack):
        return (division_id, errand.call_id, 0), errand.version
    return (division_id, errand.call_id, errand.version), errand.version


def command_of(errand: Carried) -> Command:
    """What the target is asked to do."""
    if isinstance(errand, HandOver):
        return AdmitHandOver(errand.call)
    if isinstance(errand, TakeBack):
        return RevokeHandOver(
            errand.call_id, errand.version, errand.from_division, errand.valid_until_ms, errand.reason
        )
    return EndHandedCall(errand.call_id, errand.version, errand.reason)


def is_final(answer: Reply) -> bool:
    """Will every repeat be answered so?"""
    return answer.is_accepted or bool((answer.value or {}).get("is_final"))


def report_of(errand: Carried, answer: Reply) -> Command:
    """What the origin's engine is told of a final answer."""
    if isinstance(errand, TellEnd):
        return ReportEndTold(errand.call_id, errand.version)
    call_id, version = (
        (errand.call.call_id, errand.call.version) if isinstance(errand, HandOver) else (errand.call_id, errand.version)
    )
    return ReportHandOver(call_id, version, answer.reason, (answer.value or {}).get("seq", 0))
