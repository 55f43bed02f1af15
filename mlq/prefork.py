"""The prefork worker: Celery's prefork pool, on the CPU, supervised.  python -m mlq.prefork --name pool0 --most 8

It gives the guarantees of stock Celery, not those of the engine: Celery's transport, acknowledgements and recovery. The
model is loaded after the fork, once in each process, because torch does not survive a fork.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import struct
import subprocess
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mlq import __version__
from mlq.errors import MlqError, NoModel, print_error
from mlq.exit_codes import ExitCode
from mlq.ipc import parent_death, python_command, ready_pipe, worker_exit
from mlq.ipc.shared_pages import REPORT_VARIABLE, ReportPage, WorkerReport
from mlq.security.masking import guard_stderr
from mlq.settings import advisories
from mlq.settings.config import Settings, load
from mlq.worker import close_model, load_model, log_to_stderr, message_limits, parse, prepare_tasks

if TYPE_CHECKING:
    from celery import Celery

    from mlq.model.failure import DeviceLost

_STARTS_IN_S: Final = 600.0
"""Seconds that a process may take to load its model before Celery kills it. Celery's default is 4 s."""

_REPORT_EVERY_S: Final = 1.0
_EVENT_EVERY_S: Final = 10.0
_COUNT: Final = struct.Struct("<q")

log = logging.getLogger("mlq.prefork")


@dataclass(frozen=True)
class PoolIdentity:
    """The identity of this worker, and the size of its pool."""

    name: str
    """Name of the slot on this host."""

    id: str
    """Name of this incarnation; a slot's next process has another."""

    least: int
    """Fewest processes of the pool."""

    most: int
    """Most processes of the pool."""


class Counts:
    """A pipe on which the processes of the pool report rows that they answered. A first 0 reports that one is ready.

    It is no shared counter: a process that was killed while it held the counter's lock would stop all others.
    """

    def __init__(self) -> None:
        self.fd, self._writing = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._writing, False)

    def count_rows(self, rows: int) -> None:
        """Report rows in a single write, so that counts of several processes do not mix.

        The main process does not read while the broker is away. A count that finds the pipe full is lost, because
        waiting would stop the work.
        """
        with suppress(BlockingIOError):
            os.write(self._writing, _COUNT.pack(rows))

    def device_lost(self, reason: DeviceLost) -> None:
        """Log what the model raised: it uses DeviceLost for a device of its own. The message goes back to its queue."""
        log.error("%s", reason, extra={"action": "device_lost"})

    def read(self) -> list[int]:
        """Return the counts that arrived since the last call."""
        try:
            data = os.read(self.fd, _COUNT.size * 4096)
        except BlockingIOError:
            return []
        return [count for (count,) in _COUNT.iter_unpack(data)]


class PoolReporter:
    """Reports to the supervisor what the pool is doing; runs in the main process."""

    def __init__(self, page: ReportPage | None, fingerprint: str | None, counts: Counts) -> None:
        self._report = WorkerReport(since=time.time(), version=__version__, fingerprint=fingerprint)
        self._page = page
        self._counts = counts
        self._draining = False
        self._ready = False

    def connect(self, app: Celery) -> None:
        """Follow Celery's signals, and its connections."""
        from celery import bootsteps, signals

        reporter = self

        class Reporting(bootsteps.StartStopStep):
            """A step of Celery's consumer, which starts again with each connection."""

            def register_with_event_loop(self, _: Any, hub: Any) -> None:
                reporter.follow(hub)

        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        app.steps["consumer"].add(Reporting)

    def follow(self, hub: Any) -> None:
        """Start or restart reading and reporting: Celery drops readers and timers with each lost connection."""
        hub.add_reader(self._counts.fd, self._counted)
        hub.call_repeatedly(_REPORT_EVERY_S, self._write_report)

    def limited(self, rate_limits: dict[str, str]) -> None:
        """Report the tasks that have a rate limit."""
        self._report.rate_limits = rate_limits
        self._write_report()

    def _shutting_down(self, **_: Any) -> None:
        self._draining = True
        self._write_report()

    def _counted(self) -> None:
        for rows in self._counts.read():
            self._report.rows_done += rows
            if not self._ready:
                self._ready = True
                self._write_report()
                ready_pipe.report(ready_pipe.READY)

    def _write_report(self) -> None:
        from celery.worker import state

        active = sorted(request.id for request in state.active_requests)
        self._report.task = active[0] if active else None
        self._report.tasks_done = state.all_total_count[0] - len(active)
        now = "draining" if self._draining else "busy" if active else "idle" if self._ready else "starting"
        if now != self._report.state:
            self._report.state, self._report.since = now, time.time()
        if self._page is not None:
            self._page.write(self._report)


class Unloaded:
    """A stand-in for the model: in the main process, and in a pool that serves other tasks only."""

    transient: tuple[type[Exception], ...] = ()

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Raise NoModel, which becomes the failure of the task."""
        del rows
        raise NoModel


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends this process; return its exit code."""
    arguments = _arguments(argv)
    guard_stderr()
    log_to_stderr(verbose=arguments.verbose)
    try:
        settings = load()
        for warning in advisories.of_settings(settings):
            log.warning("%s", warning, extra={"action": "settings_advised"})
        if arguments.try_model:
            close_model(load_model(settings, "cpu"))
            return ExitCode.DONE
        identity = PoolIdentity(arguments.name, arguments.id, arguments.least, arguments.most)
        return serve(settings, identity, rollout=arguments.rollout, checks_tasks=arguments.check_tasks)
    except MlqError as exc:
        print_error(exc)
        return exc.exit_code


