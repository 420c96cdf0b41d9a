"""`tellerhall audit`: what an operator sees of a log that is whole, and of one that is not."""

from pathlib import Path

import pytest

from actors.audit import Entry, Head, link
from actors.audit_archive import AuditFiles
from gateway.cli import main

DAY_MS = 86_400_000


@pytest.fixture
def files(tmp_path: Path) -> AuditFiles:
    """The log of a hall that does not run: six entries over two days."""
    files = AuditFiles(tmp_path / "audit", tmp_path / "keys" / "audit-head.json")
    entries = [
        Entry(at_ms=DAY_MS * (20_000 + n // 3), what="take_over", who=f"supervisor:s-{n % 2}", ref=f"r-{n}")
        for n in range(6)
    ]
    files.append(link(Head(), entries)[0])
    return files


def audit(files: AuditFiles, *arguments: str) -> int:
    return main(["audit", *arguments, "--data", str(files.folder.parent)])


def test_a_whole_log(files: AuditFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """Given a log as it was written; then exit status 0, how many, and the head; which may be noted and given again."""
    assert audit(files, "verify") == 0
    said = capsys.readouterr().out
    assert "6 entries, whole, compared with audit-head.json" in said
    assert audit(files, "head") == 0
    head = capsys.readouterr().out.strip()
    assert f"head {head}" in said
    assert audit(files, "verify", "--head", head) == 0
    assert audit(files, "verify", "--head", "3:" + "0" * 64) == 3
    with pytest.raises(SystemExit):
        audit(files, "verify", "--head", "nonsense")


def test_a_damaged_log(files: AuditFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """Given a line that was changed and an end that was cut; then exit status 3, and each is named with its file."""
    first, second = files.paths()
    first.write_bytes(first.read_bytes().replace(b"r-1", b"r-7"))
    second.write_bytes(second.read_bytes()[: second.read_bytes()[:-1].rfind(b"\n") + 1])
    assert audit(files, "verify") == 3
    said = capsys.readouterr().out
    assert f"damaged: {first.name}: entry 3 does not follow entry 2" in said
    assert "the log ends at entry 5, audit-head.json says 6: its end was cut" in said
    files.head_path.write_text("nonsense")
    assert audit(files, "verify") == 1


def test_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given a data folder without any entry; then a check finds none, and there is no head to print."""
    files = AuditFiles(tmp_path / "audit", tmp_path / "keys" / "audit-head.json")
    assert audit(files, "verify") == 0
    assert "0 entries, whole, compared with no head: a cut end would not show" in capsys.readouterr().out
    assert audit(files, "head") == 1


def test_entries_are_shown(files: AuditFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """Given a person, a day, a number; then those entries alone, the newest at the end."""

    def shown(*arguments: str) -> list[str]:
        assert audit(files, "show", *arguments) == 0
        return [line.partition('"ref":"')[2][:3] for line in capsys.readouterr().out.splitlines()]

    assert shown() == [f"r-{n}" for n in range(6)]
    assert shown("--who", "supervisor:s-1") == ["r-1", "r-3", "r-5"]
    assert shown("--last", "2") == ["r-4", "r-5"]
    assert shown("--day", files.paths()[0].stem) == ["r-0", "r-1", "r-2"]
