"""`make soak`: engine, twin and whole halls for an hour, from seeds that no ordinary run sees. Not collected by pytest.

Seeded walks (tests/engine/test_walk.py) in turns with the random state machine (tests/engine/test_twin.py) and with whole
halls in virtual time (tests/simulation), until `SOAK_S` seconds have passed (3,600). A walk that fails prints its seed, and
`python -m tests.engine.soak SEED` walks that one alone. A hall that fails prints its own, and the soak goes on: `make sim
SEED=n` runs it again.
"""

import json
import os
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from dispatch import events as ev
from tests.engine.test_twin import EngineAndTwin
from tests.engine.test_walk import STEPS, walk
from tests.simulation.run import random_seed, run

WALKS_A_ROUND = 20
EXAMPLES_A_ROUND = 50
HALLS_A_ROUND = 5


def main() -> int:
    if len(sys.argv) > 1:
        walk(int(sys.argv[1]))
        print(f"seed {sys.argv[1]}: engine and twin agree")
        return 0
    until_s = time.monotonic() + float(os.environ.get("SOAK_S", "3600"))
    seed = first = time.time_ns() // 1_000
    seen: Counter[type[ev.Event]] = Counter()
    rounds, failing = 0, list[int]()
    while time.monotonic() < until_s:
        for _ in range(WALKS_A_ROUND):
            seed += 1
            try:
                seen += walk(seed)
            except BaseException:
                print(f"seed {seed} fails; walk it alone with: python -m tests.engine.soak {seed}", file=sys.stderr)
                raise
        run_state_machine_as_test(
            EngineAndTwin,
            settings=settings(
                max_examples=EXAMPLES_A_ROUND, stateful_step_count=50, deadline=None,
                derandomize=False, database=None, suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
        failing += _failing_halls()
        rounds += 1
        print(f"{seed - first} walks of {STEPS} steps, {rounds * EXAMPLES_A_ROUND} random courses, no disagreement")
    for kind, count in sorted(seen.items(), key=lambda one: -one[1]):
        print(f"{kind.__name__:<24} {count:>10}")
    if failing:
        print(f"halls that failed, to be run again with `make sim SEED=n`: {failing}")
    result = {"walks": seed - first, "steps": (seed - first) * STEPS, "events": sum(seen.values())}
    print("RESULT", json.dumps({**result, "halls": rounds * HALLS_A_ROUND, "failing": failing}))
    return int(bool(failing))


def _failing_halls() -> list[int]:
    """Run some whole halls; return the seeds of those that failed."""
    outcomes = [run(random_seed()) for _ in range(HALLS_A_ROUND)]
    for outcome in outcomes:
        print(outcome.told(), flush=True)
    return [outcome.seed for outcome in outcomes if outcome.failure is not None]


if __name__ == "__main__":
    sys.exit(main())
