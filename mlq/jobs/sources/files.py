"""Files as rows: a directory's or a glob's, by path, or with what is in them."""

from __future__ import annotations

import base64
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable, too_large
from mlq.jobs.sources.handles import shown

_AS_BASE64: Final = 3 / 4


def found(pattern: str) -> list[Path]:
    """List the files under a directory, or those that a glob names; sorted, so that every look gives the same order."""
    is_directory = os.path.isdir(pattern)  # noqa: PTH112 (False, not an error, for a name that no file can have)
    paths = Path(pattern).rglob("*") if is_directory else map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207 (absolute, too)
    return sorted(p for p in paths if os.path.isfile(p))  # noqa: PTH113 (False where a directory may not be searched)


def is_glob(pattern: str) -> bool:
    """Tell a pattern from a path."""
    return glob.has_magic(pattern) and not os.path.exists(pattern)  # noqa: PTH110 (see found)


def values(paths: list[Path], *, inline: bool) -> Iterator[Any]:
    """Give a row a file: its absolute path, or {"name", "base64"}. The id is the path as it was named.

    A name that is not UTF-8 cannot travel in JSON: its row is an error.
    """
    for path in paths:
        name, absolute = str(path), str(path.resolve())
        if shown(absolute) != absolute or shown(name) != name:
            yield Unreadable(RowError("UnicodeError", f"the file name is not UTF-8: {shown(name)}"))
            continue
        given = _inline(path) if inline else absolute
        yield given if isinstance(given, Unreadable) else {"id": name, "input": given}


def _inline(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES * _AS_BASE64:
            return too_large(str(path), size)
        return {"name": path.name, "base64": base64.b64encode(path.read_bytes()).decode("ascii")}
    except OSError as exc:
        return Unreadable(RowError(type(exc).__name__, f"{path}: {exc.strerror}"))
