"""`make sim SEED=n`: run one hall from its seed, and print its digest; without a seed, from a random one, which is printed."""

import gc
import os
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from tests.simulation.chance import ruled
from tests.simulation.hall import Hall
from tests.simulation.weather import Weather

LINES_SHOWN = 60


class Outcome(Struct):
    """Of one run."""

    seed: int
    digest: str
    """SHA-256 over the whole trace: the same for the same seed and the same sources."""
    failure: BaseException | None
    lines: list[str]
    """The last of the trace."""
    virtual_s: float
    callbacks_count: int
    batches_count: int
    calls_count: int
    disasters: dict[str, float]

    def told(self) -> str:
        """In one line."""
        what = f"FAILED: {self.failure}" if self.failure is not None else "holds"
        return (
            f"seed {self.seed}: {self.virtual_s:.0f} s, {self.calls_count} calls, {self.batches_count} batches,"
            f" {self.callbacks_count} steps, digest {self.digest}, {what}"
        )

    def check(self) -> None:
        """Raises what went wrong, with the seed and the last lines of the trace."""
        if self.failure is not None:
            last = "\n".join(self.lines[-LINES_SHOWN:])
            raise AssertionError(f"{last}\n\nmake sim SEED={self.seed}\n{self.failure}") from self.failure


def run(seed: int, weather: Weather | None = None) -> Outcome:
    """Run one hall to its end, or to the first thing that must not be."""
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        hall = Hall(seed, Path(folder), weather)
        disasters = dict(hall.weather.disasters)
        failure: BaseException | None = None
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with ruled(hall.loop, seed, hall.hear), hall.ruled():
                try:
                    hall.loop.run_until_complete(hall.loop.spawn(hall.wire.world, hall.live()))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    failure = error
                digest = hall.digest.hexdigest()
                hall.close()
            gc.collect()
        finally:
            sys.unraisablehook = hook
    return Outcome(
        seed, digest, failure, list(hall.lines), hall.loop.now_ns / 1e9, hall.loop.callbacks_count,
        hall.truth.batches_count, len(hall.truth.queued), disasters,
    )  # fmt: skip


def _memory_folder() -> str | None:
    """Where archives lie: nothing here doubts the disk."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def random_seed() -> int:
    return time.time_ns() // 1_000 % 1_000_000_000


def main() -> int:
    """One run for each seed given."""
    seeds = [int(one) for one in sys.argv[1:]] or [random_seed()]
    outcomes = []
    for seed in seeds:
        outcome = run(seed)
        outcomes.append(outcome)
        if outcome.failure is not None:
            print("\n".join(outcome.lines[-int(os.environ.get("LINES_SHOWN", LINES_SHOWN)) :]))
        print(outcome.told(), flush=True)
    return int(any(one.failure is not None for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
