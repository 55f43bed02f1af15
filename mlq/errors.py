"""Errors that mlq reports in two lines: what failed, and the hint that says what to do.

This file has the base class and the errors of commands, workers and models. The errors of one package are in its own
file errors.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlq import DISTRIBUTION
from mlq.exit_codes import ExitCode
from mlq.security.masking import masked

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_options: bool) -> Callable[[type], type]:
        """Replace the decorator of the same name, which has a meaning for type checkers alone."""
        return lambda decorated: decorated


@dataclass_transform(kw_only_default=True)
class MlqError(Exception):
    """A failure that mlq reports to its user in two lines.

    A subclass sets `message` and `hint`, which are templates, and `exit_code`, and it annotates a field for each
    parameter of the templates. Type checkers then find a missing or unknown parameter where an error is raised. An
    instance has its parameters as attributes, and the rendered texts as `message` and `hint`. The templates are no
    docstrings, because `python -OO` removes those.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    message: str = "{what}"
    """The first line: what failed, with the value and where it came from. Passwords are masked in an instance."""

    hint: str = "{fix}"
    """The second line: the command, setting or edit that corrects the error. Passwords are masked in an instance."""

    def __init__(self, **params: Any) -> None:
        vars(self).update(params)
        self.message = masked(self.message.format_map(params))
        self.hint = masked(self.hint.format_map(params))
        super().__init__(self.message)


def two_lines(message: str, hint: str) -> str:
    """Return the two lines in which every process of mlq reports a failure, without a line break at the end."""
    return f"mlq: {message}\nhint: {hint}"


def print_error(error: MlqError) -> None:
    """Print an error on stderr. Commands use `Terminal.fail`, which also handles animation and control characters."""
    sys.stderr.write(f"{two_lines(error.message, error.hint)}\n")


# 1: it failed


class InternalError(MlqError):
    exit_code = ExitCode.FAILED
    message = "mlq failed because of a bug in mlq: {kind}: {reason}"
    hint = "run the command again with --debug, and report the traceback"

    kind: str
    reason: object


