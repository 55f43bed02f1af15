"""The worker process: one device, one model, one consumer.  python -m mlq.worker --name cpu0"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq import __version__
from mlq.errors import CudaUnavailable, MlqError, NoModel, print_error
from mlq.exit_codes import ExitCode
from mlq.ipc import ready_pipe, worker_exit
from mlq.ipc.shared_pages import ReportPage, WorkerReport
from mlq.protocol import names
from mlq.security.escaping import OneLineFormatter
from mlq.security.masking import guard_stderr
from mlq.settings import advisories
from mlq.settings.config import Settings, load

if TYPE_CHECKING:
    from celery import Celery

    from mlq.broker.connection import Address
    from mlq.engine.activity import Activity
    from mlq.engine.engine import Engine, ServedTasks
    from mlq.engine.time_limits import Limit, MessageLimits
    from mlq.model.model import Model
    from mlq.store.workers.heartbeats import Heartbeat
    from mlq.store.workers.orders import Order

_TEARDOWN_S: Final = 30.0
"""Seconds that the teardown of a model may take."""

_EVENT_EVERY_S: Final = 10.0
"""Seconds between two heartbeat events of Celery, which are for monitors, and tell them when to expect the next."""

log = logging.getLogger("mlq.worker")


@dataclass(frozen=True)
class WorkerIdentity:
    """The identity of this process."""

    name: str
    """Name of the slot on this host, as in `gpu0`."""

    host: str
    gpu: str | None
    """The GPU as `--gpu` named it; None for the CPU."""

    id: str
    """Name of this incarnation; a slot's next process has another."""

    started_at: float
    """Unix time in seconds."""

    @property
    def device(self) -> str:
        """The device as torch names it, under the mask of CUDA_VISIBLE_DEVICES."""
        return "cuda:0" if self.gpu else "cpu"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends this process; return its exit code."""
    arguments = _arguments(argv)
    if arguments.gpu:
        # Before anything imports torch: CUDA reads the mask once.
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        os.environ["CUDA_VISIBLE_DEVICES"] = arguments.gpu
    guard_stderr()
    log_to_stderr(verbose=arguments.verbose)
    # Until Celery handles Ctrl-C, it ends the process. So a KeyboardInterrupt always comes from the model's code.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    host = socket.gethostname()
    wid = arguments.id or f"{host}:{arguments.name}:{secrets.token_hex(4)}"
    try:
        identity = WorkerIdentity(arguments.name, host, arguments.gpu, wid, time.time())
        settings = load()
        for warning in advisories.of_settings(settings):
            log.warning("%s", warning, extra={"action": "settings_advised"})
        return serve(settings, identity, rollout=arguments.rollout, checks_tasks=arguments.check_tasks)
    except MlqError as exc:
        print_error(exc)
        return exc.exit_code
    except BaseException:
        log.exception("this worker ends because of an unexpected error", extra={"action": "worker_failed"})
        return ExitCode.FAILED


def serve(settings: Settings, identity: WorkerIdentity, *, rollout: bool, checks_tasks: bool = False) -> int:
    """Load the model, then consume; a worker whose model does not load takes no message.

    With `checks_tasks`, refuse to start if most waiting messages are of unknown tasks.

    Returns:
        The exit code of the process.

    Raises:
        NoModel, InvalidModel, ModelDiffers, TasksNotImportable, UnknownTasks, CudaUnavailable, NoBroker,
        BrokerUnreachable, ResultsUnusable, ResultsUnreachable: Each has its exit code.
    """
    from mlq.broker.connection import state_store
    from mlq.engine.activity import Activity, Recycling
    from mlq.engine.celery.pool import is_let_go
    from mlq.liveness.heartbeat_writer import HeartbeatThread
    from mlq.model.failure import recognize_orders, withhold_texts

    recognize_orders(is_let_go)
    if settings.worker.error_texts == "withhold":
        withhold_texts()
    page = ReportPage.inherited()
    recycling = Recycling(settings.worker.max_tasks, settings.worker.max_memory, _resident_bytes)
    activity = Activity(page.write if page else _no_supervisor, recycling)
    heart = HeartbeatThread(partial(state_store, settings), lambda: [_describe(settings, identity, activity)], _obey)
    if page is None:
        heart.start()
    try:
        model, code = _serve(settings, identity, activity, rollout=rollout, checks_tasks=checks_tasks)
    finally:
        heart.end()
    if activity.device_error:
        code = ExitCode.DEVICE_LOST
    elif activity.results_error and not code:
        code = ExitCode.BROKER  # the next process probes the backend before it takes a message
    elif activity.recycled and not code:
        code = ExitCode.RECYCLED
    worker_exit.announce(code, _TEARDOWN_S)
    worker_exit.end_within(_TEARDOWN_S, code)
    close_model(model)
    return code


def _serve(
    settings: Settings, identity: WorkerIdentity, activity: Activity, *, rollout: bool, checks_tasks: bool
) -> tuple[Model, int]:
    """Load the model and consume; return the model, which is not used any more, and the exit code."""
    from celery.exceptions import SoftTimeLimitExceeded

    from mlq import tasks
    from mlq.app import create_app
    from mlq.broker.connection import broker_address, state_store
    from mlq.engine.celery import backend, controls, message_checks, publish_guard, stock_transport
    from mlq.engine.engine import ServedTasks
    from mlq.engine.startup.result_probe import demand_results
    from mlq.engine.time_limits import TimeLimits
    from mlq.store.jobs.job_tokens import JobTokens

    demand_results(settings, create_app)
    limits = TimeLimits(_limit(settings), activity.report, activity.publish, message_limits(settings))
    limits.install()
    model = _admitted(settings, identity, rollout=rollout)
    activity.report_model(model.fingerprint, model.max_batch_size)
    model.interrupts = (SoftTimeLimitExceeded,)
    backend.install_filing(JobTokens(partial(state_store, settings)))
    publish_guard.install()
    app = create_app(settings)
    serving = tasks.serve(app, model, activity)
    activity.connect()
    served = ServedTasks(app, _model_tasks(settings), serving.outcomes, limits)
    with _engine(settings, identity, model, served, activity) as engine:
        if engine is not None:
            answers_too = _answers_at(settings, broker_address(settings))
            engine.start(answers_too=answers_too, renews=ReportPage.inherited() is None, rollout=rollout)
        backend.end_without_results(app, activity.results_lost)
        # After the engine counted mlq's receivers of signals: receivers that these modules connect are the user's.
        prepare_tasks(settings, app, checks=checks_tasks)
        controls.begin(app, settings.controls, activity.report_rate_limits, keeps_queues=engine is not None)
        if engine is not None:
            engine.wrap_tasks()
        else:
            message_checks.screen(app, limits.message_limits)
            stock_transport.acknowledge_at_once(app, limits)
            stock_transport.wake_on_signals(app)
        return model, _consume(app, settings, identity, engine)


def close_model(model: Model) -> None:
    """Let the model release its resources. A failure is logged, and does not change the exit code."""
    try:
        model.close()
    except BaseException:
        log.exception("the teardown of the model failed", extra={"action": "model_teardown_failed"})


def prepare_tasks(settings: Settings, app: Celery, *, checks: bool) -> None:
    """Import the user's task modules; with `checks`, make sure that most waiting messages are of known tasks.

    Raises TasksNotImportable, UnknownTasks.
    """
    from mlq.engine.startup.task_modules import import_tasks
    from mlq.engine.startup.unknown_tasks import check_heads

    import_tasks(settings, Path.cwd())
    if checks:
        check_heads(settings, app.tasks)


def message_limits(settings: Settings) -> MessageLimits:
    """Return how time limits in messages are treated."""
    from mlq.engine.time_limits import MessageLimits

    worker = settings.worker
    return MessageLimits(least=worker.min_time_limit, are_applied=worker.message_time_limits == "heed")


def _limit(settings: Settings) -> Limit:
    from mlq.engine.time_limits import Limit

    return Limit(soft=settings.worker.soft_time_limit, hard=settings.worker.time_limit)


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


@contextmanager
def _engine(
    settings: Settings, identity: WorkerIdentity, model: Model, tasks: ServedTasks, activity: Activity
) -> Iterator[Engine | None]:
    """Create the engine if the broker is Redis or Valkey; with another one Celery's transport takes the messages."""
    from mlq.broker import rabbitmq
    from mlq.broker.connection import broker_address, connected, is_redis, redis_client
    from mlq.engine.engine import Engine
    from mlq.store.claims.claims import Claims
    from mlq.store.claims.leases import Leases

    address = broker_address(settings)
    if not is_redis(address.url):
        # For a queue that exists with other arguments Celery would see a lost connection, and retry without end.
        with connected(settings, address) as connection:
            rabbitmq.declare(connection, settings, settings.served_queues)
        yield None
        return
    # The engine has a connection of its own, made before it replaces kombu's transports in this process.
    with connected(settings, address) as connection:
        redis = redis_client(connection)
        claims = Claims(redis, identity.id, settings.served_queues, tasks.names, settings.priority_order)
        leases = Leases(redis, round(1000 * settings.lease))
        engine = Engine(redis, claims, leases, model, tasks, settings.worker, activity)
        try:
            yield engine
        finally:
            engine.close()


