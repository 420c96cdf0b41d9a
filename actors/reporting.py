"""What a shard says of itself and of one division when it is asked for a status: numbers and texts, for operators.

Not here: what is made of it (`gateway/status`, `gateway/alerts`).
"""

import os
from typing import TYPE_CHECKING, Any

from actors.build import build_id
from actors.stepping import is_clock_behind
from dispatch.lifecycle import LIVE_STATES

if TYPE_CHECKING:
    from actors.shard import Shard


def part_facts() -> dict[str, Any]:
    """What every part says: which code runs here, on which machine."""
    return {"build": build_id(), "node": os.uname().nodename, "pid": os.getpid()}


def shard_status(shard: "Shard", division_id: str) -> dict[str, Any]:
    """Of one division; what belongs to the shard stands in each of its divisions'."""
    division = shard.divisions[division_id]
    state = division.engine.state
    live = {one: sum(queue.counts[one] for queue in state.queues.values()) for one in LIVE_STATES}
    return {
        "shard": shard.settings.name,
        "epoch": division.epoch,
        "batch": division.batch,
        "stopped_reason": division.stopped_reason,
        "is_clock_behind": is_clock_behind(division),
        **shard.journal_room.values(division_id),
        "plan_digest": state.plan_digest,
        "admitted_count": state.calls_admitted_count,
        "calls_in_memory": len(state.calls),
        **{f"live_{one}": count for one, count in live.items()},
        "waiting_items": shard.waiting_count,
        "turns_count": shard.turns_count,
        "items_count": shard.items_count,
        "media_rooms": shard.media_rooms(),
        "disk": shard.disk.values(),
        "measures": shard.measures.values(),
        **part_facts(),
    }
