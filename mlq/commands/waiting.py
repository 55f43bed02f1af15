"""What `submit --wait` and `result` share: answers into a file or onto stdout, with progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlq.commands.invocation import Invocation
from mlq.console.progress import progress
from mlq.console.terminal import Terminal
from mlq.errors import RowsFailed
from mlq.jobs import output, watching
from mlq.jobs.collection import Answers
from mlq.jobs.connecting import Desk
from mlq.jobs.job import Job
from mlq.jobs.output import Output


@contextmanager
def opened(path: Path | None, source: Path | None = None) -> Iterator[BinaryIO]:
    """Open the output: a new file, or stdout.

    Raises OutputIsInput, OutputExists, NoSuchFile.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    with output.create(path, source) as stream:
        yield stream


def collect(call: Invocation, desk: Desk, job: Job, stream: BinaryIO, timeout: float | None) -> Output:
    """Wait for a job and write its answers.

    Raises TimedOut, Interrupted.
    """
    out = Output(stream)
    notice = _unserved(call.terminal, desk, job)
    with progress(call.terminal, job.rows) as advance:
        watching.collect(job, Answers(desk.app, job), out, advance=advance, unserved=notice, timeout=timeout)
    return out


def report(call: Invocation, job: Job, out: Output, path: Path | None) -> None:
    """Sum up a finished job.

    Raises RowsFailed, which is exit 6, when a row failed.
    """
    where = f"; answers in {path}" if path else ""
    call.terminal.say(f"job {job.id}: {out.ok} rows ok, {out.failed} failed{where}")
    if call.terminal.json:
        call.terminal.emit(document(job, state="done", done=out.done, ok=out.ok, failed=out.failed))
    if out.failed:
        shown = f"`jq 'select(.status == \"error\")' {path}` shows them" if path else "their lines say why"
        raise RowsFailed(failed=out.failed, rows=job.rows, mend=shown)


def document(job: Job, **more: object) -> dict[str, object]:
    """mlq.job/1: a submitted job."""
    return {"schema": "mlq.job/1", "job": job.id, "rows": job.rows, "tasks": job.tasks, "queue": job.queue, **more}


def _unserved(terminal: Terminal, desk: Desk, job: Job) -> Callable[[], None]:
    """Make the notice that is given when nothing comes: once each time that the last worker is gone."""
    was_served = True

    def notice() -> None:
        nonlocal was_served
        is_served = watching.is_served(desk.store, job.queue)
        if was_served and not is_served:
            start = f"mlq worker start --queues {job.queue} --cpus 1 --model MODEL"
            terminal.warn(f"no worker serves queue {job.queue!r}; still waiting (`{start}` starts one)")
        was_served = is_served

    return notice
