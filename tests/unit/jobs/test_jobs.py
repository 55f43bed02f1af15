"""Chunks, windows, paces, lines: what a job is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from celery import Celery
from redis.exceptions import ResponseError

from mlq.broker.retries import Retry
from mlq.jobs.chunk import Chunk, ChunkFeed, chunk_of, decode
from mlq.jobs.collect import output, resumption
from mlq.jobs.errors import NotResumable
from mlq.jobs.flow_control import MOST_BYTES, Pace, Window
from mlq.jobs.input.source import Values
from mlq.jobs.row import Naming, RowError
from mlq.jobs.send.chunk_message import ChunkMessage, message_of
from mlq.jobs.send.sender import RowSender
from mlq.protocol import job_result
from mlq.protocol.job_result import ChunkResult, JobChunkRef
from mlq.protocol.packing import pack, rows_in
from mlq.store.jobs.record import Job

if TYPE_CHECKING:
    from mlq.jobs.flow_control import Pressure

OK = JobChunkRef("j", 0, 2)


def lines(chunk: Chunk, end: ChunkResult, **how: Any) -> list[dict[str, Any]]:
    """Write a chunk's lines, and read them."""
    return [json.loads(line) for line in output.lines_of(chunk, end, single=False, **how)[0].splitlines()]


def test_answers_of_the_wrong_length_are_errors_that_name_both() -> None:
    """Rows must never be given each other's answers."""
    chunk = chunk_of(0, range(2), [1, 2], None)
    found = lines(chunk, ChunkResult("SUCCESS", [b"1"]))
    assert [line["status"] for line in found] == ["error", "error"]
    assert found[0]["error"]["message"] == "the worker answered 1 rows to 2"


def test_every_row_has_its_line_whatever_became_of_it() -> None:
    """Answered, failed in the model, never sent: the place of a row decides, and its id is on its line."""
    values = [{"id": "a", "input": 1}, {"id": [], "input": 2}, {"id": "c", "input": 3}]
    chunk = chunk_of(0, range(10, 13), values, None)
    said = {"mlq.error": {"type": "E", "message": "m", "retryable": True, "attempts": 2}}
    end = job_result.read(job_result.answer_of(OK, job_result.chunk_result(OK, "SUCCESS", [[0.5], said])).payload)
    assert end.failed == 1
    first, second, third = lines(chunk, end)
    assert first == {"id": "a", "index": 10, "status": "ok", "result": [0.5]}
    assert (second["index"], second["error"]["type"]) == (11, "ValueError")
    assert third == {"id": "c", "index": 12, "status": "error", "error": {**said["mlq.error"]}}
    assert [line["index"] for line in lines(chunk, end, leave_out=frozenset({10}))] == [11, 12]


def test_a_task_that_failed_as_a_whole_fails_its_rows() -> None:
    """With the exception's own words."""
    failure = {"exc_type": "ValueError", "exc_message": ["too wide"], "exc_module": "builtins"}
    end = job_result.read(job_result.answer_of(OK, job_result.chunk_result(OK, "FAILURE", failure)).payload)
    assert [line["error"]["message"] for line in lines(chunk_of(0, range(2), [1, 2], None), end)] == ["too wide"] * 2


def test_what_a_collector_must_know_of_a_chunk_is_in_its_record() -> None:
    """All but the inputs."""
    for values in ([1, 2], [{"id": "a", "input": 1}, {"id": "b", "input": 2}], [{"id": None, "input": 1}, 2]):
        chunk = chunk_of(3, range(5, 7), values, None)
        found = decode(3, chunk.encode())
        assert (list(found.indexes), list(found.ids), found.errors) == ([5, 6], list(chunk.ids), chunk.errors)


def test_the_window_gives_chunks_in_order_and_is_bounded() -> None:
    """One that comes early waits for those before it, and takes up room meanwhile."""
    window = Window(in_order=True)
    for number in range(3):
        window.add(Chunk(number, range(number, number + 1), range(number, number + 1)), 10)
    assert not window.has_room(3)
    assert window.ended(1, ChunkResult("SUCCESS"), b"1-0") is not None
    assert window.ended(1, ChunkResult("SUCCESS"), b"2-0") is None  # ran twice, counts once
    assert window.take() == []
    window.ended(0, ChunkResult("SUCCESS"), b"3-0")
    assert [s.chunk.number for s in window.take()] == [0, 1]
    assert window.has_room(3)
    window.add(Chunk(9, range(1), range(1)), MOST_BYTES)
    assert not window.has_room(100)
    hasty = Window(in_order=False)
    for number in range(2):
        hasty.add(Chunk(number, range(1), range(1)), 10)
    hasty.ended(1, ChunkResult("SUCCESS"), b"1-0")
    assert [s.chunk.number for s in hasty.take()] == [1]


