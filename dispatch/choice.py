"""Choice of agent: pools of agents who could take a call now, ordered by the queue's strategy.

One pool for each distinct (need, cost in units); an agent stands in every pool whose need the skills meet. Entries are
never searched for: an agent who is no longer available only changes its stamp, and a stale entry is dropped when it
comes to the top. A pool is cut back to its valid entries when it grows past twice its qualified agents,
so a step costs O(pools of the agent x log n), amortised.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from dispatch.model import Agent

Need = tuple[tuple[str, int], ...]
PoolKey = tuple[Need, int]
Entry = tuple[int, int, int]
"""(idle_since_ms, agent's order, stamp): `longest_idle`, the plan's order between equals."""


def need_of(need: dict[str, int]) -> Need:
    """Bring a need into the one form under which equal needs are equal."""
    return tuple(sorted(need.items()))


class Candidate:
    """An agent as the pools see it."""

    __slots__ = ("agent", "free_units", "pools", "stamp")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.pools: list[Pool] = []
        self.stamp = 0
        self.free_units = 0
        """Units open for reservations now; 0 whenever the agent may not be asked at all."""


class Pool:
    """Agents who meet one need and have the units for it, in the strategy's order."""

    __slots__ = ("_by_order", "_heap", "cost_units", "need", "queue_ids")

    def __init__(self, need: Need, cost_units: int) -> None:
        self.need = need
        self.cost_units = cost_units
        self.queue_ids: list[str] = []
        self._heap: list[Entry] = []
        self._by_order: dict[int, Candidate] = {}

    def __repr__(self) -> str:
        return f"<Pool need={self.need} qualified={len(self._by_order)} entries={len(self._heap)}>"

    def qualify(self, candidate: Candidate) -> None:
        """Let an agent whose skills meet the need stand in this pool from now on."""
        self._by_order[candidate.agent.order] = candidate

    def qualified(self) -> Iterator[Agent]:
        """All whose skills meet the need, available or not."""
        for candidate in self._by_order.values():
            yield candidate.agent

    def offer(self, candidate: Candidate) -> None:
        """The candidate has the units now."""
        if len(self._heap) > 2 * len(self._by_order) + 64:
            self._heap = [entry for entry in self._heap if self._is_valid(entry)]
            heapify(self._heap)
        heappush(self._heap, (candidate.agent.idle_since_ms, candidate.agent.order, candidate.stamp))

    def first(self, refused_until_ms: dict[str, int] | None, now_ms: int) -> Agent | None:
        """Return the agent to ask, or None. `refused_until_ms` names agents who are not to be asked for this call yet."""
        heap = self._heap
        passed: list[Entry] = []
        found: Agent | None = None
        while heap:
            entry = heap[0]
            if not self._is_valid(entry):
                heappop(heap)
                continue
            agent = self._by_order[entry[1]].agent
            if refused_until_ms and refused_until_ms.get(agent.id, 0) > now_ms:
                passed.append(heappop(heap))
                continue
            found = agent
            break
        for entry in passed:
            heappush(heap, entry)
        return found

    def _is_valid(self, entry: Entry) -> bool:
        candidate = self._by_order.get(entry[1])
        return candidate is not None and candidate.stamp == entry[2] and candidate.free_units >= self.cost_units
