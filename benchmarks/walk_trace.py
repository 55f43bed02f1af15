"""The profiler of a traced process; `walk.py` installs a copy as `sitecustomize`, so that Python runs it at startup.

It writes one line per call of a function in mlq/ and one per constructed instance of one of mlq's classes:
`pid nanoseconds kind name`. The kind is `call`, with `file:line:function` as the name, or `form`, with `module:class`.
The standard library alone is imported: this module runs before anything else in the traced process.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

LOG: Final = "MLQ_WALK_LOG"
"""The environment variable with the file to write."""

PACKAGE: Final = "MLQ_WALK_PACKAGE"
"""The environment variable with the directory of the package mlq."""

_OPTIMIZED: Final = 0x1
"""The flag CO_OPTIMIZED: set for functions, not for the bodies of modules and classes, which run at import."""

_CONSTRUCTORS: Final = {"__init__": "self", "__new__": "cls", "<lambda>": "_cls", "_make": "cls"}
"""Functions that construct an instance, and their first parameter: typing.NamedTuple builds `__new__` from a lambda."""


class Profiler:
    """Writes the calls of one process and of the processes that it forks."""

    def __init__(self, log: Path, package: Path) -> None:
        self._descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._prefix = f"{package}{os.sep}"
        # By id, because the hash of a code object is slow to compute. The code is kept, so that no id is used again.
        self._names: dict[int, tuple[CodeType, str | None]] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Write a call; the interpreter reports everything else, too."""
        if event != "call":
            return
        code = frame.f_code
        known = self._names.get(id(code))
        if known is None:
            known = self._names[id(code)] = (code, self._name(code))
        if known[1] is not None:
            self._write("call", known[1])
        if code.co_name in _CONSTRUCTORS:
            self._write_form(frame)

    def _name(self, code: CodeType) -> str | None:
        """Name a function of mlq; None for any other code."""
        if not code.co_flags & _OPTIMIZED or not code.co_filename.startswith(self._prefix):
            return None
        return f"{code.co_filename[len(self._prefix) :]}:{code.co_firstlineno}:{code.co_name}"

    def _write_form(self, frame: FrameType) -> None:
        names = frame.f_code.co_varnames
        if not names or (frame.f_code.co_name != "__init__" and names[0] != _CONSTRUCTORS[frame.f_code.co_name]):
            return
        first = frame.f_locals.get(names[0])
        made = type(first) if frame.f_code.co_name == "__init__" else first
        if isinstance(made, type) and made.__module__.partition(".")[0] == "mlq":
            self._write("form", f"{made.__module__}:{made.__qualname__}")

    def _write(self, kind: str, name: str) -> None:
        # One write with O_APPEND stays whole, even if other threads and processes write at the same time.
        os.write(self._descriptor, f"{os.getpid()} {time.monotonic_ns()} {kind} {name}\n".encode())


def _install() -> None:
    log, package = os.environ.get(LOG), os.environ.get(PACKAGE)
    if log and package:
        profiler = Profiler(Path(log), Path(package))
        threading.setprofile(profiler)
        sys.setprofile(profiler)


if __name__ == "sitecustomize":
    _install()
