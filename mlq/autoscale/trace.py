"""Trace: arrival times of tasks from a CSV file, with their service times where they are known."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from mlq.autoscale.simulation import Task
from mlq.errors import BadTrace, NoSuchFile


def read(path: Path, service_s: float) -> list[Task]:
    """Read a trace: the first column is when a task came (seconds, or ISO 8601), a second one how long it took (s).

    A first line that is no time is a header. Times count from the first; `service_s` is for rows without a second
    column. Raises NoSuchFile, BadTrace with file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            tasks = sorted(_tasks(path, list(csv.reader(file)), service_s), key=lambda t: t.at)
    except OSError as exc:
        raise NoSuchFile(path=path, mend=f"check the path ({exc.strerror})") from None
    if not tasks:
        raise BadTrace(path=path, line=1, reason="no arrivals")
    return [Task(t.at - tasks[0].at, t.service_s) for t in tasks]


def _tasks(path: Path, rows: Sequence[Sequence[str]], service_s: float) -> Iterator[Task]:
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        at = _time(row[0])
        if at is None:
            if number == 1:
                continue
            raise BadTrace(path=path, line=number, reason=f"{row[0]!r} is no time")
        try:
            took = float(row[1]) if len(row) > 1 and row[1].strip() else service_s
        except ValueError:
            raise BadTrace(path=path, line=number, reason=f"{row[1]!r} is no service time in seconds") from None
        yield Task(at, max(0.0, took))


def _time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Python 3.10 reads no more than six digits of a second, and no Z.
        head, dot, digits = text.strip().replace("Z", "+00:00").partition(".")
        return datetime.fromisoformat(head + dot + digits[:6] if "+" not in digits else text).timestamp()
    except ValueError:
        return None
