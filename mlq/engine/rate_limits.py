"""Rate limits: a worker keeps a few messages of tasks with a rate limit here, until they may run.

Celery would put them into a bucket in memory, and rely on the prefetch count to deliver only a few. Claims have no
prefetch count, so a worker would claim all waiting messages of such a task. Also, early-ack tasks would be acknowledged
while they are still queued in the bucket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mlq.protocol.message import Message

_AT_MOST: Final = 4
"""Most messages that wait here while the worker still claims; a stock worker prefetches as many."""

_LOOK_EVERY_S: Final = 1.0
"""Most seconds between two looks: a limit may be lifted at any time."""


class RateLimits:
    """The waiting messages of each task, in their order. Only the main thread may use it.

    Args:
        wait_s: Returns the seconds that a task has to wait from now on; 0.0 if it may run.
        run: Runs a message.
        alive: Called with each look, as a sign of life: a worker that is full does not ask for work.
    """

    def __init__(
        self, wait_s: Callable[[str], float], run: Callable[[Message], None], alive: Callable[[], None]
    ) -> None:
        self._wait_s = wait_s
        self._run = run
        self._alive = alive
        self._lines: dict[str, deque[Message]] = {}
        self._hub: Any = None

    def follow(self, hub: Any) -> None:
        """Use the timers of this event loop. Celery drops them with each lost connection."""
        self._hub = hub
        for task in self._lines:
            self._look_later(task)

    @property
    def is_full(self) -> bool:
        """Whether so many messages wait that no more should be claimed."""
        return sum(map(len, self._lines.values())) >= _AT_MOST

    def puts_off(self, message: Message) -> bool:
        """Keep a message whose task has to wait, or has waiting messages already; False if it may run."""
        line = self._lines.get(message.task)
        if line is not None:
            line.append(message)
            return True
        if not self._wait_s(message.task):
            return False
        self._lines[message.task] = deque([message])
        self._look_later(message.task)
        return True

    def _look_later(self, task: str) -> None:
        self._hub.call_later(min(self._wait_s(task), _LOOK_EVERY_S), self._look, task)

    def _look(self, task: str) -> None:
        """Run the first waiting message of a task, if the rate limit allows."""
        self._alive()
        line = self._lines.get(task)
        if not line:  # a new connection added a second timer
            return
        first = None if self._wait_s(task) else line.popleft()
        if line:
            self._look_later(task)
        else:
            del self._lines[task]
        if first is not None:
            self._run(first)
