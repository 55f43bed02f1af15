"""Celery's own prefork pool, for work on the CPU, under a supervisor.  python -m mlq.prefork --name pool0 --most 8

What it promises is what stock Celery promises, not what the engine does: stock transport, acknowledgements and
recovery. Whatever computes is loaded after the fork, once in each process: torch does not survive one.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mlq import __version__
from mlq.errors import MlqError, NoModel
from mlq.ipc import parent_death, python_command, ready_pipe, worker_exit, worker_report
from mlq.ipc.worker_report import ReportPage, WorkerReport
from mlq.security.masking import guard_stderr
from mlq.settings import advisories
from mlq.settings.config import Settings, load
from mlq.worker import close_model, load_model, log_to_stderr, of_messages, prepare_tasks

if TYPE_CHECKING:
    from celery import Celery

    from mlq.model.failure import DeviceLost

_STARTS_IN_S: Final = 600.0
"""How long a process may take to load its model, before Celery kills it. Its own patience is 4 s."""

_REPORT_EVERY_S: Final = 1.0
_EVENT_EVERY_S: Final = 10.0
_COUNT: Final = struct.Struct("<q")

log = logging.getLogger("mlq.prefork")


@dataclass(frozen=True)
class PoolIdentity:
    """Who this worker is: its slot's name, its incarnation, and how many processes it may have."""

    name: str
    id: str
    least: int
    most: int


class Counts:
    """A pipe on which the pool's processes tell of rows answered; the first word of each, 0, says that it serves.

    Not a shared counter: a process that is killed while it holds the counter's lock would stop all others.
    """

    def __init__(self) -> None:
        self.fd, self._writing = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._writing, False)

    def count_rows(self, rows: int) -> None:
        """Tell of rows, in one write: what several processes write so is not mixed.

        Nobody reads while the broker is away. A count that finds the pipe full is lost; to wait would stop the work.
        """
        with suppress(BlockingIOError):
            os.write(self._writing, _COUNT.pack(rows))

    def device_lost(self, reason: DeviceLost) -> None:
        """Say so. The message goes back; a CPU does not get lost, so this is a model's own claim."""
        log.error("%s", reason)

    def read(self) -> list[int]:
        """Take what was told since."""
        try:
            told = os.read(self.fd, _COUNT.size * 4096)
        except BlockingIOError:
            return []
        return [count for (count,) in _COUNT.iter_unpack(told)]


class Telling:
    """In the main process: tells the supervisor, between two messages, what the pool is doing."""

    def __init__(self, board: ReportPage | None, fingerprint: str | None, counts: Counts) -> None:
        self._report = WorkerReport(since=time.time(), version=__version__, fingerprint=fingerprint)
        self._board = board
        self._counts = counts
        self._draining = False
        self._ready = False

    def connect(self, app: Celery) -> None:
        """Follow Celery's signals, and its connections."""
        from celery import bootsteps, signals

        told = self

        class Reporting(bootsteps.StartStopStep):
            """A step of Celery's consumer: what it begins is begun anew with each connection."""

            def register_with_event_loop(self, _: Any, hub: Any) -> None:
                told.follow(hub)

        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        app.steps["consumer"].add(Reporting)

    def follow(self, hub: Any) -> None:
        """Begin, or begin anew: Celery forgets readers and timers with each connection that it loses."""
        hub.add_reader(self._counts.fd, self._counted)
        hub.call_repeatedly(_REPORT_EVERY_S, self._tell)

    def limited(self, rate_limits: dict[str, str]) -> None:
        """Tell which tasks have a rate limit."""
        self._report.rate_limits = rate_limits
        self._tell()

    def _shutting_down(self, **_: Any) -> None:
        self._draining = True
        self._tell()

    def _counted(self) -> None:
        for rows in self._counts.read():
            self._report.rows_done += rows
            if not self._ready:
                self._ready = True
                self._tell()
                ready_pipe.tell(ready_pipe.READY)

    def _tell(self) -> None:
        from celery.worker import state

        active = sorted(request.id for request in state.active_requests)
        self._report.task = active[0] if active else None
        self._report.tasks_done = state.all_total_count[0] - len(active)
        now = "draining" if self._draining else "busy" if active else "idle" if self._ready else "starting"
        if now != self._report.state:
            self._report.state, self._report.since = now, time.time()
        if self._board is not None:
            self._board.write(self._report)


class Unloaded:
    """Stands for the model where there is none: in the main process, and in a pool that serves other tasks alone."""

    transient: tuple[type[Exception], ...] = ()

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Raise NoModel, which is the answer to whoever sends rows here."""
        del rows
        raise NoModel


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; give the process's exit code."""
    arguments = _arguments(argv)
    guard_stderr()
    log_to_stderr(verbose=arguments.verbose)
    try:
        settings = load()
        for warning in advisories.of_settings(settings):
            log.warning("%s", warning)
        if arguments.try_model:
            close_model(load_model(settings, "cpu"))
            return 0
        identity = PoolIdentity(arguments.name, arguments.id, arguments.least, arguments.most)
        return serve(settings, identity, rollout=arguments.rollout, checks_tasks=arguments.check_tasks)
    except MlqError as exc:
        sys.stderr.write(f"mlq: {exc.message}\nhint: {exc.advice}\n")
        return exc.exit_code


