"""A stage for one fault: a private server with workers, and a proxy between them if a fault needs one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos import faultkit
from chaos.faultkit import World
from chaos.reliability.setups import Group, Setup, group
from chaos.wire import Wire
from mlq.broker import embedded

PATIENCE_S: Final = 60.0
"""Maximum seconds of every wait with either setup: an hour of a plain worker is reported as "not within 60 s"."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault with one setup, in words; `holds` says whether mlq's promise holds."""

    said: str
    holds: bool


@dataclass(frozen=True)
class Stage:
    """The server, the workers and the files of one fault."""

    setup: Setup
    world: World
    server: embedded.Server
    wire: Wire
    patience_s: float

    def waited(self, holds: Callable[[], bool], within_s: float | None = None) -> float | None:
        """Wait until a condition holds; return the seconds that it took, or None after the deadline."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > (within_s or self.patience_s):
                return None
            time.sleep(0.002)
        return time.monotonic() - began

    def workers(self, number: int, name: str = "host", **environment: str) -> AbstractContextManager[Group]:
        """Run this number of ready workers of the setup while the block runs."""
        return group(self.world, self.setup, number, name, **environment)

    def begins(self, task_id: str, times: int = 1) -> float | None:
        """Wait until the model has begun a message this number of times."""
        return self.waited(lambda: self.world.starts()[task_id] >= times)

    def answered(self) -> float | None:
        """Wait until every message has its result."""
        return self.waited(lambda: not self.world.unanswered())

    def gate(self, name: str = "gate") -> Path:
        """Return a file for which a row may wait."""
        return self.world.directory / name

    def results(self, task_id: str) -> int:
        """Count how often a result of a message was recorded."""
        return sum(times for (i, _), times in self.world.recorded().items() if i == task_id)

    def states(self, task_id: str) -> list[str]:
        """Return the final states of a message that were recorded."""
        return [state for (i, state), times in self.world.recorded().items() for _ in range(times) if i == task_id]


@contextmanager
def stage(setup: Setup, *, wired: bool = False, patience_s: float = PATIENCE_S) -> Iterator[Stage]:
    """Set up a stage. With `wired` the workers use the proxy; the harness reads the server directly."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlq-fault-")))
        server = faultkit.serve(directory)
        stack.callback(server.stop)
        wire = Wire(server.url.removeprefix("redis+socket://"))
        stack.callback(wire.close)
        url = f"redis://127.0.0.1:{wire.port}/0" if wired else server.url
        world = World(directory, url, setup.task)
        stack.callback(world.close)
        world.producer.conf.task_default_queue = "default"  # both setups serve this queue
        yield Stage(setup, world, server, wire, patience_s)


def seconds(took: float | None, patience_s: float = PATIENCE_S) -> str:
    """Return a duration as text."""
    if took is None:
        return f"not within {patience_s:g} s"
    return f"{1e3 * took:.0f} ms" if took < 1 else f"{took:.1f} s"