def test_chunks_grow_and_shrink_to_what_takes_a_quarter_of_a_second() -> None:
    """Few are sent until something is known; --chunk fixes the size."""
    quick = Pace()
    assert quick.ahead(256) < 256
    for _ in range(5):
        quick.learn(quick.rows, quick.rows * 1e-6)
    assert (quick.rows, quick.ahead(256)) == (1024, 256)
    slow = Pace()
    for _ in range(20):
        slow.learn(slow.rows, slow.rows * 0.05)
    assert slow.rows in (4, 5)
    fixed = Pace(7)
    fixed.learn(7, 100.0)
    assert (fixed.rows, fixed.ahead(256)) == (7, 256)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [{"a": "é"}]], ids=["packed", "as they are"])
def test_a_message_is_what_celery_would_send(rows: list[Any]) -> None:
    """But for the body, which is a text instead of base64: kombu reads both."""
    app = Celery("stock", broker="memory://", set_as_current=False)
    job = Job("j", "batch", "rows", "f", 1)
    chunk = Chunk(4, range(1), range(1), inputs=rows)
    ours = message_of(job, chunk, taken=1, priority=6, sent_at=0.0, keep_result=True)
    stock: Any = app.amqp.as_task_v2(ours.id, str(ours.task), tuple(ours.args), argsrepr=ours.shown)
    assert {**ours.celery_headers(), "kwargsrepr": "{}"} == {**stock.headers, "root_id": ours.id}
    sent = orjson.loads(ours.raw)
    assert orjson.loads(sent["body"]) == json.loads(json.dumps([list(stock.body[0]), stock.body[1], stock.body[2]]))
    assert sent["headers"]["mlq_job"] == ["j", 4, 1]
    with app.connection() as connection:
        channel: Any = connection.default_channel
        message = channel.Message(sent, channel=channel)
    assert message.payload == orjson.loads(sent["body"])
    assert message.properties["priority"] == 6
    unanswered = message_of(job, chunk, taken=1, priority=6, sent_at=0.0, keep_result=False)
    assert "mlq_job" not in orjson.loads(unanswered.raw)["headers"]


def test_a_task_row_says_where_it_goes() -> None:
    """Its own queue and priority, or the job's."""
    job = Job("j", "default", "tasks", "f", 1)
    given = {"task": "train", "args": [1], "kwargs": {"x": 2}, "queue": "slow", "priority": 9}
    chunk = Chunk(0, range(1), range(1), inputs=[given])
    message = message_of(job, chunk, taken=1, priority=None, sent_at=0.0, keep_result=True)
    assert (message.task, message.queue, message.priority, message.kwargs) == ("train", "slow", 9, {"x": 2})
    assert message.ref.rows is None


@pytest.mark.parametrize("said", [["j"], ["j", -1, 1], ["j/..", 0, 1], ["j", 2**30, 1], "j", {"a": 1}, ["j", True, 1]])
def test_a_header_that_is_no_place_is_refused(said: Any) -> None:
    """It becomes a key and a bit: nothing else may be in it."""
    with pytest.raises(ValueError, match="mlq_job"):
        job_result.job_chunk_of({"mlq_job": said})


def line(index: int, status: str = "ok") -> str:
    """Write an output line."""
    return json.dumps({"id": index, "index": index, "status": status}) + "\n"


def test_a_torn_last_line_is_cut_off_and_what_is_there_is_known(tmp_path: Path) -> None:
    """Resuming begins with what the output really holds."""
    path = tmp_path / "out.jsonl"
    path.write_text(line(0) + line(1, "error") + line(2) + '{"id": 3, "ind')
    held = resumption.scan(path)
    assert path.read_text() == line(0) + line(1, "error") + line(2)
    assert (held.ok, held.failed, held.in_order) == (2, 1, True)
    path.write_text("what a user wrote\n")
    with pytest.raises(NotResumable):
        resumption.scan(path)


def test_an_output_is_put_in_order_with_the_last_line_of_each_row(tmp_path: Path) -> None:
    """A row that failed and was answered on another try has one line."""
    path = tmp_path / "out.jsonl"
    path.write_text(line(0) + line(1, "error") + line(3) + line(2) + line(1))
    assert not resumption.scan(path).in_order
    resumption.put_in_order(path, 4)
    assert path.read_text() == line(0) + line(1) + line(2) + line(3)


