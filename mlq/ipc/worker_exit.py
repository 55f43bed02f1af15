"""Leaving: a process says with which exit code it ends, and ends in time, whatever threads and hooks are left in it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from mlq.ipc.worker_report import ReportPage, WorkerReport

THREADS_S: Final = 5.0
"""Seconds that threads and atexit hooks have, once the work has ended or was given back."""

_NO_FRAME: Final = "in code that is not Python"


def announce(code: int, within_s: float) -> None:
    """Tell the supervisor that this process ends with `code`, and when at the latest.

    An exit code that was not announced says nothing: a model may call os._exit(0) in the middle of a task.
    """
    board = ReportPage.inherited()
    if board is None:
        return
    report = board.read() or WorkerReport(since=time.time())
    report.exit_code, report.leave_by = code, time.monotonic() + within_s
    board.write(report)


def leave(code: int) -> NoReturn:
    """End this process with `code`: as Python ends any, but without waiting long for what does not end."""
    announce(code, THREADS_S)
    end_within(THREADS_S, code)
    raise SystemExit(code)


def end_within(seconds: float, code: int) -> None:
    """End this process with `code` after so many seconds if it has not ended by then, and say what held it up."""
    threading.Thread(target=_end_later, args=(seconds, code), name="mlq-leaving", daemon=True).start()


def _end_later(seconds: float, code: int) -> None:
    time.sleep(seconds)
    for line in _held_up_by():
        # Not through logging, whose own atexit hook may have run, or wait for a lock that such a hook holds.
        os.write(2, f"WARNING {line}\n".encode(errors="replace"))
    os._exit(code)


def _held_up_by() -> list[str]:
    """Name the threads that Python waits for; with none of those it is the main thread, in a hook of its own."""
    frames = sys._current_frames()  # noqa: SLF001 (there is no public name)
    left = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if left:
        return [
            f"thread {t.name!r} did not end and is left behind: it stands {_place(frames.get(t.ident or 0))}"
            for t in left
        ]
    main = threading.main_thread().ident or 0
    return [f"the end of this process did not come: the main thread stands {_place(frames.get(main))}"]


def _place(frame: FrameType | None) -> str:
    """Say where a thread stands: the innermost line outside the standard library, if there is one."""
    library = str(Path(os.__file__).parent)
    innermost = frame
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name or not name.startswith((library, "<")):
            break
        frame = frame.f_back
    found = frame or innermost
    if found is None:
        return _NO_FRAME
    return f"at {found.f_code.co_filename}:{found.f_lineno}, in {found.f_code.co_name}"
