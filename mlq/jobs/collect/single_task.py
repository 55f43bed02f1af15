"""Single task: reads the result that Celery has stored for a task that belongs to no job.

The result becomes the one line of the output.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mlq.jobs.chunk import Chunk
from mlq.jobs.errors import BadResult, Interrupted, TimedOut
from mlq.jobs.interrupt import Interrupt
from mlq.protocol import job_result, json_text, keys
from mlq.protocol.job_result import ChunkResult
from mlq.store.claims import stored_results

if TYPE_CHECKING:
    from redis import Redis

_READY: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
_SHORTEST_POLL_S: Final = 0.005
_LONGEST_POLL_S: Final = 0.1


def wait(
    results: Redis,
    task_id: str,
    interrupt: Interrupt,
    *,
    timeout_s: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ChunkResult:
    """Wait for the result of a task. Raises BadResult, TimedOut, Interrupted."""
    began, pause, command = clock(), _SHORTEST_POLL_S, shlex.join(["mlq", "result", task_id, "--wait"])
    while (result := read(results, task_id)) is None:
        if timeout_s is not None and clock() - began > timeout_s:
            raise TimedOut(seconds=timeout_s, waiting=1, rows=1, command=command)
        if interrupt.requested:
            raise Interrupted(waiting=1, rows=1, command=command)
        sleep(pause)
        pause = min(_LONGEST_POLL_S, 1.5 * pause)
    return result


def read(results: Redis, task_id: str) -> ChunkResult | None:
    """Read the result of a task; None if it has not ended, or never existed, because Redis does not distinguish these.

    A stored exception is returned as text. To rebuild it, mlq would have to import and call a class that the stored
    result names, and other clients can write that result.
    Raises BadResult for a value that is not a result.
    """
    stored = stored_results.read(results, keys.task_result(task_id))
    if stored is None:
        return None
    try:
        meta = json_text.loads(stored)
        if meta["status"] not in _READY:
            return None
        return job_result.chunk_result(job_result.JobChunkRef("task", 0, None), meta["status"], meta["result"])
    except RecursionError:
        raise BadResult(id=task_id, reason="it is nested too deeply") from None
    except (ValueError, LookupError, TypeError):  # other clients can write any value
        raise BadResult(id=task_id, reason="it is not JSON in the form in which Celery stores results") from None


def chunk_of_task(task_id: str) -> Chunk:
    """Return the chunk that stands for a single task in an output."""
    return Chunk(0, range(1), [task_id])
