"""Compiles the engine: `python setup.py engine` turns the modules of `dispatch/` that decide into C, with mypyc.

`make` says so before whatever runs an engine. Nothing is done where these very sources are compiled for this Python already.
Without a C compiler or with `TELLERHALL_COMPILED=0` the engine runs as plain Python, at half the speed; one line says so.
Where it goes, and why a stale one cannot run: `dispatch/compiled.py`. All else about the package is in pyproject.toml.
"""

import ast
import os
import runpy
import shlex
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup

# By its path: to import `dispatch` would ask for what is only about to be made.
_compiled = runpy.run_path(str(Path(__file__).parent / "dispatch" / "compiled.py"))
KNOB: str = _compiled["KNOB"]
SOURCES: Path = _compiled["SOURCES"]

GROUP = "dispatch.engine_in_c"
"""The one library with all the code; the modules are doors to it."""


def missing() -> str:
    """What is not there of all that a C extension needs, in words, or ''."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python's headers are missing (python3-dev)"
    return ""


def can_be_compiled(path: Path) -> bool:
    """Say whether the module declares no msgspec struct: mypyc would drop the keywords of the class (`array_like`, `tag`)."""
    if path.stem in ("__init__", "compiled"):
        return False
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    return not any(one.keywords for one in classes)


def extensions(scratch: Path) -> list[Extension]:
    """Have mypyc write the C code into `scratch`, and `fields.h` take its part in it."""
    from mypyc.build import mypycify

    modules = [str(path.relative_to(SOURCES.parent)) for path in sorted(SOURCES.glob("*.py")) if can_be_compiled(path)]
    found = mypycify(modules, opt_level="2", debug_level="0", target_dir=str(scratch), group_name=GROUP)
    [written] = [Path(source) for one in found if one.name.startswith(GROUP) for source in one.sources]
    runtime, own, code = written.read_text().partition('#include "__native_internal_')
    if not own:
        raise SystemExit(
            "This mypyc writes other C code than dispatch/fields.h was made for: the engine cannot be compiled"
        )
    header, _, code = code.partition("\n")
    written.write_text(f'{runtime}{own}{header}\n#include "{SOURCES / "fields.h"}"\n{code}')
    return found


class CompileEngine(Command):
    """Compile `dispatch/` where it can be and is wanted; say in one line where not."""

    description = "compile the routing engine with mypyc"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """No options."""

    def finalize_options(self) -> None:
        """No options."""

    def run(self) -> None:
        folder, reason = _compiled["folder_of"](), missing()
        if folder.exists():
            return
        if os.environ.get(KNOB) == "0" or reason:
            print(f"The engine runs as plain Python, at half the speed: {reason or KNOB + '=0'}")
            return
        print("Compiling the engine, once for these sources: about a minute", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            self._compile(Path(scratch))
            if _compiled["folder_of"]() != folder:
                raise SystemExit("The sources of the engine changed while it was compiled: once more, please")
            # Others may be at it: whoever is first has done it for all.
            if not folder.exists():
                (Path(scratch) / "lib" / "dispatch").rename(folder)
        for other in folder.parent.glob(folder.name.rpartition("-")[0] + "-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def _compile(self, scratch: Path) -> None:
        self.distribution.ext_modules = extensions(scratch)
        build = self.get_finalized_command("build_ext")
        build.build_lib, build.build_temp = str(scratch / "lib"), str(scratch / "objects")
        build.inplace = False
        build.run()


setup(cmdclass={"engine": CompileEngine})
