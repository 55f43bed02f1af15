"""The replacement of a file in one step."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mlq.ipc.private_files import replacement, write_private


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with old content."""
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    return path


def test_a_reader_sees_the_old_content_until_the_new_one_is_complete(path: Path) -> None:
    """Another command may read the file at any time."""
    with replacement(path) as file:
        file.write(b"n")
        file.flush()
        assert path.read_text() == "old"
        file.write(b"ew")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_replacement_that_fails_changes_nothing(path: Path, failure: type[BaseException]) -> None:
    """On a full disk, half a copy would only take up more space."""

    def fail() -> None:
        with replacement(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_is_overwritten(path: Path) -> None:
    """No user removes it by hand, and it must not prevent the next replacement."""
    path.with_name("out.jsonl.mlq-new").write_text("much longer than the new content")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("keep_mode", "mode"), [(False, 0o600), (True, 0o644)])
def test_the_new_file_is_private_unless_the_user_asked_for_it(path: Path, keep_mode: bool, mode: int) -> None:  # noqa: FBT001
    """Other users may read an output if the umask allows it, but never a file of the state directory."""
    before = os.umask(0o022)
    try:
        with replacement(path, keep_mode=keep_mode):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
