"""How many cores there are for us: what affinity and the container's quota leave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """Count the cores this process may keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def threads_each(workers: int, available: int) -> int:
    """Share the cores out: workers on default threads ran five times slower than with a share each."""
    return max(1, available // max(1, workers))


def _quota(cgroup: Path) -> float | None:
    """Read the CPU quota in cores: version 2 has one file, version 1 two."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        limit, period = _first_version(cgroup / "cpu")
    if limit in {"max", "-1", ""}:
        return None
    return int(limit) / int(period)


def _first_version(directory: Path) -> tuple[str, str]:
    try:
        limit = (directory / "cpu.cfs_quota_us").read_text().strip()
        return limit, (directory / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return "", ""
