"""What lies in the working directory runs in mlq's processes only if it is the operator's, and never in mlq's place."""

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
from tests.conftest import House, Start

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
def shadowed(house: House) -> House:
    """A working directory in which every user can leave modules, and one of them did."""
    for name in SHADOWS:
        house.write(f"{name}.py", SHADOW)
    house.directory.chmod(0o777)
    return house


def ran(house: House) -> str:
    """Name the modules that ran."""
    log = house.directory / "ran"
    return log.read_text() if log.exists() else ""


@pytest.mark.server
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["engine", "prefork"]
)
def test_a_strangers_module_does_not_run_in_a_worker(
    shadowed: House, client: Celery, start: Start, pool: list[str]
) -> None:
    """A psutil.py in a directory like /tmp. The model was named: it is served, with a warning."""
    workers = start(*pool)
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    assert ran(shadowed) == ""
    workers.wait_for(f"no modules are looked for in {shadowed.directory}: {shadowed.directory} belongs to")
    workers.wait_for(f"every user can exchange the model serve.py: `chmod o-w {shadowed.directory}`")


@pytest.mark.server
def test_nor_in_the_supervisor_behind_a_command(shadowed: House) -> None:
    """`--detach` starts another Python for it."""
    started = shadowed.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model", "--detach")
    try:
        assert started.returncode == 0, started.stderr
        assert ran(shadowed) == ""
    finally:
        shadowed.run("worker", "stop", "--all", "--drain-timeout", "0")


@pytest.mark.server
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["engine", "prefork"]
)
def test_a_module_of_ones_own_does_not_take_the_place_of_mlqs(
    house: House, client: Celery, start: Start, pool: list[str]
) -> None:
    """A redis.py beside one's tasks is a nuisance, and no reason to fail; one's tasks are found there all the same."""
    for name in ("psutil", "orjson", "redis"):
        house.write(f"{name}.py", SHADOW)
    house.write("own.py", TASKS)
    start(*pool, MLQ_WORKER_IMPORTS="own")
    assert client.send_task("own.hello", queue="realtime").get(timeout=60) == "hello"
    assert ran(house) == ""


@pytest.mark.server
def test_tasks_in_a_directory_of_others_are_refused_with_two_ways_out(house: House, broker: str, start: Start) -> None:
    """To change its mode, or to name it in PYTHONPATH, which is the operator's own word."""
    del broker
    house.write("own.py", TASKS)
    house.directory.chmod(0o777)
    house.environment["MLQ_WORKER_IMPORTS"] = "own"
    refused = house.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    assert refused.returncode == 3
    assert f"`chmod o-w {house.directory}`, or name the directory in PYTHONPATH" in refused.stderr
    start("--cpus", "1", PYTHONPATH=str(house.directory))


@pytest.mark.parametrize("module", ["mlq", "mlq.migrate", "mlq.worker", "mlq.prefork", "mlq.rerun"])
def test_python_m_looks_elsewhere_as_soon_as_it_has_found_mlq(shadowed: House, module: str) -> None:
    """People type it, and supervisors of older versions start their workers so. Only -P comes before runpy, too."""
    for name in ("runpy", "pkgutil"):
        (shadowed.directory / f"{name}.py").unlink()
    run(shadowed, [sys.executable, "-m", module, "--help"])
    assert ran(shadowed) == ""


@pytest.mark.parametrize("module", ["mlq", "mlq.migrate", "mlq.worker"])
def test_the_launcher_of_python_3_10_never_looks_there(shadowed: House, module: str) -> None:
    """It has no -P."""
    said = run(shadowed, [sys.executable, "-c", python_command._WITHOUT_DIRECTORY, module, "--help"])
    assert said.startswith(("Usage: ", "usage: "))
    assert ran(shadowed) == ""


def run(house: House, command: list[str]) -> str:
    """Run a command in the working directory of a user, and give what it says."""
    done = subprocess.run(
        command, cwd=house.directory, env=house.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def test_python_is_started_through_the_launcher_alone() -> None:
    """A new place that starts `python -m` would look into the working directory again."""
    starters = {
        path.name
        for path in Path(python_command.__file__).parents[1].rglob("*.py")
        if re.search(r"\[sys\.executable, (?!\"-I\")", path.read_text())
    }
    assert starters == {"python_command.py"}


@as_root
def test_a_strangers_model_in_a_directory_like_tmp_is_refused(tmp_path: Path) -> None:
    """There the name of a model that one is about to write can be taken by anybody."""
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
def test_a_model_that_a_group_keeps_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store of models is often a group's, and its files another user's than the worker's: they were named."""
    model = tmp_path / "serve.py"
    model.write_text("")
    for path in (model, tmp_path):
        os.chown(path, 0, MALLORY)
        path.chmod(0o775)
    places.demand_own(model)
    assert caplog.messages == []


def test_where_python_looks_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Directory and remedy, not with each module."""
    monkeypatch.setattr(places, "_refused", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    tmp_path.chmod(0o777)
    hints = [places.search_first(tmp_path) for _ in range(3)]
    assert hints[0] == hints[2]
    assert f"chmod o-w {tmp_path}" in str(hints[0])
    assert len(caplog.messages) == 1
    assert str(tmp_path) not in sys.path
