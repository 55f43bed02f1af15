"""A configuration names code and a broker: one that another user may have written is refused, in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlq.settings import config_files
from mlq.settings.config import ORIGINS, load
from mlq.settings.errors import UntrustedConfig
from tests.conftest import House

MALLORY = 12345
"""A user id that is not ours; to make such a user's files takes root."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")

EXPIRES = "result_expires = 7\n"

ATTACK = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
class Model:
    def predict(self, rows):
        return rows
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory of ours with a configuration, outside of any repository and home."""
    directory = tmp_path / "project"
    (directory / "deep").mkdir(parents=True)
    (directory / "mlq.toml").write_text(EXPIRES)
    return directory


def expires(cwd: Path) -> int:
    """Read a setting from a working directory."""
    return load({}, cwd=cwd).result_expires


@as_root
def test_a_model_that_another_users_file_names_does_not_run_as_the_operator(house: House) -> None:
    """Finding a file in a directory above is enough to run what it names: so whose it is decides."""
    theirs = house.directory / "theirs"
    (theirs / "deep").mkdir(parents=True)
    (theirs / "serve.py").write_text(ATTACK)
    (theirs / "mlq.toml").write_text('[worker]\nmodel = "serve.py:Model"\n')
    for path in (theirs, *theirs.iterdir()):
        os.chown(path, MALLORY, MALLORY)
    house.directory = theirs / "deep"
    started = house.command("worker", "start", "--cpus", "1")
    try:
        assert started.wait() == 3
    finally:
        started.process.kill()
    assert not (theirs / "ran").exists()
    happened, hint = started.lines
    assert happened.startswith(f"mlq: the configuration file {theirs}/mlq.toml is not used")
    assert f"{theirs} belongs to uid {MALLORY}, mode 0755" in happened
    assert f"`chown root {theirs}`" in hint
    assert house.run("values", "queues").stdout == ""


@pytest.mark.parametrize(
    ("place", "mode", "who", "fix"),
    [
        ("mlq.toml", 0o646, "every user", "chmod o-w"),
        (".", 0o757, "every user", "chmod o-w"),
        (".", 0o777, "every user", "o-w"),
    ],
)
def test_what_others_may_write_is_refused_with_the_command_that_ends_it(
    project: Path, place: str, mode: int, who: str, fix: str
) -> None:
    """The file itself, or the directory in which it could be replaced."""
    (project / place).chmod(mode)
    with pytest.raises(UntrustedConfig) as raised:
        expires(project / "deep")
    assert f"mode {mode:04o}" in raised.value.message
    assert who in raised.value.message
    assert fix in raised.value.hint
    (project / place).chmod(mode & 0o755)
    assert expires(project / "deep") == 7


@as_root
def test_a_group_may_write_only_if_it_is_the_owners_own(project: Path) -> None:
    """Where each user has a group of their own, umask 002 makes every file group-writable."""
    (project / "mlq.toml").chmod(0o664)
    assert expires(project) == 7  # root:root
    os.chown(project / "mlq.toml", 0, MALLORY)
    with pytest.raises(UntrustedConfig, match=f"group {MALLORY} may write it"):
        expires(project)


@as_root
def test_a_link_is_judged_and_so_is_what_it_leads_to(project: Path, tmp_path: Path) -> None:
    """A link of ours to another user's file is their file; in /tmp a link of theirs may lead to any file of ours."""
    other = tmp_path / "other.toml"
    (project / "mlq.toml").replace(other)
    (project / "mlq.toml").symlink_to(other)
    assert expires(project) == 7  # as Kubernetes mounts a ConfigMap
    os.chown(other, MALLORY, MALLORY)
    with pytest.raises(UntrustedConfig, match=f"{MALLORY}"):
        expires(project)
    os.chown(other, 0, 0)
    project.chmod(0o1777)
    os.chown(project / "mlq.toml", MALLORY, MALLORY, follow_symlinks=False)
    with pytest.raises(UntrustedConfig, match=f"{MALLORY}"):
        expires(project)


def test_a_file_that_is_exchanged_after_the_look_is_judged_all_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened is judged, not the name: that may stand for another file by then."""
    look = config_files._facts
    other = tmp_path / "other"
    other.write_text("result_expires = 8\n")
    other.chmod(0o666)

    def look_and_exchange(name: str, directory: int) -> os.stat_result | None:
        facts = look(name, directory)
        if name == "mlq.toml" and other.exists():
            other.replace(project / name)
        return facts

    monkeypatch.setattr(config_files, "_facts", look_and_exchange)
    with pytest.raises(UntrustedConfig, match="0666"):
        expires(project)


def test_the_search_ends_at_the_root_of_the_repository_and_at_the_users_home(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies above is no part of the project."""
    below = project / "deep" / "deeper"
    below.mkdir()
    assert expires(below) == 7
    (project / "deep" / ".git").touch()  # a worktree's is a file
    assert expires(below) == 3600
    (project / "deep" / ".git").unlink()
    monkeypatch.setenv("HOME", str(project / "deep"))
    assert expires(below) == 3600
    monkeypatch.setenv("HOME", str(project))
    assert expires(below) == 7


def test_no_user_can_stop_what_runs_below_a_directory_like_tmp(project: Path) -> None:
    """There anybody can leave a file: to refuse it would stop every command and every restart of those below it."""
    (project / "mlq.toml").chmod(0o666)
    project.chmod(0o1777)
    assert expires(project / "deep") == 3600
    with pytest.raises(UntrustedConfig, match="0666"):  # who works in it is told
        expires(project)
    (project / "mlq.toml").chmod(0o600)
    assert expires(project) == 7  # nobody else can exchange it there


def test_the_users_own_file_and_one_that_is_named_are_judged_too(project: Path) -> None:
    """XDG_CONFIG_HOME may be inherited from another user through su or sudo; --config may be a file in /tmp."""
    own = project / "xdg" / "mlq" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(EXPIRES)
    environ = {"XDG_CONFIG_HOME": str(project / "xdg")}
    assert load(environ, cwd=project / "deep").origin("result_expires").endswith("mlq.toml")
    own.parent.chmod(0o777)
    with pytest.raises(UntrustedConfig, match="0777"):
        load(environ, cwd=project / "deep")
    named = project / "mlq.toml"
    named.chmod(0o666)
    with pytest.raises(UntrustedConfig, match="0666"):
        load({}, config=named)


def test_a_project_file_of_another_tool_is_nothing_to_complain_about(project: Path) -> None:
    """A pyproject.toml that others may write stops no command unless it speaks of mlq."""
    (project / "mlq.toml").unlink()
    file = project / "pyproject.toml"
    file.write_text("[project]\nname = 'x'\n")
    file.chmod(0o666)
    assert expires(project) == 3600
    file.write_text("[tool.mlq]\nresult_expires = 7\n")
    with pytest.raises(UntrustedConfig, match="0666"):
        expires(project)
    file.write_text("no toml")
    assert expires(project) == 3600


def test_a_worker_takes_its_settings_from_its_supervisor_alone(project: Path) -> None:
    """With --config the supervisor passed the file here by: its workers must, too."""
    assert load({ORIGINS: "{}"}, cwd=project).result_expires == 3600
    assert load({ORIGINS: "{}"}, cwd=project, config=project / "mlq.toml").result_expires == 7
