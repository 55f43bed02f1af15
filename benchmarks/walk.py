"""Count the files and types that a row passes through in `mlq submit FILE --wait -o OUT`.  python -m benchmarks.walk

A worker with a small Python model and one submitting process run with a profiler in them. The file has rows of four
numbers, and `--chunk 1 --max-inflight 1` sends them one at a time: a row is read only after the line of the row before
it was written. So the time between two calls of the model is one cycle, and it holds one whole walk: the worker records
the result, the submitter collects it, writes its line, reads the next row and sends it, and the worker claims it,
decodes it and gives it to the model.

A function is on the row's walk if it is called in more than half of the cycles. Only the faster half of the cycles
after the first rows counts. One cycle proves little, because the two processes run at the same time: the submitter's
last function for a row may run just before or just after the model is called. The rule excludes start-up, the check of
the whole file before the first row is sent, and everything that runs by the clock (heartbeats, lease renewal, looking
for a cancellation), because two cycles are shorter than its period. It includes the wait of an idle worker for the next
row.

- Files: the modules in mlq/ with at least one function on the walk, per process, in the order of their first call. A
  module that only defines data or is only imported does not count.
- Types: the classes defined in mlq/ of which an instance is constructed in more than half of the cycles. Instances
  that are built without Python code (enumerations, exceptions without an `__init__`) are not seen.

The supervisor and the model's own file are not counted. Nothing of mlq is imported here, so that the same script runs
on any version: give `--root` a virtual environment, or a checkout with or without a `.venv` in it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks import walk_trace

_WARM_UP: Final = 20
"""Rows before the first one that counts."""

_LONGEST_CYCLE_MS: Final = 120
"""Less than half of the shortest period of work that runs by the clock: 250 ms."""

_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.05

_MODEL: Final = '''
"""Writes the time of each call, and the process that makes it."""
import os, pathlib, time

_CALLS = pathlib.Path(__file__).with_name("calls")

class Model:
    def __init__(self):
        _CALLS.touch()

    def predict(self, rows):
        with _CALLS.open("a") as file:
            file.write(f"{os.getpid()} {time.monotonic_ns()}\\n")
        return [float(row[0]) for row in rows]
'''


@dataclass(frozen=True)
class Installation:
    """The mlq that is traced: its command line, its package and what its processes need in PYTHONPATH."""

    command: Sequence[str]
    package: Path
    path: Sequence[str]

    @classmethod
    def find(cls, root: Path) -> Installation:
        """Find mlq in a virtual environment or a checkout; a checkout without `.venv` runs on this interpreter."""
        for environment in (root, root / ".venv"):
            python = environment / "bin" / "python"
            if python.exists() and (environment / "bin" / "mlq").exists():
                return cls([str(environment / "bin" / "mlq")], _package(str(python), []), [])
        if not (root / "mlq" / "__init__.py").exists():
            message = f"{root} is neither an environment nor a checkout of mlq"
            raise SystemExit(message)
        return cls([sys.executable, "-m", "mlq"], _package(sys.executable, [str(root)]), [str(root)])


@dataclass(frozen=True)
class Event:
    """One line of the profiler's log."""

    pid: int
    at_ns: int
    kind: str
    name: str


@dataclass(frozen=True)
class File:
    """A module on the walk, and its functions on the walk in the order of their first call."""

    path: str
    functions: Sequence[str]


@dataclass(frozen=True)
class Process:
    """The part of the walk in one process. `called`: modules of which the process called a function at any time."""

    name: str
    files: Sequence[File]
    types: Sequence[str]
    called: int


@dataclass(frozen=True)
class Walk:
    """The whole walk: a file or a type that both processes use counts once.

    `longest_ms` is the duration of the longest of the `cycles` that count.
    """

    longest_ms: float
    cycles: int
    processes: Sequence[Process]

    @property
    def files(self) -> Sequence[str]:
        """Every module on the walk."""
        return list(dict.fromkeys(file.path for process in self.processes for file in process.files))

    @property
    def types(self) -> Sequence[str]:
        """Every type of which an instance is constructed."""
        return list(dict.fromkeys(name for process in self.processes for name in process.types))


def trace(installation: Installation, rows: int) -> Walk:
    """Run a worker and one job of this number of rows, after those that warm up."""
    with tempfile.TemporaryDirectory(prefix="mlq-walk-") as name:
        directory = Path(name)
        environment = _prepare(directory, installation, _WARM_UP + rows + 1)
        with _worker(directory, installation, environment):
            began_ns = time.monotonic_ns()
            submitter = _submit(directory, installation, environment)
        lines = (directory / "out.jsonl").read_text().splitlines()
        calls = [line.split() for line in (directory / "calls").read_text().splitlines()]
        if len(lines) != _WARM_UP + rows + 1 or len(calls) != len(lines):
            message = f"{len(lines)} lines and {len(calls)} calls of the model came of {_WARM_UP + rows + 1} rows"
            raise SystemExit(message)
        (worker,) = {int(pid) for pid, _ in calls}
        events = [event for event in _events(directory / "trace") if event.at_ns >= began_ns]
    return walk_of(events, [int(at) for _, at in calls][_WARM_UP:], {"submitter": submitter, "worker": worker})


