"""PyPI has another project named mlq with the same package directory: the command detects it.

The order of installation does not matter.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import mlq
import mlq_cli
from benchmarks.environments import ROOT, Environment
from tests.environments import foreign_wheel, private, this_version

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def own_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this version."""
    return this_version(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def environment(state: Path, own_wheel: Path) -> Environment:
    """Return an environment with this version installed."""
    made = Environment.create(state / "env")
    made.install(own_wheel)
    return made


@pytest.fixture
def call(state: Path, environment: Environment) -> Call:
    """Return a function that runs the installed command."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment.mlq, *args],
            env={**private(state), **more},
            cwd=state,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_the_name_of_the_distribution_is_the_same_everywhere() -> None:
    """It is written in mlq_cli.py, which must work with a broken package, in the hints and in pyproject.toml."""
    named, *_ = re.findall('^name = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert named == mlq_cli.DISTRIBUTION == mlq.DISTRIBUTION
    assert f"pip install {mlq.DISTRIBUTION}" in (ROOT / "README.md").read_text()


def test_an_installation_of_this_project_alone_prints_no_warning(call: Call) -> None:
    """The check prints only errors."""
    done = call("config")
    assert (done.returncode, done.stderr) == (0, "")
    assert call("--version").stdout == f"mlq {mlq.__version__}\n"


def test_another_distribution_that_was_installed_later_is_named_with_the_fix(
    call: Call, environment: Environment, state: Path, own_wheel: Path
) -> None:
    """Its mlq/__init__.py is empty. After the fix in the hint the command works."""
    environment.install(foreign_wheel(state))
    for command in (["queues"], ["--version"], ["worker", "start", "--cpus", "1"]):
        done = call(*command)
        assert done.returncode == 3
        error, hint = done.stderr.splitlines()
        assert f"mlq 0.2.2 in {environment.packages} has replaced files" in error
        assert hint == "hint: `pip uninstall -y mlq`, then `pip install --force-reinstall mlq-cli`"
    assert "Traceback" in call("queues", "--debug").stderr
    environment.uninstall("mlq")
    left = call("queues")
    assert left.returncode == 3, "what it replaced is gone with it"
    assert "the installation of mlq-cli is not complete" in left.stderr
    assert "`pip install --force-reinstall mlq-cli`" in left.stderr
    environment.install(own_wheel)
    assert call("config").stderr == ""


def test_another_distribution_that_was_installed_first_causes_a_warning(
    call: Call, environment: Environment, state: Path, own_wheel: Path
) -> None:
    """Commands work until the other one is upgraded or removed.

    Completion stays silent, because a warning would appear at the TAB.
    """
    environment.install(foreign_wheel(state))
    environment.install(own_wheel)
    done = call("config")
    assert done.returncode == 0
    assert done.stderr.startswith("mlq: warning: mlq 0.2.2 in ")
    assert "hint: `pip uninstall -y mlq`" in done.stderr
    assert call("values", "queues").stderr == ""


@pytest.mark.parametrize(
    "metadata", ["mlq-0.1.0.dist-info", "mlq-0.2.2-py3.11.egg-info", "mlq-9.9.dist-info", "mlq-0.1.0.egg-info"]
)
def test_metadata_of_every_installer_is_read(metadata: str, tmp_path: Path) -> None:
    """This project's distribution had the other name once, too, and its removal would delete the files."""
    (tmp_path / metadata).mkdir()
    (tmp_path / "mlq_cli-0.1.0.dist-info").mkdir()
    (tmp_path / "mlqm-1.0.dist-info").mkdir()
    (seen,) = mlq_cli.installed_beside(tmp_path)
    assert metadata.startswith(seen.replace(" ", "-"))


@pytest.mark.parametrize("missing", ["mlq/cli/main.py", "mlq/errors.py", "mlq/cli/invocation.py"])
def test_a_missing_file_is_reported_as_an_incomplete_installation(
    missing: str, call: Call, environment: Environment
) -> None:
    """After an interrupted upgrade or on a full disk: two lines, never a traceback."""
    (environment.packages / missing).unlink()
    for cached in environment.packages.rglob("__pycache__/*.pyc"):
        cached.unlink()
    done = call("config")
    assert done.returncode == 3
    assert "the installation of mlq-cli is not complete" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_the_error_names_a_requirement_that_is_not_met(call: Call, environment: Environment) -> None:
    """The other project requires redis 2.10.6, and pip installs that."""
    packages = environment.packages
    (packages / "redis").mkdir()
    (packages / "redis" / "__init__.py").write_text("class Redis: ...\n")
    (packages / "redis-2.10.6.dist-info").mkdir()
    (packages / "redis-2.10.6.dist-info" / "METADATA").write_text("Name: redis\nVersion: 2.10.6\n")
    done = call("queues", MLQ_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 3, done.stderr
    assert "redis<9,>=5.2 is needed, 2.10.6 is installed" in done.stderr
    assert done.stderr.splitlines()[1:] == ["hint: `pip install --force-reinstall mlq-cli`"]
