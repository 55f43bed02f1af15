"""A supervisor reads complete reports at any time."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from mlq.ipc.shared_pages import Page, ReportPage, RunningTask, WorkerReport


@pytest.fixture
def board() -> Iterator[ReportPage]:
    """An empty page."""
    board = ReportPage.create()
    yield board
    board.close()


def test_an_empty_page_has_no_report(board: ReportPage) -> None:
    """A worker that has not written its first report is not idle."""
    assert board.read() is None


def test_a_report_is_read_as_it_was_written(board: ReportPage) -> None:
    """The reader may be another process, which shares only the page."""
    report = WorkerReport(state="busy", task="t", done={"realtime": 3}, leased=True)
    board.write(report)
    assert ReportPage(Page(board.page.fd, 4 * 1024 * 1024)).read() == report


def test_a_half_written_report_is_never_read(board: ReportPage) -> None:
    """A writer that is stopped during a write leaves a page that does not match its checksum."""
    board.write(WorkerReport(task="before"))
    assert board.read() == WorkerReport(task="before")
    board.write(WorkerReport(task="after"))
    board.page._page[12] ^= 0xFF
    assert board.read() == WorkerReport(task="before")


def test_a_closed_page_still_returns_the_last_report() -> None:
    """One thread collects a worker while another describes it."""
    board = ReportPage.create()
    board.write(WorkerReport(task="last"))
    board.read()
    board.close()
    assert board.read() == WorkerReport(task="last")


def test_the_largest_batch_fits_and_a_larger_one_is_cut_to_its_first_task(board: ReportPage) -> None:
    """A failed write must not end the worker: the same batch would be claimed again and end the next one."""
    tasks = [RunningTask("x" * 128, "mlq.predict", "realtime", float(n)) for n in range(100_000)]
    board.write(WorkerReport(running=tasks[:1024], under=["c"]))
    seen = board.read()
    assert seen is not None
    assert (len(seen.running), seen.under) == (1024, ["c"])
    board.write(WorkerReport(running=tasks, task=tasks[0].id))
    seen = board.read()
    assert seen is not None
    assert seen.running == tasks[:1]


def test_unknown_fields_of_a_newer_worker_are_ignored() -> None:
    """An upgrade of mlq while a supervisor runs must not end the supervisor."""
    board = ReportPage.create()
    task = {"id": "1", "name": "t", "queue": "q", "began_at": 1.0, "mood": "good"}
    board.page.write(orjson.dumps({"state": "busy", "weather": "fair", "running": [task]}))
    assert board.read() == WorkerReport(state="busy", running=[RunningTask("1", "t", "q", 1.0)])
    board.close()
