"""Strategies of installed packages: an entry point in the group `tellerhall.strategies` names a function for `dispatch.choice`.

    [project.entry-points."tellerhall.strategies"]
    patient_first = "our_bank.routing:patient_first"

Rules: every process that decides or replays loads all of them before the first plan, and refuses to begin where one cannot be
had: a queue must not silently get another strategy after a restart. The build handshake compares names and versions (`build`).

Not here: what a strategy may look at (`dispatch/choice`), who names it for a queue (`dispatch/plan`).
"""

from functools import cache
from importlib import metadata

from dispatch.choice import register, registered_strategies

GROUP = "tellerhall.strategies"


class StrategyUnusable(Exception):
    """An installed strategy cannot be used; the text names it, its package and why. Mend or remove that package."""


@cache
def load_strategies() -> tuple[str, ...]:
    """Register every installed strategy, once in a process; return the names. Raises StrategyUnusable."""
    for entry_point in _entry_points():
        try:
            function = entry_point.load()
        except Exception as error:
            # Whatever a package of others raises at its import.
            raise StrategyUnusable(f"{_described(entry_point)}: {type(error).__name__}: {error}") from error
        if not callable(function):
            raise StrategyUnusable(f"{_described(entry_point)}: is not a function")
        try:
            register(entry_point.name, function)
        except ValueError as error:
            raise StrategyUnusable(f"{_described(entry_point)}: {error}") from error
    return tuple(registered_strategies())


def installed_strategies() -> list[str]:
    """Describe every installed strategy with its package and version, without loading any."""
    return [_described(entry_point) for entry_point in _entry_points()]


def _entry_points() -> list[metadata.EntryPoint]:
    return sorted(metadata.entry_points(group=GROUP), key=lambda one: (one.name, one.value))


def _described(entry_point: metadata.EntryPoint) -> str:
    package = entry_point.dist
    return f"{entry_point.name} of {package.name} {package.version}" if package is not None else entry_point.name