def serve(settings: Settings, identity: PoolIdentity, *, rollout: bool, checks_tasks: bool = False) -> int:
    """Try the model in a process of its own, then let the pool consume: a model that does not load eats no queue.

    Raises InvalidModel, ModelDiffers, TasksNotImportable, UnknownTasks, NoBroker, BrokerUnreachable: each its exit
    code.
    """
    from mlq import tasks
    from mlq.app import create_app
    from mlq.broker.connection import state_store
    from mlq.engine.celery import controls, message_checks, publish_guard, task_wrapping, transport
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
    task_wrapping.contain(app)
    message_checks.screen(app, of_messages(settings))
    _load_after_fork(app, settings, counts)
    telling = Telling(ReportPage.inherited(), fingerprint, counts)
    telling.connect(app)
    controls.begin(app, settings.controls, telling.limited, keeps_queues=False)
    return _consume(app, settings, identity)


def _try_model() -> int:
    """Load the model in a process that ends: its threads and its memory must not be there when the pool forks."""
    command = [*python_command.python("mlq.prefork"), "--name", "trial", "--try-model"]
    environment = {k: v for k, v in os.environ.items() if k != worker_report.VARIABLE}  # the trial has no supervisor
    trial = parent_death.command(command, signal.SIGKILL)
    return subprocess.run(trial, stdin=subprocess.DEVNULL, env=environment, check=False).returncode


def _fingerprint(model: str) -> str:
    from mlq.model.reference import ModelRef

    return ModelRef.parse(model).fingerprint()


def _load_after_fork(app: Celery, settings: Settings, counts: Counts) -> None:
    """Let each process of the pool load the model, before it is given a task, and die with the main process."""
    from celery import signals
    from celery.exceptions import SoftTimeLimitExceeded

    from mlq import tasks
    from mlq.engine.celery.backend import end_without_results
    from mlq.model.failure import recognize_orders

    parent = os.getpid()

    def begin(**_: Any) -> None:
        parent_death.tie(parent, signal.SIGKILL)
        recognize_orders(_is_termination)
        end_without_results(app, lambda _: os.kill(parent, signal.SIGTERM))
        if settings.worker.model is not None:
            try:
                model = load_model(settings, "cpu")
            except MlqError as exc:  # its file was there a moment ago. The supervisor starts us anew, and then it shows
                log.error("%s", exc.message)  # noqa: TRY400 (the message says it, a traceback would not)
                os.kill(parent, signal.SIGTERM)
                raise SystemExit(exc.exit_code) from exc
            model.interrupts = (SoftTimeLimitExceeded,)
            tasks.serve(app, model, counts)
        counts.count_rows(0)

    signals.worker_process_init.connect(begin, weak=False)


def _is_termination(error: BaseException) -> bool:
    """Recognize the SystemExit with which billiard's handler of SIGTERM ends a process of the pool."""
    from billiard import common

    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    stock: Any = common  # whose stubs know less than there is
    handler = stock._shutdown_cleanup.__code__  # noqa: SLF001 (raised there, and nowhere else)
    return frame is not None and frame.tb_frame.f_code is handler


def _consume(app: Celery, settings: Settings, identity: PoolIdentity) -> int:
    """Run Celery's worker in this process until it is told to stop."""
    from celery.exceptions import SecurityWarning

    worker = settings.worker
    app.conf.update(
        task_time_limit=worker.time_limit,
        task_soft_time_limit=worker.soft_time_limit,
        worker_max_tasks_per_child=worker.max_tasks,
        worker_max_memory_per_child=worker.max_memory // 1024 if worker.max_memory else None,  # in KiB there
        worker_proc_alive_timeout=_STARTS_IN_S,
    )
    # Celery warns of root on every start. What it warns of is pickle, which is not accepted here.
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
    parser = argparse.ArgumentParser(prog="python -m mlq.prefork", description="Celery's prefork pool, on the CPU.")
    parser.add_argument("--name", required=True, help="the worker's name on this host")
    parser.add_argument("--id", default="", help="the name of this incarnation")
    parser.add_argument("--least", type=int, default=1, help="processes that there are at least")
    parser.add_argument("--most", type=int, default=1, help="processes that there are at most")
    parser.add_argument("--rollout", action="store_true", help="serve whatever model the others on its queues have")
    parser.add_argument(
        "--check-tasks", action="store_true", help="do not start where most messages are of unknown tasks"
    )
    parser.add_argument("--verbose", action="store_true", help="log every task")
    parser.add_argument("--try-model", action="store_true", help="load the model and end")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:  # mlq was downgraded under a supervisor of a newer version
        log.warning("mlq %s does not know these options of its supervisor: %s", __version__, " ".join(unknown))
    return arguments


if __name__ == "__main__":
    worker_exit.leave(main())
