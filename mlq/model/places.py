"""Places of an operator's code: directories that Python may import from, and files that run because they were named.

What is found without being named, a module in the working directory, has to be in a directory that this user or root
alone can write. What the operator named runs wherever it is, with a warning where every user can exchange it; but not
what a stranger has put into a directory like /tmp.
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
"""What mlq imports in a worker sooner or later: here before a file of that name in the operator's directory can be."""

log = logging.getLogger("mlq.worker")

_refused: dict[Path, str] = {}
"""Directories that are not searched, each with the hint that was logged once."""


def search_first(directory: Path) -> str | None:
    """Let Python import from a directory, as it does from the directory of a script that it runs.

    Gives the hint to what is wrong with one that other users can write, which is not searched. What PYTHONPATH names
    is the operator's choice.
    """
    if str(directory) in sys.path:
        return None
    if directory not in _refused:
        try:
            why = doubt_directory(directory)
        except OSError as exc:  # it was removed, or may not be looked into: there is nothing to find, either
            return f"Python cannot look into {directory}: {exc.strerror}"
        if why is None:
            _import_ours()
            sys.path.insert(0, str(directory))
            return None
        remedy = f"{why.remedy}, or name the directory in PYTHONPATH"
        log.warning("no modules are looked for in %s: %s; %s", directory, why.what, remedy)
        _refused[directory] = f"modules in {directory} are not looked for ({why.what}): {remedy}"
    return _refused[directory]


def _import_ours() -> None:
    for module in _OURS:
        with suppress(ImportError):  # who only rerun a message may do without
            importlib.import_module(module)


def demand_own(file: Path) -> None:
    """Look at who else could have written a file whose code is about to run.

    Raises NotServable for a stranger's in a directory where all users leave files, such as /tmp: its name may have been
    taken by anybody. Where all users can write it, or its directory, says so.
    """
    real = file.resolve()
    places = [real, *real.parents]
    facts = [place.stat() for place in places]
    for at, (place, found) in enumerate(zip(places, facts, strict=True)):
        if not found.st_mode & stat.S_IWOTH:
            continue
        if not found.st_mode & stat.S_ISVTX:
            log.warning("every user can exchange the model %s: `chmod o-w %s`", file, place)
            continue
        stranger = next((n for n in range(at) if is_strange(facts[n].st_uid)), None)
        if stranger is not None:
            raise NotServable(
                f"{places[stranger]} belongs to {user_name(facts[stranger].st_uid)}, and every user can make files in "
                f"{place}",
                fix="copy it to a directory of your own, if you trust it",
            )
