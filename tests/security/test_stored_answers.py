"""The data that a submitter reads from Redis: an answer or a record that mlq did not write becomes an error."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from redis import Redis

from mlq.jobs import chunk
from mlq.jobs.chunk import Chunk
from mlq.jobs.collect import output
from mlq.protocol import job_result, keys
from mlq.protocol.job_result import ChunkResult
from tests.conftest import User

DEEP: Final = b"[" * 900 + b"]" * 900

ENDS: Final = (
    b"",
    b"{",
    b"7",
    b"[]",
    b"{}",
    b'{"status": 5}',
    b'{"status": "SUCCESS", "seconds": 1e400, "model": 5, "failed": "x", "failure": [], "tomorrow": 1}\n1',
    b'{"status": "SUCCESS", "seconds": -1, "model": "' + b"m" * 10_000 + b'"}\n1',
    b'{"status": "SUCCESS", "failed": 1}\n{"mlq.error":7}',
    b'{"status": "SUCCESS", "failed": 1}\n{"mlq.error":{"type":[],"message":'
    + DEEP
    + b',"retryable":"x","attempts":1e9}}',
    b'{"status": "SUCCESS", "failed": 1}\n{"mlq.error":' + b"[" * 5000,
    b'{"status": "FAILURE", "failure": {"exc_type": {}, "exc_message": ' + DEEP + b"}}",
    b'{"status": "FAILURE", "failure": {"exc_message": [1, [2]]}}',
    b"[" * 100_000,
)


@pytest.mark.parametrize("payload", ENDS, ids=lambda payload: payload[:50].decode())
def test_an_invalid_result_becomes_an_error_of_its_rows(payload: bytes) -> None:
    """Each row gets one line, and the numbers that the sender reads stay within their limits."""
    end = job_result.read(payload)
    assert isinstance(end, ChunkResult)
    assert end.seconds is None
    assert end.model is None
    lines, _ = output.lines_of(Chunk(0, range(1), ["me"]), end, single=False)
    (line,) = lines.splitlines()
    assert json.loads(line)["id"] == "me"


RECORDS: Final[list[Any]] = [
    7,
    [],
    {},
    {"rows": [0, 10**15], "whole": True, "ids": None, "errors": {}},
    {"rows": [0, -1], "whole": True, "ids": None, "errors": {}},
    {"rows": [-5, 2], "whole": True, "ids": None, "errors": {}},
    {"rows": [0, 1e9], "whole": True, "ids": None, "errors": {}},
    {"rows": ["a"], "whole": False, "ids": None, "errors": {}},
    {"rows": [0, 2], "whole": True, "ids": [1], "errors": {}},
    {"rows": [0, 2], "whole": True, "ids": "ab", "errors": {}},
    {"rows": [0, 1], "whole": True, "ids": None, "errors": {"5": {"type": "x", "message": "y"}}},
    {"rows": [0, 1], "whole": True, "ids": None, "errors": {"0": {"nothing": 1}}},
    {"rows": [0, 1], "whole": True, "ids": None, "errors": [1]},
]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_a_chunk_in_a_record_is_never_larger_than_a_message(record: Any) -> None:
    """`mlq result` wrote a line for each of 10**15 rows."""
    with pytest.raises(ValueError, match=r"it is not the record|do not fit"):
        chunk.decode(0, json.dumps(record).encode())


def test_a_job_whose_record_cannot_be_read_hides_no_other(user: User, broker: str) -> None:
    """The list names the job, and the commands about it end with two lines."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as inside:
        user.write("rows.jsonl", "1\n2\n")
        good = user.json("submit", "rows.jsonl")["job"]
        inside.hset(keys.job("bad"), mapping={"kind": "rows", "queue": "q", "sent_at": "x\x1b[2J", "rows": "9" * 5000})
        inside.zadd(keys.JOBS, {"bad": 1})
        inside.hset(keys.chunks(good), "0", json.dumps({"rows": [0, 10**15], "whole": True, "ids": None, "errors": {}}))
    listed = user.run("job", "--json")
    assert [job["job"] for job in json.loads(listed.stdout)["jobs"]] == [good]
    assert "cannot read the record of job bad" in listed.stderr
    for argv in (["job", "show", "bad"], ["result", "bad", "--wait"], ["result", good, "--wait", "-o", "out.jsonl"]):
        done = user.run(*argv)
        assert done.returncode == 1, argv
        assert "cannot read" in done.stderr
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr
