"""Forged results: mlq treats a stored result as text, and any client may have stored it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from celery import Celery
from redis import Redis

from mlq.jobs.chunk import Chunk
from mlq.jobs.collect.output import lines_of
from mlq.protocol.job_result import ChunkResult
from mlq.protocol.names import ROW_ERROR
from tests.conftest import User

TASK = "0f3b1d5e-0000-4000-8000-00000000000a"


@pytest.fixture
def collect_stored(redis: Redis, user: User, server: Any) -> Any:
    """Return a function that stores bytes as the result of a task, and collects it with mlq."""
    user.environment["MLQ_BROKER_URL"] = server.url

    def collect(value: bytes) -> Any:
        redis.set(f"celery-task-meta-{TASK}", value)
        return user.run("result", TASK)

    return collect


def stored_failure(kind: Any, module: Any, *message: Any) -> bytes:
    """Return what Celery would store for a task that raised this."""
    raised = {"exc_type": kind, "exc_message": message, "exc_module": module}
    return json.dumps({"status": "FAILURE", "result": raised, "traceback": "forged", "task_id": TASK}).encode()


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        ("SystemExit", "builtins", 0),
        ("KeyboardInterrupt", "builtins", ""),
        ("system", "os", "touch pwned"),
        ("Popen", "subprocess", ["touch", "pwned"]),
        ("exec", "builtins", "open('pwned', 'w')"),
        (["SystemExit"], {"a": 1}, None),
    ],
)
def test_a_stored_exception_is_a_line_of_the_output(
    collect_stored: Any, user: User, kind: Any, module: str, message: Any
) -> None:
    """Celery's own client rebuilds the stored exception by its name and raises it, and SystemExit ends its process."""
    done = collect_stored(stored_failure(kind, module, message))
    assert done.returncode == 6, done.stderr
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["status"], line["error"]["type"]) == (
        "error",
        kind if isinstance(kind, str) else json.dumps(kind),
    )
    assert not (user.directory / "pwned").exists()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x05touch\x94\x85R.",
        b"!!python/object/apply:os.system ['touch pwned']",
        b"[]",
        b"5",
        b"{}",
        b'{"status": ["FAILURE"], "result": null}',
        b'{"status": "SUCCESS"}',
        b'{"status": "\xff", "result": 1}',
        b"[" * 200_000,
        b'{"status": "SUCCESS", "result": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=lambda value: repr(value[:12]),
)
def test_an_invalid_result_is_reported_as_invalid(collect_stored: Any, user: User, value: bytes) -> None:
    """It is neither an internal error nor an answer: two lines name the task."""
    done = collect_stored(value)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"mlq: cannot read the result of task {TASK}: ")
    assert not (user.directory / "pwned").exists()


@pytest.mark.parametrize(
    "answer",
    [
        5,
        {"type": ["a"], "message": {"b": 1}},
        {"type": "T", "message": "m", "retryable": "x", "attempts": "many"},
    ],
    ids=str,
)
def test_an_answer_that_looks_like_an_error_row_fails_only_its_row(answer: Any) -> None:
    """Any task may answer with the key that marks a failed row. It must not end the client that collects the job."""
    end = ChunkResult("SUCCESS", [orjson.dumps({ROW_ERROR: answer}), b"2"], failed=1)
    lines, _ = lines_of(Chunk(0, range(2), ["a", "b"]), end, single=False)
    bad, good = map(json.loads, lines.splitlines())
    assert (bad["status"], good["status"], good["result"]) == ("error", "ok", 2)
    assert [type(bad["error"][k]) for k in ("type", "message", "retryable", "attempts")] == [str, str, bool, int]


def test_a_stock_client_that_does_not_raise_survives_a_forged_exit(server: Any, redis: Redis) -> None:
    """docs/security.md tells clients to do that if workers or operators may be hostile."""
    redis.set(f"celery-task-meta-{TASK}", stored_failure("SystemExit", "builtins", 0))
    with Celery("victim", broker=server.url, backend=server.url, set_as_current=False) as app:
        result = app.AsyncResult(TASK)
        with pytest.raises(SystemExit):
            result.get(timeout=10)
        assert isinstance(result.get(timeout=10, propagate=False), SystemExit)
        assert result.state == "FAILURE"
