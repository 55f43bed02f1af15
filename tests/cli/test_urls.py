"""Every command uses a server's URL with all its options, or refuses it with the name of its setting."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = [
    *(["queues"], ["worker"], ["job"], ["dead"], ["result", "x"], ["autoscale", "--queue", "realtime", "--once"]),
    *(["worker", "start", "--cpus", "1", "--model", "m.py:M"], ["submit", "rows.jsonl"], ["queues", "pause", "batch"]),
]
CLOSED = "redis://127.0.0.1:1"
USED = ["/0?health_check_interval=5", "?db=1", "/0/", "?socket_timeout=0.5&client_name=x"]
REFUSED = ["?family=0", "/abc", "/-1", "/0?socket_timeout=soon", "/0?db=1&db=1", "/0?client_name="]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
def test_options_of_a_url_are_used_or_refused_by_every_command(mlq: Mlq, command: list[str]) -> None:
    """For every command a broker that is away is exit 4, and an invalid URL is exit 3."""
    for code, tails in ((4, USED[:2]), (3, REFUSED[:2])):
        for tail in tails:
            ended = mlq(*command, MLQ_BROKER_URL=CLOSED + tail)
            # A command may read a file of rows or a model before it connects.
            assert ended.returncode in {code, 5 if code == 4 else 3, 3 if "start" in command else code}, ended.stderr
            assert "bug in mlq" not in ended.stderr


@pytest.mark.parametrize("tail", USED)
def test_with_a_valid_option_the_command_tries_to_connect(mlq: Mlq, tail: str) -> None:
    """No server listens there, and the error says so."""
    ended = mlq("queues", MLQ_BROKER_URL=CLOSED + tail)
    assert ended.returncode == 4
    assert "Connection refused" in ended.stderr


@pytest.mark.parametrize("tail", REFUSED)
@pytest.mark.parametrize("variable", ["MLQ_BROKER_URL", "MLQ_RESULT_BACKEND", "MLQ_STATE_URL"])
def test_the_error_about_a_refused_option_names_it(mlq: Mlq, variable: str, tail: str) -> None:
    """It has the masked URL and the origin of the URL."""
    ended = mlq("config", **{variable: "redis://:c4n4ry@127.0.0.1:1" + tail})
    assert ended.returncode == 3
    assert f"redis://:***@127.0.0.1:1{tail}" in ended.stderr
    assert variable in ended.stderr


def test_the_error_about_an_option_that_kombu_refuses_names_the_setting(mlq: Mlq) -> None:
    """broker_transport_options is passed on unchanged, so kombu's refusal is reported as an error of that setting."""
    ended = mlq("queues", MLQ_BROKER_URL=f"{CLOSED}/0", MLQ_BROKER_TRANSPORT_OPTIONS='{"max_connections": "many"}')
    assert ended.returncode == 3
    assert "broker_transport_options" in ended.stderr
