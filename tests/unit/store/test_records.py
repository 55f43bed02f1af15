"""Records that another version of mlq wrote are read: fields may be added to each, and none of the old is missed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import orjson
import pytest

from mlq.broker import embedded
from mlq.ipc.shared_pages import NoticeReader, Page, ReportPage, RunningTask, SupervisorNotices, WorkerReport
from mlq.jobs.collect import sidecar
from mlq.jobs.collect.sidecar import Sidecar
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order

BEAT = Heartbeat(
    id="h:cpu0:1", name="cpu0", host="h", pid=1, gpu=None, device="cpu", state="idle", queues=("realtime",), model="m",
    fingerprint=None, task=None, tasks_done=0, rows_done=0, started_at=0.0, rss_bytes=1,
)  # fmt: skip


def with_more(record: bytes) -> bytes:
    """Add a field that this version does not know."""
    return orjson.dumps({**orjson.loads(record), "of_a_later_version": {"a": [1]}})


def test_a_heartbeat_with_more_and_with_less_is_read() -> None:
    """Workers of several versions are in one list."""
    assert Heartbeat.decode(with_more(BEAT.encode())) == BEAT
    told = orjson.loads(BEAT.encode())
    del told["version"], told["supervisor_version"], told["lease_s"]
    assert Heartbeat.decode(orjson.dumps(told)) == BEAT


def test_an_order_with_more_is_read() -> None:
    """A supervisor whose heartbeat thread died of one would be taken for dead."""
    assert Order.decode(with_more(Order("stop", 3.0).encode())) == Order("stop", 3.0)


def test_a_report_with_more_and_with_less_is_read() -> None:
    """The worker may be of another version than its supervisor, and so may the tasks that it names."""
    board = ReportPage.create()
    running = {"id": "1", "name": "t", "queue": "q", "began_at": 1.0, "later": True}
    board.page.write(orjson.dumps({"state": "busy", "running": [running], "later": 1}))
    assert board.read() == WorkerReport(state="busy", running=[RunningTask("1", "t", "q", 1.0)])
    board.close()


@pytest.mark.parametrize("size", [4096, 8 * 2**20])
def test_a_page_is_read_in_the_size_that_its_maker_chose(size: int) -> None:
    """A worker that took its own version's size would be killed by SIGBUS, or refuse to start."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, size)
    page = Page.inherited(fd)
    page.write(b"x" * page.room)
    assert page.read() == b"x" * page.room
    page.close()


def test_notices_with_more_are_read() -> None:
    """A worker reads what its supervisor wrote."""
    notices = SupervisorNotices()
    notices.revoke(["a"])
    notices.page.write(with_more(notices.page.read() or b""))
    reader = NoticeReader(notices.page)
    assert (reader.is_answered("ticket"), reader.revoked()) == (False, ["a"])
    notices.page.close()


def test_a_note_of_the_embedded_broker_with_more_is_read(tmp_path: Path) -> None:
    """The server may have been started by another version."""
    (tmp_path / "broker.json").write_text('{"url": "redis+socket:///s", "pid": 7, "later": 1}')
    with (tmp_path / "broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert embedded.find(tmp_path) == embedded.RunningServer("redis+socket:///s", 7)


def test_a_sidecar_with_more_and_with_less_is_read(tmp_path: Path) -> None:
    """A job is resumed by another version than began it."""
    output = tmp_path / "out.jsonl"
    begun = Sidecar("j", "in", "f", 1, {})
    sidecar.write(output, begun)
    file = sidecar.path_of(output)
    told = orjson.loads(with_more(file.read_bytes()))
    del told["model"]
    file.write_bytes(orjson.dumps(told))
    assert sidecar.read(output) == begun
