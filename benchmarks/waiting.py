"""Light workers: the requests of a worker to the server, without a model, many in one process.

python -m benchmarks.waiting SOCKET DATABASE QUEUE NUMBER
"""

from __future__ import annotations

import os
import sys
import threading

from redis import Redis

from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, QueueEmpty
from mlq.store.claims.completion import Completion
from mlq.store.claims.leases import Leases
from mlq.store.queues.doorbell import Doorbell

_LEASE_MS = 3_600_000
"""Long enough that no renewal is needed, because a supervisor renews, and its cost is not measured here."""


def serve(redis: Redis, wid: str, queue: str) -> None:
    """Claim, complete, and wait at the bell, without end."""
    claims = Claims(redis, wid, [queue], together=["mlq.predict"])
    doorbell = Doorbell(redis, claims.watched, claims.bell)
    Leases(redis, _LEASE_MS).register(wid)
    while True:
        match claims.claim(ClaimLimit(rows=1), holding=()):
            case Claimed(taken):
                for claim in taken:
                    claims.complete(Completion(claim))
            case QueueEmpty(watch):
                doorbell.wait(watch=watch)


def main(socket: str, database: str, queue: str, number: str) -> None:
    """Run this number of workers, each with its own connections, until stdin ends."""
    for n in range(int(number)):
        redis = Redis(unix_socket_path=socket, db=int(database), socket_timeout=5)
        thread = threading.Thread(target=serve, args=(redis, f"light:{os.getpid()}:{n}", queue), daemon=True)
        thread.start()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
