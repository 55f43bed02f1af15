"""A supervisor reads whole reports, whatever moment it reads at."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from mlq.ipc.shared_page import Page
from mlq.ipc.worker_report import ReportPage, RunningTask, WorkerReport


@pytest.fixture
def board() -> Iterator[ReportPage]:
    """An empty page."""
    board = ReportPage.create()
    yield board
    board.close()


def test_a_page_without_a_word_says_nothing(board: ReportPage) -> None:
    """A child that has not come as far as its first report is not an idle one."""
    assert board.read() is None


def test_a_report_is_read_as_it_was_written(board: ReportPage) -> None:
    """Both ends may be different processes: nothing but the page connects them."""
    report = WorkerReport(state="busy", task="t", done={"realtime": 3}, leased=True)
    board.write(report)
    assert ReportPage(Page(board.page.fd, 4 * 1024 * 1024)).read() == report


def test_a_torn_report_is_never_taken_for_a_whole_one(board: ReportPage) -> None:
    """A writer that is stopped half-way leaves a page that does not match its checksum."""
    board.write(WorkerReport(task="before"))
    assert board.read() == WorkerReport(task="before")
    board.write(WorkerReport(task="after"))
    board.page._page[12] ^= 0xFF
    assert board.read() == WorkerReport(task="before")


def test_a_page_that_was_closed_meanwhile_still_says_what_it_said_last() -> None:
    """One thread buries a worker while another describes it."""
    board = ReportPage.create()
    board.write(WorkerReport(task="last"))
    board.read()
    board.close()
    assert board.read() == WorkerReport(task="last")


def test_the_largest_batch_is_told_whole_and_a_larger_one_by_its_first_task(board: ReportPage) -> None:
    """A report must never end the turn that it tells of: the same batch would come back, and end the next worker."""
    tasks = [RunningTask("x" * 128, "mlq.predict", "realtime", float(n)) for n in range(100_000)]
    board.write(WorkerReport(running=tasks[:1024], under=["c"]))
    seen = board.read()
    assert seen is not None
    assert (len(seen.running), seen.under) == (1024, ["c"])
    board.write(WorkerReport(running=tasks, task=tasks[0].id))
    seen = board.read()
    assert seen is not None
    assert seen.running == tasks[:1]


def test_what_a_newer_worker_tells_beyond_is_passed_over() -> None:
    """Mlq may be upgraded under a supervisor that runs, and its next worker must not end it."""
    board = ReportPage.create()
    task = {"id": "1", "name": "t", "queue": "q", "began_at": 1.0, "mood": "good"}
    board.page.write(orjson.dumps({"state": "busy", "weather": "fair", "running": [task]}))
    assert board.read() == WorkerReport(state="busy", running=[RunningTask("1", "t", "q", 1.0)])
    board.close()
