"""Log files have a bounded size, lose no line, and never stop work."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from mlq.supervisor import logs
from mlq.supervisor.logs import LogFiles, file_of, follow, last_lines
from mlq.supervisor.news import Logged


def test_a_log_never_exceeds_its_limit_and_loses_no_line_at_the_rotation(tmp_path: Path) -> None:
    """There are at most two files of that size, and the last lines are read from both."""
    files = LogFiles(tmp_path, lost=raising, largest=300)
    for n in range(20):
        files(Logged("cpu0", f"line {n}"))
    path = file_of(tmp_path, "cpu0")
    assert path.stat().st_size <= 300
    assert path.with_suffix(".log.1").stat().st_size <= 300
    assert [line.rpartition("line ")[2] for line in last_lines(path, 12)] == [str(n) for n in range(8, 20)]


def test_a_full_disk_is_reported_once_and_work_goes_on(tmp_path: Path) -> None:
    """A file has the path of the directory, so that no user, not even root, can write a log."""
    logs.directory(tmp_path).write_text("")
    reasons: list[Exception] = []
    files = LogFiles(tmp_path, lost=reasons.append)
    for _ in range(3):
        files(Logged("cpu0", "line"))
    assert len(reasons) == 1


def test_following_goes_on_when_the_file_is_replaced(tmp_path: Path) -> None:
    """As `tail -F` does."""
    files = LogFiles(tmp_path, lost=raising, largest=300)
    files(Logged("cpu0", "before"))
    seen: list[str] = []
    waiting, whole = threading.Event(), threading.Event()

    def read() -> None:
        with closing(follow(file_of(tmp_path, "cpu0"), wait=lambda _: waiting.set())) as lines:
            for line in lines:
                seen.append(line.rpartition(" ")[2])
                if line.endswith(" 19"):
                    break
        whole.set()

    threading.Thread(target=read, daemon=True).start()
    assert waiting.wait(10)
    for n in range(20):
        waiting.clear()
        files(Logged("cpu0", f"{n}"))
        assert whole.wait(10) if n == 19 else waiting.wait(10)
    assert seen == [str(n) for n in range(20)]


def raising(exc: Exception) -> None:
    """Fail the test if a line is lost."""
    raise exc
