"""Task modules: the user's own modules that `worker.imports` names, and that a worker imports at startup."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from mlq.errors import TasksNotImportable
from mlq.model.places import search_first
from mlq.settings.config import Settings

_FIX: Final = "worker.imports names modules that Python finds where the worker is started; correct it or the module"


def import_tasks(settings: Settings, directory: Path) -> None:
    """Import the modules that `worker.imports` names; search in `directory` first.

    Raises TasksNotImportable for any exception, because the code of the modules runs here.
    """
    if not settings.worker.imports:
        return
    refused = search_first(directory)
    for module in settings.worker.imports:
        try:
            importlib.import_module(module)
        except Exception as exc:
            origin, reason = settings.origin("worker.imports"), f"{type(exc).__name__}: {exc}".splitlines()[0]
            raise TasksNotImportable(module=module, origin=origin, reason=reason, fix=refused or _FIX) from exc
