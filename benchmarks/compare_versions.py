"""Compare two versions of mlq side by side: does OTHER cost more than BASE?

    python -m benchmarks.compare_versions BASE [OTHER] [--rounds 5] [--json] [--quick]

Each version is a git commit, the directory of an environment with mlq in it, or `.` for the working tree, which is also
the default of OTHER. For a commit and for the working tree a wheel is built and installed into a temporary
environment; the other packages are those of the environment that runs the comparison, for both versions.

Both versions run at the same time on one server, each with a database and a state directory of its own. Every round
starts a new worker of each version, because two processes of the same code may differ in speed, and then takes each
measurement in the order base, other, other, base; the next round begins with other. So a machine that becomes slower
during the run slows both versions down alike. Measured are:

- single-row messages from a backlog: messages per second, and the worker's CPU time per message,
- submit → result on an idle worker, one row at a time: the median,
- a file through `mlq submit --wait`: rows per second, the start of the command included,
- backlogs of 20 `mlq.batch_predict` messages whose rows fill the model's batch: rows per second, and the worker's CPU
  time per row.

The ratio is other ÷ base, one per round. A figure is "worse" if it is worse in every round, and "no worse than its own
spread" if the range of its ratios reaches 1. Two equal versions look worse in one figure by chance in 1 of 2^rounds
runs, so repeat a run that says "worse" before you believe it. The exit code is 0 if no figure is worse, 1 if one is
worse, and 2 if something could not be measured.

The measured code runs only in processes of the two environments. This process publishes with a stock Celery client.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import comparison, inputs, machine, measure_file, measure_latency, measure_messages, model
from benchmarks.celery_client import CeleryClient
from benchmarks.comparison import BASE, OTHER, Comparison, Verdict
from benchmarks.environments import ROOT, Environment, build_wheel, build_wheel_of_commit
from benchmarks.findings import at_least, at_most, percentile
from benchmarks.stage import Contender, Stage, stage

ROUNDS: Final = 5
WORKING_TREE: Final = "."
_DATABASES: Final = {BASE: 0, OTHER: 1}
_WARM_UP: Final = 5
_FEW: Final = 64
_BATCHES_AT_ONCE: Final = 20
"""Messages in one backlog of full batches. The time to claim one of them grows with the depth of the backlog: it would
hide the time that the rows take."""
_ONE_EACH: Final = 1.0

_MESSAGES: Final = "single-row messages from a backlog"
_MESSAGE_CPU: Final = "worker CPU per single-row message"
_LATENCY: Final = "submit → result, idle worker, p50"
_FILE: Final = "rows of a file, mlq submit --wait"
_FULL: Final = "rows in full batches from a backlog"
_FULL_CPU: Final = "worker CPU per row in full batches"

# The ratio of two equal versions is 1 in both cases; the direction says which side is better.
_FIGURES: Final = {
    _MESSAGES: ("1/s", at_least(_ONE_EACH)),
    _MESSAGE_CPU: ("µs", at_most(_ONE_EACH)),
    _LATENCY: ("ms", at_most(_ONE_EACH)),
    _FILE: ("1/s", at_least(_ONE_EACH)),
    _FULL: ("1/s", at_least(_ONE_EACH)),
    _FULL_CPU: ("µs", at_most(_ONE_EACH)),
}


@dataclass(frozen=True)
class Size:
    """The amount of work of one measurement of one version; each round has two measurements of each version."""

    model: str
    messages: int
    asks: int
    file_rows: int
    batches: int


USUAL: Final = Size(model.SMALL, messages=8_000, asks=150, file_rows=100_000, batches=160)
QUICK: Final = Size(model.SLOW, messages=200, asks=10, file_rows=500, batches=10)  # without torch, so it starts at once


@dataclass(frozen=True)
class Version:
    """A version under test: its name, its commands, and the variables that give it a private environment."""

    name: str
    shown: str
    environment: Environment
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """The model and its inputs, the same for both versions."""

    model: str
    messages: Sequence[list[float]]
    asks: int
    file: Path
    file_rows: int
    few_answers: Sequence[Any]
    """The answers of the bare loop to the first rows of the file."""
    batches: Sequence[list[Any]]
    """Batches of as many rows as the model takes at once."""


Worker = Contender[CeleryClient]
Measure = Callable[[Stage, Version, Worker, Work], Mapping[str, float]]
"""A function that returns figures of one version by their names."""


def main(argv: Sequence[str]) -> int:
    """Compare, print the table or JSON, and return the exit code that the module's docstring defines."""
    asked = _arguments(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="mlq-compare-") as directory, stage(asked.seed) as at:
            found = {BASE: asked.base, OTHER: asked.other}
            versions = [_version(at, name, given_name, Path(directory)) for name, given_name in found.items()]
            comparisons = compare(at, versions, QUICK if asked.quick else USUAL, asked.rounds)
            sys.stdout.write(_report(at, versions, comparisons, as_json=asked.json))
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return int(any(c.verdict is Verdict.WORSE for c in comparisons))


