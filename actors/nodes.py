"""Which machine of the cluster a part is to run on, by what the supervisor itself has seen of them.

Rules: a machine on which a part fell silent is suspected until a part there is heard again, or for `SUSPECTED_S`; Ray's
head takes 14 s to see that a machine is lost (RAY.md), and until then would send a part's successor to it. Suspicion
orders the choice and forbids nothing: if all are suspected, the best of them is taken.

Not here: how it is known that a part is silent (`supervisor`), asking Ray (`wiring`).
"""

from collections import Counter
from collections.abc import Callable

from msgspec import Struct

SUSPECTED_S = 30.0
"""Twice as long as Ray's head needs; what has come back by then shows itself by its parts, or is empty and may be tried."""


class RayNode(Struct, frozen=True):
    """A machine of the cluster."""

    id: str
    is_alive: bool
    """As Ray's head believes."""
    cpus_count: int
    """That Ray may give away; 0 on a head that is to stay free."""
    is_head: bool


def places_count(known: list[RayNode]) -> int:
    """How many machines take parts: those that live, but for a head that is to stay free beside others."""
    alive = [one for one in known if one.is_alive]
    return len([one for one in alive if one.cpus_count or not one.is_head]) or len(alive)


class Nodes:
    """The machines, who runs where, and whom to suspect."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._suspected_until_s: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Nodes suspected={sorted(one for one in self._suspected_until_s if self.is_suspected(one))}>"

    def suspect(self, node_id: str) -> None:
        self._suspected_until_s[node_id] = self._clock_s() + SUSPECTED_S

    def hear(self, node_id: str) -> None:
        self._suspected_until_s.pop(node_id, None)

    def is_suspected(self, node_id: str) -> bool:
        return self._clock_s() < self._suspected_until_s.get(node_id, 0.0)

    def choose(
        self, kind: str, is_core_needed: bool, known: list[RayNode], running: list[tuple[str, str]], avoided: str = ""
    ) -> str:
        """Return the id of the machine for another part of that kind; empty: none has room, so Ray may find or make one.

        `running`: (kind, machine) of every part. In this order: `_worth`; fewest of the same kind; fewest parts; id.
        """
        of_kind = Counter(node_id for one, node_id in running if one == kind)
        of_all = Counter(node_id for _, node_id in running)
        fitting = [one for one in known if one.is_alive and (not is_core_needed or of_kind[one.id] < one.cpus_count)]
        if not fitting:
            return ""
        best = min(fitting, key=lambda one: (self._worth(one, avoided), of_kind[one.id], of_all[one.id], one.id))
        return best.id

    def is_better(self, chosen: str, present: str, known: list[RayNode], avoided: str) -> bool:
        """Whether it is worth moving a part that has nothing to lose from one machine to the other."""
        by_id = {one.id: one for one in known if one.is_alive}
        if chosen not in by_id or present not in by_id:
            return chosen in by_id
        return self._worth(by_id[chosen], avoided) < self._worth(by_id[present], avoided)

    def _worth(self, node: RayNode, avoided: str) -> tuple[bool, bool, bool]:
        """Least first: not suspected; not the head, if it is to stay free; not `avoided`."""
        return self.is_suspected(node.id), node.is_head and not node.cpus_count, node.id == avoided
