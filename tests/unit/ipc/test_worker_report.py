"""A supervisor reads whole reports, whatever moment it reads at."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from mlq.ipc.shared_page import Page
from mlq.ipc.worker_report import Board, Report, Running


@pytest.fixture
def board() -> Iterator[Board]:
    """An empty page."""
    board = Board.create()
    yield board
    board.close()


def test_a_page_without_a_word_says_nothing(board: Board) -> None:
    """A child that has not come as far as its first report is not an idle one."""
    assert board.read() is None


def test_a_report_is_read_as_it_was_written(board: Board) -> None:
    """Both ends may be different processes: nothing but the page connects them."""
    report = Report(state="busy", task="t", done={"realtime": 3}, leased=True)
    board.write(report)
    assert Board(Page(board.page.fd, 4 * 1024 * 1024)).read() == report


def test_a_torn_report_is_never_taken_for_a_whole_one(board: Board) -> None:
    """A writer that is stopped half-way leaves a page that does not match its checksum."""
    board.write(Report(task="before"))
    assert board.read() == Report(task="before")
    board.write(Report(task="after"))
    board.page._page[12] ^= 0xFF
    assert board.read() == Report(task="before")


def test_a_page_that_was_closed_meanwhile_still_says_what_it_said_last() -> None:
    """One thread buries a worker while another describes it."""
    board = Board.create()
    board.write(Report(task="last"))
    board.read()
    board.close()
    assert board.read() == Report(task="last")


def test_the_largest_batch_is_told_whole_and_a_larger_one_by_its_first_task(board: Board) -> None:
    """A report must never end the turn that it tells of: the same batch would come back, and end the next worker."""
    tasks = [Running("x" * 128, "mlq.predict", "realtime", float(n)) for n in range(100_000)]
    board.write(Report(running=tasks[:1024], under=["c"]))
    seen = board.read()
    assert seen is not None
    assert (len(seen.running), seen.under) == (1024, ["c"])
    board.write(Report(running=tasks, task=tasks[0].id))
    seen = board.read()
    assert seen is not None
    assert seen.running == tasks[:1]


def test_what_a_newer_worker_tells_beyond_is_passed_over() -> None:
    """Mlq may be upgraded under a supervisor that runs, and its next worker must not end it."""
    board = Board.create()
    task = {"id": "1", "name": "t", "queue": "q", "began_at": 1.0, "mood": "good"}
    board.page.write(orjson.dumps({"state": "busy", "weather": "fair", "running": [task]}))
    assert board.read() == Report(state="busy", running=[Running("1", "t", "q", 1.0)])
    board.close()
