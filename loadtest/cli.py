"""`tellerhall loadtest` and `python -m loadtest`: a whole load test, from the hall's start to the verdict.

In order: draw the schedule; start a private hall, or take the one that is named; let the generator play; ask the hall for each
call's history; account; write the report. Exit status: 0 everything adds up, 1 something does not or the run
failed, each by name; 2 the arguments are wrong.

A hall that runs already (`--url`, with `--data` for its development key) needs queues with `media = "external"` and enough
agents who are offline; its calls of other clients are left alone, so what it counts itself is not compared.

Not here: the steps themselves (`loadtest/course.py`).
"""

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEED = 6
"""Its schedule means 89 % of the agents' time; any other is as good."""
LATE_MS_MAX = 100.0
"""At the 99th percentile: a generator later than this has measured itself (the benchmark of the shard has the same bound)."""
OUT = Path("out") / "loadtest"
EXTRA = ("locust", "matplotlib")
"""What the extra `loadtest` brings."""


def add_command(commands: Any) -> None:
    """Add `loadtest` to the subcommands of `tellerhall`."""
    _add_options(commands.add_parser("loadtest", help="virtual customers and agents against a hall"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load test; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description="Virtual customers and agents against a hall."
    )
    _add_options(parser)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--customers", type=_positive, default=300, help="virtual customers, each with a connection (300)"
    )
    parser.add_argument("--agents", type=_positive, default=60, help="virtual agents (60)")
    parser.add_argument("--seconds", type=_positive, default=60, help="length of the schedule (60)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the schedule ({SEED})")
    parser.add_argument("--late-ms-max", type=float, default=LATE_MS_MAX, help="bound of the generator's lateness, p99")
    parser.add_argument("--url", default="", help="a hall that runs already; needs --data")
    parser.add_argument(
        "--data", type=Path, default=None, help="its data folder, or that of the private hall (temporary)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the report ({OUT})")
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _run(options: argparse.Namespace) -> int:
    if options.url and options.data is None:
        print("loadtest: --url needs --data, the folder with that hall's development key", file=sys.stderr)
        return 2
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        print(f"loadtest: {' and '.join(missing)} not installed: pip install 'tellerhall[loadtest]'", file=sys.stderr)
        return 2
    # Here and not above: every `tellerhall` command loads this file, and few need what a load test needs.
    from loadtest import course, report

    order = course.Order(
        customers=options.customers,
        agents=options.agents,
        seconds=options.seconds,
        seed=options.seed,
        late_ms_max=options.late_ms_max,
        url=options.url,
        data=options.data,
        out=options.out,
    )
    # SIGTERM ends a program at once by default, and the private hall would be left behind.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summary = course.run(order, lambda line: print(line, flush=True))
    except course.EXPECTED as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: stopped", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, former)
    print(report.text(summary))
    print(f"\nreport: {(options.out / 'report.html').absolute()}")
    return 1 if summary.failures else 0
