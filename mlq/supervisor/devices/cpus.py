"""The CPU cores that this process may use, by its affinity and its container's quota."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def threads_each(workers: int, available: int) -> int:
    """Divide the cores among workers: with torch's default of all cores for each, they were five times slower."""
    return max(1, available // max(1, workers))


def _quota(cgroup: Path) -> float | None:
    """Return the CPU quota in cores, from the one file of cgroup version 2 or the two files of version 1."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        limit, period = _read_version_1(cgroup / "cpu")
    if limit in {"max", "-1", ""}:
        return None
    return int(limit) / int(period)


def _read_version_1(directory: Path) -> tuple[str, str]:
    """Return the quota and its period as cgroup version 1 writes them; empty texts if there are no such files."""
    try:
        limit = (directory / "cpu.cfs_quota_us").read_text().strip()
        return limit, (directory / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return "", ""
