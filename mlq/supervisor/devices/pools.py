"""Pool: how one worker computes. Solo, in its own process, is the rule; prefork is Celery's own, for CPU work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mlq.errors import UsageError

PREFORK: Final = "prefork"

_RANGE: Final = re.compile(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?")
_LIKE: Final = "such as `mlq worker start --pool prefork --concurrency 2-8`"


@dataclass(frozen=True)
class Pool:
    """A prefork pool: so many processes at least, and at most; between the two Celery's autoscaler decides."""

    least: int
    most: int

    @property
    def words(self) -> str:
        """Name it for people."""
        return f"{self.most} processes" if self.least == self.most else f"{self.least} to {self.most} processes"


def read(kind: str | None, concurrency: str | None, cores: int) -> Pool | None:
    """Read --pool and --concurrency; None for solo workers. Without a number a pool has a process for each core.

    Raises UsageError.
    """
    if kind not in {None, "solo", PREFORK}:
        raise UsageError(what=f"no pool {kind!r}: there are solo and prefork", fix=_LIKE)
    if kind != PREFORK:
        if concurrency is not None:
            raise UsageError(what="--concurrency goes with --pool prefork; a solo worker runs one task", fix=_LIKE)
        return None
    if concurrency is None:
        return Pool(cores, cores)
    match = _RANGE.fullmatch(concurrency)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if least > most:
        raise UsageError(what=f"--concurrency {concurrency} is neither a number nor a range", fix=_LIKE)
    return Pool(least, most)
