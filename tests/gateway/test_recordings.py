"""A recording's files over REST: what the manifest names, whole or in part, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from gateway.development_issuer import DevelopmentIssuer
from media.evidence import MANIFEST_FILE, Manifest
from tests.gateway.rights import REFERENCE, World, world

CONTENT = REFERENCE.encode()
Change = Callable[[Manifest], Manifest]


async def fetch(made: World, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    token = made.issuer.issue("supervisor", "s-1", 600, "main")
    url = f"{made.visitor.base}/v1/recordings/{made.call_id}/attempts/{path}"
    async with made.visitor.http.get(url, headers={"Authorization": f"Bearer {token}", **headers}) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


def change_manifest(folder: Path, call_id: str, change: Change) -> None:
    [path] = folder.glob(f"recordings/*/{call_id}/attempt-1/{MANIFEST_FILE}")
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(change(manifest)))


async def test_a_file_comes_whole(tmp_path: Path) -> None:
    """Given a sealed file; then its bytes come, for nobody's cache."""
    async with world(tmp_path) as made:
        status, content, headers = await fetch(made, "1/files/agent.capture")
        assert (status, content) == (200, CONTENT)
        assert headers["Cache-Control"] == "private, no-store"
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"] == 'attachment; filename="agent.capture"'


async def test_a_range_of_it(tmp_path: Path) -> None:
    """Given a range; then that part comes; beyond the end none does."""
    async with world(tmp_path) as made:
        status, content, headers = await fetch(made, "1/files/agent.capture", Range="bytes=2-5")
        assert (status, content) == (206, CONTENT[2:6])
        assert headers["Content-Range"] == f"bytes 2-5/{len(CONTENT)}"
        assert (await fetch(made, "1/files/agent.capture", Range="bytes=99-"))[0] == 416


@pytest.mark.parametrize(
    "path", ["2/files/agent.capture", "1/files/manifest.json", "1/files/..%2F..%2Fkeys", "1/files/customer.capture"]
)
async def test_nothing_that_no_manifest_names(tmp_path: Path, path: str) -> None:
    """Given another attempt, a file beside it, a way out of the folder; then there is no such file."""
    async with world(tmp_path) as made:
        assert (await fetch(made, path))[0] == 404


@pytest.mark.parametrize(
    "change",
    [
        lambda one: structs.replace(one, files=[structs.replace(one.files[0], path="../keys/agent.capture")]),
        lambda one: structs.replace(one, files=[structs.replace(one.files[0], path="/etc/hostname")]),
        lambda one: structs.replace(one, files=[structs.replace(one.files[0], bytes=len(CONTENT) - 1)]),
    ],
    ids=["above", "elsewhere", "longer than sealed"],
)
async def test_a_manifest_is_not_believed(tmp_path: Path, change: Change) -> None:
    """Given a manifest that somebody changed; then nothing outside of the folder is sent, nor what is not as it was sealed."""
    async with world(tmp_path) as made:
        (tmp_path / "keys" / "agent.capture").write_bytes(CONTENT)
        change_manifest(tmp_path, made.call_id, change)
        for name in ("agent.capture", "hostname"):
            assert (await fetch(made, f"1/files/{name}"))[0] == 404


async def test_whoever_looks_is_recorded_first(tmp_path: Path) -> None:
    """Given a file that was fetched; then the audit log names who did, and what."""
    async with world(tmp_path) as made:
        await fetch(made, "1/files/agent.capture")
        token = DevelopmentIssuer.open(tmp_path / "keys").issue("operator", "o-1", 600, "main")
        url = f"{made.visitor.base}/v1/audit"
        async with made.visitor.http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            text = await answer.text()
        assert '"what":"fetch_recording"' in text
        assert '"file":"agent.capture"' in text
        assert '"who":"supervisor:s-1"' in text
