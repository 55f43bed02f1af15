"""Failures of a model: of one row, of a forward, of the device, or while it is loaded."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mlq.errors import MlqError
from mlq.protocol.names import row_error


@dataclass(frozen=True)
class RowFailure:
    """A failed row; it takes the place of the output of the row."""

    error: Exception
    retryable: bool
    """Whether the same row may succeed later."""

    def as_element(self, attempts: int) -> dict[str, Any]:
        """Return the element of a batch's result that takes the place of the row."""
        return row_error(presentable(self.error), retryable=self.retryable, attempts=attempts)


def _is_ctrl_c(error: BaseException) -> bool:
    """Return whether an exception is Ctrl-C, with Python's handler of SIGINT."""
    return isinstance(error, KeyboardInterrupt)


_is_order: Callable[[BaseException], bool] = _is_ctrl_c


def recognize_orders(is_order: Callable[[BaseException], bool]) -> None:
    """Set how this process recognizes the exceptions with which its signal handlers end it.

    All other exceptions that pass through a model were raised by the model.
    """
    global _is_order  # noqa: PLW0603 (signal handlers belong to the process, too)
    _is_order = is_order


_WITHHELD: Final = "its text is withheld (worker.error_texts)"

_withholds_texts = False


def withhold_texts() -> None:
    """Let this process report the types of exceptions that models and tasks raise, without their texts.

    A text such as "bad value 'Jane Doe' in row 7" carries a payload into logs, results and dead letters.
    """
    global _withholds_texts  # noqa: PLW0603 (it is one decision for all that a process logs and stores)
    _withholds_texts = True


def presentable(error: Exception) -> Exception:
    """Return `error` as logs and results may show it: if texts are withheld, an exception of the same name.

    mlq's own errors keep their texts, which quote types and numbers but no payload.
    """
    if not _withholds_texts or isinstance(error, (ModelError, MlqError)) or not _text_of(error)[0]:
        return error
    return _named(type(error).__name__, _WITHHELD).with_traceback(error.__traceback__)


def withholds_texts() -> bool:
    """Return True if the texts of exceptions are withheld in this process."""
    return _withholds_texts


def contained(error: BaseException) -> Exception:
    """Return `error`, or an exception of the same name that can be handled like any other.

    A model may raise what does not derive from Exception (a Rust panic, asyncio.CancelledError, SystemExit), which
    would end the worker. And `__str__` of an exception may raise, which would end the code that reports it. A client
    that rebuilds the replacement finds no class of that name in this module, and so creates an ordinary exception;
    rebuilding a SystemExit would end the client.

    Raises `error` if it carries out an order to end this process.
    """
    if _is_order(error):
        raise error
    text, is_readable = _text_of(error)
    if isinstance(error, Exception) and is_readable:
        return error
    return _named(type(error).__name__, text).with_traceback(error.__traceback__)


def storable(error: Exception) -> Exception:
    """Return `error`, or an exception of the same name if pickle cannot copy it: Celery would store another name."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (these bytes were dumped here)
    except BaseException:  # noqa: BLE001 (constructors and __reduce__ of foreign classes may raise anything)
        return _named(type(error).__name__, _text_of(error)[0]).with_traceback(error.__traceback__)
    return error


def _text_of(error: BaseException) -> tuple[str, bool]:
    try:
        repr(error)
        return str(error), True
    except BaseException as exc:  # noqa: BLE001 (see contained)
        return f"its text cannot be read: {type(exc).__name__}", False


def _named(name: str, text: str) -> Exception:
    methods = {"__module__": __name__, "__reduce__": lambda self: (_named, (name, *self.args))}
    kind: type[Exception] = type(name, (Exception,), methods)
    return kind(text)


class ModelError(Exception):
    """An output of the model that is not a valid answer: of a whole forward if raised, of one row if in its slot."""


class NotFinite(ModelError):
    """NaN or Infinity in the output of a row."""

    def __init__(self) -> None:
        super().__init__("the model answered with NaN or Infinity, which JSON cannot carry")


class OutOfMemory(MemoryError):
    """A forward did not fit into memory. It has torch's message only: torch's exception keeps the tensors alive."""


class DeviceLost(Exception):
    """The context of the accelerator is broken: this process cannot compute on it any more."""

    @classmethod
    def from_error(cls, error: Exception) -> DeviceLost:
        """Create it with the full type of an exception (torch.AcceleratorError) and the first line of its text."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        first_line = str(presentable(error)).strip().partition("\n")[0]
        return cls(f"{name}: {first_line}")


class NotServable(Exception):
    """The reason why a model cannot be served. `load` converts it to InvalidModel, with reference and origin."""

    def __init__(self, reason: str, *, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
