"""Task modules: those of a user's own that a worker imports because its operator named them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from mlq.errors import TasksNotImportable
from mlq.model.places import search_first
from mlq.settings.config import Settings

_MEND: Final = "worker.imports names modules that Python finds where the worker is started; correct it or the module"


def import_tasks(settings: Settings, directory: Path) -> None:
    """Import the modules that `worker.imports` names, those in `directory` first.

    Raises TasksNotImportable: a module's own code runs here, and may raise anything.
    """
    if not settings.worker.imports:
        return
    refused = search_first(directory)
    for module in settings.worker.imports:
        try:
            importlib.import_module(module)
        except Exception as exc:
            origin, reason = settings.origin("worker.imports"), f"{type(exc).__name__}: {exc}".splitlines()[0]
            raise TasksNotImportable(module=module, origin=origin, reason=reason, fix=refused or _MEND) from exc
