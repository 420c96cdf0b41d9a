"""Who is still heard: gateways by their polls, media workers by their words; who is silent beyond the lease is lost.

Rules: a lease ends only by time in which the store answered, and in which this process was awake (SAFETY.md 9): nobody could
be heard otherwise.

Not here: when that is looked at (`shard`), the leases themselves (`audience`, `workers`).
"""

from collections.abc import Callable

import structlog

from actors.audience import Audience, division_of
from actors.clock import SteadyClock
from actors.performer import Performer
from dispatch.commands import Command, LoseGateway

log = structlog.get_logger()


class Hearing:
    """Belongs to one shard."""

    def __init__(
        self, audience: Audience, performer: Performer, clock: SteadyClock, submit: Callable[[str, Command], None]
    ) -> None:
        self._audience = audience
        self._performer = performer
        self._clock = clock
        self._submit = submit

    def forgive(self, outage_ms: int) -> None:
        """Nobody could be heard for so long."""
        now_ms = self._clock.now_ms()
        self._audience.forgive(outage_ms, now_ms)
        self._performer.forgive(outage_ms, now_ms)

    def end_leases(self, division_ids: list[str]) -> None:
        """Tell the engines who is lost."""
        now_ms = self._clock.now_ms()
        for gateway_id in self._audience.lost(now_ms):
            log.warning("gateway.lost", gateway=gateway_id)
            self._submit(division_of(gateway_id), LoseGateway(gateway_id=gateway_id))
        for command in self._performer.lost(now_ms):
            for division_id in division_ids:
                self._submit(division_id, command)
