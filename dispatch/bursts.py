"""Matching many at once: the most due set of maximum size, then the agents (ROUTING.md 5.19).

Calls are taken in the order of their keys; one is chosen if it and all chosen before can each have an agent of their own.
The sets that can be matched are the independent sets of a transversal matroid, so this greedy choice gives the
lexicographically most due set, and no larger one exists (Edmonds and Fulkerson 1965). Whether one more call fits is asked by
an augmenting path over *demands* (lanes, and single calls with refusals or a favourite): take a free agent of the
demand's own pool, or one who is assigned to another demand that can find a substitute. A demand whose search fails is
done for this round, with every demand that the search came through: nothing that it can reach is free.

Agents assigned to demands that are done are lost to all others (a Hungarian tree): a call for whom nobody else is left is
not searched for. Agents: those who serve the fewest needs come first, then the strategy's order.

Cost: O(log n) for a call that finds a free agent; one breadth-first search, which goes through each pool once, for a call that
displaces another and for one that loses agents. So there are at most as many searches as matched calls and free agents
together, however many calls wait and however little alike they are.
"""

from collections import deque
from collections.abc import Iterator
from heapq import merge

from dispatch.choice import Candidate, Entry, Pool
from dispatch.lanes import Lane
from dispatch.matching import Decider, has_refused, place_call, reserve
from dispatch.model import Call
from dispatch.waiting import Key


class Demand:
    """Calls that the very same agents may serve: a lane's, or a single one with refusals or a favourite."""

    __slots__ = ("assigned", "call", "favourite", "is_done", "is_kept", "lane", "order")

    def __init__(self, lane: Lane, call: Call | None, favourite: Candidate | None, is_kept: bool, order: int) -> None:
        self.lane = lane
        self.call = call
        """The single call; None: all ordinary calls of the lane."""
        self.favourite = favourite
        self.is_kept = is_kept
        """Nobody but the favourite may take it."""
        self.order = order
        """Among all demands, the most due first."""
        self.assigned: list[tuple[Key, Candidate]] = []
        self.is_done = False


