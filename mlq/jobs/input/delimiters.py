"""Delimiters: the character between the fields of a table, guessed from its first records if that is possible."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from typing import Final

from mlq.errors import UsageError
from mlq.jobs.errors import NotReadable, UnclearDelimiter

NAMES: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
"""Names that --delimiter accepts besides a character."""

_CANDIDATES: Final = ",;\t|"
_SHOWN: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_SAYS: Final = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
_NEVER: Final = frozenset('"\r\n\0')


def find(given: str) -> str:
    """Return the character that --delimiter names. Raises UsageError."""
    found = NAMES.get(given.lower(), given)
    if len(found) != 1 or found in _NEVER or (not found.isprintable() and found != "\t"):
        fix = f"give one character, or one of {', '.join(NAMES)}"
        raise UsageError(what=f"--delimiter {given!r} is not one character that can separate fields", fix=fix)
    return found


def declared(line: str) -> str | None:
    """Return the delimiter of a first line such as `sep=;`, which spreadsheets write; None for any other line."""
    found = _SAYS.match(line)
    return found[1] if found and found[1] not in _NEVER else None


def demand_same(shown: str, said: str, given: str | None) -> str:
    """Return the delimiter of the first line. Raises NotReadable if --delimiter is another one."""
    if given is not None and given != said:
        raise NotReadable(path=shown, kind="a table", reason=f"its first line says sep={said}, --delimiter {given!r}")
    return said


def guess(lines: Sequence[str], shown: str) -> str:
    """Guess the delimiter from the first lines, of which the header is the first; a comma if the header has one field.

    Characters of the header outside quotes are candidates. Of several, the one with which each record has as many
    fields as the header. Raises UnclearDelimiter if that is true of none or of several.
    """
    found = [c for c in _CANDIDATES if len(_fields(lines[:1], c)[0]) > 1]
    if len(found) < 2:  # noqa: PLR2004 (nothing to choose from)
        return found[0] if found else ","
    fitting = [c for c in found if len({len(record) for record in _fields(lines, c) if record}) == 1]
    if len(fitting) != 1:
        raise UnclearDelimiter(path=shown, candidates=" or ".join(_SHOWN[c] for c in fitting or found))
    return fitting[0]


def _fields(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Split lines up to the first malformed one: the last of a sample may lack its closing quote."""
    records = list[list[str]]()
    with contextlib.suppress(csv.Error):
        records.extend(csv.reader(lines, delimiter=delimiter, strict=True))
    return records or [[]]
