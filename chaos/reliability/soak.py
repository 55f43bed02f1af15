"""The soak: two hosts under load with one seeded fault after another, and then an account of every message."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from chaos.faultkit import World
from chaos.reliability.chaos import AWAY, Chaos
from chaos.reliability.setups import MLQ, Setup
from chaos.reliability.stage import Stage, stage
from mlq.store.messages.dead_letters import DeadLetters

IN_FLIGHT: Final = 40
RECENT_S: Final = 10.0
"""Older messages do not count as in flight, so that stuck ones do not prevent further sending."""

PAUSE_S: Final = 0.5
"""Mean number of seconds between two faults."""

SHORT_S: Final = (0.0, 0.02)
LONG_S: Final = (0.1, 0.4)
ONE_IN_TEN: Final = 0.1
"""The share of long tasks. SHORT_S and LONG_S are the ranges of the seconds of a task."""


@dataclass(frozen=True)
class Account:
    """The fate of all messages.

    `lost` are nowhere, `stuck` have no result 60 s after the last fault, `twice` have more than one, `failed` have a
    failure that they did not cause; `unburied` are malformed ones that are no dead letters; `extra` are executions
    beyond the first. `revived` counts how often the workers of a host had given up or ended, and the harness had to
    start them.
    """

    setup: str
    seed: int
    faults: Counter[str]
    submitted: int
    lost: int
    stuck: int
    twice: int
    failed: int
    unburied: int
    extra: int
    revived: int
    seconds: float

    @property
    def holds(self) -> bool:
        """True if every message ended in exactly one recorded result of its own."""
        return not (self.lost or self.stuck or self.twice or self.failed or self.unburied)

    @property
    def bound(self) -> str:
        """The upper bound with 95% certainty if no loss was seen (the rule of three)."""
        number = self.faults.total()
        return f"fewer than {3 / number:.2g} messages a fault" if self.holds and number else "none: losses were seen"


class Soak:
    """One run with one setup."""

    def __init__(self, at: Stage, chance: random.Random, stack: ExitStack) -> None:
        self._at = at
        self._world = at.world
        self._chance = chance
        self._chaos = Chaos(at, chance, stack)
        self._faults: Counter[str] = Counter()
        self._sent_at: dict[str, float] = {}

    def run(self, tasks: int, faults: int) -> None:
        """Send this number of tasks, spread evenly over the faults.

        Then end all faults and wait for the last answers.
        """
        next_at = time.monotonic() + 1
        while self._faults.total() < faults:
            self._step(int(tasks * self._faults.total() / faults) + IN_FLIGHT)
            if time.monotonic() >= next_at and (kind := self._chaos.happen()) is not None:
                self._faults[kind] += 1
                next_at = time.monotonic() + self._chance.expovariate(1 / PAUSE_S)
        while self._chaos.lasts:
            self._step(tasks)
        self._at.waited(lambda: self._is_finished(tasks))
        if self._at.setup is MLQ:
            self._at.waited(lambda: not self._unburied())
        self._chaos.stop()

    def account(self, seed: int, seconds: float) -> Account:
        """Return the account from the model's log and the append-only file."""
        world, pills = self._world, self._chaos.pills
        times = Counter(dict.fromkeys(world.sent, 0))
        sent, failed = set(world.sent), 0
        for (task_id, state), number in world.recorded().items():
            times[task_id] += number
            failed += state == "FAILURE" and task_id in sent - pills
        unanswered = world.unanswered()
        kept = b"\n".join(_everything(world))
        stuck = sum(task_id.encode() in kept for task_id in unanswered)
        return Account(
            setup=self._at.setup.name,
            seed=seed,
            faults=self._faults,
            submitted=len(world.sent),
            lost=len(unanswered) - stuck,
            stuck=stuck,
            twice=sum(times[task_id] > 1 for task_id in sent),
            failed=failed,
            unburied=self._unburied(),
            extra=sum(number - 1 for task_id, number in world.starts().items() if task_id not in pills),
            revived=self._chaos.revived,
            seconds=seconds,
        )

    def _unburied(self) -> int:
        """Count malformed messages that the server accepted and that are no dead letters."""
        letters = Counter(letter.raw for letter in DeadLetters(self._world.redis))
        return (self._chaos.malformed - letters).total()

    def _step(self, tasks: int) -> None:
        self._chaos.undo_what_is_due()
        self._chaos.revive()
        self._send(tasks)
        time.sleep(0.01)

    def _send(self, up_to: int) -> None:
        """Send more tasks, unless the server is away. A message is not counted if it is unknown whether it was sent."""
        world = self._world
        with suppress(*AWAY):
            now = time.monotonic()
            waiting = sum(now - self._sent_at.get(i, now) < RECENT_S for i in world.unanswered())
            while len(world.sent) < up_to and waiting < IN_FLIGHT:
                bounds = LONG_S if self._chance.random() < ONE_IN_TEN else SHORT_S
                self._sent_at[world.send({"sleep": self._chance.uniform(*bounds)}, retry=False)] = now
                waiting += 1

    def _is_finished(self, tasks: int) -> bool:
        self._step(tasks)
        with suppress(*AWAY):
            return len(self._world.sent) >= tasks and not self._world.unanswered()
        return False


def soak(setup: Setup, tasks: int, faults: int, seed: int) -> Account:
    """Run a soak, and account for every message."""
    began = time.monotonic()
    with ExitStack() as stack:
        at = stack.enter_context(stage(setup))
        run = Soak(at, random.Random(seed), stack)  # noqa: S311 (a seed, not a secret)
        run.run(tasks, faults)
        account = run.account(seed, time.monotonic() - began)
        if not account.holds and setup is MLQ:
            sys.stderr.write(at.world.whereabouts() + "\n")
        return account


def _everything(world: World) -> list[bytes]:
    """Read all keys of Redis except results."""
    redis = world.redis
    found: list[bytes] = []
    reading: dict[bytes, Callable[[bytes], Any]] = {
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"hash": redis.hvals,
        b"zset": lambda key: redis.zrange(key, 0, -1),
    }
    for key in redis.scan_iter(count=500):
        read = reading.get(cast("bytes", redis.type(key)))
        found += read(key) if read else []
    return found
