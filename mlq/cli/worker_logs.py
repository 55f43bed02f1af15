"""The work of `worker logs`: read log files of this host, and the last lines of other hosts' workers from Redis."""

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
    """The lines of one worker."""

    name: str
    file: Path | None = None
    """Its log file, if the worker is of this host."""
    lines: Sequence[str] = ()
    """The last lines that its supervisor has stored in Redis, if the worker is of another host."""

    def last(self, number: int) -> Sequence[str]:
        """Return the last lines, at most `number`."""
        return logs.last_lines(self.file, number) if self.file else self.lines[-number:]


def show(call: Invocation, names: Sequence[str], *, number: int, follow: bool) -> None:
    """Print the last lines of each worker, and with `follow` also new lines, until Ctrl-C.

    Raises NoSuchWorker, NotFollowed, and for workers of other hosts the errors of a connection to the state store.
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
    with suppress(KeyboardInterrupt):  # the normal end of --follow
        for source, line in _new_lines(sources) if follow else ():
            show_line(source, line)


def _sources(call: Invocation, names: Sequence[str]) -> list[LogSource]:
    """Find the lines of each worker: in a file of this host, even if the worker has ended, otherwise in Redis."""
    files = {p.stem: p for p in sorted(logs.directory(state_directory(call.settings)).glob("*.log"))}
    wanted = [name.removesuffix(f"@{socket.gethostname()}") for name in names] or list(files)
    found = [LogSource(name, files[name]) for name in wanted if name in files]
    elsewhere = [name for name in wanted if name not in files]
    return [*found, *_registered(call, elsewhere)] if elsewhere or not found else found


def _registered(call: Invocation, names: Sequence[str]) -> Iterator[LogSource]:
    with state_store(call.settings) as store:
        for worker in worker_selection.pick(heartbeats.read(store), names, None):
            lines = log_tails.read(store, worker.host, worker.name)
            yield LogSource(f"{worker.name}@{worker.host}", lines=lines)


def _new_lines(sources: Sequence[LogSource]) -> Iterator[tuple[LogSource, str]]:
    """Yield new lines of several files as they are written; one thread follows each file."""
    lines: queue.Queue[tuple[LogSource, str]] = queue.Queue()

    def read(source: LogSource, file: Path) -> None:
        for line in logs.follow(file):
            lines.put((source, line))

    for source in sources:
        threading.Thread(target=read, args=(source, source.file), daemon=True).start()
    while True:
        yield lines.get()
