"""Files as rows: a directory's or a glob's, by path, or with what is in them."""

from __future__ import annotations

import base64
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable, too_large

_AS_BASE64: Final = 3 / 4


def found(pattern: str) -> list[Path]:
    """List the files under a directory, or those that a glob names; sorted, so that every look gives the same order."""
    root = Path(pattern)
    paths = root.rglob("*") if root.is_dir() else map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207 (absolute, too)
    return sorted(p for p in paths if p.is_file())


def is_glob(pattern: str) -> bool:
    """Tell a pattern from a path."""
    return glob.has_magic(pattern) and not Path(pattern).exists()


def values(paths: list[Path], *, inline: bool) -> Iterator[Any]:
    """Give a row a file: its absolute path, or {"name", "base64"}. The id is the path as it was named."""
    for path in paths:
        given = _inline(path) if inline else str(path.resolve())
        yield given if isinstance(given, Unreadable) else {"id": str(path), "input": given}


def _inline(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES * _AS_BASE64:
            return too_large(str(path), size)
        return {"name": path.name, "base64": base64.b64encode(path.read_bytes()).decode("ascii")}
    except OSError as exc:
        return Unreadable(RowError(type(exc).__name__, f"{path}: {exc.strerror}"))
