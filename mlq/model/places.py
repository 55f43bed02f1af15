"""Places of an operator's code: directories that Python may import from, and model files that the operator named.

A directory that the operator did not name, such as the working directory, is searched only if no user except this one
and root can write to it. A file that the operator named runs wherever it is, with a warning if every user can replace
it. But a file of another user in a directory like /tmp is refused.
"""

from __future__ import annotations

import importlib
import logging
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlq.model.failure import NotServable
from mlq.security.trust import doubt_directory, is_strange, user_name

_OURS: Final = ("billiard", "celery", "kombu", "orjson", "psutil", "redis", "vine")
"""Modules that mlq imports in a worker, before a file of the same name in the operator's directory could be found."""

log = logging.getLogger("mlq.worker")

_refused: dict[Path, str] = {}
"""Directories that are not searched, each with its hint, which is logged once."""


def search_first(directory: Path) -> str | None:
    """Let Python import from a directory first, as from the directory of a script.

    A directory that other users can write to is not searched, unless PYTHONPATH names it.

    Returns:
        The hint for a directory that is not searched, or None.
    """
    if str(directory) in sys.path:
        return None
    if directory not in _refused:
        try:
            why = doubt_directory(directory)
        except OSError as exc:  # it was removed, or cannot be read, so there is nothing to import
            return f"Python cannot look into {directory}: {exc.strerror}"
        if why is None:
            _import_ours()
            sys.path.insert(0, str(directory))
            return None
        remedy = f"{why.remedy}, or name the directory in PYTHONPATH"
        log.warning(
            "no modules are looked for in %s: %s; %s",
            directory,
            why.what,
            remedy,
            extra={"action": "directory_refused"},
        )
        _refused[directory] = f"modules in {directory} are not looked for ({why.what}): {remedy}"
    return _refused[directory]


def _import_ours() -> None:
    for module in _OURS:
        with suppress(ImportError):  # a rerun of a message does not need all of them
            importlib.import_module(module)


def demand_own(file: Path) -> None:
    """Check which other users could have written a file whose code is about to run.

    Log a warning if every user can write to the file or to its directory. Raises NotServable for a file of another user
    in a directory where all users create files, such as /tmp, because any user could have taken its name.
    """
    real = file.resolve()
    places = [real, *real.parents]
    facts = [place.stat() for place in places]
    for at, (place, found) in enumerate(zip(places, facts, strict=True)):
        if not found.st_mode & stat.S_IWOTH:
            continue
        if not found.st_mode & stat.S_ISVTX:
            log.warning(
                "every user can replace the model %s: `chmod o-w %s`", file, place, extra={"action": "model_writable"}
            )
            continue
        stranger = next((n for n in range(at) if is_strange(facts[n].st_uid)), None)
        if stranger is not None:
            raise NotServable(
                f"{places[stranger]} belongs to {user_name(facts[stranger].st_uid)}, and every user can make files in "
                f"{place}",
                fix="copy it to a directory of your own, if you trust it",
            )
