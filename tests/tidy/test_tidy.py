"""The ratchet of STYLE.md: sizes, docstrings, no TODO, no stray print, no junk drawer, a map of the house, no foreign paths.

All of it reads the files that git knows, or will know (untracked and not ignored), so an engineer sees the failure before the
commit. Each failure names file, line and what is allowed. Import arrows are not here: import-linter holds those.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "dispatch", "gateway", "loadtest", "media")
MAPPED = (*PACKAGES, "bench", "deploy", "docs", "tests")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
SHORT_FUNCTION_LINES = 30
SHORT_FUNCTIONS_RATIO_MIN = 0.9

MAY_PRINT = ("bench/", "loadtest/", "gateway/cli", "setup.py")
FORBIDDEN_FOLDERS = {"common", "utils", "helpers", "misc", "shared", "lib"}
TEXT_ENDINGS = {".py", ".md", ".toml", ".js", ".css", ".html", ".yaml", ".yml", ".txt", ".cfg", ".sh", ".lock", ""}

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/"
    r"|\b(?:artifactory|nexus|devpi|verdaccio)\b[\w.-]*[:/]"
    r"|--(?:extra-)?index-url|--trusted-host"
)
"""Paths of somebody's machine, private package hosts: neither belongs into what others clone."""


@cache
def tracked() -> list[Path]:
    """Every file of the project that exists, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    files = (ROOT / name for name in listed.split("\0") if name)
    return sorted(file for file in files if file.is_file())


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def sources() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".py"]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def functions(file: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, first line, lines) of each function, its decorators and docstring left out."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False)
            docstring = documented.count("\n") + 1 if documented is not None else 0
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def complain(problems: list[str]) -> None:
    assert not problems, "\n".join(["", *problems])


def test_source_files_are_at_most_400_lines() -> None:
    """Given each source file (Python and the pages' scripts), then it has at most 400 lines."""
    scripts = [file for file in tracked() if file.suffix in (".py", ".js")]
    lengths = {name_of(file): len(file.read_text().splitlines()) for file in scripts}
    complain(
        [
            f"{name}: {lines} lines, at most {FILE_LINES_MAX}"
            for name, lines in lengths.items()
            if lines > FILE_LINES_MAX
        ]
    )


def test_no_function_is_over_60_lines() -> None:
    """Given each function, then it has at most 60 lines."""
    complain([
        f"{name_of(file)}:{line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"
        for file in sources() for name, line, lines in functions(file) if lines > FUNCTION_LINES_MAX
    ])  # fmt: skip


@pytest.mark.parametrize("part", [*PACKAGES, "tests", "bench"])
def test_nine_of_ten_functions_are_at_most_30_lines(part: str) -> None:
    """Given a part's functions, then 90 % have at most 30 lines."""
    found = [
        (name_of(file), *one) for file in sources() if name_of(file).startswith(part + "/") for one in functions(file)
    ]
    long = [f"{file}:{line}: {name} has {lines}" for file, name, line, lines in found if lines > SHORT_FUNCTION_LINES]
    assert len(long) <= len(found) * (1 - SHORT_FUNCTIONS_RATIO_MIN), "\n".join(
        [f"{len(long)} of {len(found)} too long:", *long]
    )


def test_every_module_says_what_it_is_for() -> None:
    """Given each module (an empty `__init__` is none), then it begins with a docstring."""
    modules = [file for file in sources() if file.read_text()]
    complain([f"{name_of(file)}: no module docstring" for file in modules if not ast.get_docstring(tree_of(file))])


def test_everything_public_of_dispatch_is_explained() -> None:
    """Given each public class, function and method of the core, then it has a docstring."""
    problems = []
    for file in sources():
        if name_of(file).startswith("dispatch/"):
            problems += [
                f"{name_of(file)}:{line}: {name} has no docstring" for name, line in _unexplained(tree_of(file))
            ]
    complain(problems)


def _unexplained(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name, node.lineno
        for member in node.body if isinstance(node, ast.ClassDef) else []:
            is_public = isinstance(member, ast.FunctionDef) and not member.name.startswith("_")
            if is_public and isinstance(member, ast.FunctionDef) and not ast.get_docstring(member):
                yield f"{node.name}.{member.name}", member.lineno


def test_nothing_is_left_to_do() -> None:
    """Given each text file, then no mark says that something is unfinished."""
    complain(list(_matches(UNFINISHED, "finish it or write an issue")))


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    """Given each text file, then it names no machine's private path and no package registry."""
    complain(list(_matches(FOREIGN, "a clone elsewhere has no such path or host")))


def _matches(pattern: re.Pattern[str], advice: str) -> Iterator[str]:
    for file in tracked():
        if file.suffix in TEXT_ENDINGS and file != Path(__file__):
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                if found := pattern.search(line):
                    yield f"{name_of(file)}:{number}: {found.group()!r}: {advice}"


def test_only_programs_for_people_print() -> None:
    """Given each module of the product, then only the console command, the benchmarks and load tests print."""
    problems = []
    for file in sources():
        if not name_of(file).startswith((*MAY_PRINT, "tests/")):
            for node in ast.walk(tree_of(file)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                    problems.append(f"{name_of(file)}:{node.lineno}: print; say it as a log event or a return value")
    complain(problems)


def test_no_folder_is_a_junk_drawer() -> None:
    """Given each folder, then none is called common, utils or the like."""
    folders = {folder for file in tracked() for folder in file.relative_to(ROOT).parts[:-1]}
    complain([f"{folder}/: what two packages share belongs to the lower one" for folder in folders & FORBIDDEN_FOLDERS])


def test_the_map_names_every_folder_and_source_file() -> None:
    """Given the architecture page, then it has a line for each folder and for each source file of the product."""
    page = ROOT / "docs" / "ARCHITECTURE.md"
    assert page.exists(), "docs/ARCHITECTURE.md is missing: it says in a line why each folder and source file exists"
    text, problems = page.read_text(), []
    for folder in sorted({name_of(file.parent) for file in tracked() if name_of(file).startswith(MAPPED)} - {"."}):
        if f"{folder}/" not in text:
            problems.append(f"docs/ARCHITECTURE.md: no line for the folder {folder}/")
    for file in tracked():
        package, _, rest = name_of(file).partition("/")
        is_source = package in PACKAGES and file.suffix in (".py", ".js") and file.name != "__init__.py"
        if is_source and not re.search(
            rf"`(?:{re.escape(package)}/)?(?:[\w/]+/)?{re.escape(file.stem)}(?:{file.suffix})?`", text
        ):
            problems.append(f"docs/ARCHITECTURE.md: no line for {package}/{rest}")
    complain(problems)


def test_every_test_that_a_page_names_exists() -> None:
    problems = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", page.read_text()):
            path = ROOT / file
            if not path.exists() or (name and f"def {name}(" not in path.read_text()):
                problems.append(f"{page.name}: {file} {name} does not exist")
    complain(problems)
