"""`mlq autoscale --once`, which only looks: what it prints, and which workers it knows."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from mlq.autoscale.live import loop
from mlq.autoscale.live.bursts import Advised
from mlq.autoscale.live.scaler import Scaler
from mlq.broker import embedded
from mlq.cli import main
from mlq.protocol import keys
from mlq.store.workers import heartbeats
from mlq.store.workers.booking import Booking
from mlq.supervisor import session
from tests.heartbeats import heartbeat

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]
Look = Callable[..., "subprocess.CompletedProcess[str]"]

IDLE = heartbeat(ready_s=1.0)


@pytest.fixture
def look(mlq: Mlq, server: embedded.Server) -> Look:
    """Return a function that runs `mlq autoscale --queue realtime --cpus 4 --once …` beside a private server."""

    def once(*args: str) -> subprocess.CompletedProcess[str]:
        command = ("autoscale", "--queue", "realtime", "--cpus", "4", "--once", *args)
        return mlq(*command, MLQ_BROKER_URL=server.url)

    return once


@pytest.fixture
def idle(redis: Redis) -> Iterator[None]:
    """Keep one idle worker alive: on a loaded machine a command takes longer to start than a heartbeat lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(1):
            heartbeats.beat(redis, [IDLE])

    heartbeats.beat(redis, [IDLE])
    beating = threading.Thread(target=beat)
    beating.start()
    yield
    ended.set()
    beating.join()


