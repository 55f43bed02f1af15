"""Options that several commands take, described once."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mlq.errors import UsageError
from mlq.jobs.input.format import InputFormat


def finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """Refuse NaN, which passes every comparison with a bound, and infinity, which nothing comes to the end of.

    Raises UsageError.
    """
    if value is not None and not math.isfinite(value):
        raise UsageError(what=f"{param.opts[0]} {value} is no number of seconds", fix="such as 2, or 0.5")
    return value


class RowOrder(str, Enum):
    """What --order takes."""

    INPUT = "input"
    COMPLETION = "completion"


Gpus = Annotated[
    str | None,
    typer.Option("--gpus", help="GPUs: all, auto (the free ones), or indices or UUIDs, MIG's too.", metavar="0,1|all"),
]
PerGpu = Annotated[
    int | None, typer.Option("--per-gpu", help="Workers on each GPU; one, if not said.", metavar="N", min=1)
]
PoolKind = Annotated[
    str | None,
    typer.Option(
        "--pool", help="solo: one task at a time; prefork: Celery's pool, on the CPU.", metavar="solo|prefork"
    ),
]
Concurrency = Annotated[
    str | None,
    typer.Option("--concurrency", help="Processes of a prefork pool; it scales within a range.", metavar="N|2-8"),
]
Rollout = Annotated[bool, typer.Option("--rollout", help="Serve even if others serve these queues with another model.")]
TakeUnknown = Annotated[
    bool,
    typer.Option("--take-unknown", help="Start even if most waiting messages are of tasks that no worker knows."),
]
Cpus = Annotated[int | None, typer.Option("--cpus", help="Start this many CPU workers instead.", metavar="N", min=1)]
WaitBroker = Annotated[
    float | None,
    typer.Option(
        "--wait-broker", help="Try so long to reach a broker that is away.", metavar="SECONDS", min=0, callback=finite
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Prefix of the workers' names, where one host runs several sets.")
]
Watch = Annotated[
    float | None,
    typer.Option(
        "--watch", help="Show again every so many seconds, until Ctrl-C.", metavar="SECONDS", min=0.1, callback=finite
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output-file",
        "-o",
        help="Write the answers as JSON Lines to FILE (default -, stdout).",
        metavar="FILE",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", help="Give up waiting after so many seconds (exit 7).", metavar="SECONDS", min=0.1, callback=finite
    ),
]
Input = Annotated[
    str,
    typer.Argument(
        help="JSON Lines, JSON, CSV, TSV, Parquet, a directory or a pattern; - reads stdin.", metavar="FILE"
    ),
]
FormatOption = Annotated[
    InputFormat | None,
    typer.Option(
        "--format",
        help="What FILE is, where neither its name nor its content tells: jsonl, json, csv, tsv, parquet or files.",
        metavar="KIND",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        help="Encoding of FILE, such as latin-1 or utf-16-le (default: its byte-order mark, else utf-8).",
        metavar="NAME",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        help="What separates the fields of a CSV file: a character, comma, semicolon, tab or pipe (default: its header"
        " tells).",
        metavar="CHAR",
    ),
]
Inline = Annotated[bool, typer.Option("--inline", help="Of a directory, send what is in the files, not their paths.")]
Tasks = Annotated[
    bool, typer.Option("--tasks", help='Rows are tasks: {"task", "args", "kwargs", "queue", "priority"}.')
]
Queue = Annotated[str | None, typer.Option("--queue", help="Queue to send to.", metavar="NAME")]
CreateQueue = Annotated[
    bool,
    typer.Option("--create-queue", help="Send even to queues that neither the configuration nor a worker knows."),
]
Priority = Annotated[
    int | None, typer.Option("--priority", help="0 to 9 within the queue, 9 the most urgent.", min=0, max=9)
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answers.")]
IdField = Annotated[
    str | None, typer.Option("--id-field", help="Field that is the row's id; every row needs it.", metavar="FIELD")
]
JobId = Annotated[
    str | None, typer.Option("--job-id", help="The job's id; what it has sent is not sent twice.", metavar="ID")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the output that -o names, or begin it; retries failed rows.")
]
OrderOption = Annotated[
    RowOrder, typer.Option("--order", help="Order of the output's lines: input or completion.", metavar="ORDER")
]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="Write the inputs of failed rows here, as they were.", metavar="FILE")
]
MaxErrors = Annotated[
    int | None, typer.Option("--max-errors", help="Stop when more rows than this have failed.", metavar="N", min=0)
]
MaxInflight = Annotated[
    int | None, typer.Option("--max-inflight", help="Messages on their way at once, with --wait.", metavar="N", min=1)
]
ChunkRows = Annotated[
    int | None,
    typer.Option("--chunk", help="Rows in one message; else what takes about 250 ms.", metavar="N", min=1, max=1024),
]
