"""The question that a user answers before a command deletes something."""

from __future__ import annotations

import typer

from mlq.errors import UsageError
from mlq.terminal.terminal import Terminal


def agreed(terminal: Terminal, question: str) -> bool:
    """Ask the user a question on the terminal, and return whether the answer was yes.

    Raises UsageError without a terminal, where the user must give --yes.
    """
    if not terminal.interactive:
        raise UsageError(what=f"{question} stdin or stderr is not a terminal, so you cannot answer", fix="add `--yes`")
    return typer.confirm(question, err=True)
