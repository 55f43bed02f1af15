"""Whereabouts: where a task is that has no answer yet."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from mlq.broker.connection import broker_address, connected, is_redis, redis_client
from mlq.broker.refusals import is_denied
from mlq.errors import MlqError
from mlq.jobs.errors import NoSuchTask, TaskDead, TaskOfJob, TaskWaits
from mlq.protocol import json_text, keys
from mlq.protocol.job_result import is_job_id
from mlq.protocol.message import job_chunk_in, task_id_of
from mlq.protocol.names import BARE_QUEUE, SENT_AT_HEADER
from mlq.store.claims import stored_results
from mlq.store.jobs import record
from mlq.store.messages.dead_letters import DeadLetters
from mlq.store.messages.search import Found, Search
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis

    from mlq.jobs.connections import JobConnections
    from mlq.settings.config import Settings


def explain(connections: JobConnections, task_id: str) -> MlqError:
    """Say where a task is that has no answer, for a command that does not wait for it.

    Of a queue of any length a bounded part is looked at, and what was not is said.
    """
    command = shlex.join(["mlq", "result", "--wait", "--", task_id])
    broker, skipped = broker_address(connections.settings), []
    if is_redis(broker.url):
        with connected(connections.settings, broker) as connection:
            redis = redis_client(connection)
            search = Search(redis, task_id, lambda raw: task_id_of(raw) == task_id)
            try:
                found = search.run(
                    _queues(connections.settings, connections.store), connections.settings.priority_order
                )
            except ResponseError as exc:
                if not is_denied(exc):
                    raise
                found, skipped = None, ["messages that wait or run, which the broker's user may not read"]
            else:
                skipped = search.skipped
            if found is not None:
                return _in_words(redis, task_id, found, command)
    else:
        skipped = ["the queues of this broker"]
    began = _began(connections.results(), task_id)
    if began is not None:
        return TaskWaits(id=task_id, where=began, command=command)
    job = task_id.rpartition(".")[0]
    if is_job_id(job) and record.read(connections.store, connections.results(), job) is not None:
        return TaskOfJob(id=task_id, job=job, where="")
    not_seen = f"; not looked at: {', '.join(skipped)}" if skipped else ""
    return NoSuchTask(id=task_id, skipped=not_seen, command=command)


def _queues(settings: Settings, store: Redis) -> Iterable[str]:
    """Name the queues that the configuration or a worker knows, once each."""
    served = (queue for worker in heartbeats.read(store) for queue in worker.queues)
    return dict.fromkeys((*settings.queues, BARE_QUEUE, *served))


def _in_words(redis: Redis, task_id: str, found: Found, command: str) -> MlqError:
    if found.kind == "dead":
        letter = DeadLetters(redis).read(found.name)
        about = (letter.reason, letter.circumstances.get("why", "")) if letter is not None else ()
        return TaskDead(id=task_id, letter=found.name, reason=": ".join(filter(None, about)) or "just retried")
    where = ", ".join(_parts(found))
    place = job_chunk_in(found.raw)
    if place is not None:
        return TaskOfJob(id=task_id, job=place.job, where=f": {where}")
    return TaskWaits(id=task_id, where=where, command=command)


def _parts(found: Found) -> Iterator[str]:
    if found.kind == "held":
        yield f"worker {found.name} has it"
    elif found.kind == "delayed":
        until = datetime.fromtimestamp((found.until_ms or 0) / 1000, timezone.utc)
        yield f"delayed until {until:%Y-%m-%dT%H:%M:%SZ}"
    else:
        yield f"it waits in queue {found.name!r} behind {found.ahead:,} messages"
    sent_at = _header(found.raw, SENT_AT_HEADER)
    if isinstance(sent_at, (int, float)) and 0 < sent_at < time.time():
        yield f"sent {time.time() - sent_at:.0f} s ago"


def _header(raw: bytes, name: str) -> Any:
    try:
        return json_text.loads_rounded(raw)["headers"].get(name)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _began(results: Redis, task_id: str) -> str | None:
    """Read what a worker stored of a task that runs: STARTED, RETRY, or a state of the task's own."""
    stored = stored_results.read(results, keys.task_result(task_id))
    try:
        meta = json_text.loads_rounded(stored) if stored else None
        return f"its state is {meta['status']}" if meta else None
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
