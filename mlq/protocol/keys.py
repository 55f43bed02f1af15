"""Every Redis key that mlq owns, and whether it goes away by itself.

Celery's and kombu's own keys (queues, `unacked`, `_kombu.*`, `celery-task-meta-*`) keep their names and are
not listed: any Celery client and monitor relies on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

PREFIX: Final = "mlq:"

SCHEMA_VERSION: Final = 1
"""The newest version of all that is below that this mlq can use: what a key holds, and what scripts make of it."""

OLDEST_SCHEMA: Final = 1
"""The oldest version that this mlq can use as it is, beside an mlq that knows no newer one."""

SCHEMA: Final = "mlq:schema"
"""String, the version of the keys on this server (see broker/schema.py): permanent."""

PROBE: Final = "mlq:probe"
"""Of any type, for an instant: on it `broker/rights.py` tries what it may do. Gone within a second."""

QUEUES: Final = "mlq:queues"
"""Zset, names of the queues that workers serve and `submit` sends to, by the time of their last use, ms of the server's
clock: permanent, trimmed with every use (see store/queues/queue_names.py)."""

WORKERS: Final = "mlq:workers"
"""Set of worker ids that have a heartbeat, or had one: permanent, readers remove the dead."""


def heartbeat(worker_id: str) -> str:
    """JSON, the word of one live worker: expires `broker.heartbeats.REMEMBERED_S` after its last beat."""
    return f"mlq:heartbeat:{worker_id}"


ORDERS: Final = "mlq:orders"
"""Hash, worker id to what an operator wants of it: permanent, an entry goes with its worker."""


EVENTS: Final = "mlq:events"
"""Stream, in the store of state, of orders and what became of them (see store/event_log.py): permanent, trimmed with
every entry to 20,000."""


def last_lines(host: str, name: str) -> str:
    """JSON list, the end of a worker's log: expires `broker.last_lines.KEPT_S` after the last line."""
    return f"mlq:last-lines:{host}:{name}"


JOBS: Final = "mlq:jobs"
"""Zset, ids of recorded jobs by the time of their submission: permanent, trimmed with every submission."""

CANCELLED: Final = "mlq:cancelled"
"""Zset, ids of cancelled jobs by the time of it: permanent, trimmed with every cancellation."""


def job(job_id: str) -> str:
    """Hash, what is known of a submitted file (see jobs/record.py): expires 30 days after its last change.

    `token` is what its chunks carry (see store/jobs/job_tokens.py): a client that can read it can file answers of
    the job.
    """
    return f"mlq:job:{job_id}"


def chunks(job_id: str) -> str:
    """Hash, chunk to its rows, of what was sent and not collected: expires 30 days after its last change."""
    return f"mlq:job:{job_id}:chunks"


def sender(job_id: str, token: str) -> str:
    """String, a sign of life of the process that sends a job: expires `jobs.liveness.EXPIRES_S` after the last one."""
    return f"mlq:job:{job_id}:sender:{token}"


def ends(job_id: str) -> str:
    """Stream, in the result store: ends of chunks (see protocol/job_result.py), for 7 days at most after the last.

    With it go `:done`, a bit for each chunk that has ended, and `:tally`, a hash of how many rows did how.
    """
    return f"mlq:job:{job_id}:ends"


LEASES: Final = "mlq:leases"
"""Zset, worker (one incarnation of one process) to its deadline, ms of the server's clock: permanent. A worker
that is not in it is fenced; whoever reaps it removes it."""

REVOKED: Final = "mlq:revoked"
"""Zset, ids of revoked tasks by the time they were revoked: permanent, trimmed to three hours and 10,000."""


def models(queue: str) -> str:
    """Hash, worker to the fingerprint of the model with which it serves a queue: permanent, the next one sweeps it."""
    return f"mlq:models:{quote(queue, safe='')}"


CLAIM_SERIAL: Final = "mlq:claim-serial"
"""Counter behind claim ids: permanent, only grows."""

CRASHES: Final = "mlq:crashes"
"""Hash, digest of a message's bytes to the crashes that it is blamed for (0: suspect): permanent, an entry goes
when its message is answered or buried."""

PAUSED: Final = "mlq:paused"
"""Set of queues from which nothing is claimed: permanent, until resumed."""

WATCHES: Final = "mlq:watches"
"""Hash, bell to the idle worker that watches those queues and until when: permanent, one entry a set of queues."""


def autoscale_leader(queue: str) -> str:
    """String, the autoscaler that decides about a queue, and until when: permanent, one a queue."""
    return f"mlq:autoscale:leader:{queue}"


def autoscale_want(queue: str) -> str:
    """String, how many workers autoscalers are to run for a queue: permanent, one a queue."""
    return f"mlq:autoscale:want:{queue}"


def autoscale_members(queue: str) -> str:
    """Zset, workers that autoscalers run or start for a queue to the ms until which each counts: permanent, swept."""
    return f"mlq:autoscale:members:{queue}"


DELAYS: Final = "mlq:delays"
"""Zset, messages that wait for their time, ms of the server's clock: permanent, until due."""

DELAYED: Final = "mlq:delayed"
"""Hash, queue key to how many of its messages are in DELAYS: permanent, an entry goes when none is left."""

DELAYED_BYTES: Final = "mlq:delayed-bytes"
"""String, bytes of what is in DELAYS: permanent, gone when nothing is left there and the next message comes."""

DEAD: Final = "mlq:dead"
"""Zset, ids of dead letters by the time of their burial: permanent, until retried or dropped."""

DEAD_BYTES: Final = "mlq:dead-bytes"
"""String, bytes of the messages of all dead letters: permanent, gone when no letter is left and the next one comes."""

UNANSWERED: Final = "mlq:unanswered"
"""Set, ids of dead letters that a reaper has buried and whose task has not been answered yet: permanent, emptied by
whoever recovers next."""


def claims(worker_id: str) -> str:
    """Hash, claim id to time, queue key and bytes of a message in a worker's hands: permanent, gone when empty."""
    return f"mlq:claims:{worker_id}"


def bell(queues: Iterable[str]) -> str:
    """List of one token at most, for the idle workers of one set of queues: permanent, may be lost."""
    return "mlq:bell:" + ",".join(sorted({quote(queue, safe="") for queue in queues}))


def dead_letter(letter_id: str) -> str:
    """Hash, a message that nobody will run, and why: permanent, until retried or dropped."""
    return f"mlq:dead:{letter_id}"
