"""Unknown tasks: a check of the waiting messages at startup, and log lines about such messages later."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from mlq.broker.connection import broker_address, connected, is_redis, redis_client
from mlq.errors import UnknownTasks
from mlq.protocol.keys import queue_keys
from mlq.protocol.message import names_of
from mlq.store.queues import queue_names

if TYPE_CHECKING:
    from mlq.settings.config import Settings

_LOOKED_AT: Final = 25
"""How many of the oldest messages are read in each of the four lists of a queue."""

_SHOWN: Final = 3
"""Most task names in an error or a log line."""

_SHOWN_CHARACTERS: Final = 80
"""Most characters of each of them."""

_WARN_EVERY_S: Final = 60.0
"""Seconds between two warnings."""

log = logging.getLogger("mlq.dead")


def check_heads(settings: Settings, known: Container[str]) -> None:
    """Read the oldest messages of the served queues without claiming them. Raises UnknownTasks.

    Without this check, the whole queue of an application whose tasks this worker lacks would become dead letters. It is
    for a start by an operator, who sees the error. A restart skips it: otherwise any client could prevent one.
    RabbitMQ does not show a message without delivering it, so nothing is checked there.
    """
    address = broker_address(settings)
    if not is_redis(address.url):
        return
    with connected(settings, address) as connection:
        for queue in settings.served_queues:
            lists = queue_names.heads(redis_client(connection), queue_keys(queue), _LOOKED_AT)
            found = mostly_unknown([raw for messages in lists for raw in messages], known)
            if found:
                raise UnknownTasks(queue=queue, tasks=shown(found))


def mostly_unknown(messages: Iterable[bytes], known: Container[str]) -> Counter[str]:
    """Count the unknown tasks of messages by name; empty unless they are more than half of the readable messages."""
    names = [name for name in (names_of(raw)[0] for raw in messages) if name is not None]
    unknown = Counter(name for name in names if name not in known)
    return unknown if 2 * unknown.total() > len(names) else Counter()


def shown(unknown: Counter[str]) -> str:
    """Format task names of messages: quoted, so that they cannot control a terminal, and shortened."""
    first = ", ".join(repr(name[:_SHOWN_CHARACTERS]) for name, _ in unknown.most_common(_SHOWN))
    more = len(unknown) - _SHOWN
    return f"{first} and {more} more" if more > 0 else first


class UnknownTaskLog:
    """Warns of dead letters of unknown tasks at most once a minute, because an application may send thousands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = -float("inf")
        self._counted: Counter[str] = Counter()

    def add(self, task: str) -> None:
        """Count a message, and warn of all messages since the last warning if that was a minute ago."""
        self._counted[task] += 1
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + _WARN_EVERY_S
        log.warning(
            "no task of this name is known here: %s; dead letters since the last such warning: %d "
            "(`mlq dead --reason unknown-task` lists them)",
            shown(self._counted),
            self._counted.total(),
            extra={"action": "unknown_tasks"},
        )
        self._counted.clear()


class OnceAMinute(logging.Filter):
    """A log filter that passes Celery's line about an unknown task once a minute; `message` is its text."""

    def __init__(self, message: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._message = message
        self._clock = clock
        self._next_at = -float("inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written."""
        if record.msg != self._message:
            return True
        if self._clock() < self._next_at:
            return False
        self._next_at = self._clock() + _WARN_EVERY_S
        return True


__all__: Sequence[str] = ("OnceAMinute", "UnknownTaskLog", "check_heads", "mostly_unknown", "shown")
