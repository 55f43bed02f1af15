"""What goes wrong with a model: for one row, for one forward, for the device, before it serves at all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mlq.errors import MlqError
from mlq.protocol.names import row_error


@dataclass(frozen=True)
class RowFailure:
    """Stands where the row's output would stand. Retryable: the same row may succeed another time."""

    error: Exception
    retryable: bool

    def as_element(self, attempts: int) -> dict[str, Any]:
        """Write it as the element of a batch's result that stands for the row."""
        return row_error(presentable(self.error), retryable=self.retryable, attempts=attempts)


def _is_ctrl_c(error: BaseException) -> bool:
    """Recognize Ctrl-C where Python's own handler of SIGINT is in place."""
    return isinstance(error, KeyboardInterrupt)


_is_order: Callable[[BaseException], bool] = _is_ctrl_c


def recognize_orders(is_order: Callable[[BaseException], bool]) -> None:
    """Set how this process recognizes the exceptions with which its own signal handlers end it.

    Everything else that passes through a model was raised by the model.
    """
    global _is_order  # noqa: PLW0603 (signal handlers belong to the process, too)
    _is_order = is_order


_WITHHELD: Final = "its text is withheld (worker.error_texts)"

_withholds_texts = False


def withhold_texts() -> None:
    """Let this process give the types of exceptions that models and tasks raise, and not their texts.

    A text such as "bad value 'Jane Doe' in row 7" carries a payload into logs, results and dead letters.
    """
    global _withholds_texts  # noqa: PLW0603 (as above: what a process logs and stores is one decision)
    _withholds_texts = True


def presentable(error: Exception) -> Exception:
    """Return `error` as logs and results may show it: where texts are withheld, a stand-in of the same name.

    Errors of mlq's own keep their texts, which quote types and numbers but no payload.
    """
    if not _withholds_texts or isinstance(error, (ModelError, MlqError)) or not _text_of(error)[0]:
        return error
    return _named(type(error).__name__, _WITHHELD).with_traceback(error.__traceback__)


def withholds_texts() -> bool:
    """Return True if the texts of exceptions are withheld in this process."""
    return _withholds_texts


def contained(error: BaseException) -> Exception:
    """Return `error`, or an exception of the same name that can be handled like any other.

    What a model raises need not derive from Exception (a Rust panic, asyncio.CancelledError, SystemExit), and its text
    may be unreadable because `__str__` raises. Raised again as it is, the one would end the worker that handles it, and
    the other the code that reports it. A client that rebuilds the stand-in finds no class of that name in this module,
    and so makes an ordinary exception: rebuilding a SystemExit would end the client.

    Raises `error` if it carries out an order to end this process.
    """
    if _is_order(error):
        raise error
    text, is_readable = _text_of(error)
    if isinstance(error, Exception) and is_readable:
        return error
    return _named(type(error).__name__, text).with_traceback(error.__traceback__)


def storable(error: Exception) -> Exception:
    """Return `error`, or its stand-in if pickle cannot copy it: Celery would then store a name of its own."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what was dumped here)
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
    """The model answered something that cannot be an answer. Raised: for a whole forward; in a slot: for a row."""


class NotFinite(ModelError):
    """NaN or Infinity among the numbers of one row."""

    def __init__(self) -> None:
        super().__init__("the model answered with NaN or Infinity, which JSON cannot carry")


class OutOfMemory(MemoryError):
    """A forward did not fit. A copy of torch's message: torch's own exception keeps the forward's tensors alive."""


class DeviceLost(Exception):
    """The accelerator's context is gone: nothing in this process will ever compute on it again."""

    @classmethod
    def told_by(cls, error: Exception) -> DeviceLost:
        """Name the exception by its full type (torch.AcceleratorError) and the first line of its text."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        first_line = str(presentable(error)).strip().partition("\n")[0]
        return cls(f"{name}: {first_line}")


class NotServable(Exception):
    """Why a reference cannot be served. `load` adds the reference and its origin, and makes it InvalidModel."""

    def __init__(self, reason: str, *, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