def compare(at: Stage, versions: Sequence[Version], size: Size, rounds: int) -> list[Comparison]:
    """Measure every figure of both versions in every round."""
    work = _work(at, size)
    for version in versions:  # the first command of an environment compiles its modules, which must not be measured
        at.run([version.environment.mlq, "--version"], **version.variables)
    samples: dict[str, dict[str, list[float]]] = {what: {BASE: [], OTHER: []} for what in _FIGURES}
    for number in range(rounds):
        began = time.monotonic()
        order = versions if number % 2 == 0 else versions[::-1]
        for what, values in _round(at, order, work).items():
            for name, value in values.items():
                samples[what][name].append(value)
        sys.stderr.write(f"round {number + 1} of {rounds}: measured ({time.monotonic() - began:.0f} s)\n")
    return [Comparison(what, unit, samples[what], target) for what, (unit, target) in _FIGURES.items()]


def _round(at: Stage, versions: Sequence[Version], work: Work) -> dict[str, dict[str, float]]:
    """Start new workers, and return figure → version → the mean of its two measurements."""
    found: dict[str, dict[str, list[float]]] = {what: {BASE: [], OTHER: []} for what in _FIGURES}
    with _workers(at, versions, work) as workers:
        for measure in (_measure_messages, _measure_latency, _measure_file, _measure_full_batches):
            for version in (*versions, *reversed(versions)):
                for what, value in measure(at, version, workers[version.name], work).items():
                    found[what][version.name].append(value)
    return {what: {name: statistics.fmean(two) for name, two in values.items()} for what, values in found.items()}


@contextmanager
def _workers(at: Stage, versions: Sequence[Version], work: Work) -> Iterator[Mapping[str, Worker]]:
    """Start one worker of each version and let it answer a few messages of each kind; end all at the end."""
    with ExitStack() as stack:
        started: dict[str, Worker] = {}
        for version in versions:
            mlq, database = version.environment.mlq, _DATABASES[version.name]
            started[version.name] = at.start_mlq(version.name, mlq, work.model, database, **version.variables)
            stack.callback(started[version.name].end)
        for worker in started.values():
            measure_latency.ask(worker.client, work.messages[0], _WARM_UP)
            worker.client.ask_chunk(work.batches[0])
        yield started


def _measure_messages(at: Stage, _: Version, worker: Worker, work: Work) -> Mapping[str, float]:
    backlog = worker.client.fill(work.messages)
    cost = measure_messages.cost(at, worker.process, backlog, len(work.messages))
    return {_MESSAGES: cost.per_s, _MESSAGE_CPU: cost.worker_us}


def _measure_latency(_: Stage, __: Version, worker: Worker, work: Work) -> Mapping[str, float]:
    return {_LATENCY: percentile(measure_latency.ask(worker.client, work.messages[0], work.asks), 0.5)}


def _measure_file(at: Stage, version: Version, _: Worker, work: Work) -> Mapping[str, float]:
    def submit(source: Path, target: Path) -> float:
        return measure_file.submit(at, version.environment.mlq, source, target, **version.variables)

    seconds, answers = measure_file.timed(at, submit, work.file)
    measure_file.check(version.name, answers, work.few_answers, work.file_rows)
    return {_FILE: work.file_rows / seconds}


