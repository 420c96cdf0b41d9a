"""The lease: proof, not older than a second, that this shard still owns a division.

Rules
- What is answered from memory alone (reads, refusals, repeats, notices) is answered under a lease (SAFETY.md 13): a process
  that was frozen for half a minute has lost it, asks first, and hears that another owns the division.
- A proof counts from the instant at which it was asked for, not from its answer. A durable append is one as well.
- Who asks waits for a proof that is not older than `LEASE_S` at that moment; one that takes longer to come is as good.

What is not covered: a freeze between the proof and the answer that follows in the same step of the loop.

Not here: the fence, which keeps a stale shard from deciding (`journal`).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from actors.clock import SteadyClock
from actors.hosting import HostedDivision

LEASE_S = 1.0
"""SAFETY.md 13."""


class Proofs(Protocol):
    """What is needed of `directory.Directory`."""

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]: ...


class Leases:
    """Of all divisions of one shard."""

    def __init__(
        self,
        divisions: dict[str, HostedDivision],
        proofs: Proofs,
        clock: SteadyClock,
        lose: Callable[[HostedDivision], None],
    ) -> None:
        """`lose`: takes a division out of `divisions`, whose newer owner the directory names."""
        self._divisions = divisions
        self._proofs = proofs
        self._clock = clock
        self._lose = lose
        self._renewal: asyncio.Task[None] | None = None

    async def renew(self) -> None:
        """Ask for proof of all divisions; what another owns is lost. Raises StoreUnavailable."""
        asked_s = time.monotonic()
        asked = dict(self._divisions)
        lost = await self._proofs.note_alive({one: own.epoch for one, own in asked.items()}, self._clock.now_ms())
        for division_id, division in asked.items():
            if division_id in lost:
                self._lose(division)
            else:
                division.proved_s = max(division.proved_s, asked_s)

    async def hold(self, divisions: Iterable[HostedDivision]) -> None:
        """Return once each of these was owned within the last `LEASE_S`, or is lost. Raises StoreUnavailable."""
        needed_s = time.monotonic() - LEASE_S
        for division in divisions:
            while division.proved_s < needed_s and self._divisions.get(division.division_id) is division:
                if self._renewal is None or self._renewal.done():
                    self._renewal = asyncio.create_task(self.renew(), name="lease")
                    # Who asked may be gone by the time it fails.
                    self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
                await asyncio.shield(self._renewal)

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