def _model_tasks(settings: Settings) -> Mapping[str, str]:
    """Return each name under which the model is served, with mlq.predict or mlq.batch_predict."""
    return {names.PREDICT: names.PREDICT, names.BATCH_PREDICT: names.BATCH_PREDICT, **(settings.aliases or {})}


def _answers_at(settings: Settings, broker: Address) -> bool:
    """Tell whether results are kept on the broker's server, so that they can be recorded with the end of a claim."""
    if settings.result_backend is None:
        return True
    one, other = urlsplit(settings.result_backend), urlsplit(broker.url)
    if one.scheme != other.scheme:
        return False
    return one.path == other.path if one.scheme == "redis+socket" else one.netloc == other.netloc


def log_to_stderr(*, verbose: bool) -> None:
    """Log to stderr, which the supervisor reads: no payloads, and single tasks only with `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    from mlq.engine.celery import controls, log_texts, refusal
    from mlq.engine.startup.unknown_tasks import OnceAMinute
    from mlq.protocol import compression

    log_texts.withhold_payloads()
    refusal.install()
    compression.install()
    controls.mask_replies()
    logging.getLogger("celery.worker.consumer.consumer").addFilter(OnceAMinute(log_texts.UNKNOWN_TASK))
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


def _admitted(settings: Settings, identity: WorkerIdentity, *, rollout: bool) -> Model:
    """Load the model and check the other workers' models; the lease of this worker repeats the check later."""
    from mlq.engine.startup.admission import check_others

    if identity.gpu:
        _demand_cuda(identity.gpu)
    model = load_model(settings, identity.device)
    if not rollout:
        check_others(settings, identity.id, model.fingerprint)
    return model


