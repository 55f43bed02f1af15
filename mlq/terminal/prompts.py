"""Ask a person before something is lost."""

from __future__ import annotations

import typer

from mlq.errors import UsageError
from mlq.terminal.terminal import Terminal


def agreed(terminal: Terminal, question: str) -> bool:
    """Ask on a terminal; where nobody can answer, demand --yes instead of guessing.

    Raises UsageError.
    """
    if not terminal.interactive:
        raise UsageError(what=f"{question} There is nobody to ask here", fix="add `--yes` to go ahead")
    return typer.confirm(question, err=True)
