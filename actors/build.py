"""The build handshake: driver and workers must run the very same code from the very same place.

Ray puts the driver's folder on its workers' import path, silently: with another package named `dispatch` there,
driver and workers ran different code without an error (DESIGN.md). So every part compares before it does anything.
Strategies of installed packages decide too: their names and versions are compared with it.
"""

import hashlib
import importlib
from functools import cache
from pathlib import Path

from actors.strategies import installed_strategies

PACKAGES = ("actors", "dispatch", "gateway", "media")
STRATEGIES = "strategies"
COMPARED = (*PACKAGES, STRATEGIES)


class DifferentBuild(Exception):
    """This process would run other code than the one that started it. Start both from one installation."""


@cache
def build_digest() -> dict[str, str]:
    """Return for each package its folder and the SHA-256 over its Python sources, as `folder sha256`; and the strategies."""
    return {package: _digest(package) for package in PACKAGES} | {STRATEGIES: ", ".join(installed_strategies())}


@cache
def build_id() -> str:
    """Name the code of this process in 12 hex digits, wherever it lies."""
    digests = {name: text.rpartition(" ")[2] for name, text in build_digest().items() if name in PACKAGES}
    sources = f"{digests} {build_digest()[STRATEGIES]}"
    return hashlib.sha256(sources.encode()).hexdigest()[:12]


def _digest(package: str) -> str:
    # The last: a compiled engine stands before the sources that it was made of, and is named after them.
    *_, folder = importlib.import_module(package).__path__
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(source)}\n".encode())
        digest.update(source)
    return f"{Path(folder).resolve()} {digest.hexdigest()}"


def handshake(expected: dict[str, str]) -> None:
    """Raise DifferentBuild unless this process has the packages of `expected`, at the same place, and its strategies."""
    own = build_digest()
    different = [
        f"{package}: {own.get(package)} here, {expected.get(package)} there"
        for package in COMPARED
        if own.get(package) != expected.get(package)
    ]
    if different:
        raise DifferentBuild("; ".join(different))