def _measure_full_batches(at: Stage, _: Version, worker: Worker, work: Work) -> Mapping[str, float]:
    costs = []
    for start in range(0, len(work.batches), _BATCHES_AT_ONCE):
        batches = work.batches[start : start + _BATCHES_AT_ONCE]
        backlog = worker.client.fill_chunks(batches)
        costs.append(measure_messages.cost(at, worker.process, backlog, sum(map(len, batches))))
    per_s = statistics.harmonic_mean([cost.per_s for cost in costs])
    return {_FULL: per_s, _FULL_CPU: statistics.fmean(cost.worker_us for cost in costs)}


def _work(at: Stage, size: Size) -> Work:
    random, at_once = at.random(), model.ROWS_AT_ONCE[size.model]
    rows = inputs.numbers(random, size.file_rows)
    few = inputs.write(at.directory / "few.jsonl", rows[:_FEW])
    return Work(
        model=size.model,
        messages=inputs.numbers(random, size.messages),
        asks=size.asks,
        file=inputs.write(at.directory / "rows.jsonl", rows),
        file_rows=size.file_rows,
        few_answers=measure_file.timed(at, partial(measure_file.bare, at, size.model), few)[1],
        batches=[inputs.numbers(random, at_once) for _ in range(size.batches)],
    )


def _version(at: Stage, name: str, given_name: str, directory: Path) -> Version:
    """Find or make the environment of a version, and check which mlq it imports."""
    shown, environment = _environment(given_name, directory / name)
    home = at.directory / f"{name}-home"
    home.mkdir()
    variables = {
        "MLQ_BROKER_URL": at.server.celery_url(_DATABASES[name]),
        "XDG_STATE_HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PYTHONPATH": "",  # the stage's PYTHONPATH would put this repository's mlq before the environment's
    }
    found = at.run([environment.python, "-c", "import mlq; print(mlq.__file__)"], **variables).strip()
    built = environment.directory.is_relative_to(directory)
    if built and not Path(found).is_relative_to(environment.directory):
        raise RuntimeError(f"{shown} would be measured with {found}, which is not its own code")
    return Version(name, shown if built else f"{shown} ({Path(found).parent})", environment, variables)


def _environment(given_name: str, directory: Path) -> tuple[str, Environment]:
    """Use an existing environment; make one for the working tree or a commit."""
    given = Environment(Path(given_name).absolute())
    if Path(given.mlq).is_file():
        return f"environment {given_name}", given
    directory.mkdir()
    if given_name == WORKING_TREE:
        shown, wheel = f"working tree, {machine.commit()}", build_wheel(ROOT, directory)
    else:
        shown, wheel = f"commit {given_name}", build_wheel_of_commit(given_name, directory)
    made = Environment.create(directory / "environment")
    made.install(wheel)
    return shown, made


def _report(at: Stage, versions: Sequence[Version], comparisons: Sequence[Comparison], *, as_json: bool) -> str:
    rounds = len(comparisons[0].samples[BASE])
    if as_json:
        shown = {version.name: version.shown for version in versions}
        about = {"versions": shown, "rounds": rounds, "machine": machine.description(), "server": at.server.version()}
        return json.dumps({**about, "figures": comparison.as_json(comparisons)}, indent=2, ensure_ascii=False) + "\n"
    named = "".join(f"{version.name}: {version.shown}\n" for version in versions)
    where = f"{rounds} rounds on {machine.description()}; {at.server.version()}\n"
    return f"{named}{where}\n{comparison.table(comparisons)}"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare_versions", description=(__doc__ or "").splitlines()[0]
    )
    kinds = "a git commit, the directory of an environment, or . for the working tree"
    parser.add_argument("base", metavar="BASE", help=f"the version to compare with: {kinds}")
    parser.add_argument("other", metavar="OTHER", nargs="?", default=WORKING_TREE, help="the other version (default .)")
    parser.add_argument("--rounds", type=_at_least_one, help=f"rounds (default {ROUNDS}; 1 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="check with little work that everything runs; the figures mean nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs (default 0)")
    asked = parser.parse_args(argv)
    asked.rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    return asked


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that every worker ends
    sys.exit(main(sys.argv[1:]))
