"""Lost results: the failures that a supervisor records for tasks whose worker died and that will not run again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import orjson

from mlq.broker.errors import NoResults, UnreadableResults
from mlq.protocol import job_result, message
from mlq.protocol.names import JOB_HEADER
from mlq.protocol.result import Answer
from mlq.store.claims import stored_results
from mlq.store.jobs import job_results
from mlq.store.messages.dead_letters import DeadLetter, DeadLetters

if TYPE_CHECKING:
    from redis import Redis

    from mlq.ipc.shared_pages import RunningTask
    from mlq.protocol.job_result import JobChunkRef
    from mlq.supervisor.recovery.death import Death

log = logging.getLogger("mlq.recovery")

_AT_ONCE: Final = 100
"""Dead letters answered in one go. Then deaths come first again: the claims of a dead worker must not wait for long."""

_FINAL: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class LostResults:
    """Records the end of tasks in place of the workers that died while running them.

    Args:
        answer_key: Returns the key of a task's result and the seconds to keep it.
        open_results: Opens the result store.
        belongs_to_job: Returns whether a message belongs to the job that it names.
        answers_here: The result store is the broker's own database.
    """

    def __init__(
        self,
        answer_key: Callable[[str], tuple[str, int]],
        open_results: Callable[[], AbstractContextManager[Redis]],
        *,
        belongs_to_job: Callable[[JobChunkRef], bool],
        answers_here: bool = True,
    ) -> None:
        self._answer_key = answer_key
        self._open_results = open_results
        self._answers_here = answers_here
        self._belongs_to_job = belongs_to_job

    def of_letters(self, letters: DeadLetters) -> bool:
        """Answer some of the dead letters that the store lists as unanswered; return False if more are left.

        Raises MlqError while the result store cannot be reached; the rest stays on the list.
        """
        unanswered = letters.unanswered(_AT_ONCE)
        for letter_id in unanswered:
            letter = letters.read(letter_id)
            if letter is not None:  # None: it was requeued or dropped in the meantime
                try:
                    self._of_letter(letters, letter)
                except (NoResults, UnreadableResults) as exc:
                    log.warning(
                        "no result is recorded for dead letter %s: %s",
                        letter_id,
                        exc.message,
                        extra={"action": "result_lost"},
                    )
            letters.settle(letter_id)
        return len(unanswered) < _AT_ONCE

    def of_acked(self, death: Death) -> None:
        """Answer the tasks that the dead worker ran and had acknowledged before: they have no claim to run again from.

        Raises MlqError while the result store cannot be reached.
        """
        if not death.acked:
            return
        try:
            with self._open_results() as results:
                self._write(results, death.acked, death)
        except (NoResults, UnreadableResults) as exc:
            log.warning(
                "no result is recorded for the tasks with which %s died: %s",
                death.wid,
                exc.message,
                extra={"action": "result_lost"},
            )

    def _write(self, results: Redis, tasks: Iterable[RunningTask], death: Death) -> None:
        for task in tasks:
            status, result = _end_of(task.id, death)
            place = job_result.job_chunk_of({JOB_HEADER: task.place})
            if place is not None:  # a chunk that has a result already keeps it
                job_results.file(results, job_result.answer_of(place, job_result.chunk_result(place, status, result)))
                continue
            key, keep_s = self._answer_key(task.id)
            # The report may be older than the death, so the task may have recorded its result in between; then that
            # result stays. No other process writes this key now, so the check and the write need not be atomic.
            if _status(stored_results.read(results, key)) not in _FINAL:
                stored_results.store(results, Answer(key, _meta(task.id, status, result), keep_s))

    def _of_letter(self, letters: DeadLetters, letter: DeadLetter) -> None:
        """Record a failure for the task of a dead letter."""
        limit_s = letter.circumstances.get("limit_s")
        times = "once" if letter.crashes == 1 else f"{letter.crashes} times"
        why = f"its worker died {times} while it ran; dead letter {letter.id}"
        result = _lost(why) if limit_s is None else _overran(float(limit_s))
        place = message.job_chunk_in(letter.raw)
        if place is not None and self._belongs_to_job(place):
            self._file(place, result)
            return
        task_id = message.task_id_of(letter.raw)
        if task_id is None:
            return
        key, keep_s = self._answer_key(task_id)
        answer = Answer(key, _meta(task_id, "FAILURE", result), keep_s)
        if self._answers_here:
            letters.answer(letter.id, answer)
            return
        with self._open_results() as results:
            stored_results.store(results, answer)

    def _file(self, place: JobChunkRef, result: dict[str, Any]) -> None:
        with self._open_results() as results:
            job_results.file(results, job_result.answer_of(place, job_result.chunk_result(place, "FAILURE", result)))


def _end_of(task_id: str, death: Death) -> tuple[str, dict[str, Any]]:
    """Return the status and the result of a task that died with its worker, as Celery's own pools record them."""
    if death.overrun is not None:
        return "FAILURE", _overran(death.overrun.limit_s)
    if task_id in death.revoked:
        return "REVOKED", _exception("celery.exceptions", "TaskRevokedError", "terminated")
    return "FAILURE", _lost(f"{death.ended} while it ran, and it had been acknowledged before")


def _overran(limit_s: float) -> dict[str, Any]:
    return _exception("billiard.exceptions", "TimeLimitExceeded", limit_s)


def _lost(why: str) -> dict[str, Any]:
    return _exception("billiard.exceptions", "WorkerLostError", why)


def _exception(module: str, kind: str, said: str | float) -> dict[str, Any]:
    return {"exc_type": kind, "exc_message": [said], "exc_module": module}


def _meta(task_id: str, status: str, result: dict[str, Any]) -> bytes:
    meta: dict[str, Any] = {"status": status, "result": result, "traceback": None, "children": [], "task_id": task_id}
    return orjson.dumps(meta)


def _status(stored: Any) -> str | None:
    """Return the status of a stored result; None if there is none, or if it cannot be read."""
    try:
        return str(orjson.loads(stored)["status"]) if stored else None
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
