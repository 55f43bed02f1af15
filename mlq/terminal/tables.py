"""Queues, jobs, workers and settings as tables and JSON. Scripts rely on the JSON fields: add fields, remove none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlq.broker.server_time import describe_skew
from mlq.settings.config import SETTINGS, shown
from mlq.store.workers.heartbeats import serving
from mlq.terminal.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from mlq.settings.config import Settings
    from mlq.store.queues.depth import QueueDepth
    from mlq.store.workers.heartbeats import Heartbeat

UNKNOWN: Final = "-"

_SHORT: Final = 8
"""Digits of a model's fingerprint in a table."""

_INTERNAL: Final = frozenset({"id", "forwards", "read_at"})
"""Fields of a heartbeat that JSON leaves out, because they are mlq's own."""


def queues_document(depths: Sequence[QueueDepth], workers: Sequence[Heartbeat]) -> dict[str, Any]:
    """Describe queues as mlq.queues/1: one entry for each; an unknown number is null, never 0."""
    return {
        "schema": "mlq.queues/1",
        "queues": [
            {
                "name": d.name,
                "ready": d.ready,
                "in_flight": d.in_flight,
                "delayed": d.delayed,
                "oldest_age_s": None if d.oldest_age_s is None else round(d.oldest_age_s, 3),
                "workers": len(serving(workers, d.name)),
                "paused": d.paused,
                "by_priority": d.by_priority,
                "rate_limits": _rate_limits(serving(workers, d.name)),
            }
            for d in depths
        ],
    }


def queues_table(depths: Sequence[QueueDepth], workers: Sequence[Heartbeat]) -> Table:
    """Draw the depth of each queue, the age of its oldest message, and the number of its workers."""
    drawn = table("QUEUE", READY=True, RUNNING=True, DELAYED=True, OLDEST=True, WORKERS=True)
    for d in depths:
        name = f"{d.name} (paused)" if d.paused else d.name
        row(drawn, name, d.ready, d.in_flight, d.delayed, _age(d.oldest_age_s), len(serving(workers, d.name)))
    shown_workers = {w.id: w for d in depths for w in serving(workers, d.name)}
    _caption(drawn, _describe_rate_limits(list(shown_workers.values())))
    return drawn


def _rate_limits(workers: Sequence[Heartbeat]) -> dict[str, str]:
    """Return the rate limit of each task; if workers have different limits, one of them."""
    return {task: limit for worker in workers for task, limit in worker.rate_limits.items()}


def _describe_rate_limits(workers: Sequence[Heartbeat]) -> list[str]:
    """Describe each rate limit in a line: it explains why tasks wait although workers are idle."""
    limited: dict[tuple[str, str], list[str]] = {}
    for worker in workers:
        for limit in worker.rate_limits.items():
            limited.setdefault(limit, []).append(f"{worker.name}@{worker.host}")
    return [f"{task} has a rate limit of {limit} on {', '.join(names)}" for (task, limit), names in limited.items()]


def _caption(drawn: Table, lines: Sequence[str]) -> None:
    """Write lines below a table, if there are any."""
    if lines:
        drawn.caption = "\n".join(map(printable, lines))
        drawn.caption_justify = "left"


def jobs_table(jobs: Sequence[Mapping[str, Any]], now: float) -> Table:
    """Draw the progress of jobs.

    Args:
        jobs: The jobs, as mlq.job/1 describes them.
        now: The time of the server's clock, in seconds since 1970.
    """
    found = table("JOB", STATE=False, ROWS=True, DONE=True, FAILED=True, QUEUE=False, SUBMITTED=True, FILE=False)
    for job in jobs:
        ago = _age(now - job["submitted_at"])
        about = (job["state"], job["rows"], job["done"], job["failed"], job["queue"], ago, job["source"])
        row(found, job["job"], *about)
    return found


