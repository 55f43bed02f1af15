"""A password is never shown, for every source of it and for URLs with errors, too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

CANARY = "c4n4ry"
Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

URLS = [
    f"redis://:{CANARY}@127.0.0.1:1/0",
    f"redis://worker:{CANARY}@127.0.0.1:1/0",
    f"redis://:%23{CANARY}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={CANARY}",
    f"sentinel://:{CANARY}@127.0.0.1:1;sentinel://:{CANARY}@127.0.0.1:2",
    f"http://:{CANARY}@127.0.0.1:1/0",
    # Characters that are not escaped make the URL invalid. The error must not show the password, either.
    f"redis://:#{CANARY}@127.0.0.1:1/0",
    f"redis://:/{CANARY}@127.0.0.1:1/0",
    f"redis://:?{CANARY}@127.0.0.1:1/0",
    f"redis://:@{CANARY}@127.0.0.1:1/0",
    f"redis://:[{CANARY}@127.0.0.1:1/0",
    f"redis://:{CANARY}@127.0.0.1:port/0",
]


def all_output(ended: subprocess.CompletedProcess[str]) -> str:
    """Return everything that a command wrote to stdout and stderr."""
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "args", [["config", "-v"], ["config", "--json"], ["queues", "-v"], ["queues", "--debug"]], ids=" ".join
)
def test_the_password_of_a_configured_broker_is_not_shown(mlq: Mlq, args: list[str], url: str) -> None:
    """Settings, messages, errors and tracebacks show the URL with ***."""
    ended = mlq(*args, MLQ_BROKER_URL=url, MLQ_BROKER_TRANSPORT_OPTIONS='{"master_name": "mymaster"}')
    assert CANARY not in all_output(ended)
    assert "bug in mlq" not in ended.stderr


@pytest.mark.parametrize("variable", ["CELERY_BROKER_URL", "MLQ_RESULT_BACKEND", "MLQ_STATE_URL"])
def test_no_other_url_shows_its_password(mlq: Mlq, variable: str) -> None:
    """Every setting that may contain a password is masked."""
    ended = mlq("config", "--json", **{variable: f"redis://:{CANARY}@localhost/0"})
    assert ended.returncode == 0
    assert CANARY not in all_output(ended)
    assert "***" in ended.stdout


@pytest.mark.parametrize("password", [f'"{CANARY}"', f'"a\\"{CANARY}"', "4713"])
@pytest.mark.parametrize("end", ["", "}"])
def test_transport_options_do_not_show_sentinels_password(mlq: Mlq, password: str, end: str) -> None:
    """Sentinel's password is passed to kombu in a table, which may be invalid JSON."""
    options = f'{{"master_name": "mymaster", "sentinel_kwargs": {{"password": {password}}}}}{end}'
    ended = mlq("config", "--json", MLQ_BROKER_TRANSPORT_OPTIONS=options)
    assert ended.returncode == (3 if end else 0)
    assert "mymaster" in all_output(ended)
    assert CANARY not in all_output(ended)
    assert "4713" not in all_output(ended)


@pytest.mark.parametrize("url", [u for u in URLS if not u.startswith("http:")])
def test_a_password_among_the_arguments_is_refused(mlq: Mlq, url: str) -> None:
    """`ps` shows arguments to every user of the machine; the error does not repeat the password."""
    for args in (
        ["queues", "--broker", url],
        ["--broker", url, "queues", "-v"],
        ["queues", f"--broker={url}", "--debug"],
    ):
        ended = mlq(*args)
        assert ended.returncode == 2, ended.stderr
        assert CANARY not in all_output(ended)
        assert "MLQ_BROKER_URL" in ended.stderr.splitlines()[-1]
