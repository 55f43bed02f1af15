"""Escape text from messages: a payload must not steer a terminal or forge a line of a log."""

from __future__ import annotations

import logging
import unicodedata
from typing import Final

_LONGEST_LINE: Final = 4000
"""Of a log: a longer one is cut by who collects it, and a client could choose what its second piece begins with."""


def escaped(text: str) -> str:
    r"""Replace control, format and surrogate characters and line separators by escapes: ESC becomes \x1b."""
    return text if text.isprintable() else "".join(c if _is_plain(c) else _escaped(c) for c in text)


def escaped_line(text: str) -> str:
    r"""Escape a line of a log, which people read with `cat` and `tail`: as `escaped`, but tabs stay. Cut a long one."""
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}… ({len(text):,} characters)"
    return "\t".join(map(escaped, cut.split("\t")))


def _is_plain(character: str) -> bool:
    category = unicodedata.category(character)
    return not category.startswith("C") and category not in {"Zl", "Zp"}


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class OneLineFormatter(logging.Formatter):
    """Write each record as one line; a traceback follows in lines that are indented, so none passes for a record.

    Records of Celery's name the ids of tasks, and tracebacks end with the texts of exceptions: clients choose both.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name that logging calls)
        """Write the line."""
        return escaped_line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name that logging calls)
        """Write the traceback."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]  # what logging passes is not exported
        return "\n".join("  " + escaped_line(line) for line in lines)
