"""Doubts about which engine runs: the compiled one of these very sources, the plain one, or none where that was asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dispatch.compiled import KNOB, folder_of, path_of

ROOT = Path(__file__).parents[2]
PROGRAM = "import dispatch, dispatch.engine; print(dispatch.IS_COMPILED, dispatch.engine.__file__)"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A package of two files, compiled."""
    package = tmp_path / "dispatch"
    package.mkdir()
    (package / "engine.py").write_text("SPEED = 1\n")
    (package / "fields.h").write_text("#define SPEED 1\n")
    folder_of(package).mkdir(parents=True)
    return package


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what `setup.py` needs, nothing compiled."""
    shutil.copytree(ROOT / "dispatch", tmp_path / "dispatch", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in this folder, with this environment beside its own and no wish for an engine."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, KNOB: "", "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        check=False,
        text=True,
    )


def test_what_is_compiled_from_these_sources_is_found(sources: Path) -> None:
    """Given sources that are compiled, then their folder comes first, unless plain Python is wanted."""
    assert path_of(None, sources) == path_of("1", sources) == [str(folder_of(sources))]
    assert path_of("0", sources) == []


@pytest.mark.parametrize("changed", ["engine.py", "fields.h", "rooms.py"])
def test_what_is_compiled_from_other_sources_is_never_found(sources: Path, changed: str) -> None:
    """Given compiled sources, when one of them changes or one is added, then plain Python runs, or nothing."""
    (sources / changed).write_text("/* 2 */\n")
    assert path_of(None, sources) == []
    with pytest.raises(ImportError, match=KNOB):
        path_of("1", sources)


def test_a_file_that_was_renamed_is_another_source(sources: Path) -> None:
    """Given compiled sources, when a file only gets another name, then what was compiled is not found either."""
    (sources / "engine.py").rename(sources / "motor.py")
    assert path_of(None, sources) == []


@pytest.mark.parametrize("wish", ["0", ""])
def test_a_process_runs_the_engine_that_it_was_asked_for(wish: str) -> None:
    """Given this tree, when a process imports the engine, then it is compiled if it can be and may."""
    expected = not wish and folder_of().is_dir()
    said, _, where = run(ROOT, "-c", PROGRAM, **{KNOB: wish}).stdout.strip().partition(" ")
    assert said == str(expected)
    assert Path(where).parent == (folder_of() if expected else ROOT / "dispatch")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [({"CC": "no-such-compiler"}, "there is no C compiler (no-such-compiler)"), ({KNOB: "0"}, f"{KNOB}=0")],
)
def test_where_nothing_is_compiled_one_line_says_why(tree: Path, environment: dict[str, str], reason: str) -> None:
    """Given no compiler, or the wish for plain Python, when the engine is to be compiled, then one line says why it is not."""
    done = run(tree, "setup.py", "-q", "engine", **environment)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"The engine runs as plain Python, at half the speed: {reason}"],
    )
    assert run(tree, "-c", PROGRAM).stdout.startswith("False ")


def test_a_compiler_that_fails_is_not_hidden(tree: Path) -> None:
    """Given a compiler that only fails, when the engine is to be compiled, then that is an error, and nothing is left of it."""
    for path in (tree / "dispatch").glob("*.py"):
        if path.stem not in ("__init__", "compiled", "needs"):
            path.unlink()
    (tree / "dispatch" / "needs.py").write_text("FEW = 1\n")
    done = run(tree, "setup.py", "-q", "engine", CC="false")
    assert (done.returncode == 0) == ("headers are missing" in done.stdout), done
    assert not [*(tree / "build").glob("engine/*")]