def serve(settings: Settings, identity: PoolIdentity, *, rollout: bool, checks_tasks: bool = False) -> int:
    """Load the model in a trial process, then let the pool consume: with a broken model it takes no message.

    Returns:
        The exit code of the process.

    Raises:
        InvalidModel, ModelDiffers, TasksNotImportable, UnknownTasks, NoBroker, BrokerUnreachable: Each has its exit
        code.
    """
    from mlq import tasks
    from mlq.app import create_app
    from mlq.broker.connection import state_store
    from mlq.engine.celery import controls, message_checks, publish_guard, task_wrapper, transport
    from mlq.engine.celery.backend import install_filing
    from mlq.engine.startup.admission import check_others
    from mlq.engine.startup.result_probe import demand_results
    from mlq.model.failure import withhold_texts
    from mlq.store.jobs.job_tokens import JobTokens

    demand_results(settings, create_app)
    fingerprint = None
    if settings.worker.model is not None:
        tried = _try_model()
        if tried:
            return tried
        fingerprint = _fingerprint(settings.worker.model)
        if not rollout:
            check_others(settings, identity.id, fingerprint)
    if settings.worker.error_texts == "withhold":
        withhold_texts()
    counts = Counts()
    install_filing(JobTokens(partial(state_store, settings)))
    transport.install_checks()
    publish_guard.install()
    app = create_app(settings)
    tasks.serve(app, Unloaded(), counts)
    prepare_tasks(settings, app, checks=checks_tasks)
    task_wrapper.contain(app)
    message_checks.screen(app, message_limits(settings))
    _load_after_fork(app, settings, counts)
    reporter = PoolReporter(ReportPage.inherited(), fingerprint, counts)
    reporter.connect(app)
    controls.begin(app, settings.controls, reporter.limited, keeps_queues=False)
    return _consume(app, settings, identity)


def _try_model() -> int:
    """Load the model in a trial process: its threads and memory must not exist in this process when the pool forks."""
    command = [*python_command.python("mlq.prefork"), "--name", "trial", "--try-model"]
    environment = {k: v for k, v in os.environ.items() if k != REPORT_VARIABLE}  # the trial has no supervisor
    trial = parent_death.command(command, signal.SIGKILL)
    return subprocess.run(trial, stdin=subprocess.DEVNULL, env=environment, check=False).returncode


def _fingerprint(model: str) -> str:
    from mlq.model.reference import ModelRef

    return ModelRef.parse(model).fingerprint()


def _load_after_fork(app: Celery, settings: Settings, counts: Counts) -> None:
    """Let each process of the pool load the model before its first task, and die with the main process."""
    from celery import signals
    from celery.exceptions import SoftTimeLimitExceeded

    from mlq import tasks
    from mlq.engine.celery.backend import end_without_results
    from mlq.engine.celery.pool import is_termination
    from mlq.model.failure import recognize_orders

    parent = os.getpid()

    def begin(**_: Any) -> None:
        parent_death.tie(parent, signal.SIGKILL)
        recognize_orders(is_termination)
        end_without_results(app, lambda _: os.kill(parent, signal.SIGTERM))
        if settings.worker.model is not None:
            try:
                model = load_model(settings, "cpu")
            except MlqError as exc:  # the trial could load it. The supervisor restarts this worker, with another trial
                log.error("%s", exc.message, extra={"action": "model_load_failed"})  # noqa: TRY400 (the message is the cause)
                os.kill(parent, signal.SIGTERM)
                raise SystemExit(exc.exit_code) from exc
            model.interrupts = (SoftTimeLimitExceeded,)
            tasks.serve(app, model, counts)
        counts.count_rows(0)

    signals.worker_process_init.connect(begin, weak=False)


def _consume(app: Celery, settings: Settings, identity: PoolIdentity) -> int:
    """Run Celery's worker in this process until a signal ends it; return the exit code."""
    from celery.exceptions import SecurityWarning

    worker = settings.worker
    app.conf.update(
        task_time_limit=worker.time_limit,
        task_soft_time_limit=worker.soft_time_limit,
        worker_max_tasks_per_child=worker.max_tasks,
        worker_max_memory_per_child=worker.max_memory // 1024 if worker.max_memory else None,  # Celery counts in KiB
        worker_proc_alive_timeout=_STARTS_IN_S,
    )
    # Celery warns at each start as root. The danger is pickle, which is not accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    celery_worker = app.Worker(
        hostname=f"{identity.name}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=identity.most,
        autoscale=(identity.most, identity.least) if identity.least < identity.most else None,
        queues=list(settings.served_queues),
        without_mingle=True,
        without_gossip=True,
        heartbeat_interval=_EVENT_EVERY_S,
        loglevel="INFO",
        quiet=True,
    )
    celery_worker.start()
    return int(celery_worker.exitcode or 0)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mlq.prefork", description="Run Celery's prefork pool on the CPU, under a supervisor."
    )
    parser.add_argument("--name", required=True, help="the worker's name on this host")
    parser.add_argument("--id", default="", help="the id of this process")
    parser.add_argument("--least", type=int, default=1, help="fewest processes of the pool (default 1)")
    parser.add_argument("--most", type=int, default=1, help="most processes of the pool (default 1)")
    parser.add_argument("--try-model", action="store_true", help="load the model, then exit")
    return parse(parser, argv, log)


if __name__ == "__main__":
    worker_exit.leave(main())
