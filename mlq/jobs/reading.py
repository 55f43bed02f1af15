"""Read rows: a JSON array, a JSON object, JSON Lines, standard input; told apart by what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from mlq.errors import DuplicateIds, NoSuchFile, NotJson
from mlq.jobs import row
from mlq.jobs.row import Row

_LINES_SUFFIXES: Final = {".jsonl", ".ndjson"}
_SHOWN_DUPLICATES: Final = 10


def read_file(path: Path, id_field: str | None = None) -> list[Row]:
    """Read and validate a file before anything is sent.

    A malformed line of JSON Lines is an error row. Raises NoSuchFile, NotJson for a document that does not
    parse as a whole, DuplicateIds.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NoSuchFile(path=path, mend="check the path; `-` reads JSON Lines from standard input") from None
    except OSError as exc:
        raise NoSuchFile(path=f"{path} ({exc.strerror})", mend="name a file that can be read") from None
    if path.suffix in _LINES_SUFFIXES or _is_lines(content):
        rows = list(_lines(content.splitlines(), id_field))
    else:
        rows = _document(path, content, id_field)
    twice = list(row.duplicates(rows))
    if twice:
        shown = ", ".join(f"{r.id!r} (row {r.index})" for r in twice[:_SHOWN_DUPLICATES])
        raise DuplicateIds(path=path, number=len(twice), shown=shown)
    return rows


def read_stream(stream: BinaryIO, id_field: str | None = None) -> list[Row]:
    """Read JSON Lines from a pipe; here an id that was there before is an error row, not the end."""
    rows = list(_lines(stream.read().splitlines(), id_field))
    twice = {r.index for r in row.duplicates(rows)}
    return [_duplicate(r) if r.index in twice else r for r in rows]


def _duplicate(found: Row) -> Row:
    error = row.RowError("DuplicateId", f"an earlier row has the id {found.id!r}")
    return Row(found.index, found.id, error=error)


def _is_lines(content: bytes) -> bool:
    """Tell JSON Lines from a document: its first line is a value of its own, and more follows."""
    first, _, rest = content.lstrip().partition(b"\n")
    if not rest.strip():
        return False
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return True


def _lines(lines: list[bytes], id_field: str | None) -> Iterator[Row]:
    """Make a row of each line that is not blank."""
    index = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield row.make(index, orjson.loads(line), id_field)
        except orjson.JSONDecodeError as exc:
            yield row.malformed(index, number, exc.msg)
        index += 1


def _document(path: Path, content: bytes, id_field: str | None) -> list[Row]:
    try:
        value: Any = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise NotJson(path=path, line=exc.lineno, column=exc.colno, reason=exc.msg) from None
    values = value if isinstance(value, list) else [value]
    return [row.make(index, v, id_field) for index, v in enumerate(values)]
