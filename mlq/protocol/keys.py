"""Keys: every Redis key that mlq owns, with its type, its content and when it expires; and two kinds of Celery's keys.

The keys of Celery and kombu keep their names, because every Celery client and monitor relies on them. Those that mlq
uses are at the end: the lists into which kombu splits a queue (`queue_keys`), and the results of tasks (`task_result`).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import quote

PREFIX: Final = "mlq:"

SCHEMA_VERSION: Final = 1
"""The newest version of the keys' contents and of the scripts that use them which this mlq supports."""

OLDEST_SCHEMA: Final = 1
"""The oldest version that this mlq supports without a migration, beside older versions of mlq."""

SCHEMA: Final = "mlq:schema"
"""String, the version of the keys on this server (see broker/schema.py): permanent."""

PROBE: Final = "mlq:probe"
"""Of any type: `broker/rights_check.py` tries commands on this key to check the user's rights. Gone within a second."""

QUEUES: Final = "mlq:queues"
"""Zset, names of the queues that workers serve and `submit` sends to, by the time of their last use, ms of the server's
clock: permanent, trimmed with every use (see store/queues/queue_names.py)."""

WORKERS: Final = "mlq:workers"
"""Set of the ids of workers that have, or had, a heartbeat: permanent; readers remove workers without one."""


def heartbeat(worker_id: str) -> str:
    """JSON, the heartbeat of one worker: expires `store.workers.heartbeats.REMEMBERED_S` after the last beat."""
    return f"mlq:heartbeat:{worker_id}"


ORDERS: Final = "mlq:orders"
"""Hash, worker id to the operator's order for it: permanent; an entry is removed with its worker."""


EVENTS: Final = "mlq:events"
"""Stream in the state store, of orders and their results (see store/event_log.py): permanent; every new entry trims
it to 20,000."""


def last_lines(host: str, name: str) -> str:
    """JSON list, the end of a worker's log: expires `store.workers.log_tails.KEPT_S` after the last line."""
    return f"mlq:last-lines:{host}:{name}"


JOBS: Final = "mlq:jobs"
"""Zset, ids of recorded jobs by the time of their submission: permanent, trimmed with every submission."""

CANCELLED: Final = "mlq:cancelled"
"""Zset, ids of cancelled jobs by the time of cancellation: permanent, trimmed with every cancellation."""


def job(job_id: str) -> str:
    """Hash, the record of a job (see store/jobs/record.py): expires 30 days after its last change.

    Its field `token` is the token that the job's chunks carry (see store/jobs/job_tokens.py): a client that can read
    it can store results of the job.
    """
    return f"mlq:job:{job_id}"


def chunks(job_id: str) -> str:
    """Hash, chunk to its rows, for chunks sent but not yet collected: expires 30 days after its last change."""
    return f"mlq:job:{job_id}:chunks"


def sender(job_id: str, token: str) -> str:
    """String, the heartbeat of a process that sends a job: expires `store.jobs.record.SENDER_EXPIRES_S` after it."""
    return f"mlq:job:{job_id}:sender:{token}"


def ends(job_id: str) -> str:
    """Stream in the result store, results of chunks (see protocol/job_result.py): expires 7 days after the last one.

    Two more keys belong to it: `:done`, a bit for each chunk that has ended, and `:tally`, a hash that counts rows that
    succeeded and rows that failed.
    """
    return f"mlq:job:{job_id}:ends"


LEASES: Final = "mlq:leases"
"""Zset, worker process to the deadline of its lease, ms of the server's clock: permanent. A worker that is not in it
is fenced; the process that reaps a worker removes it."""

REVOKED: Final = "mlq:revoked"
"""Zset, ids of revoked tasks by the time they were revoked: permanent, trimmed to three hours and 10,000."""


def models(queue: str) -> str:
    """Hash, worker to the fingerprint of its model for a queue: permanent; a new worker removes entries of the dead."""
    return f"mlq:models:{quote(queue, safe='')}"