def walk_of(events: Sequence[Event], calls_ns: Sequence[int], processes: Mapping[str, int]) -> Walk:
    """Find what each process calls and constructs in most cycles; a cycle lies between two calls of the model."""
    durations = [after - before for before, after in pairwise(calls_ns)]
    longest = statistics.median_low(durations)
    fast = {number for number, duration in enumerate(durations) if duration <= longest}
    parts = []
    for name, pid in processes.items():
        own = [event for event in events if event.pid == pid]
        seen = {(event.kind, event.name, bisect_right(calls_ns, event.at_ns) - 1) for event in own}
        counts = Counter((kind, called) for kind, called, cycle in seen if cycle in fast)
        # A dict keeps the order of the first calls, those of the first rows included.
        on_walk = dict.fromkeys(
            (event.kind, event.name) for event in own if 2 * counts[event.kind, event.name] > len(fast)
        )
        called = len({event.name.partition(":")[0] for event in own if event.kind == "call"})
        parts.append(Process(name, _files(on_walk), [form for kind, form in on_walk if kind == "form"], called))
    return Walk(longest / 1e6, len(fast), parts)


def _files(on_walk: Iterable[tuple[str, str]]) -> Sequence[File]:
    files: dict[str, list[str]] = {}
    for kind, called in on_walk:
        if kind == "call":
            path, _, function = called.split(":", 2)
            files.setdefault(path, []).append(function)
    return [File(path, list(dict.fromkeys(functions))) for path, functions in files.items()]


def _package(python: str, path: Sequence[str]) -> Path:
    """Ask an interpreter for the directory of its package mlq."""
    ask = [python, "-c", "import mlq; print(mlq.__file__)"]
    done = subprocess.run(ask, env=_environment(path), cwd=tempfile.gettempdir(), capture_output=True, check=True)
    return Path(done.stdout.decode().strip()).parent


def _environment(path: Sequence[str]) -> dict[str, str]:
    """Return the environment without settings of mlq and Celery, and without variables that import another mlq."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith(("MLQ_", "CELERY_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(path)} if path else kept


def _prepare(directory: Path, installation: Installation, rows: int) -> dict[str, str]:
    """Write the profiler, the model and the rows; return the environment of every traced process."""
    hook = directory / "hook"
    hook.mkdir()
    shutil.copyfile(walk_trace.__file__, hook / "sitecustomize.py")
    (directory / "model.py").write_text(_MODEL)
    (directory / "rows.jsonl").write_text("".join(f"[{n}, 0.5, 0.25, 0.125]\n" for n in range(rows)))
    return {
        **_environment([str(hook), *installation.path]),
        **dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), str(directory)),
        walk_trace.LOG: str(directory / "trace"),
        walk_trace.PACKAGE: str(installation.package),
    }


@contextmanager
def _worker(directory: Path, installation: Installation, environment: Mapping[str, str]) -> Iterator[None]:
    """Run one worker on the CPU, which starts a broker of its own, from the load of its model on."""
    argv = [*installation.command, "worker", "start", "--cpus", "1", "--model", f"{directory / 'model.py'}:Model"]
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, cwd=directory, stdout=log, stderr=log)
    try:
        _wait((directory / "calls").exists, process, directory / "worker.log")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _submit(directory: Path, installation: Installation, environment: Mapping[str, str]) -> int:
    """Submit the file and wait for its end; return the id of the process."""
    one_by_one = ["--chunk", "1", "--max-inflight", "1", "--timeout", f"{_WITHIN_S:g}"]
    argv = [*installation.command, "submit", "rows.jsonl", "--wait", "-o", "out.jsonl", *one_by_one]
    with (directory / "submit.log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, cwd=directory, stdout=log, stderr=log)
    try:
        code = process.wait(2 * _WITHIN_S)
    finally:
        process.kill()
        process.wait()
    if code:
        message = f"mlq submit ended with {code}:\n{(directory / 'submit.log').read_text()}"
        raise SystemExit(message)
    return process.pid


def _wait(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"the worker did not load its model:\n{log.read_text(errors='replace')}"
            raise SystemExit(message)
        time.sleep(_LOOK_EVERY_S)


def _events(log: Path) -> Iterator[Event]:
    with log.open() as file:
        for line in file:
            pid, at, kind, name = line.rstrip("\n").split(" ", 3)
            yield Event(int(pid), int(at), kind, name)


def _table(walk: Walk) -> Iterable[str]:
    yield f"{len(walk.files)} files and {len(walk.types)} types on a row's walk"
    yield f"(the fastest {walk.cycles} cycles, of at most {walk.longest_ms:.1f} ms with the profiler)"
    for process in walk.processes:
        yield ""
        yield f"{process.name}: {len(process.files)} files (of {process.called} called from start to end)"
        for number, file in enumerate(process.files, 1):
            yield f"{number:4}  {file.path:<32} {', '.join(file.functions)}"
        yield f"{process.name}: {len(process.types)} types"
        for number, name in enumerate(process.types, 1):
            yield f"{number:4}  {name}"


def _document(walk: Walk) -> Mapping[str, object]:
    return {"files": len(walk.files), "types": len(walk.types), "walk": asdict(walk)}


def main(argv: Sequence[str]) -> int:
    """Print the walk; return 1 if the machine was too slow to separate it from work that runs by the clock."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walk", description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--root", type=Path, default=here, help="environment or checkout to trace (default: this one)")
    parser.add_argument("--rows", type=int, default=100, help="rows that count (default 100)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(argv)
    walk = trace(Installation.find(asked.root.resolve()), asked.rows)
    text = json.dumps(_document(walk), indent=2) if asked.json else "\n".join(_table(walk))
    sys.stdout.write(f"{text}\n")
    if walk.longest_ms > _LONGEST_CYCLE_MS:
        sys.stderr.write(f"cycles above {_LONGEST_CYCLE_MS} ms: the figures include work that runs by the clock\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
