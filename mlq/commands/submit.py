"""mlq submit: rows of a file into the queue, answers back."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import typer

from mlq.commands import options, waiting
from mlq.commands.invocation import Answering, begin, command, single
from mlq.errors import UsageError
from mlq.jobs import reading, submission
from mlq.jobs.chunk import ROWS
from mlq.jobs.collection import demand_results
from mlq.jobs.connecting import desk
from mlq.jobs.row import Row

app = single()


@command(app, cls=Answering)
def submit(  # noqa: PLR0913 (an option each)
    ctx: typer.Context,
    file: options.Input,
    *,
    queue: options.Queue = None,
    priority: options.Priority = None,
    wait: options.Wait = False,
    out: options.Out = None,
    timeout: options.Timeout = None,
    id_field: options.IdField = None,
    chunk: options.ChunkRows = ROWS,
) -> None:
    """Send the rows of FILE; print the job's id, or with --wait the answers.

    \b
    Examples:
      mlq submit input.json --wait -o out.jsonl
      mlq submit rows.jsonl                             prints an id; `mlq result ID` later
      generate | mlq submit - --wait | jq .result

    A row is the input itself, or {"id": …, "input": …}. A single row goes to the most urgent queue, a file to the
    least urgent one. Answers are JSON Lines in input order: {"id", "index", "status", "result" or "error"}.
    """
    call = begin(ctx)
    if not wait and (out or timeout):
        raise UsageError(
            what="-o and --timeout are for waiting", mend="add --wait, or use `mlq result ID -o OUT` later"
        )
    path = None if file == "-" else Path(file)
    job = submission.plan(_rows(path, id_field), call.settings, queue=queue, chunk_rows=chunk)
    with desk(call.settings) as at:
        if not wait:
            submission.submit(at, job, priority)
            call.terminal.show_text(waiting.document(job), job.id)
            return
        demand_results(at.app, call.settings)
        with waiting.opened(out, path) as stream:
            submission.submit(at, job, priority)
            finished = waiting.collect(call, at, job, stream, timeout)
    waiting.report(call, job, finished, out)


def _rows(path: Path | None, id_field: str | None) -> list[Row]:
    gc.disable()  # rows make no cycles, and each pass of the collector would look at all of them
    if path is None:
        return reading.read_stream(sys.stdin.buffer, id_field)
    return reading.read_file(path, id_field)
