"""Traces: arrival times of tasks, and their service times where known, from a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from mlq.autoscale.replay.simulation import Task
from mlq.errors import BadTrace, NoSuchFile

_LONGEST_S: Final = 366 * 86_400.0
"""Longest trace. A longer one is probably in other units than seconds, and its replay would not end."""

_FRACTION: Final = re.compile(r"\.(\d+)")

_NO_TIME_S: Final = 1e-6
"""Service time used in place of 0, with which a worker would have no finite rate."""


def read(path: Path, service_s: float) -> list[Task]:
    """Read a trace, in order of arrival; times count from the first arrival.

    The first column is the arrival (seconds or ISO 8601). The second, optional column is the service time in seconds;
    `service_s` stands for a missing one. A first line that does not begin with a time is a header.

    Raises NoSuchFile, and BadTrace, which names the file and the line.
    """
    try:
        found = sorted(_tasks(path, _text(path), service_s), key=lambda numbered: numbered[1].at)
    except OSError as exc:
        raise NoSuchFile(path=path, fix=f"check the path ({exc.strerror})") from None
    if not found:
        raise BadTrace(path=path, line=1, reason="no arrivals")
    first, (line, last) = found[0][1], found[-1]
    if last.at - first.at > _LONGEST_S:
        days = (last.at - first.at) / 86_400
        raise BadTrace(path=path, line=line, reason=f"{days:.3g} days after the first: times are in seconds")
    return [Task(task.at - first.at, max(task.service_s, _NO_TIME_S)) for _, task in found]


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise BadTrace(path=path, line=line, reason="this is not UTF-8 text") from None


def _tasks(path: Path, text: str, service_s: float) -> Iterator[tuple[int, Task]]:
    """Yield each task with the number of its line."""
    rows = csv.reader(io.StringIO(text, newline=""))
    is_first = True
    try:
        for row in filter(None, rows):
            is_header = is_first and _time(row[0]) is None
            is_first = False
            if not is_header:
                yield rows.line_num, _task(row, service_s)
    except (csv.Error, ValueError) as exc:
        raise BadTrace(path=path, line=rows.line_num, reason=exc) from None


def _task(row: Sequence[str], service_s: float) -> Task:
    """Read one row. Raises ValueError with the reason."""
    at, took = _time(row[0]), service_s
    if at is None or math.isnan(at):
        raise ValueError(f"{row[0]!r} is no time")
    if len(row) > 1 and row[1].strip():
        took = _number(row[1])
    if math.isnan(took):
        raise ValueError(f"{row[1]!r} is no service time in seconds")
    return Task(at, took)


def _number(text: str) -> float:
    """Read a number of seconds; return NaN if it is not a number, negative or infinite."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if 0 <= number < math.inf else math.nan


def _time(text: str) -> float | None:
    """Read a time in seconds; None if it is neither a number nor a date, NaN if it is an invalid number."""
    with suppress(ValueError):
        float(text)
        return _number(text)
    with suppress(ValueError, OverflowError):
        # Python 3.10 accepts only three or six digits of a second, and no Z.
        plain = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", text.strip().replace("Z", "+00:00"))
        return datetime.fromisoformat(plain).timestamp()
    return None
