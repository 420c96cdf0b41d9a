"""The audit log's files: days, crashes, and every way of tampering that the check must name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.audit import Entry, Head, decode_line, hash_of, link
from actors.audit_archive import PROBLEMS_MAX, AuditBroken, AuditFiles, check
from tests.store.test_audit import AT_MS, DAY_MS, entry, files_in

COUNT = 9
Lines = list[bytes]


def three_days() -> list[Entry]:
    return [entry(f"r-{n}", at_ms=AT_MS + n // 3 * DAY_MS, about={"call_id": f"c-{n}"}) for n in range(COUNT)]


@pytest.fixture
def files(tmp_path: Path) -> AuditFiles:
    """Nine entries over three days, archived in two steps."""
    files = files_in(tmp_path)
    lines, _ = link(Head(), three_days())
    files.append(lines[:4])
    files.append(lines[4:])
    return files


def heads_of(files: AuditFiles) -> dict[str, Head]:
    noted = files.noted_head()
    assert noted is not None
    return {"the head apart": noted}


def test_a_file_a_day_readable_by_its_owner(files: AuditFiles) -> None:
    """Given entries of three days; then three files in order, for the owner alone, and the head beside them."""
    assert [path.name for path in files.paths()] == ["2026-11-28.jsonl", "2026-11-29.jsonl", "2026-11-30.jsonl"]
    for path in (*files.paths(), files.head_path):
        assert path.stat().st_mode & 0o777 == 0o600
    found = check(files, heads_of(files))
    assert (found.entries_count, found.last.seq, found.problems) == (COUNT, COUNT, [])


def test_days_never_go_back(tmp_path: Path) -> None:
    """Given a gateway whose clock is a little behind at midnight; then the order of the chain is the order of the files."""
    files = files_in(tmp_path)
    files.append(link(Head(), [entry("a", at_ms=AT_MS + DAY_MS), entry("b", at_ms=AT_MS + DAY_MS - 1)])[0])
    again = files_in(tmp_path)
    again.append(link(again.last(), [entry("c", at_ms=AT_MS)])[0])
    assert [path.name for path in files.paths()] == ["2026-11-29.jsonl"]
    assert check(files, heads_of(files)).problems == []


def changed(lines: Lines) -> Lines:
    lines[4] = lines[4].replace(b"supervisor:s-1", b"supervisor:s-2")
    return lines


def changed_last(lines: Lines) -> Lines:
    lines[-1] = lines[-1].replace(b"supervisor:s-1", b"supervisor:s-2")
    return lines


def changed_first(lines: Lines) -> Lines:
    lines[0] = lines[0].replace(b"c-0", b"c-7")
    return lines


def blank_added(lines: Lines) -> Lines:
    lines[2] = lines[2].replace(b'"ref"', b' "ref"')
    return lines


def removed(lines: Lines) -> Lines:
    return lines[:3] + lines[4:]


def removed_first(lines: Lines) -> Lines:
    return lines[1:]


def reordered(lines: Lines) -> Lines:
    lines[3], lines[4] = lines[4], lines[3]
    return lines


def doubled(lines: Lines) -> Lines:
    return [*lines[:5], lines[4], *lines[5:]]


def added(lines: Lines) -> Lines:
    extra = decode_line(lines[4])
    forged = link(Head(extra.seq - 1, extra.prev), [entry("forged")])[0][0]
    return [*lines[:4], forged, *lines[4:]]


def cut(lines: Lines) -> Lines:
    return lines[:-1]


def cut_in_a_line(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1][:40]]


def emptied(_: Lines) -> Lines:
    return []


def spoiled(lines: Lines) -> Lines:
    lines[5] = b"nonsense"
    return lines


def made_anew(_: Lines) -> Lines:
    forged = three_days()
    forged[2] = entry("another")
    return link(Head(), forged)[0]


def removed_and_linked_anew(lines: Lines) -> Lines:
    kept = [one for n, one in enumerate(three_days()) if n != 3]
    return link(Head(), kept)[0]


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (changed, "entry 6 does not follow entry 5"),
        (changed_last, "entry 9 is not the one that the head apart says"),
        (changed_first, "entry 2 does not follow entry 1"),
        (blank_added, "entry 4 does not follow entry 3"),
        (removed, "entry 5 comes after entry 3: what was between is missing"),
        (removed_first, "entry 2 comes after entry 0"),
        (reordered, "moved, or there twice"),
        (doubled, "moved, or there twice"),
        (added, "moved, or there twice"),
        (cut, "ends at entry 8, the head apart says 9: its end was cut"),
        (cut_in_a_line, "a line is no entry"),
        (emptied, "ends at entry 0, the head apart says 9"),
        (spoiled, "a line is no entry"),
        (made_anew, "entry 9 is not the one that the head apart says"),
        (removed_and_linked_anew, "ends at entry 8, the head apart says 9"),
    ],
)
def test_tampering_is_named(files: AuditFiles, tamper: Callable[[Lines], Lines], words: str) -> None:
    """Given whatever somebody may do to the lines; then the check names it."""
    heads = heads_of(files)
    rewrite(files, tamper([raw for _, raw in files.lines()]))
    assert words in "\n".join(check(files, heads).problems)


def rewrite(files: AuditFiles, lines: Lines) -> None:
    """Put the lines into one file in the place of all."""
    paths = files.paths()
    for path in paths[1:]:
        path.unlink()
    paths[0].write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_that_is_gone_is_named(files: AuditFiles, number: int) -> None:
    """Given a whole day that was removed; then the check says where something is missing."""
    files.paths()[number].unlink()
    assert check(files, heads_of(files)).problems


def test_a_chain_that_was_made_anew_with_its_head_shows_against_a_noted_one(files: AuditFiles) -> None:
    """Given somebody who can write everything here; then only the head that was noted elsewhere gives it away."""
    noted = files.noted_head()
    assert noted is not None
    lines = made_anew([])
    rewrite(files, lines)
    files.head_path.write_text(json.dumps({"seq": COUNT, "hash": hash_of(lines[-1])}))
    assert check(files, heads_of(files)).problems == []
    assert check(files, {**heads_of(files), "the noted head": noted}).problems
    older = Head(4, hash_of([raw for _, raw in files.lines()][3]))
    assert check(files, {"an older one": older}).problems == []
    assert check(files, {"an older one": Head(4, "0" * 64)}).problems


def test_problems_are_bounded(files: AuditFiles) -> None:
    """Given a log in which nothing fits; then so many problems are named and no more."""
    rewrite(files, [b"x"] * (PROBLEMS_MAX + 5))
    assert len(check(files, {}).problems) == PROBLEMS_MAX


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_half_line_of_a_crash_is_taken_away(files: AuditFiles, tmp_path: Path, kept: int) -> None:
    """Given a crash in the middle of a line; when the next one archives; then the line is there once, whole."""
    lines = [raw for _, raw in files.lines()]
    path = files.paths()[-1]
    path.write_bytes(path.read_bytes()[: -len(lines[-1]) - 1] + lines[-1][:kept])
    again = files_in(tmp_path)
    assert again.last().seq == COUNT - 1
    again.append(lines[-1:])
    found = check(again, heads_of(again))
    assert (found.entries_count, found.problems) == (COUNT, [])


def test_a_crash_between_line_and_head_is_none(files: AuditFiles, tmp_path: Path) -> None:
    """Given lines that are durable and a head that is older; then the check is content, and the next append goes on."""
    lines = [raw for _, raw in files.lines()]
    files.head_path.write_text(json.dumps({"seq": 5, "hash": hash_of(lines[4])}))
    assert check(files, heads_of(files)).problems == []
    again = files_in(tmp_path)
    again.append(link(again.last(), [entry("next")])[0])
    assert check(again, heads_of(again)).last.seq == COUNT + 1


def test_what_does_not_follow_is_not_written(files: AuditFiles) -> None:
    """Given lines that follow another head, or are none; then nothing of them is written."""
    before = [raw for _, raw in files.lines()]
    for lines in (link(Head(), [entry("x")])[0], link(Head(COUNT, "0" * 64), [entry("x")])[0], [b"nonsense"]):
        with pytest.raises(AuditBroken):
            files.append(lines)
    assert [raw for _, raw in files.lines()] == before
