"""What `worker logs` does: this host's files, and the last lines that the registry keeps of other hosts' workers."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlq.broker.connection import state_store
from mlq.cli import worker_selection
from mlq.cli.invocation import Invocation
from mlq.errors import NotFollowed
from mlq.settings.config import state_directory
from mlq.store.workers import heartbeats, log_tails
from mlq.supervisor import logs
from mlq.terminal.printable import printable


@dataclass(frozen=True)
class LogSource:
    """Where one worker's lines are: a file of this host, or what its supervisor left in the registry."""

    name: str
    file: Path | None = None
    lines: Sequence[str] = ()

    def last(self, number: int) -> Sequence[str]:
        """Give the last lines."""
        return logs.last_lines(self.file, number) if self.file else self.lines[-number:]


def show(call: Invocation, names: Sequence[str], *, number: int, follow: bool) -> None:
    """Print the last lines of each worker, and with `follow` what comes, until Ctrl-C.

    Raises NoSuchWorker, NotFollowed, and for other hosts' workers what a broker that is away raises.
    """
    sources = _sources(call, names)
    remote = [s.name for s in sources if s.file is None]
    if follow and remote:
        raise NotFollowed(names=", ".join(remote))

    def show_line(source: LogSource, line: str) -> None:
        text = printable(line, limit=16384)
        call.terminal.line(f"{source.name} | {text}" if len(sources) > 1 else text)

    for source in sources:
        for line in source.last(number):
            show_line(source, line)
    with suppress(KeyboardInterrupt):  # which is how following ends as it should
        for source, line in _coming(sources) if follow else ():
            show_line(source, line)


def _sources(call: Invocation, names: Sequence[str]) -> list[LogSource]:
    """Find each worker's lines: here if there is a file, whether the worker runs or not, else in the registry."""
    here = {p.stem: p for p in sorted(logs.directory(state_directory(call.settings)).glob("*.log"))}
    meant = [name.removesuffix(f"@{socket.gethostname()}") for name in names] or list(here)
    found = [LogSource(name, here[name]) for name in meant if name in here]
    elsewhere = [name for name in meant if name not in here]
    return [*found, *_registered(call, elsewhere)] if elsewhere or not found else found


def _registered(call: Invocation, names: Sequence[str]) -> Iterator[LogSource]:
    with state_store(call.settings) as store:
        for worker in worker_selection.pick(heartbeats.read(store), names, None):
            lines = log_tails.read(store, worker.host, worker.name)
            yield LogSource(f"{worker.name}@{worker.host}", lines=lines)


def _coming(sources: Sequence[LogSource]) -> Iterator[tuple[LogSource, str]]:
    """Yield the lines of several files as they come: a thread waits for each."""
    lines: queue.Queue[tuple[LogSource, str]] = queue.Queue()

    def read(source: LogSource, file: Path) -> None:
        for line in logs.follow(file):
            lines.put((source, line))

    for source in sources:
        threading.Thread(target=read, args=(source, source.file), daemon=True).start()
    while True:
        yield lines.get()
