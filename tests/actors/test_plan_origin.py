"""What a start makes of the file's plan: SAFETY.md 20."""

import pytest

from actors.plan_origin import at_start, file_sha_of, is_over_rest, over_rest, sha_of


@pytest.mark.parametrize(
    ("in_force", "file", "is_insisted", "verdict"),
    [
        ("", "f1", False, "take"),  # the first start
        ("f1", "f1", False, "take"),  # as before: the engine calls it unchanged
        ("f1", "f2", False, "take"),  # the file alone has changed
        ("rest:r1:f1", "f1", False, "pass_over"),  # REST alone has
        ("rest:r1:f1", "f2", False, "conflict"),  # both have
        ("rest:r1:f1", "r1", False, "take"),  # the file has caught up
        ("rest:r1:", "f1", False, "conflict"),  # no file was ever taken
        ("rest:r1:f1", "f2", True, "take"),
        ("rest:r1:f1", "f1", True, "take"),
    ],
)
def test_what_becomes_of_the_files_plan(in_force: str, file: str, is_insisted: bool, verdict: str) -> None:
    """Given the plan in force and the file's; then a start takes it, passes over old news, or leaves a conflict to people."""
    assert at_start(in_force, file, is_insisted=is_insisted) == verdict


def test_the_file_is_remembered_over_any_number_of_changes() -> None:
    """Given changes over REST one after another; then the last plan of the file is still known, and each plan by itself."""
    digest = "f1"
    for sha in ("r1", "r2", "r3"):
        digest = over_rest(sha, digest)
        assert (is_over_rest(digest), sha_of(digest), file_sha_of(digest)) == (True, sha, "f1")
    assert (is_over_rest("f1"), sha_of("f1"), file_sha_of("f1")) == (False, "f1", "f1")