def test_an_error_tells_whether_to_try_again() -> None:
    """What is passing was tried as often as its task is."""
    failed = output.error_of("FAILURE", {"exc_type": "TimeoutError", "exc_message": ["late"]}, single=True)
    assert failed == RowError("TimeoutError", "late", retryable=True, attempts=3)
    assert output.error_of("REVOKED", {}, single=False).retryable


@pytest.mark.parametrize(
    "rows", [[[1747938475938475939, 0.5]], [[True, 3]], [[3, 0.5], [1, 2]], [[0.5], [1]], [[1] * 2_000_000] * 2]
)
def test_rows_that_packing_would_change_or_swell_are_left_as_they_are(rows: list[Any]) -> None:
    """An id would lose its last digits, and what a row becomes would depend on its neighbours."""
    assert pack(rows) is rows


@pytest.mark.parametrize("rows", [[[1, 2], [3, 4]], [[0.0, 1.5]], [[[1], [2]]], [1, 2, 3]])
def test_packed_rows_come_back_as_they_were(rows: list[Any]) -> None:
    """Kind and value."""
    unpacked: Any = rows_in(pack(rows))
    assert unpacked.tolist() == rows


class FullThenStopped:
    """A sender of chunks whose server is full."""

    def send(self, messages: Sequence[ChunkMessage]) -> None:
        assert messages
        raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")


class NoPressure:
    """A server that says nothing of its memory before it refuses."""

    is_high = staticmethod(lambda: False)

    def refused(self) -> None:
        """Nothing to do."""


def test_nobody_waits_for_what_a_full_server_refused() -> None:
    """Ctrl-C, or --max-errors, while memory is full: what was never sent can never end."""
    waited_for: list[Chunk] = []
    feed = ChunkFeed(Values(iter([1, 2, 3])), "rows", Naming(), number=0, settled=b"")
    job = Job("j", "batch", "rows", "f", 3)
    sender = RowSender(
        job,
        feed,
        FullThenStopped(),
        cast("Pressure", NoPressure()),
        Retry(lambda _: None, lambda: None),
        lambda: 0.0,
        priority=None,
        keep_results=True,
    )
    assert not sender.step(1, lambda *_: True, lambda chunk, _: waited_for.append(chunk))
    sender.stop()
    assert waited_for == []


class AwayOnce:
    """A sender of chunks whose server is away at the first attempt."""

    def __init__(self) -> None:
        self.attempts = 0

    def send(self, messages: Sequence[ChunkMessage]) -> None:
        assert messages
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionError


def test_a_sender_that_is_stopped_while_the_broker_is_away_sends_no_further_chunk() -> None:
    """A first Ctrl-C during an outage: the chunk under way is sent once the broker is back, and it is the last one."""
    sent: list[Chunk] = []
    post = AwayOnce()

    def interrupt() -> None:
        sender.stop()

    sender = RowSender(
        Job("j", "batch", "rows", "f", 20),
        ChunkFeed(Values(iter(range(20))), "rows", Naming(), number=0, settled=b""),
        post,
        cast("Pressure", NoPressure()),
        Retry(lambda _: None, interrupt, lambda _: None),
        lambda: 0.0,
        priority=None,
        keep_results=True,
    )
    assert sender.step(1, lambda chunks, _: not chunks, lambda chunk, _: sent.append(chunk))
    assert not sender.step(1, lambda chunks, _: not chunks, lambda chunk, _: sent.append(chunk))
    assert (sender.is_done, sender.has_read_all) == (True, False)
    assert (len(sent), post.attempts) == (1, 2)


def test_answers_that_are_far_larger_than_their_rows_bound_what_is_sent() -> None:
    """In order, all of them may have to wait for the first: 256 answers of 8 MB would be 2 GB."""
    window = Window(in_order=True)
    assert window.has_room(256)
    for number in range(3):
        window.add(Chunk(number, range(1), range(1)), 100)
    assert window.has_room(256), "nothing is known of the answers"
    window.ended(2, ChunkResult("SUCCESS"), b"1-0", MOST_BYTES // 4)
    assert window.has_room(256, 0, 0)
    assert not window.has_room(256, 1, 100), "one has come, and two and one more are to come"
    window.ended(0, ChunkResult("SUCCESS"), b"2-0", MOST_BYTES // 4)
    window.ended(1, ChunkResult("SUCCESS"), b"3-0", MOST_BYTES // 4)
    assert window.waiting == 0
    assert len(window.take()) == 3
    assert window.has_room(256)
