"""The escaping of text from messages, so that a payload cannot control a terminal or forge a line of a log."""

from __future__ import annotations

import logging
import unicodedata
from typing import Final

_LONGEST_LINE: Final = 4000
"""Characters of a line in a log, at most. Log collectors split longer lines, and a client could choose the text with
which the second part begins."""


def escaped(text: str) -> str:
    r"""Replace control, format and surrogate characters and line separators with escapes: ESC becomes \x1b."""
    return text if text.isprintable() else "".join(c if _is_plain(c) else _escaped(c) for c in text)


def escaped_line(text: str) -> str:
    r"""Escape a line of a log like `escaped`, but keep tabs, and cut a line that is too long."""
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}… ({len(text):,} characters)"
    return "\t".join(map(escaped, cut.split("\t")))


def _is_plain(character: str) -> bool:
    category = unicodedata.category(character)
    return not category.startswith("C") and category not in {"Zl", "Zp"}


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class OneLineFormatter(logging.Formatter):
    """Formats each record as one line, and a traceback as indented lines, which cannot be mistaken for records.

    Celery logs the ids of tasks, and tracebacks end with the texts of exceptions: clients can choose both.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name that logging calls)
        """Format the line of a record."""
        return escaped_line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name that logging calls)
        """Format the traceback of a record."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]  # what logging passes is not exported
        return "\n".join("  " + escaped_line(line) for line in lines)
