"""Choice of agent: which of several free agents is asked, by the queue's strategy.

A strategy is a function from an agent to an integer key, smallest first, equal keys by idleness and then by the order of the
configuration. Keys are fixed when the agent's state changes: an agent who becomes free is put into the heap of every
pool that the skills qualify for, under the key of that instant. `nearest` has further heaps by place. Entries are never
searched for: an agent who is no longer free only changes its stamp, and a stale entry is dropped when it comes to
the top. A heap is cut back to its valid entries when it has grown past twice its agents, so a step costs
O(pools of the agent x log n), amortised.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from dispatch import lifecycle as lc
from dispatch.model import Agent, Call
from dispatch.plan import STRATEGIES, QueuePlan

if TYPE_CHECKING:
    from dispatch.lanes import Lane

Need = tuple[tuple[str, int], ...]
PoolKey = tuple[Need, int, str, str]
"""(need, cost in units, strategy, scope): queues that agree in all of it share a pool. Scope: see `pool_key`."""

KeyFunction = Callable[[Agent, QueuePlan, int], int]
"""(agent, queue, now_ms) -> key: smaller is asked first. Pure: same arguments, same key, in every process."""


def _longest_idle(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    return agent.idle_since_ms


def _most_skilled(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    return -sum(agent.skills.get(skill, 0) for skill in queue.need)


def _least_occupied(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    return agent.occupancy_millionths


def _round_robin(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    return agent.reserved_order


def _fewest_calls(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    return agent.answered_count


_BUILT_IN: Final[dict[str, KeyFunction]] = {
    "longest_idle": _longest_idle,
    "most_skilled": _most_skilled,
    "least_occupied": _least_occupied,
    "round_robin": _round_robin,
    "fewest_calls": _fewest_calls,
    "relationship": _longest_idle,
    "nearest": _longest_idle,
}
_registered: dict[str, KeyFunction] = {}


def register(name: str, function: KeyFunction) -> None:
    """Make a strategy of one's own known under `name`, in every process that decides or replays, before it starts.

    Raises ValueError for a name that is taken by another function.
    """
    if name in STRATEGIES or _registered.get(name, function) is not function:
        raise ValueError(f"strategy {name!r} is taken")
    _registered[name] = function


def registered_strategies() -> list[str]:
    """Names of all strategies beside our own."""
    return sorted(_registered)


def key_function(strategy: str) -> KeyFunction:
    """Raises KeyError for a name that nobody registered: the plan was checked, so this process lacks what that one had."""
    return _BUILT_IN.get(strategy) or _registered[strategy]


def need_of(need: dict[str, int]) -> Need:
    """Bring a need into the one form under which equal needs are equal."""
    return tuple(sorted(need.items()))


def pool_key(need: dict[str, int], queue: QueuePlan) -> PoolKey:
    """Which pool serves this need of this queue: a key that looks at the queue keeps it apart from other queues' pools."""
    scope = ""
    if queue.strategy == "most_skilled":
        scope = ",".join(sorted(queue.need))
    elif queue.strategy in _registered:
        scope = queue.id
    return (need_of(need), queue.cost_units, queue.strategy, scope)


class Kind:
    """Agents with the very same skills: they stand in the same pools."""

    __slots__ = ("candidates", "counts", "pools", "signed_in_count", "skills")

    def __init__(self, skills: dict[str, int]) -> None:
        self.skills = skills
        self.pools: list[Pool] = []
        self.candidates: list[Candidate] = []
        self.signed_in_count = 0
        self.counts: dict[str, int] = {}
        """Agents by what they are doing; `State.count_doing` brings it up to date."""


class Candidate:
    """An agent as the pools see it."""

    __slots__ = ("agent", "doing", "free_units", "is_counted", "is_listed", "is_signed_in", "kept", "kind", "stamp")

    def __init__(self, agent: Agent, kind: Kind) -> None:
        self.agent = agent
        self.kind = kind
        self.stamp = 0
        self.free_units = 0
        """Units open for reservations now; 0 whenever the agent may not be asked at all."""
        self.is_listed = False
        """Among those to find a call for at the end of this step."""
        self.is_signed_in = False
        self.doing = ""
        """As it stands in `Kind.counts`."""
        self.is_counted = True
        """Nothing has changed since; else the agent is among those to be counted at the next look."""
        self.kept: list[tuple[int, int, str]] = []
        """Keys of waiting calls that are kept for this agent, sorted."""


