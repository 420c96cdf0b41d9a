"""Which `dispatch` runs here: what mypyc compiled from these very sources, or the sources themselves.

`setup.py` compiles the modules that decide into a folder named after the digest of all sources of this package, and
`dispatch/__init__.py` puts that folder before its own if it is there. What was compiled from other sources has another name
and is never found: a stale engine cannot run. Both decide alike, to the byte; compiled, a call costs half as much.

`TELLERHALL_COMPILED` says what is wanted: `0` the sources, `1` nothing but the compiled engine; unset, what there is.
"""

import hashlib
import os
import sys
from pathlib import Path

KNOB = "TELLERHALL_COMPILED"
SOURCES = Path(__file__).parent


def digest_of(sources: Path) -> str:
    """SHA-256 over names and contents of all that goes into the compiled engine: constants of every module do."""
    digest = hashlib.sha256()
    for path in sorted([*sources.glob("*.py"), *sources.glob("*.h")]):
        source = path.read_bytes()
        digest.update(f"{path.name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def folder_of(sources: Path = SOURCES) -> Path:
    """Where the engine that was compiled from these sources for this kind of Python stands, if it has been."""
    return sources.parent / "build" / "engine" / f"{sys.implementation.cache_tag}-{digest_of(sources)[:16]}"


def path_of(wish: str | None, sources: Path = SOURCES) -> list[str]:
    """Folders to search before the sources: the compiled engine's, or none.

    Raises ImportError when only a compiled engine is wanted and there is none for these sources and this Python.
    """
    if wish == "0":
        return []
    folder = folder_of(sources)
    if folder.is_dir():
        return [str(folder)]
    if wish == "1":
        raise ImportError(f"{KNOB}=1, but these sources are not compiled for this Python: python setup.py engine")
    return []


def chosen_path() -> list[str]:
    """`path_of` what the environment says."""
    return path_of(os.environ.get(KNOB))