def load_model(settings: Settings, device: str) -> Model:
    """Load the model that the settings name. Raises NoModel, InvalidModel."""
    from mlq.model import loader

    worker = settings.worker
    if worker.model is None:
        raise NoModel
    began = time.monotonic()
    model = loader.load(
        worker.model,
        origin=settings.origin("worker.model"),
        device=device,
        output=worker.output,
        max_batch_size=worker.max_batch_size,
    )
    log.info(
        "loaded %s on %s in %.1f s", worker.model, device, time.monotonic() - began, extra={"action": "model_loaded"}
    )
    return model


def _demand_cuda(gpu: str) -> None:
    """Raise CudaUnavailable instead of computing on the CPU silently."""
    import torch

    if torch.cuda.is_available():
        return
    built = torch.version.cuda
    reason = f"the driver does not offer it to CUDA {built}" if built else f"torch {torch.__version__} has none"
    raise CudaUnavailable(gpu=gpu, reason=reason)


def _consume(app: Celery, settings: Settings, identity: WorkerIdentity, engine: Engine | None) -> int:
    """Run Celery's worker in this process until a signal ends it; return the exit code."""
    from celery import signals
    from celery.exceptions import SecurityWarning

    from mlq.engine.celery.pool import SoloPool

    is_ready = threading.Event()

    def report_ready(**_: Any) -> None:
        if not is_ready.is_set():
            is_ready.set()
            ready_pipe.report(ready_pipe.READY)

    def ready(sender: Any, **_: Any) -> None:
        if engine is not None:
            engine.watch_events(sender)
        report_ready()

    signals.worker_ready.connect(ready, weak=False)
    if engine is None:
        # A waiting message is delivered, and runs, before Celery has finished subscribing at RabbitMQ.
        signals.task_prerun.connect(report_ready, weak=False)
    # Celery warns at each start as root. The danger is pickle, which is not accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        hostname=f"{identity.name}@{identity.host}",
        pool_cls=SoloPool,
        concurrency=1,
        queues=list(settings.served_queues),
        without_mingle=True,  # it would delay each start by a second, for revokes that other workers keep in memory
        without_gossip=True,
        heartbeat_interval=_EVENT_EVERY_S,
        loglevel="INFO",
        quiet=True,
    )
    code: int = ExitCode.FAILED
    try:
        worker.start()
        code = _exit_code(worker.exitcode)
    finally:  # Celery does not catch what is not an Exception
        if engine is not None:
            engine.has_crashed = code not in {ExitCode.DONE, ExitCode.FENCED}
    return code


