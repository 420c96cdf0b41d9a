"""The build handshake: other code, or the same code from elsewhere, is refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.build import COMPARED, DifferentBuild, build_digest, handshake

PROGRAM = "from actors.build import build_digest; import json; print(json.dumps(build_digest()))"


def test_the_same_code_is_let_in() -> None:
    """Given another process of the same installation, when digests are compared, then nothing is raised."""
    command = [sys.executable, "-c", PROGRAM]
    answer = subprocess.run(command, capture_output=True, check=True, text=True, cwd=Path(__file__).parents[2])
    handshake(json.loads(answer.stdout))
    assert set(build_digest()) == set(COMPARED)


@pytest.mark.parametrize("other", ["/elsewhere {digest}", "{folder} 0000", ""])
def test_other_code_is_refused_by_name(other: str) -> None:
    """Given one package from another folder, changed, or missing, then the error names that package alone."""
    folder, digest = build_digest()["dispatch"].split(" ")
    expected = {**build_digest(), "dispatch": other.format(folder=folder, digest=digest)}
    with pytest.raises(DifferentBuild, match="dispatch") as refused:
        handshake(expected)
    assert "media" not in str(refused.value)
