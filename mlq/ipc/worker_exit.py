"""The end of a worker's process: it announces its exit code, and ends in time even if a thread or a hook hangs."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from mlq.ipc.shared_pages import ReportPage, WorkerReport

THREADS_S: Final = 5.0
"""Seconds that threads and atexit hooks have to end, once the work is done or was given back."""

_NO_FRAME: Final = "in code that is not Python"


def announce(code: int, within_s: float) -> None:
    """Report to the supervisor that this process ends with `code`, within `within_s` seconds.

    The supervisor treats an exit code that was not announced as a crash: a model may call os._exit(0) during a task.
    """
    page = ReportPage.inherited()
    if page is None:
        return
    report = page.read() or WorkerReport(since=time.time())
    report.exit_code, report.leave_by = code, time.monotonic() + within_s
    page.write(report)


def leave(code: int) -> NoReturn:
    """End this process with `code` in Python's usual way, but wait at most THREADS_S for threads and atexit hooks."""
    announce(code, THREADS_S)
    end_within(THREADS_S, code)
    raise SystemExit(code)


def end_within(seconds: float, code: int) -> None:
    """End this process with `code` if it still runs after `seconds`, and log what kept it from ending."""
    threading.Thread(target=_end_later, args=(seconds, code), name="mlq-leaving", daemon=True).start()


def _end_later(seconds: float, code: int) -> None:
    time.sleep(seconds)
    for line in _held_up_by():
        # Written without logging: its atexit hook may have run already, or may hold a lock that logging waits for.
        os.write(2, f"WARNING {line}\n".encode(errors="replace"))
    os._exit(code)


def _held_up_by() -> list[str]:
    """Describe the threads that Python waits for. If there are none, the main thread hangs in an atexit hook."""
    frames = sys._current_frames()  # noqa: SLF001 (there is no public name)
    left = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if left:
        return [
            f"thread {t.name!r} did not end and is left behind: it stands {_position(frames.get(t.ident or 0))}"
            for t in left
        ]
    main = threading.main_thread().ident or 0
    return [f"this process did not end in time: the main thread stands {_position(frames.get(main))}"]


def _position(frame: FrameType | None) -> str:
    """Describe where a thread is: its innermost line outside the standard library, if there is one."""
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
