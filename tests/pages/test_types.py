"""The pages' scripts against their JSDoc types, by the TypeScript compiler: it builds nothing, it only reads."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = Path(sys.prefix) / "typescript" / "node_modules" / "typescript" / "bin" / "tsc"
OPTIONS = [
    "--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--module", "esnext",
    "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable", "--pretty", "false",
]  # fmt: skip

pytestmark = pytest.mark.node


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    assert COMPILER.exists(), "the types of the pages need TypeScript: make typescript"
    command = ["node", str(COMPILER), *OPTIONS, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_every_script_keeps_its_types() -> None:
    """Given all scripts of the pages, the client library among them, then the strict compiler finds nothing."""
    scripts = sorted((ROOT / "gateway" / "pages").glob("*.js"))
    assert all(script.read_text().startswith("// @ts-check") for script in scripts)
    found = checked(*scripts)
    assert (found.returncode, found.stdout) == (0, "")


def test_a_page_that_misuses_the_library_is_told(tmp_path: Path) -> None:
    """Given a page in which a role is misspelt and a promise is taken for a value, then the compiler names both."""
    page = tmp_path / "page.js"
    library = ROOT / "gateway" / "pages" / "client.js"
    page.write_text(
        f'import {{ Client }} from "{library}";\n'
        'const client = new Client({ token: "t", role: "custommer", onMessage() {}, onLink() {} });\n'
        'const id = client.ask("call.request", {}).call_id;\nconsole.log(id);\n'
    )
    found = checked(page)
    assert found.returncode != 0
    assert "custommer" in found.stdout
    assert "call_id" in found.stdout
