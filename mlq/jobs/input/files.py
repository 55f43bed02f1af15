"""Files as rows: each file of a directory or a glob is a row, as its path or with its content."""

from __future__ import annotations

import base64
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from mlq.jobs.input.handles import shown
from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable, too_large

_RAW_PER_BASE64: Final = 3 / 4
"""Bytes of a file for each character of its base64."""


def list_files(pattern: str) -> list[Path]:
    """List the files under a directory, or of a glob; sorted, so that each call returns the same order."""
    is_directory = os.path.isdir(pattern)  # noqa: PTH112 (False, not an error, for a name that no file can have)
    paths = Path(pattern).rglob("*") if is_directory else map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207 (Path.glob refuses absolute patterns)
    return sorted(p for p in paths if os.path.isfile(p))  # noqa: PTH113 (False where a directory may not be searched)


def is_glob(pattern: str) -> bool:
    """Return True for a glob pattern, False for a path."""
    return glob.has_magic(pattern) and not os.path.exists(pattern)  # noqa: PTH110 (see list_files)


def root_of(pattern: str) -> Path:
    """Return the directory that must contain the files.

    It is a directory itself, the parent of a single file, or the part of a glob before its first wildcard.
    """
    if not is_glob(pattern):
        path = Path(pattern)
        return path if path.is_dir() else path.parent
    parts = Path(pattern).parts
    plain = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:plain])


def values(paths: list[Path], root: Path, *, inline: bool) -> Iterator[Any]:
    """Yield a row for each file: its absolute path, or {"name", "base64"}. The id is the path as given.

    A name that is not UTF-8 cannot be written in JSON: its row is an error. With `inline`, the row of a symbolic link
    to a file outside `root` is an error, too. Otherwise, any user who can write into that directory could add a link
    and make the caller send a private file.
    """
    inside = os.path.realpath(root)
    for path in paths:
        name, absolute = str(path), str(path.resolve())
        if shown(absolute) != absolute or shown(name) != name:
            yield Unreadable(RowError("UnicodeError", f"the file name is not UTF-8: {shown(name)}"))
            continue
        given = _inline(path, inside) if inline else absolute
        yield given if isinstance(given, Unreadable) else {"id": name, "input": given}


def _inline(path: Path, root: str) -> Any:
    try:
        # Without waiting: a named pipe that took the place of the file since it was listed would block the open.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 (a descriptor)
            return _content(path, file, root)
    except OSError as exc:
        return Unreadable(RowError(type(exc).__name__, f"{path}: {exc.strerror}"))


def _content(path: Path, file: BinaryIO, root: str) -> Any:
    """Read an open file. The open file is checked, because the path may name another one by now."""
    opened = os.path.realpath(f"/proc/self/fd/{file.fileno()}")
    if os.path.commonpath([root, opened]) != root:
        return Unreadable(
            RowError("LinkOutside", f"{path}: a link to {shown(opened)}, which is not under {shown(root)}")
        )
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        return Unreadable(RowError("NotAFile", f"{path}: not a regular file"))
    most = int(LARGEST_BYTES * _RAW_PER_BASE64)
    content = file.read(most + 1) if about.st_size <= most else b""
    if about.st_size > most or len(content) > most:  # it may have grown meanwhile
        return too_large(str(path), max(about.st_size, len(content)))
    return {"name": path.name, "base64": base64.b64encode(content).decode("ascii")}
