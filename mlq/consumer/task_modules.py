"""Task modules: those of a user's own that a worker imports because its operator named them."""

from __future__ import annotations

import importlib
from pathlib import Path

from mlq.config import Settings
from mlq.errors import TasksNotImportable
from mlq.model.reference import search_first


def import_tasks(settings: Settings, directory: Path) -> None:
    """Import the modules that `worker.imports` names, those in `directory` first.

    Raises TasksNotImportable: a module's own code runs here, and may raise anything.
    """
    search_first(directory)
    for module in settings.worker.imports or ():
        try:
            importlib.import_module(module)
        except Exception as exc:
            origin, reason = settings.origin("worker.imports"), f"{type(exc).__name__}: {exc}".splitlines()[0]
            raise TasksNotImportable(module=module, origin=origin, reason=reason) from exc
