"""Jobs as a user runs them: resumed, cancelled, interrupted, collected once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis

from mlq.broker import embedded
from mlq.protocol import keys
from mlq.protocol.job_result import KEPT_S
from mlq.store.jobs.record import RECORD_KEPT_S
from tests.conftest import MLQ

DEADLINE_S = 60


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an output file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def broker_client(user: Any) -> Redis:
    """Return a client of the broker."""
    return Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://"))


def start_submit(user: Any, *argv: str) -> subprocess.Popen[bytes]:
    """Start `mlq submit` in the background."""
    command = (str(Path(sys.executable).with_name("mlq")), "submit", *argv)
    with (user.directory / "client.log").open("ab") as log:
        return subprocess.Popen(command, env=user.environment, cwd=user.directory, stderr=log)


def computed_rows(user: Any) -> list[str]:
    """Return the rows that were computed, in order."""
    log = (user.directory / "model.log").read_text()
    return [line.rpartition(" ")[0].removeprefix("start ") for line in log.splitlines()]


def test_resume_runs_only_missing_and_failed_rows(user: Any, start: Any) -> None:
    """Completed rows do not run again. The output has one line per row, in order."""
    start("--cpus", "1")
    rows = user.write("rows.jsonl", "".join(json.dumps(r) + "\n" for r in [1, {"fail": "no"}, 3, 4]))
    out = user.directory / "out.jsonl"
    first = user.run("submit", str(rows), "--wait", "-o", str(out), "--errors", "errors.jsonl")
    assert first.returncode == 6, first.stderr
    assert (user.directory / "errors.jsonl").read_text() == '{"fail": "no"}\n'
    whole = out.read_text()
    (user.directory / "model.log").unlink()
    out.write_text("".join(whole.splitlines(keepends=True)[:3]) + '{"id": 3, "ind')  # as after a kill
    again = user.run("submit", str(rows), "--wait", "-o", str(out), "--resume")
    assert again.returncode == 6, again.stderr
    assert [line["index"] for line in read_lines(out)] == [0, 1, 2, 3]
    assert set(computed_rows(user)) == {"4", "{'fail': 'no'}"}


def test_resume_refuses_another_input_and_starts_a_job_without_output(user: Any, start: Any) -> None:
    """It also refuses the input as output, a file that mlq did not write, and an existing output without --resume."""
    start("--cpus", "1")
    user.write("rows.jsonl", "1\n2\n")
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume").returncode == 0
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume").returncode == 0
    exists = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl")
    assert (exists.returncode, "--resume" in exists.stderr) == (2, True)
    user.write("rows.jsonl", "1\n3\n")
    other = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume")
    assert (other.returncode, "nothing was sent" in other.stderr) == (2, True)
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "rows.jsonl", "--resume").returncode == 2
    user.write("theirs.jsonl", "mine\n")
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "theirs.jsonl", "--resume").returncode == 2
    assert (user.directory / "theirs.jsonl").read_text() == "mine\n"


def test_a_job_that_is_submitted_twice_runs_once(user: Any, start: Any) -> None:
    """Both have the same --job-id. Another file under that id is refused, and collected answers are gone from Redis."""
    start("--cpus", "1")
    user.write("rows.jsonl", "1\n2\n3\n")
    for _ in range(2):
        assert user.run("submit", "rows.jsonl", "--job-id", "nightly").stdout == "nightly\n"
    collected = user.run("result", "nightly", "--wait")
    assert [json.loads(line)["index"] for line in collected.stdout.splitlines()] == [0, 1, 2]
    assert sorted(computed_rows(user)) == ["1", "2", "3"]
    user.write("other.jsonl", "9\n")
    refused = user.run("submit", "other.jsonl", "--job-id", "nightly")
    assert (refused.returncode, "nightly exists" in refused.stderr) == (2, True)
    assert user.run("result", "nightly", "--wait").returncode == 5
    with broker_client(user) as redis:
        assert redis.xlen(keys.ends("nightly")) == redis.exists(keys.chunks("nightly")) == 0
        assert redis.keys("celery-task-meta-*") == []
    shown = user.json("job", "show", "nightly")
    assert shown == {**shown, "schema": "mlq.job/1", "state": "done", "rows": 3, "done": 3, "ok": 3, "failed": 0}
    assert [job["job"] for job in user.json("job")["jobs"]] == ["nightly"]


def test_a_cancelled_job_stops_within_a_batch_and_keeps_its_answers(user: Any, start: Any) -> None:
    """Its client ends with exit code 7, and names the command that runs the rest."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    rows = [1, 2, 3, 4, {"wait_for": str(gate)}, *range(6, 20)]
    user.write("rows.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    waiting = start_submit(user, "rows.jsonl", "--wait", "-o", "out.jsonl", "--job-id", "long", "--chunk", "2")
    user.until(
        lambda: "wait_for" in "".join(computed_rows(user)) if (user.directory / "model.log").exists() else False, "5"
    )
    assert user.run("job", "cancel", "long").returncode == 0
    gate.touch()
    assert waiting.wait(DEADLINE_S) == 7
    assert len(computed_rows(user)) < len(rows)
    assert [line["result"]["row"] for line in read_lines(user.directory / "out.jsonl")[:4]] == [1, 2, 3, 4]
    assert user.json("job", "show", "long")["state"] == "cancelled"
    resumed = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume", "--chunk", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert [line["result"]["row"] for line in read_lines(user.directory / "out.jsonl")] == rows


def test_an_interrupted_job_collects_the_rows_in_flight_and_names_the_command_to_resume(user: Any, start: Any) -> None:
    """The exit code is 7. Rows that were not sent are not lost, because they were never read."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    user.write("rows.jsonl", "".join(json.dumps({"wait_for": str(gate), "n": n}) + "\n" for n in range(30)))
    argv = ["rows.jsonl", "--wait", "-o", "out.jsonl", "--chunk", "1", "--max-inflight", "4"]
    waiting = start_submit(user, *argv)
    user.until((user.directory / "model.log").exists, "the first row runs")
    waiting.send_signal(signal.SIGINT)
    gate.touch()
    assert waiting.wait(DEADLINE_S) == 7
    assert 1 <= len(read_lines(user.directory / "out.jsonl")) <= 8
    assert user.run("submit", *argv, "--resume").returncode == 0
    assert [line["result"]["row"]["n"] for line in read_lines(user.directory / "out.jsonl")] == [*range(30)]


def test_too_many_failed_rows_stop_a_job(user: Any, start: Any) -> None:
    """A wrong file is detected early; the exit code is 6."""
    start("--cpus", "1")
    user.write("rows.jsonl", "".join(json.dumps({"fail": "no", "n": n}) + "\n" for n in range(200)))
    # Without --max-inflight, all 200 rows may be sent, and may have run, before the first failure is known.
    options = ("--max-errors", "5", "--chunk", "1", "--max-inflight", "8")
    done = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", *options)
    assert (done.returncode, "--max-errors 5" in done.stderr) == (6, True)
    assert 5 < len(read_lines(user.directory / "out.jsonl")) < 200
    user.write("serve.py", (user.directory / "serve.py").read_text().replace('"fail" in row', "False"))
    user.json("worker", "restart", "--all")
    again = ("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--max-errors", "5", "--chunk", "1", "--resume")
    assert user.run(*again).returncode == 0, "the failures of before do not count"
    assert {line["status"] for line in read_lines(user.directory / "out.jsonl")} == {"ok"}


def test_a_second_result_command_does_not_overwrite_or_lose_answers(user: Any, start: Any) -> None:
    """Answers are removed from Redis when they are written, so the file is the only copy."""
    start("--cpus", "1")
    user.write("rows.jsonl", '{"fail": "no"}\n1\n')
    one_file = user.run("submit", "rows.jsonl", "--wait", "-o", "x.jsonl", "--errors", "x.jsonl")
    assert (one_file.returncode, "--errors and -o both name x.jsonl" in one_file.stderr) == (2, True)
    nowhere = user.run("submit", "rows.jsonl", "--wait", "-o", "x.jsonl", "--errors", "missing/e.jsonl")
    assert nowhere.returncode == 5
    job = user.run("submit", "rows.jsonl").stdout.strip()
    assert user.run("result", job, "--wait", "-o", "out.jsonl").returncode == 6
    twice = user.run("result", job, "-o", "out.jsonl")
    assert (twice.returncode, "keep this one" in twice.stderr) == (2, True)
    assert user.run("result", job, "-o", "other.jsonl").returncode == 5
    assert not (user.directory / "other.jsonl").exists()


def test_a_client_does_not_wait_for_answers_that_have_expired(user: Any, start: Any) -> None:
    """Answers are kept for a week and the job's record for a month. A client that asks in between gets an error."""
    start("--cpus", "1")
    user.write("rows.jsonl", "1\n2\n")
    job = user.run("submit", "rows.jsonl", "--job-id", "old").stdout.strip()
    user.until(lambda: user.json("job", "show", job)["state"] == "done", "it is done")
    with broker_client(user) as redis:
        redis.delete(*(f"{keys.ends(job)}{part}" for part in ("", ":done", ":tally")))
        redis.expire(keys.job(job), RECORD_KEPT_S - KEPT_S - 60)
    expired = user.run("result", job, "--wait", "-o", "out.jsonl")
    assert (expired.returncode, "have expired" in expired.stderr) == (5, True)


def test_a_closed_output_pipe_is_not_reported_as_a_broker_that_is_away(user: Any, start: Any) -> None:
    """`mlq submit … | head -1` has read the line that it wanted."""
    start("--cpus", "1")
    user.write("rows.jsonl", "".join(f'"{n} {"x" * 2000}"\n' for n in range(500)))
    argv = [MLQ, "submit", "rows.jsonl", "--wait", "--chunk", "1"]
    with subprocess.Popen(
        argv, env=user.environment, cwd=user.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as submitting:
        assert submitting.stdout is not None
        assert submitting.stderr is not None
        submitting.stdout.readline()
        submitting.stdout.close()
        errors = submitting.stderr.read()
        assert (submitting.wait(60), errors) == (1, ""), "silent, as others in a pipe"


def test_any_task_can_be_a_row(user: Any, start: Any) -> None:
    """Each goes to the queue of its row, and its result is its line.

    A row that is no task, or an unknown one, is an error.
    """
    start("--cpus", "1")
    rows = [
        {"task": "mlq.predict", "args": ["a"], "queue": "realtime", "priority": 9},
        {"task": "mlq.batch_predict", "kwargs": {"rows": ["b", "c"]}},
        {"nonsense": 1},
        {"task": "unknown.task"},
    ]
    user.write("tasks.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    done = user.run("submit", "tasks.jsonl", "--tasks", "--wait")
    assert done.returncode == 6, done.stderr
    one, two, three, four = (json.loads(line) for line in done.stdout.splitlines())
    assert one["result"]["row"] == "a"
    assert [r["row"] for r in two["result"]] == ["b", "c"]
    assert three["error"]["type"] == "ValueError"
    assert "unknown.task" in four["error"]["message"]


def test_results_may_be_in_another_database_or_on_another_server(user: Any, start: Any, broker: str) -> None:
    """Each chunk's result is recorded in the result store. Record and result are never on two servers."""
    user.write("rows.jsonl", '1\n{"fail": "no"}\n3\n')
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as directory:
        other = embedded.Server(embedded.program(), Path(directory))
        other.start()
        try:
            for backend in (f"{broker}?virtual_host=3", other.url):
                user.environment["MLQ_RESULT_BACKEND"] = backend
                worker = start("--cpus", "1")
                done = user.run("submit", "rows.jsonl", "--wait")
                assert done.returncode == 6, done.stderr
                assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "error", "ok"]
                worker.end()
        finally:
            other.stop()


TROUBLE = '''
"""A model that fails in every way that is no row's own."""
import os, signal

class Model:
    max_batch_size = 1
    transient = (ConnectionError,)

    def predict(self, rows):
        if "die" in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        if "away" in rows:
            raise ConnectionError("no route")
        return rows
'''


def test_every_end_of_a_chunk_reaches_its_job(user: Any, start: Any) -> None:
    """A chunk is answered, retried in vain, or dead-lettered after it killed three workers.

    Each row has its line, and the job ends.
    """
    user.write("trouble.py", TROUBLE)
    start("--cpus", "1", model="trouble.py:Model")
    user.write("rows.jsonl", '"fine"\n"away"\n"die"\n')
    done = user.run("submit", "rows.jsonl", "--wait", "--chunk", "1")
    assert done.returncode == 6, done.stderr
    fine, away, die = (json.loads(line) for line in done.stdout.splitlines())
    assert fine["result"] == "fine"
    assert away["error"] == {"type": "ConnectionError", "message": "no route", "retryable": True, "attempts": 2}
    assert die["error"]["type"] == "WorkerLostError"
    assert "dead letter" in die["error"]["message"]


def test_a_job_that_is_interrupted_twice_leaves_the_rows_in_flight_for_later(user: Any, start: Any) -> None:
    """The exit code is 130. The command in the hint collects the rows that ran in the meantime, and runs none twice."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    user.write("rows.jsonl", "".join(json.dumps({"wait_for": str(gate), "n": n}) + "\n" for n in range(3)))
    argv = ["rows.jsonl", "--wait", "-o", "out.jsonl", "--chunk", "1"]
    waiting = start_submit(user, *argv)
    user.until((user.directory / "model.log").exists, "the first row runs")
    waiting.send_signal(signal.SIGINT)
    user.until(lambda: "sending no more" in (user.directory / "client.log").read_text(), "it has taken a note")
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(DEADLINE_S) == 130
    assert "--resume` continues" in (user.directory / "client.log").read_text()
    gate.touch()
    user.until(lambda: len(computed_rows(user)) == 3, "all rows run")
    assert user.run("submit", *argv, "--resume").returncode == 0
    assert [line["result"]["row"]["n"] for line in read_lines(user.directory / "out.jsonl")] == [0, 1, 2]
    assert len(computed_rows(user)) == 3


def test_a_realtime_row_does_not_wait_for_a_job(user: Any, start: Any) -> None:
    """It is answered between two forwards of the job."""
    start("--cpus", "1")
    user.write("rows.jsonl", "".join(json.dumps({"sleep": 0.05, "n": n}) + "\n" for n in range(400)))
    user.write("one.json", "{}")
    job = user.run("submit", "rows.jsonl", "--chunk", "100").stdout.strip()
    user.until((user.directory / "model.log").exists, "the job runs")
    assert user.run("submit", "one.json", "--wait").returncode == 0
    assert user.json("job", "show", job)["state"] == "running"
    assert len(computed_rows(user)) < 400
    assert user.run("job", "cancel", job).returncode == 0


def test_rows_whose_messages_were_deleted_are_sent_again_after_a_cancel(user: Any, start: Any) -> None:
    """They were deleted by hand, without `mlq queues purge`.

    A cancel ends the wait, and --resume runs the rest under another id.
    """
    start("--cpus", "1")
    user.write("rows.jsonl", "1\n2\n3\n")
    user.run("queues", "pause", "batch")
    waiting = start_submit(user, "rows.jsonl", "--wait", "-o", "out.jsonl", "--job-id", "lost")
    user.until(lambda: user.json("queues", "batch")["queues"][0]["ready"] == 1, "its message waits")
    with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
        redis.delete("batch")
    user.run("queues", "resume", "batch")
    user.run("job", "cancel", "lost")
    assert waiting.wait(DEADLINE_S) == 7
    assert user.run("submit", "rows.jsonl", "--job-id", "lost").returncode == 2
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume").returncode == 0
    assert [line["result"]["row"] for line in read_lines(user.directory / "out.jsonl")] == [1, 2, 3]
