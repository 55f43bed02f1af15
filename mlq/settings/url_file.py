"""The file that holds the URL of a server, which is how secrets are commonly passed to services.

A user who can write the file can redirect tasks, results and passwords to another server, so the file is read only if
no other user can write it. Errors never quote its content, which may be a password without a URL.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LARGEST: Final = 16 * 1024
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Unusable(ValueError):
    """A file from which no URL can be read; `fix` is the command that corrects it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


def read(path: Path, parse: Callable[[str], str]) -> str:
    """Read a URL that `parse` accepts. Raises Unusable."""
    text = _text(path)
    lines = text.split()
    write = f"write one URL into it: `install -m 600 /dev/stdin {path}`"
    if not lines:
        raise Unusable("it is empty", write)
    if len(lines) > 1:
        raise Unusable("it holds more than one word", write)
    try:
        return parse(lines[0])
    except ValueError as exc:
        raise Unusable(str(exc), write) from None


def warning(path: Path) -> str | None:
    """Return a warning if other users of this host can read the file; None if they cannot, or there is no file."""
    try:
        is_readable = path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH
    except OSError:
        return None
    if not is_readable:
        return None
    return f"{path} holds a password, and every user of this host can read it: `chmod o-r {path}`"


def _text(path: Path) -> str:
    """Read a whole file.

    If the file is replaced during the read, the old content is returned. If it is written in place, a part of the
    new content may be returned: then the server refuses the password, and the next connection reads the file again.
    """
    try:
        # With O_NONBLOCK, a named pipe in place of the file does not block the command.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise Unusable(reason, f"let this user (id {os.geteuid()}) read it, or name another file") from None
    try:
        _demand_private(path, os.fstat(file))
        return _decoded(os.pread(file, _LARGEST + 1, 0))
    except OSError as exc:
        raise Unusable(exc.strerror or str(exc), "look at the file system that it is on") from None
    finally:
        os.close(file)


def _decoded(content: bytes) -> str:
    if len(content) > _LARGEST:
        raise Unusable(f"it has more than {_LARGEST:,} bytes", "name the file that holds the URL, and nothing else")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unusable("it is not UTF-8", "write the URL as text, other bytes of a password as %XX") from None


def _demand_private(path: Path, found: os.stat_result) -> None:
    """Raise Unusable for a file that another user can write or replace."""
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("it is no regular file", "name a file that holds the URL")
    if found.st_uid not in {0, os.geteuid()}:
        owner = f"it belongs to user id {found.st_uid}, who could name another server"
        raise Unusable(owner, f"`chown {os.geteuid()} {path}`")
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise Unusable("other users may write it, and could name another server", f"`chmod go-w {path}`")
    above = path.parent.stat()
    if above.st_uid not in {0, os.geteuid()}:
        owner = f"its directory belongs to user id {above.st_uid}, who could replace it"
        raise Unusable(owner, f"move it to a directory of this user's: {path.name} there, mode 600")
    if above.st_mode & _OTHERS_MAY_WRITE and not above.st_mode & stat.S_ISVTX:
        raise Unusable("other users may replace it: they may write its directory", f"`chmod go-w {path.parent}`")