Entry = tuple[int, int, int, int, Candidate]
"""(key, idle_since_ms, agent's order, stamp, candidate); each entry has a new stamp, so candidates are never compared."""


class Pool:
    """Agents who meet one need and have the units for it, in the strategy's order."""

    __slots__ = ("_heap", "_key", "_near", "cost_units", "kinds", "lanes", "need", "queue", "size")

    def __init__(self, need: Need, queue: QueuePlan) -> None:
        self.need = need
        self.queue = queue
        """The queue whose strategy orders it; of several that share the pool, any: they agree."""
        self.cost_units = queue.cost_units
        self.kinds: list[Kind] = []
        self.size = 0
        self.lanes: list[Lane] = []
        """Lanes (dispatch/lanes.py) whose calls these agents may serve, as agent or as expert."""
        self._key = key_function(queue.strategy)
        self._heap: list[Entry] = []
        self._near: dict[tuple[str, str], list[Entry]] | None = {} if queue.strategy == "nearest" else None

    def __repr__(self) -> str:
        return f"<Pool need={self.need} agents={self.size} entries={len(self._heap)}>"

    def take_in(self, kind: Kind) -> None:
        """Agents of this kind stand in this pool from now on."""
        self.kinds.append(kind)
        self.size += len(kind.candidates)
        kind.pools.append(self)

    def key_of(self, agent: Agent, now_ms: int) -> int:
        """The agent's key under the strategy now."""
        return self._key(agent, self.queue, now_ms)

    def offer(self, candidate: Candidate, now_ms: int) -> None:
        """The candidate has the units now. The caller has given it a new stamp."""
        agent = candidate.agent
        entry = (self._key(agent, self.queue, now_ms), agent.idle_since_ms, agent.order, candidate.stamp, candidate)
        self._push(self._heap, entry)
        if self._near is not None and agent.region:
            for place in (
                ((agent.region, ""), (agent.region, agent.carrier)) if agent.carrier else ((agent.region, ""),)
            ):
                self._push(self._near.setdefault(place, []), entry)

    def _push(self, heap: list[Entry], entry: Entry) -> None:
        if len(heap) > 2 * self.size + 64:
            heap[:] = [one for one in heap if self.is_valid(one)]
            heapify(heap)
        heappush(heap, entry)

    def is_valid(self, entry: Entry) -> bool:
        """Say whether the entry's agent is still as free as when it was put in, or freer."""
        candidate = entry[4]
        return candidate.stamp == entry[3] and candidate.free_units >= self.cost_units

    def heaps_for(self, call: Call) -> Iterator[list[Entry]]:
        """The heaps to look into, in this order."""
        wishes = call.wishes
        if self._near is not None and wishes is not None and wishes.region:
            if wishes.carrier and (wishes.region, wishes.carrier) in self._near:
                yield self._near[wishes.region, wishes.carrier]
            if (wishes.region, "") in self._near:
                yield self._near[wishes.region, ""]
        yield self._heap

    def first(self, call: Call, now_ms: int, without: Sequence[Candidate] = ()) -> Entry | None:
        """Return the entry of the agent to ask for this call, or None. O(log n), more for each one refused."""
        if self._near is None:
            return self._first_in(self._heap, call, now_ms, without)
        for heap in self.heaps_for(call):
            entry = self._first_in(heap, call, now_ms, without)
            if entry is not None:
                return entry
        return None

    def _first_in(self, heap: list[Entry], call: Call, now_ms: int, without: Sequence[Candidate]) -> Entry | None:
        cost_units = self.cost_units
        refused = call.refused_until_ms
        passed: list[Entry] = []
        found: Entry | None = None
        while heap:
            entry = heap[0]
            candidate = entry[4]
            if candidate.stamp != entry[3] or candidate.free_units < cost_units:
                heappop(heap)
            elif (without and candidate in without) or (
                refused is not None and refused.get(candidate.agent.id, 0) > now_ms
            ):
                passed.append(heappop(heap))
            else:
                found = entry
                break
        for entry in passed:
            heappush(heap, entry)
        return found

    def free(self) -> list[Entry]:
        """All valid entries, unsorted. O(entries)."""
        return [entry for entry in self._heap if self.is_valid(entry)]


def doing_of(agent: Agent) -> str:
    """What the agent is doing: a call, then a reservation, then wrap-up; without any of them the activity."""
    if not agent.engagements:
        return agent.activity
    states = agent.engagements.values()
    return lc.IN_CALL if lc.IN_CALL in states else lc.RESERVED if lc.RESERVED in states else lc.WRAP_UP
