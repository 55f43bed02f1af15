"""Class models: Python classes of the operator, which are duck-typed and import nothing of mlq."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mlq.model.failure import NotServable, contained
from mlq.model.outputs import is_array, per_row
from mlq.model.places import search_first
from mlq.model.reference import ModelRef


class ClassModel:
    """An instance of the operator's class, set up on its device. All hooks except `predict` are optional."""

    def __init__(self, instance: Any, *, device: str, max_batch_size: int) -> None:
        self._instance = instance
        _hook(instance, "setup")(device)
        # It is read after setup, which may set it.
        self.max_batch_size = _own_limit(instance, max_batch_size)
        self.retry_on = _retry_on(instance)

    def examples(self) -> list[Any]:
        return [self._instance.example()] if hasattr(self._instance, "example") else []

    def prepare(self, rows: Sequence[Any]) -> list[Any]:
        # Rows that were packed for transport arrive as arrays; convert them to the lists that their sender wrote.
        plain = [row.tolist() if is_array(row) else row for row in rows]
        hook = getattr(self._instance, "preprocess", None)
        return plain if hook is None else [_or_error(hook, row) for row in plain]

    def predict(self, prepared: Sequence[Any]) -> Any:
        output = self._instance.predict(prepared)
        hook = getattr(self._instance, "postprocess", None)
        return output if hook is None else [_or_error(hook, o) for o in per_row(output, len(prepared))]

    def close(self) -> None:
        _hook(self._instance, "teardown")()


def load_class(reference: ModelRef, *, device: str, max_batch_size: int) -> ClassModel:
    """Import the file or module of a reference, and set up its class. Raises NotServable."""
    cls = _find_class(_import(reference), reference)
    return ClassModel(cls(), device=device, max_batch_size=max_batch_size)


def _import(reference: ModelRef) -> ModuleType:
    if reference.module is not None:
        search_first(Path.cwd())
        return importlib.import_module(reference.module)
    return _import_file(reference.source())


def _import_file(path: Path) -> ModuleType:
    """Run a file under a module name of its own, so that a model.py does not replace another module `model`."""
    path = path.resolve()
    search_first(Path.cwd())
    search_first(path.parent)
    name = f"mlq_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up the module while it runs
    spec.loader.exec_module(module)
    return module


def _find_class(module: ModuleType, reference: ModelRef) -> type[Any]:
    found = getattr(module, reference.class_name or "", None)
    if isinstance(found, type) and callable(getattr(found, "predict", None)):
        return found
    place = reference.name.rpartition(":")[0]
    able = [
        f"{place}:{name}"
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "predict")
    ]
    raise NotServable(
        f"{place} has no class {reference.class_name!r} with a predict method",
        fix=f"it has {', '.join(able)}" if able else "add one: predict(batch) returns a list, one output for each row",
    )


def _hook(instance: Any, name: str) -> Callable[..., Any]:
    hook: Callable[..., Any] = getattr(instance, name, lambda *_: None)
    return hook


def _or_error(hook: Callable[[Any], Any], value: Any) -> Any:
    """Apply a hook to one row, so that an exception fails only that row."""
    if isinstance(value, BaseException):
        return contained(value)
    try:
        return hook(value)
    except BaseException as error:  # noqa: BLE001 (an exception of the operator's code fails this row)
        return contained(error)


def _own_limit(instance: Any, asked: int) -> int:
    limit = getattr(instance, "max_batch_size", asked)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise NotServable(
            f"its max_batch_size is {limit!r}", fix="expected a whole number, at least 1; or leave it out"
        )
    return limit


def _retry_on(instance: Any) -> tuple[type[Exception], ...]:
    kinds = getattr(instance, "retry_on", ())
    if not isinstance(kinds, tuple) or not all(isinstance(k, type) and issubclass(k, Exception) for k in kinds):
        raise NotServable(f"its retry_on is {kinds!r}", fix="expected a tuple of exception classes: (SomeError,)")
    return kinds
