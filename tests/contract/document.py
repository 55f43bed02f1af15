"""The recorded contract: one JSON file, its difference to the current state, and what would be lost."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("contract.json")

_ADVICE: Final = (
    "Scripts, other clients and older versions of mlq rely on this. Correct the code. "
    "If CHANGELOG.md names an addition, `python -m tests.contract.record` writes the file anew."
)


class Contract:
    """The recorded state and the current one; with `records`, the current one is kept for `write`."""

    def __init__(self, recorded: dict[str, Any], *, records: bool) -> None:
        self.recorded = recorded
        self.records = records
        self.found: dict[str, Any] = {}

    def difference(self, section: str, found: Any) -> str:
        """Return the difference between a recorded section and the current one, or an empty text if they are equal."""
        self.found[section] = found
        if self.records or found == self.recorded.get(section):
            return ""
        return difference(self.recorded.get(section), found, f"{section}, as recorded", f"{section}, as found now")


def read() -> dict[str, Any]:
    """Return the recorded contract, which is empty before the first recording."""
    if not FILE.exists():
        return {}
    recorded: dict[str, Any] = json.loads(FILE.read_text())
    return recorded


def write(found: dict[str, Any]) -> None:
    """Replace the recorded sections that were read again, and keep the others."""
    FILE.write_text(text_of({**read(), **found}))


def text_of(document: Any) -> str:
    """Return a document as text with one value per line; the same content always gives the same bytes."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def difference(old: Any, new: Any, old_name: str, new_name: str) -> str:
    """Show what differs: each hunk is headed by the path to it, so that a line needs no search in the file."""
    before, after = list(_lines(old)), list(_lines(new))
    hunks = difflib.unified_diff(before, after, old_name, new_name, n=0, lineterm="")
    changed = [line for line in hunks if not line.startswith("@@")]
    return "\n".join([*changed, "", _ADVICE])


def losses(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the paths that are recorded and no longer exist. A list may grow, in the same order."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key not in new:
                yield f"{path}/{key}"
            else:
                yield from losses(value, new[key], f"{path}/{key}")
    elif isinstance(old, list) and isinstance(new, list):
        rest = iter(new)
        if not all(value in rest for value in old):
            yield path
    elif old != new:
        yield path


def _lines(value: Any, path: str = "") -> Iterator[str]:
    """Yield each leaf of a document as one line that starts with its path."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _lines(value[key], f"{path}/{key}")
    elif isinstance(value, list) and value:
        for item in value:
            yield from _lines(item, f"{path}[]")
    else:
        yield f"{path.encode('unicode_escape').decode()}: {json.dumps(value)}"
