"""`make soak`: engine and twin walk for an hour through halls that no ordinary run sees. Not collected by pytest.

Seeded walks (tests/engine/test_walk.py) in turns with the random state machine (tests/engine/test_twin.py), until `SOAK_S`
seconds have passed (3,600). A walk that fails prints its seed: `python -m tests.engine.soak SEED` walks that one alone.
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

WALKS_A_ROUND = 20
EXAMPLES_A_ROUND = 50


def main() -> int:
    if len(sys.argv) > 1:
        walk(int(sys.argv[1]))
        print(f"seed {sys.argv[1]}: engine and twin agree")
        return 0
    until_s = time.monotonic() + float(os.environ.get("SOAK_S", "3600"))
    seed = first = time.time_ns() // 1_000
    seen: Counter[type[ev.Event]] = Counter()
    rounds = 0
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
        rounds += 1
        print(f"{seed - first} walks of {STEPS} steps, {rounds * EXAMPLES_A_ROUND} random courses, no disagreement")
    for kind, count in sorted(seen.items(), key=lambda one: -one[1]):
        print(f"{kind.__name__:<24} {count:>10}")
    print("RESULT", json.dumps({"walks": seed - first, "steps": (seed - first) * STEPS, "events": sum(seen.values())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
