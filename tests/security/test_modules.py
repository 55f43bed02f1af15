"""Modules in the working directory run only if they are the operator's, and never replace modules of mlq."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from mlq.ipc import python_command
from mlq.model import places
from mlq.model.failure import NotServable
from tests.conftest import Start, User

MALLORY = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")

SHADOWS = ("psutil", "orjson", "redis", "celery", "kombu", "argparse", "runpy", "pkgutil", "secrets", "sitecustomize_")

SHADOW = """
from pathlib import Path
Path(__file__).with_name("ran").open("a").write(f"{__name__}\\n")
raise SystemExit("a stranger's module")
"""

TASKS = 'from celery import shared_task\n@shared_task(name="own.hello")\ndef hello():\n    return "hello"\n'


@pytest.fixture
def shared_directory(user: User) -> User:
    """Return a working directory to which every user may write, and in which another user has left modules."""
    for name in SHADOWS:
        user.write(f"{name}.py", SHADOW)
    user.directory.chmod(0o777)
    return user


def ran(user: User) -> str:
    """Return the names of the modules that ran."""
    log = user.directory / "ran"
    return log.read_text() if log.exists() else ""


@pytest.mark.server
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["engine", "prefork"]
)
def test_another_users_module_does_not_run_in_a_worker(
    shared_directory: User, client: Celery, start: Start, pool: list[str]
) -> None:
    """For example a psutil.py in /tmp. The operator named the model, so it is served, with a warning."""
    workers = start(*pool)
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    assert ran(shared_directory) == ""
    workers.wait_for(
        f"no modules are looked for in {shared_directory.directory}: {shared_directory.directory} belongs to"
    )
    workers.wait_for(f"every user can replace the model serve.py: `chmod o-w {shared_directory.directory}`")


@pytest.mark.server
def test_another_users_module_does_not_run_in_a_detached_supervisor(shared_directory: User) -> None:
    """`--detach` starts another Python for it."""
    started = shared_directory.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model", "--detach")
    try:
        assert started.returncode == 0, started.stderr
        assert ran(shared_directory) == ""
    finally:
        shared_directory.run("worker", "stop", "--all", "--drain-timeout", "0")


@pytest.mark.server
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["engine", "prefork"]
)
def test_a_module_of_the_operator_does_not_replace_a_module_of_mlq(
    user: User, client: Celery, start: Start, pool: list[str]
) -> None:
    """A redis.py beside the operator's tasks is no reason to fail, and the tasks are still found."""
    for name in ("psutil", "orjson", "redis"):
        user.write(f"{name}.py", SHADOW)
    user.write("own.py", TASKS)
    start(*pool, MLQ_WORKER_IMPORTS="own")
    assert client.send_task("own.hello", queue="realtime").get(timeout=60) == "hello"
    assert ran(user) == ""


@pytest.mark.server
def test_tasks_in_a_directory_of_others_are_refused_with_two_fixes(user: User, broker: str, start: Start) -> None:
    """Change the directory's mode, or name it in PYTHONPATH, which only the operator sets."""
    del broker
    user.write("own.py", TASKS)
    user.directory.chmod(0o777)
    user.environment["MLQ_WORKER_IMPORTS"] = "own"
    refused = user.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    assert refused.returncode == 3
    assert f"`chmod o-w {user.directory}`, or name the directory in PYTHONPATH" in refused.stderr
    start("--cpus", "1", PYTHONPATH=str(user.directory))


@pytest.mark.parametrize("module", ["mlq", "mlq.migrate", "mlq.worker", "mlq.prefork", "mlq.rerun"])
def test_python_m_drops_the_working_directory_once_it_has_found_mlq(shared_directory: User, module: str) -> None:
    """Users type it, and supervisors of older versions start workers with it. Only -P works before runpy, too."""
    for name in ("runpy", "pkgutil"):
        (shared_directory.directory / f"{name}.py").unlink()
    run(shared_directory, [sys.executable, "-m", module, "--help"])
    assert ran(shared_directory) == ""


@pytest.mark.parametrize("module", ["mlq", "mlq.migrate", "mlq.worker"])
def test_the_launcher_of_python_3_10_never_searches_the_working_directory(shared_directory: User, module: str) -> None:
    """Python 3.10 has no -P."""
    output = run(shared_directory, [sys.executable, "-c", python_command._WITHOUT_DIRECTORY, module, "--help"])
    assert output.startswith(("Usage: ", "usage: "))
    assert ran(shared_directory) == ""


def run(user: User, command: list[str]) -> str:
    """Run a command in a user's working directory, and return its output."""
    done = subprocess.run(
        command, cwd=user.directory, env=user.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def test_python_is_started_only_through_the_launcher() -> None:
    """New code that starts `python -m` would search the working directory again."""
    starters = {
        path.name
        for path in Path(python_command.__file__).parents[1].rglob("*.py")
        if re.search(r"\[sys\.executable, (?!\"-I\")", path.read_text())
    }
    assert starters == {"python_command.py"}


@as_root
def test_another_users_model_in_a_directory_like_tmp_is_refused(tmp_path: Path) -> None:
    """There any user can take the file name before the operator writes the model."""
    tmp_path.chmod(0o1777)
    model = tmp_path / "serve.py"
    model.write_text("")
    places.demand_own(model)
    os.chown(model, MALLORY, MALLORY)
    with pytest.raises(NotServable, match=f"uid {MALLORY}"):
        places.demand_own(model)
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", MALLORY, MALLORY)
    model.replace(tmp_path / "theirs" / "serve.py")
    model.symlink_to(tmp_path / "theirs" / "serve.py")
    os.chown(tmp_path / "theirs" / "serve.py", 0, 0)
    with pytest.raises(NotServable, match="theirs belongs to"):
        places.demand_own(model)


@as_root
def test_a_model_that_belongs_to_a_group_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shared store of models often belongs to a group or another user, and the operator named the file."""
    model = tmp_path / "serve.py"
    model.write_text("")
    for path in (model, tmp_path):
        os.chown(path, 0, MALLORY)
        path.chmod(0o775)
    places.demand_own(model)
    assert caplog.messages == []


def test_the_warning_about_the_directory_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """It has the directory and the fix, and is not repeated for each module."""
    monkeypatch.setattr(places, "_refused", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    tmp_path.chmod(0o777)
    hints = [places.search_first(tmp_path) for _ in range(3)]
    assert hints[0] == hints[2]
    assert f"chmod o-w {tmp_path}" in str(hints[0])
    assert len(caplog.messages) == 1
    assert str(tmp_path) not in sys.path