def _exit_code(code: object) -> int:
    """Convert Celery's exit code, which a SystemExit carries and which may be any object."""
    if code is None:
        return ExitCode.DONE
    return code if isinstance(code, int) else ExitCode.FAILED


def _describe(settings: Settings, identity: WorkerIdentity, activity: Activity) -> Heartbeat:
    from mlq.store.workers.heartbeats import Heartbeat

    return Heartbeat(
        id=identity.id,
        name=identity.name,
        host=identity.host,
        pid=os.getpid(),
        gpu=identity.gpu,
        device=identity.device,
        state="starting",
        queues=settings.served_queues,
        model=settings.worker.model or "",
        fingerprint=None,
        task=None,
        tasks_done=0,
        rows_done=0,
        started_at=identity.started_at,
        rss_bytes=_resident_bytes(),
    ).saying(activity.report)


def _obey(orders: Mapping[str, Order]) -> None:
    """Drain after any order: this worker has no supervisor, so it would not be restarted, or stopped at a deadline."""
    for order in orders.values():
        log.info("an operator ordered this worker to %s", order.word, extra={"action": "order_received"})
        os.kill(os.getpid(), signal.SIGTERM)


def _no_supervisor(_: WorkerReport) -> None:
    """Drop a report: a worker without a supervisor writes its heartbeat from its own memory."""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mlq.worker", description="Run one worker process without a supervisor."
    )
    parser.add_argument("--name", required=True, help="the worker's name on this host")
    parser.add_argument("--id", help="the id of this process, under which its claims are recovered after its death")
    parser.add_argument("--gpu", help="index or UUID of the GPU (default: compute on the CPU)")
    return parse(parser, argv, log)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, log: logging.Logger) -> argparse.Namespace:
    """Parse the options of a worker's process, with those that every kind of worker takes.

    An unknown option is logged, not refused: mlq may have been downgraded while a newer supervisor runs.
    """
    parser.add_argument(
        "--rollout", action="store_true", help="serve even if other workers serve these queues with another model"
    )
    parser.add_argument(
        "--check-tasks", action="store_true", help="do not start if most waiting messages are of unknown tasks"
    )
    parser.add_argument("--verbose", action="store_true", help="log every task")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        log.warning(
            "mlq %s does not know these options of its supervisor: %s",
            __version__,
            " ".join(unknown),
            extra={"action": "options_ignored"},
        )
    return arguments


if __name__ == "__main__":
    worker_exit.leave(main())
