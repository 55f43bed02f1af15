"""The lock on an open file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlq.ipc.file_lock import try_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty file."""
    path = tmp_path / "cpu0.lock"
    path.touch()
    return path


def test_a_lock_lasts_until_its_file_is_closed(path: Path) -> None:
    """A second holder is refused at once, and never waits for the first one."""
    with path.open() as first, path.open() as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)


def test_shared_locks_allow_each_other_and_no_other_lock(path: Path) -> None:
    """Several commands may look for a server at the same time, but not while its owner holds the lock."""
    with path.open() as first, path.open() as second, path.open() as owner:
        assert try_lock(first, shared=True)
        assert try_lock(second, shared=True)
        assert not try_lock(owner)
        first.close()
        second.close()
        assert try_lock(owner)
        with path.open() as late:
            assert not try_lock(late, shared=True)