CLAIM_SERIAL: Final = "mlq:claim-serial"
"""Counter, part of every claim id: permanent, only grows."""

CRASHES: Final = "mlq:crashes"
"""Hash, digest of a message's bytes to the crashes that it is blamed for (0: suspect without blame): permanent; an
entry is removed when its message is completed or dead-lettered."""

PAUSED: Final = "mlq:paused"
"""Set of queues from which workers claim nothing: permanent, until resumed."""

WATCHES: Final = "mlq:watches"
"""Hash, bell to the idle worker that watches those queues and until when: permanent, one entry per set of queues."""


def autoscale_leader(queue: str) -> str:
    """String, the autoscaler that leads the scaling of a queue, and until when: permanent, one per queue."""
    return f"mlq:autoscale:leader:{queue}"


def autoscale_want(queue: str) -> str:
    """String, the number of workers that autoscalers should run for a queue: permanent, one per queue."""
    return f"mlq:autoscale:want:{queue}"


def autoscale_members(queue: str) -> str:
    """Zset, workers that autoscalers run for a queue, by the ms until which each counts: permanent; expired ones go."""
    return f"mlq:autoscale:members:{queue}"


DELAYS: Final = "mlq:delays"
"""Zset, delayed messages by their due time, ms of the server's clock: permanent, until due."""

DELAYED: Final = "mlq:delayed"
"""Hash, queue key to the number of its messages in DELAYS: permanent; an entry is removed when it reaches 0."""

DELAYED_BYTES: Final = "mlq:delayed-bytes"
"""String, bytes of all messages in DELAYS: permanent; started again when a message comes to an empty list."""

DEAD: Final = "mlq:dead"
"""Zset, ids of dead letters by the time of dead-lettering: permanent, until requeued or dropped."""

DEAD_BYTES: Final = "mlq:dead-bytes"
"""String, bytes of all dead letters' messages: permanent; started again with the first dead letter after none."""

UNANSWERED: Final = "mlq:unanswered"
"""Set, ids of dead letters that a reaper has written and whose task has no result yet: permanent; the next recovery
empties it."""


def claims(worker_id: str) -> str:
    """Hash, claim id to time of the claim, queue key and bytes of a message: permanent, gone when empty."""
    return f"mlq:claims:{worker_id}"


def bell(queues: Iterable[str]) -> str:
    """List of one token at most, for the idle workers of one set of queues: permanent, may be lost."""
    return "mlq:bell:" + ",".join(sorted({quote(queue, safe="") for queue in queues}))


def dead_letter(letter_id: str) -> str:
    """Hash, a dead letter's message and the reason: permanent, until requeued or dropped."""
    return f"mlq:dead:{letter_id}"


_PRIORITY_STEPS: Final = (0, 3, 6, 9)
"""kombu rounds a priority down to one of these; Celery's own workers serve 0 first, as the most urgent."""

PriorityOrder = Literal["mlq", "stock"]
"""Which of a queue's lists is served first: 9 before 0 (mlq), or 0 before 9 as in Celery's own workers (stock)."""

_PRIORITY_SEPARATOR: Final = "\x06\x16"


def queue_key(queue: str, priority: int = 0) -> str:
    """Return the key of the list into which kombu publishes a message of this priority."""
    step = _PRIORITY_STEPS[bisect(_PRIORITY_STEPS, max(0, priority)) - 1]
    return f"{queue}{_PRIORITY_SEPARATOR}{step}" if step else queue


def queue_keys(queue: str, order: PriorityOrder = "mlq") -> list[str]:
    """Return the keys of all lists of a queue, the most urgent first."""
    return [queue_key(queue, step) for step in (_PRIORITY_STEPS if order == "stock" else reversed(_PRIORITY_STEPS))]


def queue_of(key: str) -> str:
    """Return the name of the queue to which a list belongs."""
    return key.partition(_PRIORITY_SEPARATOR)[0]


def task_result(task_id: str) -> str:
    """Return Celery's key of a task's result in a Redis result backend."""
    return f"celery-task-meta-{task_id}"
