"""Escape text from messages: a payload must not steer a terminal or forge a line of a log."""

from __future__ import annotations

import logging
import unicodedata


def escaped(text: str) -> str:
    r"""Replace control, format and surrogate characters and line separators by escapes: ESC becomes \x1b."""
    return text if text.isprintable() else "".join(c if _is_plain(c) else _escaped(c) for c in text)


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
        return escaped(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name that logging calls)
        """Write the traceback."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]  # what logging passes is not exported
        return "\n".join("  " + escaped(line) for line in lines)
