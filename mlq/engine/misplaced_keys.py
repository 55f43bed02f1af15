"""Misplaced keys: a worker goes on without a key that is of another type, and says so until it is repaired."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from mlq.broker.key_types import Misplaced

_EVERY_S: Final = 60.0

log = logging.getLogger("mlq.intake")


class MisplacedKeys:
    """What the latest claim had to do without. `describe` looks at a key; None if it is as it ought to be."""

    def __init__(
        self, describe: Callable[[str], Misplaced | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._said_at: dict[str, float] = {}
        self.names: frozenset[str] = frozenset()

    def note(self, names: Sequence[str]) -> None:
        """Take what a claim named, and log what is new or was logged a minute ago."""
        if not names and not self.names:
            return
        for name in self.names.difference(names):
            log.info("the key %r is repaired", name)
            self._said_at.pop(name, None)
        self.names = frozenset(names)
        for name in sorted(self.names):
            if self._clock() - self._said_at.get(name, -_EVERY_S) >= _EVERY_S:
                self._say(name)

    def _say(self, name: str) -> None:
        try:
            found = self._describe(name)
        except (RedisError, OSError):  # said with a later claim
            return
        self._said_at[name] = self._clock()
        if found is not None:
            log.error("%s, and this worker goes on without it; %s", found.sentence, found.repair)
