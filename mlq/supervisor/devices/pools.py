"""Pool: the processes of a prefork worker, Celery's own pool for CPU work. Other workers compute in one process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mlq.errors import UsageError

PREFORK: Final = "prefork"

_RANGE: Final = re.compile(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?")
_EXAMPLE: Final = "for example `mlq worker start --pool prefork --concurrency 2-8`"


@dataclass(frozen=True)
class Pool:
    """A prefork pool with `least` to `most` processes; Celery's autoscaler chooses the number."""

    least: int
    most: int

    @property
    def words(self) -> str:
        """The number of processes, as text for people."""
        return f"{self.most} processes" if self.least == self.most else f"{self.least} to {self.most} processes"


def read(kind: str | None, concurrency: str | None, cores: int) -> Pool | None:
    """Read --pool and --concurrency. Without --concurrency a prefork pool has one process per core.

    Returns None for solo workers. Raises UsageError.
    """
    if kind not in {None, "solo", PREFORK}:
        raise UsageError(what=f"no pool {kind!r}: choose solo or prefork", fix=_EXAMPLE)
    if kind != PREFORK:
        if concurrency is not None:
            raise UsageError(what="--concurrency goes with --pool prefork; a solo worker runs one task", fix=_EXAMPLE)
        return None
    if concurrency is None:
        return Pool(cores, cores)
    match = _RANGE.fullmatch(concurrency)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if least > most:
        raise UsageError(what=f"--concurrency {concurrency} is neither a number nor a range", fix=_EXAMPLE)
    return Pool(least, most)
