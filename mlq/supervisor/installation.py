"""Detection of package upgrades while a supervisor runs.

The supervisor keeps the code with which it started. A worker that it starts later imports what is installed by then.
While pip replaces one package after another, such a worker may fail.
"""

from __future__ import annotations

import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import mlq

SETTLED_S: Final = 300.0
"""Seconds after the last change in site-packages until an upgrade counts as finished. Longer than pip needs to unpack a
large wheel, such as torch's."""

_PACKAGE: Final = Path(mlq.__file__).parent


def _places() -> list[Path]:
    """Return the directories that change when a package is installed or removed, and mlq's own."""
    return [*{Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}, _PACKAGE]


class Installation:
    """The installed packages, compared with those at the start. A comparison takes a few microseconds."""

    def __init__(self, places: Sequence[Path] | None = None, now: Callable[[], float] = time.time) -> None:
        self._places = _places() if places is None else places
        self._now = now
        self._before = {place: _modified_at(place) for place in self._places}
        self._module = _identity(_PACKAGE / "__init__.py")

    def is_in_flux(self) -> bool:
        """Return whether packages were installed or removed since the start, and may be still (see SETTLED_S)."""
        return any(
            at != self._before[place] and (at is None or self._now() - at < SETTLED_S)
            for place, at in [(place, _modified_at(place)) for place in self._places]
        )

    def is_replaced(self) -> bool:
        """Return whether mlq's files have been replaced since this process was started."""
        return _identity(_PACKAGE / "__init__.py") != self._module


def _modified_at(place: Path) -> float | None:
    try:
        return place.stat().st_mtime
    except OSError:  # it was removed
        return None


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
