"""Records of another version of mlq are readable: a version may add fields to each, and readers need no new field."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from mlq.broker import embedded
from mlq.ipc.file_lock import try_lock
from mlq.ipc.shared_pages import NoticeReader, Page, ReportPage, RunningTask, SupervisorNotices, WorkerReport
from mlq.jobs.collect import sidecar
from mlq.jobs.collect.sidecar import Sidecar
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order
from tests.heartbeats import heartbeat

BEAT = heartbeat()


def with_unknown_field(record: bytes) -> bytes:
    """Return the record with a field that this version does not know."""
    return orjson.dumps({**orjson.loads(record), "of_a_later_version": {"a": [1]}})


def test_a_heartbeat_with_more_or_fewer_fields_is_read() -> None:
    """Workers of several versions are in one list."""
    assert Heartbeat.decode(with_unknown_field(BEAT.encode())) == BEAT
    told = orjson.loads(BEAT.encode())
    del told["version"], told["supervisor_version"], told["lease_s"]
    assert Heartbeat.decode(orjson.dumps(told)) == BEAT


def test_an_order_with_more_fields_is_read() -> None:
    """If it ended the heartbeat thread of a supervisor, the supervisor would be taken for dead."""
    assert Order.decode(with_unknown_field(Order("stop", 3.0).encode())) == Order("stop", 3.0)


def test_a_report_with_more_or_fewer_fields_is_read() -> None:
    """The worker may have another version than its supervisor, and so may the tasks that it names."""
    board = ReportPage.create()
    running = {"id": "1", "name": "t", "queue": "q", "began_at": 1.0, "later": True}
    board.page.write(orjson.dumps({"state": "busy", "running": [running], "later": 1}))
    assert board.read() == WorkerReport(state="busy", running=[RunningTask("1", "t", "q", 1.0)])
    board.close()


@pytest.mark.parametrize("size", [4096, 8 * 2**20])
def test_a_page_is_read_in_the_size_that_its_creator_chose(size: int) -> None:
    """A worker that used the size of its own version would be killed by SIGBUS, or refuse to start."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, size)
    page = Page.inherited(fd)
    page.write(b"x" * page.room)
    assert page.read() == b"x" * page.room
    page.close()


def test_notices_with_more_fields_are_read() -> None:
    """A worker reads them from its supervisor."""
    notices = SupervisorNotices()
    notices.revoke(["a"])
    notices.page.write(with_unknown_field(notices.page.read() or b""))
    reader = NoticeReader(notices.page)
    assert (reader.is_answered("ticket"), reader.revoked()) == (False, ["a"])
    notices.page.close()


def test_a_record_of_the_embedded_broker_with_more_fields_is_read(tmp_path: Path) -> None:
    """Another version may have started the server."""
    (tmp_path / "broker.json").write_text('{"url": "redis+socket:///s", "pid": 7, "later": 1}')
    with (tmp_path / "broker.lock").open("w") as lock:
        assert try_lock(lock)
        assert embedded.find(tmp_path) == embedded.RunningServer("redis+socket:///s", 7)


def test_a_job_sidecar_with_more_or_fewer_fields_is_read(tmp_path: Path) -> None:
    """Another version may have begun the job that this one resumes."""
    output = tmp_path / "out.jsonl"
    begun = Sidecar("j", "in", "f", 1, {})
    sidecar.write(output, begun)
    file = sidecar.path_of(output)
    told = orjson.loads(with_unknown_field(file.read_bytes()))
    del told["model"]
    file.write_bytes(orjson.dumps(told))
    assert sidecar.read(output) == begun
