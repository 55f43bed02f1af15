"""Pacing: messages of tasks with a rate limit wait here for their turn, a few of them in a worker's hands.

Celery would put them into a bucket in memory, and trust the prefetch count to let no more than a few through. Claims
know no prefetch count, so a worker would claim all that waits of such a task; and what is acknowledged before it runs
would be acknowledged in the bucket already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mlq.protocol.message import Message

_AT_MOST: Final = 4
"""So many may wait before nothing more is claimed: what a stock worker prefetches."""

_LOOK_EVERY_S: Final = 1.0
"""Between two looks at the longest: a limit may be lifted at any time."""


class RateLimits:
    """The messages that wait, by task, each line in its order. For the main thread alone.

    `wait_s` tells how long a task has to wait from now on, 0.0 if it may run; `run` runs a message of one that may;
    `alive` is called with every look: a worker that holds so many asks for no work, and is not hung.
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
        """Use this event loop's timers. Celery forgets them with each connection that it loses."""
        self._hub = hub
        for task in self._lines:
            self._look_later(task)

    @property
    def is_full(self) -> bool:
        """Whether so many wait that no more should be claimed."""
        return sum(map(len, self._lines.values())) >= _AT_MOST

    def puts_off(self, message: Message) -> bool:
        """Keep a message whose task may not run now, or has others that wait already; False if it may run."""
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
        """Run the first of a line if it may."""
        self._alive()
        line = self._lines.get(task)
        if not line:  # two timers, for there was a new connection
            return
        first = None if self._wait_s(task) else line.popleft()
        if line:
            self._look_later(task)
        else:
            del self._lines[task]
        if first is not None:
            self._run(first)
