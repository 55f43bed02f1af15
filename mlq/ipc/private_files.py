"""Private files of one user, created so that no other user can read or replace them.

A file gets its mode when it is created, independently of the umask. The owner of an existing file is checked on the
open descriptor. Links are refused: another user who guesses a name could otherwise choose which file is written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from mlq.errors import StateDirectoryUnusable
from mlq.security.trust import is_strange, user_name

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_OTHERS: Final = 0o077

_NEW: Final = ".mlq-new"
"""Suffix of a file that is to replace another one. A user has no file of that name beside an output."""


def open_private(path: Path, mode: str, *, keep_mode: bool = False) -> IO[Any]:
    """Open a file as `open` does, with access for this user only. The mode of an existing file is corrected.

    With `keep_mode` the umask decides who may read the file, which is right for a file that the user asked for.
    Raises OSError, also for a link, for anything but a regular file, and for another user's file.
    """

    def opener(name: str, flags: int) -> int:
        return _open(name, flags, 0o666 if keep_mode else _FILE_MODE)

    return open(path, mode, opener=opener)


def open_state(path: Path, mode: str) -> IO[Any]:
    """Open a private file of the state directory. Raises FileNotFoundError, StateDirectoryUnusable."""
    try:
        return open_private(path, mode)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StateDirectoryUnusable(path=path, reason=exc.strerror) from None


def read_private(path: Path) -> str:
    """Read a private file. Raises OSError."""
    with open_private(path, "r") as file:
        text: str = file.read()
        return text


def write_private(path: Path, content: str) -> None:
    """Write a private file in one step. Raises OSError."""
    with replacement(path) as file:
        file.write(content.encode())


@contextmanager
def replacement(path: Path, *, keep_mode: bool = False) -> Iterator[IO[bytes]]:
    """Yield a new file that takes the place of `path` at the end of the block.

    A reader sees the old or the new content, never a part. If the block fails, `path` stays as it was and the new file
    is removed: on a full disk it would only take up more space. A process that is killed leaves it, and the next
    replacement overwrites it, so only one process at a time may replace a file: the callers hold a lock.

    Args:
        path: The file.
        keep_mode: As in `open_private`.

    Raises:
        OSError: The new file cannot be written, or something else is at its place.
    """
    beside = path.with_name(path.name + _NEW)
    try:
        with open_private(beside, "wb", keep_mode=keep_mode) as file:
            yield file
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _open(name: str, flags: int, mode: int) -> int:
    """Open a file, check its owner, and truncate it only then."""
    wanted = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, wanted, mode)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link", name) from None
        raise
    try:
        facts = os.fstat(fd)
        _demand_own(name, facts)
        if mode == _FILE_MODE and facts.st_mode & _OTHERS and facts.st_uid == os.geteuid():
            os.fchmod(fd, _FILE_MODE)
        if flags & os.O_TRUNC:
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def _demand_own(name: str, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", name)
    if is_strange(facts.st_uid):
        raise PermissionError(errno.EPERM, f"it belongs to {user_name(facts.st_uid)}", name)


def private_directory(path: Path) -> Path:
    """Create a directory with access for this user only; the mode of an existing one is corrected.

    Raises StateDirectoryUnusable, also for a link and for another user's directory.
    """
    try:
        path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            raise StateDirectoryUnusable(path=path, reason="it is a link")
        if facts.st_uid != os.geteuid():
            raise StateDirectoryUnusable(path=path, reason=f"it belongs to {user_name(facts.st_uid)}")
        if facts.st_mode & _OTHERS:
            path.chmod(_DIRECTORY_MODE)
    except (OSError, ValueError) as exc:
        raise StateDirectoryUnusable(path=path, reason=getattr(exc, "strerror", None) or exc) from None
    return path


@contextmanager
def private_umask() -> Iterator[int]:
    """Create files for this user only, until the block ends; yields the user's own umask, for child processes."""
    users = os.umask(_OTHERS)
    try:
        yield users
    finally:
        os.umask(users)
