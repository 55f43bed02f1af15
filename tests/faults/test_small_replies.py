"""A server that closes a connection if a reply exceeds its output buffer, and would close the next one, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chaos.faultkit import World, until
from mlq.broker.retries import ReplySize
from mlq.jobs.errors import UnsendableEnd

CUT = RedisConnectionError("Connection closed by server.")


def limit_replies(world: World, size: int) -> None:
    """Let the server send no larger reply, except for the hundreds of kilobytes that its socket takes at once."""
    world.redis.config_set("client-output-buffer-limit", f"normal {size} 0 0")


def test_a_batch_that_does_not_fit_into_a_reply_is_claimed_in_parts(world: World) -> None:
    """Otherwise a worker that never gets its messages holds them without end, and no other can claim them."""
    for _ in range(8):
        world.send({"padding": "x" * 400_000})
    limit_replies(world, 600_000)
    worker = world.start("small")
    world.answered()
    assert worker.stop() == 0
    assert worker.log.read_text().count("requesting less at once") == 1
    limit_replies(world, 0)
    world.check()


def test_a_message_that_fits_into_no_reply_is_a_dead_letter_and_the_others_are_answered(world: World) -> None:
    """The letter names its size and the setting, the client gets a failure, and the worker goes on."""
    large = world.send({"padding": "x" * 3_000_000})
    small = [world.send() for _ in range(3)]
    limit_replies(world, 600_000)
    worker = world.start("small")
    world.answered()
    assert worker.stop() == 0
    assert {world.result(task)["pid"] for task in small} == {worker.pid}
    assert world.result(large)["exc_type"] == "Rejected"
    assert "more than the server sends in a reply (client-output-buffer-limit normal)" in worker.log.read_text()
    limit_replies(world, 0)
    assert world.redis.zcard("mlq:dead") == 1


def test_answers_that_do_not_fit_into_a_reply_are_collected_in_parts(world: World) -> None:
    """`mlq submit --wait` reads up to 16 chunks in one request."""
    rows = world.directory / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": str(i), "padding": "x" * 100_000}) + "\n" for i in range(40)))
    model = world.directory / "serve.py"
    model.write_text(model.read_text().replace('return {"id": row["id"],', 'return {"echo": row["padding"],'))
    limit_replies(world, 600_000)
    world.start("small").wait_ready()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mlq")), "submit", str(rows), "--wait", "-o", "out.jsonl", "--chunk", "1"],
        env=world.environment,
        cwd=world.directory,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((world.directory / "out.jsonl").read_text().splitlines()) == 40
    until(lambda: not world.left(), "nothing is left")


def test_a_request_gets_smaller_only_after_two_closed_connections() -> None:
    """A restart, a kill by an operator, silence and a refusal are no reason for smaller requests."""
    size = ReplySize(8)
    others = (RedisTimeoutError("Timeout"), RedisConnectionError("Error 111 connecting to a:1. Connection refused."))
    for exc in (CUT, *others, CUT, *others):
        assert not size.failed(exc)
    assert size.count == 8
    for expected in (8, 4, 2, 1):
        assert not size.failed(CUT)
        assert size.count == expected
    assert size.scaled(1000) == 125
    assert size.failed(CUT), "it cannot become smaller"
    for _ in range(256):
        size.fitted()
    assert size.count == 2


def test_the_error_about_a_result_that_fits_into_no_reply_names_the_fix() -> None:
    """After the fix the job can go on."""
    error = UnsendableEnd(job="j")
    assert error.exit_code == 4
    assert "`mlq result j`" in error.hint


@pytest.mark.parametrize("setting", ["timeout", "tracking-table-max-keys", "lua-time-limit"])
def test_work_goes_on_with_odd_settings_of_the_server(world: World, setting: str) -> None:
    """Idle clients are closed after a second, the table of tracked keys overflows, and every script counts as slow."""
    world.redis.config_set(setting, 1)
    worker = world.start("odd")
    worker.wait_ready()
    for _ in range(3):
        world.send()
        world.answered()
        world.redis.client_pause(1100)
    world.redis.script_flush()
    world.send()
    world.answered()
    assert worker.stop() == 0
    world.check()