class StdoutFailed(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot write to standard output: {reason}"
    hint = "the command may have done its work; `mlq job`, `mlq worker` and `mlq queues` show the present state"

    reason: str | None


class WorkersFailed(MlqError):
    exit_code = ExitCode.FAILED
    message = "all workers have failed: {slots}"
    hint = "the last lines of each worker's log are above; `mlq worker start` starts the workers again"

    slots: str


class WorkersMisconfigured(WorkersFailed):
    exit_code = ExitCode.INVALID
    message = "no worker could start: {slots}"
    hint = "the reason for each worker is above; `mlq config` shows the settings that the workers use"


class SlotTaken(MlqError):
    exit_code = ExitCode.FAILED
    message = "worker {name} runs already; its supervisor is process {pid}"
    hint = (
        "stop that worker first, or start the new workers under another name with --name; `mlq worker` lists all "
        "workers"
    )

    name: str
    pid: str


class StartedWithFailures(MlqError):
    exit_code = ExitCode.FAILED
    message = "{failed} of {workers} workers did not start: {slots}"
    hint = "the other workers run; `mlq worker logs {first}` shows the reason, `mlq worker restart {first}` tries again"

    failed: int
    workers: int
    slots: str
    first: str


class NotSupervised(MlqError):
    exit_code = ExitCode.FAILED
    message = "worker {name} has no supervisor, so it would not be restarted"
    hint = "`mlq worker drain` stops it; workers that `mlq worker start` starts have a supervisor"

    name: str


class WorkersNotDone(MlqError):
    exit_code = ExitCode.FAILED
    message = "these workers did not carry out the order: {names}"
    hint = "`mlq worker` shows their state; `mlq worker logs`, on the host of the worker, shows the reason"

    names: str


# 2: wrong usage


class UsageError(MlqError):
    exit_code = ExitCode.USAGE
    message = "{what}"
    hint = "{fix}"

    what: str
    fix: str


class BadTrace(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}:{line}: {reason}"
    hint = "`mlq autoscale simulate --help` describes the format of a trace"

    path: Path
    line: int
    reason: object


class NoPlotting(MlqError):
    exit_code = ExitCode.INVALID
    message = "--plot {path} needs matplotlib, which is not installed"
    hint = f"`pip install '{DISTRIBUTION}[plot]'`, or leave out --plot"

    path: Path


class NotFollowed(MlqError):
    exit_code = ExitCode.USAGE
    message = "cannot follow the logs of workers on other hosts: {names}"
    hint = "run `mlq worker logs -f` on that host, or leave out -f to read the last lines from here"

    names: str


# 3: configuration or model invalid


class IncompleteInstallation(MlqError):
    exit_code = ExitCode.INVALID
    message = "{what}"
    hint = "{fix}"

    what: str
    fix: str


class StateDirectoryUnusable(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot keep mlq's state (sockets, logs, the embedded broker) in {path}: {reason}"
    hint = "set MLQ_STATE_DIR to a directory that this user owns"

    path: Path
    reason: object


class NoModel(MlqError):
    exit_code = ExitCode.INVALID
    message = "no model to serve: neither --model nor the setting worker.model names one"
    hint = "add `--model model.pt2` (or file.py:Class), or set worker.model in mlq.toml"


class InvalidModel(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot load the model {reference} (from {origin}): {reason}"
    hint = "{fix}"

    reference: str
    origin: str
    reason: str
    fix: str


class ModelDiffers(MlqError):
    exit_code = ExitCode.INVALID
    message = "worker {worker} serves queue {queue} with model {theirs}, but this worker has model {ours}"
    hint = (
        "`mlq worker restart --all --rolling` gives all workers the present file; --rollout starts this worker "
        "beside the others"
    )

    queue: str
    theirs: str | None
    worker: str
    ours: str


class TasksNotImportable(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot import the module {module} (worker.imports from {origin}): {reason}"
    hint = "{fix}"

    module: str
    origin: str
    reason: str
    fix: str


class UnknownTasks(MlqError):
    exit_code = ExitCode.INVALID
    message = "this worker does not know the tasks of most of the oldest messages in queue {queue!r}: {tasks}"
    hint = (
        "add the modules of these tasks to worker.imports, or their names to the model's aliases; `mlq worker start "
        "--take-unknown` starts the worker anyway, and these messages become dead letters"
    )

    queue: str
    tasks: str


class CudaUnavailable(MlqError):
    exit_code = ExitCode.INVALID
    message = "the worker is to use GPU {gpu}, but torch cannot use CUDA: {reason}"
    hint = "install a CUDA build of torch that fits the driver, or start CPU workers with `mlq worker start --cpus N`"

    gpu: str
    reason: str


class WorkerNeedsModel(MlqError):
    exit_code = ExitCode.INVALID
    message = "`celery -A mlq.app worker` has no model, so each task that it took would fail"
    hint = "start workers with `mlq worker start --model model.pt2 --gpus 0` (or --cpus 1)"


# 5: not found


class NoSuchFile(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no such file: {path}"
    hint = "{fix}"

    path: Path | str
    fix: str


class NoSuchQueue(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no queue {name!r} at {url}: it is not configured, no worker serves it, and it has no messages"
    hint = "{meant} `mlq queues` lists the known queues"

    name: str
    url: str
    meant: str


class UnknownQueue(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no queue {name!r}{where}: it is not configured, and no worker serves it"
    hint = "{meant} `mlq queues` lists the known queues, --create-queue sends to a new queue; nothing was sent"

    name: str
    where: str
    meant: str


class ReservedQueue(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "{name!r}{where} cannot be the name of a queue: {reason}"
    hint = "name another queue; `mlq queues` lists the known queues; nothing was sent"

    name: str
    where: str
    reason: str | None


class QueueNotServed(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "the workers would not serve queue {name!r}, only {served}"
    hint = "{meant} --queues and worker.queues name the queues that the workers serve"

    name: str
    served: str
    meant: str


class NoSuchWorker(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no worker {name}; known workers: {known}"
    hint = "`mlq worker` lists the workers"

    name: str
    known: str


class DeadLetterCut(MlqError):
    exit_code = ExitCode.FAILED
    message = (
        "dead letter {id} cannot run again: its message had {size:,} bytes, and only the beginning and the end are kept"
    )
    hint = "have the client send smaller messages, then `mlq dead drop {id}`; docs/dead-letters.md gives the limits"

    id: str
    size: int


class NoSuchDeadLetter(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no dead letter {id}"
    hint = "`mlq dead` lists the dead letters; another operator may have retried or dropped this one"

    id: str


class RerunFailed(MlqError):
    exit_code = ExitCode.FAILED
    message = "dead letter {id} {how}"
    hint = "nothing was changed; after the cause is corrected, `mlq dead retry {id}` puts the task back into its queue"

    id: str
    how: str


class NoSuchJob(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no job {id!r}: the id is unknown, or the job's record expired 30 days after its last change"
    hint = "`mlq job` lists the jobs; `mlq result ID` finds a task that is not part of a job"

    id: str


# 7: unfinished


class OrderPending(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "{number} of {workers} workers have not carried out the order yet"
    hint = "the order remains in force; `mlq worker` shows the state of the workers"

    number: int
    workers: int