def read_decision(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Read the decision of a command."""
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.usefixtures("idle")
def test_a_look_prints_the_figures_as_text_too(look: Look) -> None:
    """They are not only in --json; the plain rule needs none of them."""
    said, figures = look().stdout.splitlines()
    assert said.endswith("hold, how fast work arrives is not known yet")
    assert all(f in figures for f in ("arrivals -,", "can do -", "a start takes 1 s", "base -", "need 1", "keep 1"))
    assert "base -" in look("--threshold", "5").stdout


@pytest.mark.usefixtures("idle")
def test_a_look_beside_an_autoscaler_knows_which_workers_it_started(look: Look, redis: Redis) -> None:
    """An autoscaler may drain the workers that it started.

    Places that it has booked count as starting, before their workers report.
    """
    rule = ("--threshold", "5", "--min", "0", "--zero-after", "0", "--json")
    alone = read_decision(look(*rule))
    assert (alone["action"], alone["starting"]) == ("hold", 0), "it is not the autoscaler's, so it is left alone"
    other = Booking(redis, "realtime", "other")
    other.seek(["h:cpu0", "h:cpu1"])
    beside = read_decision(look(*rule))
    assert (beside["action"], beside["drain"], beside["starting"]) == ("drain", ["h:cpu0:1"], 1)


def test_a_look_does_not_become_leader_and_sweeps_no_places(look: Look, redis: Redis) -> None:
    """Otherwise it would be the leader for the length of a lease, and then there would be none."""
    other = Booking(redis, "realtime", "other", lead_ms=60_000, member_ms=1)
    other.seek(["h:gone"])
    leader = redis.get(keys.autoscale_leader("realtime"))
    assert read_decision(look("--json"))["starting"] == 0, "its host fell silent"
    assert leader is not None
    assert redis.get(keys.autoscale_leader("realtime")) == leader
    assert redis.zcard(keys.autoscale_members("realtime")) == 1


def test_the_command_waits_for_the_broker_for_the_given_time(mlq: Mlq, place: Path) -> None:
    """Like `mlq worker start` and `mlq up`. Without the option, or after that time, the exit code is 4."""
    (place / "serve.py").write_text("class Model:\n    pass\n")
    argv = ("autoscale", "--cpus", "1", "--min", "0", "--model", "serve.py:Model")
    away = f"redis+socket://{place}/nobody.sock"
    assert "waiting" not in mlq(*argv, MLQ_BROKER_URL=away).stderr
    waited = mlq(*argv, "--wait-broker", "1.5", MLQ_BROKER_URL=away)
    assert waited.returncode == 4
    assert waited.stderr.count("waiting for the broker: cannot reach the broker") >= 1


@pytest.mark.parametrize("more", [[], ["--keep-workers"]])
def test_waiting_for_the_broker_can_be_interrupted(place: Path, environ: dict[str, str], more: list[str]) -> None:
    """The first Ctrl-C keeps the workers, but there are none yet."""
    (place / "serve.py").write_text("class Model:\n    pass\n")
    away = {**environ, "MLQ_BROKER_URL": f"redis+socket://{place}/nobody.sock"}
    argv = ["autoscale", "--cpus", "1", "--model", "serve.py:Model", "--wait-broker", "100", *more]
    command = [sys.executable, "-m", "mlq", *argv]
    # A shell makes background processes and their children ignore SIGINT. This command behaves as on a terminal.
    typed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command,
        cwd=place,
        env=away,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=typed,  # noqa: PLW1509 (no other thread of this test holds a lock)
    ) as running:
        assert running.stderr is not None
        assert "waiting for the broker" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130


@pytest.mark.parametrize("args", [["--wait-broker", "5"], ["--rollout"], ["--keep-workers"]])
def test_a_look_refuses_options_for_running_workers(look: Look, args: list[str]) -> None:
    """No option is ignored."""
    ended = look(*args)
    assert ended.returncode == 2
    assert args[0] in ended.stderr.splitlines()[1]


def test_a_terminal_shows_the_last_decision_in_a_live_line(
    server: embedded.Server, place: Path, environ: dict[str, str]
) -> None:
    """With --min 0 no worker is started, and no line is repeated. The live line is erased when the command ends."""
    (place / "serve.py").write_text("class Model:\n    pass\n")
    ours, theirs = pty.openpty()
    argv = ["autoscale", "--cpus", "1", "--min", "0", "--interval", "0.1", "--model", "serve.py:Model"]
    with subprocess.Popen(
        [sys.executable, "-m", "mlq", *argv],
        cwd=place,
        env={**environ, "MLQ_BROKER_URL": server.url, "TERM": "xterm"},
        stderr=theirs,
    ) as running:
        os.close(theirs)
        seen = read_until(ours, lambda text: text.count("0 of 0 workers") > 5)
        running.send_signal(signal.SIGINT)
        seen += read_until(ours, lambda _: False)
    os.close(ours)
    assert running.returncode == 0, seen
    shown = [line.rpartition("\r\x1b[2K")[2] for line in seen.replace("\r\n", "\n").split("\n")]
    assert len([line for line in shown if "0 workers, want 0" in line]) == 1, "it is printed once"
    assert not [line for line in shown if "0 of 0 workers" in line]


def read_until(fd: int, enough: Callable[[str], bool]) -> str:
    """Read a terminal until the text is complete, or until the terminal is closed."""
    seen = ""
    while not enough(seen):
        try:
            more = os.read(fd, 4096).decode(errors="replace")
        except OSError:  # Linux reports this after the last writer has closed the terminal
            break
        if not more:
            break
        seen += more
    return seen


def test_the_loop_decides_beside_a_thread_that_watches_for_bursts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice of the policy is printed."""
    made: list[Any] = []

    class Loop:
        def __init__(self, *parts: Any) -> None:
            made.append(next(part for part in parts if isinstance(part, Scaler)))

        def start(self) -> None: ...

        def end(self, timeout: float | None) -> None: ...

    def run(*_: Any, beside: Any, **__: Any) -> int:
        with beside(None, None, None):
            return 0

    monkeypatch.setattr(loop, "LoopThread", Loop)
    monkeypatch.setattr(session, "run", run)
    monkeypatch.setenv("MLQ_BROKER_URL", f"redis+socket://{tmp_path}/nobody.sock")
    assert main.run(["autoscale", "--cpus", "1", "--model", "serve.py:Model"]) == 0
    (scaler,) = made
    assert isinstance(scaler._policy, Advised)
    scaler._policy._say("a burst was over")
    assert capsys.readouterr().err.endswith("\na burst was over\n")  # after the warning that no order can be recorded
