"""The only server of a run: mlq's embedded broker, with separate databases for each contender."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from redis import Redis

from mlq.broker import embedded

MLQ: Final = 0
PLAIN: Final = 1
PLAIN_RESULTS: Final = 2
RQ: Final = 3
DRAMATIQ: Final = 4
WAITING: Final = 5
SPAWNED: Final = 6
SPAWNED_RESULTS: Final = 7
BACKSTAGE: Final = 15
"""The database in which backlogs are published. No worker reads it; a backlog moves to its contender in one step."""


class Server:
    """The server's address in the form of each client, and its cost."""

    def __init__(self, celery_url: str) -> None:
        self.socket = celery_url.removeprefix("redis+socket://")
        self._own = self.redis(BACKSTAGE)
        # A rewrite of the append-only file during a contender's turn would count as its cost.
        self._own.config_set("auto-aof-rewrite-percentage", 0)

    def celery_url(self, database: int) -> str:
        """Return the address as Celery and kombu read it."""
        return f"redis+socket://{self.socket}?virtual_host={database}"

    def redis_url(self, database: int) -> str:
        """Return the address as redis-py reads it."""
        return f"unix://{self.socket}?db={database}"

    def redis(self, database: int) -> Redis:
        """Return a client."""
        return Redis(unix_socket_path=self.socket, db=database)

    def cpu_s(self) -> float:
        """Return the CPU time that the server has used, its threads included (INFO cpu)."""
        info = self._own.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def version(self) -> str:
        """Return the server's name and version."""
        info = self._own.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        return f"{name} {info.get('valkey_version', info['redis_version'])}"


@contextmanager
def running(state: Path) -> Iterator[Server]:
    """Run the embedded broker as `mlq worker start` finds it."""
    with embedded.running(state) as url:
        yield Server(url)