def workers_document(workers: Sequence[Heartbeat]) -> dict[str, Any]:
    """Describe the workers of all hosts as mlq.workers/1: one entry for each."""
    return {
        "schema": "mlq.workers/1",
        "workers": [{k: v for k, v in asdict(w).items() if k not in _INTERNAL} for w in workers],
    }


def workers_table(workers: Sequence[Heartbeat], *, now: float | None = None) -> Table:
    """Draw workers: where each runs, what it serves, its state and its task."""
    words = ("HOST", "DEVICE", "MODEL", "QUEUES", "STATE", "SINCE", "TASK")
    numbers = ("ROWS", "MEMORY", "UP", "RESTARTS", "LEASE")
    drawn = table("WORKER", **dict.fromkeys(words, False), **dict.fromkeys(numbers, True))
    for w in workers:
        at = w.read_at if now is None else now
        serves = w.fingerprint and w.fingerprint.rpartition(":")[2][:_SHORT], ",".join(w.queues)
        does = w.state, _age(at - w.since) if w.since else None, w.task
        did = w.rows_done, f"{w.rss_bytes / 2**20:.0f} MiB", _age(at - w.started_at), w.restarts
        row(drawn, w.name, w.host, w.gpu or w.device, *serves, *does, *did, _lease(w.lease_s))
    skews = {w.host: skew for w in workers if (skew := describe_skew(w.clock_skew_s or 0.0))}
    skewed = [f"the clock of {host} is {skew}" for host, skew in skews.items()]
    _caption(drawn, [*skewed, *_describe_rate_limits(workers)])
    return drawn


def settings_document(settings: Settings) -> dict[str, Any]:
    """Describe every setting as mlq.config/1: its value, without passwords, and where it came from."""
    rows: list[dict[str, Any]] = [{"key": k, "value": v, "origin": o} for k, v, o in _settings_rows(settings)]
    for row in rows:
        if row["key"] in settings.overridden:
            row["overrides"] = list(settings.overridden[row["key"]])
    return {"schema": "mlq.config/1", "settings": rows}


def settings_table(settings: Settings) -> Table:
    """Draw every setting; one without a value is drawn as UNKNOWN."""
    drawn = table("SETTING", VALUE=False, FROM=False)
    for key, value, origin in _settings_rows(settings):
        text = ", ".join(value) if isinstance(value, (list, tuple)) else value
        weaker = settings.overridden.get(key)
        row(drawn, key, text, f"{origin} (before {', '.join(weaker)})" if weaker else origin)
    return drawn


def _settings_rows(settings: Settings) -> list[tuple[str, Any, str]]:
    rows = []
    for setting in SETTINGS:
        value = settings.get(setting.dotted)
        plain = str(value) if isinstance(value, Path) else shown(setting, value)
        rows.append((setting.dotted, plain, settings.origin(setting.dotted)))
    return rows


def table(first: str, **columns: bool) -> Table:
    """Make a table without borders; a column is True if it holds numbers, which are aligned to the right."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    drawn.add_column(first)
    for title, numeric in columns.items():
        drawn.add_column(title, justify="right" if numeric else "left")
    return drawn


def row(drawn: Table, *cells: object) -> None:
    """Add a row; None is drawn as UNKNOWN, and control characters are escaped."""
    drawn.add_row(*(UNKNOWN if c is None else printable(c) for c in cells))


def _lease(seconds: float | None) -> str | None:
    """Write the time left of a lease; None if the worker has none, or not yet."""
    return None if seconds is None else "expired" if seconds < 0 else _age(seconds)


def _age(seconds: float | None) -> str | None:
    """Write a duration with two units at most: 0.4s, 12s, 3m05s, 2h07m, 4d03h."""
    if seconds is None:
        return None
    if seconds < 10:  # noqa: PLR2004 (tenths are of use below ten seconds)
        return f"{seconds:.1f}s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h:02d}h"
    if hours:
        return f"{hours}h{m:02d}m"
    return f"{minutes}m{s:02d}s" if minutes else f"{s}s"
