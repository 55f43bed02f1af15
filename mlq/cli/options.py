"""The options of commands, each described once; several commands take most of them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mlq.cli.framework import DurationType
from mlq.jobs.input.format import InputFormat
from mlq.settings.parsers import SPELLINGS, duration


def duration_option(flag: str, text: str, *, default: str, least_s: float = 0.0) -> Any:
    """Make an option that takes a duration.

    Args:
        flag: The option, such as --timeout.
        text: What the duration is of, in a phrase that begins with "Seconds"; without a full stop.
        default: The default in words, as the help writes it.
        least_s: The shortest duration that is accepted, in seconds.
    """
    return written_duration_option(flag, f"{text} ({SPELLINGS[duration]}; {default}).", least_s=least_s)


def written_duration_option(flag: str, help_text: str, *, least_s: float = 0.0) -> Any:
    """Make an option that takes a duration, whose help text already has the spellings and the default."""
    kind = DurationType(least_s)
    return typer.Option(flag, help=help_text, metavar="SECONDS", click_type=kind, show_default=False)


class RowOrder(str, Enum):
    """The values of --order."""

    INPUT = "input"
    COMPLETION = "completion"


Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="GPUs to start workers on: all, auto (the free and healthy ones), or indices or UUIDs of GPUs and MIG"
        " instances.",
        metavar="0,1|all",
    ),
]
PerGpu = Annotated[
    int | None, typer.Option("--per-gpu", help="Number of workers on each GPU (default 1).", metavar="N", min=1)
]
PoolKind = Annotated[
    str | None,
    typer.Option(
        "--pool",
        help="Kind of worker: solo (one task at a time, the default) or prefork (Celery's pool of processes on the"
        " CPU).",
        metavar="solo|prefork",
    ),
]
Concurrency = Annotated[
    str | None,
    typer.Option(
        "--concurrency",
        help="Number of processes in a prefork pool, or a range within which the pool scales.",
        metavar="N|2-8",
    ),
]
Rollout = Annotated[
    bool,
    typer.Option("--rollout", help="Start even if other workers serve the same queues with another model."),
]
TakeUnknown = Annotated[
    bool,
    typer.Option("--take-unknown", help="Start even if the workers do not know the tasks of most waiting messages."),
]
Cpus = Annotated[
    int | None,
    typer.Option("--cpus", help="Number of CPU workers to start instead of GPU workers.", metavar="N", min=1),
]
WaitBroker = Annotated[
    float | None,
    duration_option("--wait-broker", "Seconds to keep trying to connect to the broker at startup", default="default 0"),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="Prefix of the workers' names, to tell several sets on one host apart.", metavar="NAME"
    ),
]
Watch = Annotated[
    float | None,
    duration_option("--watch", "Seconds between two updates until Ctrl-C", default="default: print once", least_s=0.1),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output-file",
        "-o",
        help="File for the answers, as JSON Lines (default -, which is stdout).",
        metavar="FILE",
    ),
]
Timeout = Annotated[
    float | None,
    duration_option(
        "--timeout", "Seconds to wait for the answers, then exit 7", default="default: no limit", least_s=0.1
    ),
]
Input = Annotated[
    str,
    typer.Argument(
        help="Input: JSON Lines, JSON, CSV, TSV, Parquet, a directory or a pattern; - reads JSON Lines from stdin.",
        metavar="FILE",
    ),
]
FormatOption = Annotated[
    InputFormat | None,
    typer.Option(
        "--format",
        help="Format of FILE: jsonl, json, csv, tsv, parquet or files (default: detected from its name and content).",
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
        help="Separator of the fields in a CSV file: a character, or comma, semicolon, tab or pipe (default: detected"
        " from the header).",
        metavar="CHAR",
    ),
]
Inline = Annotated[
    bool,
    typer.Option("--inline", help="For a directory, send the content of the files instead of their paths."),
]
Tasks = Annotated[
    bool, typer.Option("--tasks", help='Read rows as tasks: {"task", "args", "kwargs", "queue", "priority"}.')
]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue",
        help="Queue to send to (default: the most urgent one for a single row, the least urgent one for a file).",
        metavar="NAME",
    ),
]
CreateQueue = Annotated[
    bool,
    typer.Option("--create-queue", help="Send even to queues that neither the configuration nor a worker knows."),
]
Priority = Annotated[
    int | None,
    typer.Option(
        "--priority", help="Priority within the queue, from 0 to 9 (the most urgent).", metavar="N", min=0, max=9
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answers.")]
IdField = Annotated[
    str | None,
    typer.Option("--id-field", help="Field that holds the id of a row; every row must have it.", metavar="FIELD"),
]
JobId = Annotated[
    str | None,
    typer.Option("--job-id", help="Id of the job; rows that the job has sent are not sent again.", metavar="ID"),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the output that -o names, or begin it; failed rows are sent again."),
]
OrderOption = Annotated[
    RowOrder,
    typer.Option(
        "--order",
        help="Order of the lines in the output: input (the default) or completion.",
        metavar="ORDER",
        show_default=False,
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option("--errors", help="File for the unchanged inputs of failed rows.", metavar="FILE"),
]
MaxErrors = Annotated[
    int | None,
    typer.Option("--max-errors", help="Stop after more than N failed rows (default: no limit).", metavar="N", min=0),
]
ChunkRows = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        help="Rows in one message (default: as many as take about 250 ms).",
        metavar="N",
        min=1,
        max=1024,
    ),
]
