"""A task that no file made: its result, as Celery stores it, as the one line of an output."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mlq.jobs.chunk import Chunk
from mlq.jobs.collect.output_lines import Written, write
from mlq.jobs.errors import BadResult, Interrupted, TimedOut
from mlq.jobs.interrupt import Halt
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
    halt: Halt,
    *,
    timeout_s: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Written:
    """Wait for a task's end. Raises BadResult, TimedOut, Interrupted."""
    began, pause, command = clock(), _SHORTEST_POLL_S, shlex.join(["mlq", "result", task_id, "--wait"])
    while (end := read(results, task_id)) is None:
        if timeout_s is not None and clock() - began > timeout_s:
            raise TimedOut(seconds=timeout_s, waiting=1, rows=1, command=command)
        if halt.asked:
            raise Interrupted(waiting=1, rows=1, command=command)
        sleep(pause)
        pause = min(_LONGEST_POLL_S, 1.5 * pause)
    return _line(task_id, end)


def find(results: Redis, task_id: str) -> Written | None:
    """Give a task's end; None of one that has not ended, or never was: Redis says the same of both.

    Raises BadResult.
    """
    end = read(results, task_id)
    return None if end is None else _line(task_id, end)


def read(results: Redis, task_id: str) -> ChunkResult | None:
    """Read what is stored of a task; None if it has not ended.

    A stored exception stays text: to build it again would be to run what a message names.
    Raises BadResult for what is no result.
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
    except (ValueError, LookupError, TypeError):  # whoever may write results may write anything
        raise BadResult(id=task_id, reason="it is no JSON of the form in which Celery stores one") from None


def _line(task_id: str, end: ChunkResult) -> Written:
    return write(Chunk(0, range(1), [task_id]), end, single=True)