class Burst:
    """One round over calls that wait beside agents who are free."""

    def __init__(self, engine: Decider) -> None:
        self._engine = engine
        self._state = engine.state
        self._demands: list[Demand] = []
        self._by_lane: dict[int, Demand] = {}
        self._holders: dict[str, Demand] = {}
        """Agent -> the demand to which the agent is assigned."""
        self._lost: set[str] = set()
        """Agents assigned to demands that are done: nobody will ever get them from there."""
        self._members: dict[int, list[Candidate]] = {}
        self._supplies: dict[int, list[Candidate]] = {}
        self._open: dict[int, tuple[int, list[Candidate]]] = {}
        self._rooms: dict[str, int] = {}

    def run(self, lanes: list[Lane], kept: list[Key]) -> bool:
        """Match and reserve; say whether anything was."""
        for key, lane in self._in_order(lanes, kept):
            room = self._rooms.setdefault(lane.queue.plan.id, lane.queue.room)
            if room > 0 and self._fits(key, self._demand(key, lane)):
                self._rooms[lane.queue.plan.id] = room - 1
        chosen = sorted(
            ((key, one, demand.lane) for demand in self._demands for key, one in demand.assigned), key=_first
        )
        if len(chosen) == 1:
            return place_call(self._engine, self._state.calls[chosen[0][0][2]])
        for key, candidate, lane in chosen:
            call = self._state.calls[key[2]]
            is_favourite = call.favourite is not None and call.favourite.agent_id == candidate.agent.id
            rule = call.favourite.rule if call.favourite is not None and is_favourite else "scarce_last"
            reserve(self._engine, call, candidate, lane, rule)
        return bool(chosen)

    # -- calls and their demands

    def _in_order(self, lanes: list[Lane], kept: list[Key]) -> Iterator[tuple[Key, Lane]]:
        """Calls with their lanes, the most due first; a lane that nobody is left for, or without room, ends."""
        calls, lane_of = self._state.calls, self._state.lane_of
        streams = [self._stream(lane) for lane in lanes]
        streams.append(iter([(key, lane_of(calls[key[2]])) for key in sorted(kept)]))
        return merge(*streams, key=_first)

    def _stream(self, lane: Lane) -> Iterator[tuple[Key, Lane]]:
        for key in lane.line:
            if self._rooms.get(lane.queue.plan.id, 1) <= 0 or not self._open_to(lane.pool):
                return
            yield key, lane

    def _demand(self, key: Key, lane: Lane) -> Demand:
        call = self._state.calls[key[2]]
        if call.favourite is not None or call.refused_until_ms:
            favourite = self._state.candidates.get(call.favourite.agent_id) if call.favourite is not None else None
            return Demand(lane, call, favourite, bool(self._state.kept_for(call)), len(self._demands))
        demand = self._by_lane.get(id(lane))
        if demand is None:
            demand = self._by_lane[id(lane)] = Demand(lane, None, None, False, len(self._demands))
            self._demands.append(demand)
        return demand

    # -- the search

    def _fits(self, key: Key, start: Demand) -> bool:
        """Find the call an agent, displacing others who find a substitute; breadth first, so the fewest are displaced."""
        if start.is_done or not self._is_open(start):
            return False
        came_from: dict[int, tuple[Demand, int]] = {}
        seen, reached = {id(start): start}, deque([start])
        rests: dict[int, list[Demand]] = {}
        while reached:
            demand = reached.popleft()
            candidate = self._free_for(demand)
            if candidate is not None:
                self._assign(key, start, demand, candidate, came_from)
                return True
            for other, at in self._displaceable(demand, seen, rests):
                seen[id(other)] = other
                came_from[id(other)] = (demand, at)
                reached.append(other)
        for demand in seen.values():
            demand.is_done = True
            self._lost.update(candidate.agent.id for _, candidate in demand.assigned)
        return False

    def _displaceable(
        self, demand: Demand, seen: dict[int, Demand], rests: dict[int, list[Demand]]
    ) -> list[tuple[Demand, int]]:
        """Demands that hold an agent who could serve this one instead, with the place of that assignment.

        `rests`: by pool, whom no demand of that pool has reached yet in this search, so that each pool is gone through once.
        """
        pool = demand.lane.pool
        found, rest = [], []
        for other in rests[id(pool)] if id(pool) in rests else self._holders_in(pool):
            if id(other) in seen:
                continue
            at = self._movable(other, demand)
            if at >= 0:
                found.append((other, at))
            else:
                rest.append(other)
        rests[id(pool)] = rest
        return found

    def _holders_in(self, pool: Pool) -> list[Demand]:
        """Demands that are not done and hold agents of the pool, in their order."""
        held = [self._holders[one.agent.id] for one in self._members_of(pool) if one.agent.id in self._holders]
        unique = {demand.order: demand for demand in held if not demand.is_done}
        return [unique[order] for order in sorted(unique)]

    def _assign(
        self, key: Key, start: Demand, demand: Demand, candidate: Candidate, came_from: dict[int, tuple[Demand, int]]
    ) -> None:
        """Walk the path back: each demand on it gives one agent to the one before and takes the one that it was given."""
        while demand is not start:
            before, at = came_from[id(demand)]
            its_key, its_candidate = demand.assigned[at]
            demand.assigned[at] = (its_key, candidate)
            self._holders[candidate.agent.id] = demand
            candidate, demand = its_candidate, before
        if start.call is not None:
            self._demands.append(start)
        start.assigned.append((key, candidate))
        self._holders[candidate.agent.id] = start

    def _movable(self, other: Demand, demand: Demand) -> int:
        """Index of an assignment of `other` whose agent could serve `demand` instead, or -1."""
        for at, (_, candidate) in enumerate(other.assigned):
            if self._can(candidate, demand):
                return at
        return -1

    # -- agents

    def _can(self, candidate: Candidate, demand: Demand) -> bool:
        pool, call = demand.lane.pool, demand.call
        if candidate.free_units < pool.cost_units or pool not in candidate.kind.pools:
            return False
        if call is None:
            return True
        if demand.is_kept and candidate is not demand.favourite:
            return False
        return not has_refused(call, candidate.agent.id, self._engine.now_ms)

    def _is_open(self, demand: Demand) -> bool:
        """Could anybody serve the demand who is not lost? Without this a search may not be worth its while."""
        if demand.is_kept:
            favourite = demand.favourite
            return favourite is not None and favourite.agent.id not in self._lost and self._can(favourite, demand)
        return any(self._can(candidate, demand) for candidate in self._open_to(demand.lane.pool))

    def _open_to(self, pool: Pool) -> list[Candidate]:
        """The pool's agents who are not lost, assigned or not."""
        lost_count, still_open = self._open.get(id(pool), (-1, []))
        if lost_count != len(self._lost):
            lost = self._lost
            still_open = [
                one for one in (still_open if lost_count >= 0 else self._members_of(pool)) if one.agent.id not in lost
            ]
            self._open[id(pool)] = (len(lost), still_open)
        return still_open

    def _free_for(self, demand: Demand) -> Candidate | None:
        favourite, holders = demand.favourite, self._holders
        if favourite is not None and favourite.agent.id not in holders and self._can(favourite, demand):
            return favourite
        if demand.is_kept:
            return None
        supply = self._supplies.get(id(demand.lane.pool))
        if supply is None:
            supply = self._supplies[id(demand.lane.pool)] = self._members_of(demand.lane.pool)[:]
        while supply and supply[-1].agent.id in holders:
            supply.pop()
        for candidate in reversed(supply):
            if candidate.agent.id not in holders and self._can(candidate, demand):
                return candidate
        return None

    def _members_of(self, pool: Pool) -> list[Candidate]:
        """The pool's agents who were free when the round began, the first to be asked last."""
        members = self._members.get(id(pool))
        if members is None:
            entries = sorted(pool.free(), key=_scarce_last, reverse=True)
            members = self._members[id(pool)] = [entry[4] for entry in entries]
        return members


def _first(one: tuple[Key, object, object] | tuple[Key, object]) -> Key:
    return one[0]


def _scarce_last(entry: Entry) -> tuple[int, int, int, int]:
    return (len(entry[4].kind.pools), entry[0], entry[1], entry[2])
