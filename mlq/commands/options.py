"""Options that several commands take, described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Gpus = Annotated[
    str | None,
    typer.Option("--gpus", help="GPUs to serve from: all, or indices or UUIDs with commas.", metavar="0,1|all"),
]
Cpus = Annotated[int | None, typer.Option("--cpus", help="Start this many CPU workers instead.", metavar="N", min=1)]
WaitBroker = Annotated[
    float | None,
    typer.Option("--wait-broker", help="Try so long to reach a broker that is away.", metavar="SECONDS", min=0),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Prefix of the workers' names, where one host runs several sets.")
]
Watch = Annotated[
    float | None,
    typer.Option("--watch", help="Show again every so many seconds, until Ctrl-C.", metavar="SECONDS", min=0.1),
]
Out = Annotated[
    Path | None, typer.Option("--output-file", "-o", help="Write the answers here, not to stdout.", metavar="FILE")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Give up waiting after so many seconds (exit 7).", metavar="SECONDS", min=0.1),
]
Input = Annotated[
    str, typer.Argument(help="JSON array, JSON object or JSON Lines; - reads JSON Lines from stdin.", metavar="FILE")
]
Queue = Annotated[str | None, typer.Option("--queue", help="Queue to send to.", metavar="NAME")]
Priority = Annotated[
    int | None, typer.Option("--priority", help="0 to 9 within the queue, as its workers read it.", min=0, max=9)
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answers.")]
IdField = Annotated[str | None, typer.Option("--id-field", help="Field that is the row's id.", metavar="FIELD")]
ChunkRows = Annotated[int, typer.Option("--chunk", help="Rows in one message.", min=1, max=1024)]
