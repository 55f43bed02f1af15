"""A configuration names code and a broker: a file that another user may have written is refused with an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlq.settings import config_files
from mlq.settings.config import ORIGINS, load
from mlq.settings.errors import UntrustedConfig
from tests.conftest import User

MALLORY = 12345
"""The id of another user; only root can create files of that user."""

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
    """Return a directory of this user with a configuration, outside any repository or home directory."""
    directory = tmp_path / "project"
    (directory / "deep").mkdir(parents=True)
    (directory / "mlq.toml").write_text(EXPIRES)
    return directory


def read_setting(cwd: Path) -> int:
    """Read a setting from a working directory."""
    return load({}, cwd=cwd).result_expires


@as_root
def test_a_model_that_another_users_file_names_does_not_run_as_the_operator(user: User) -> None:
    """Commands run the model that a file in a parent directory names, so the owner of the file must be trusted."""
    theirs = user.directory / "theirs"
    (theirs / "deep").mkdir(parents=True)
    (theirs / "serve.py").write_text(ATTACK)
    (theirs / "mlq.toml").write_text('[worker]\nmodel = "serve.py:Model"\n')
    for path in (theirs, *theirs.iterdir()):
        os.chown(path, MALLORY, MALLORY)
    user.directory = theirs / "deep"
    started = user.command("worker", "start", "--cpus", "1")
    try:
        assert started.wait() == 3
    finally:
        started.process.kill()
    assert not (theirs / "ran").exists()
    happened, hint = started.lines
    assert happened.startswith(f"mlq: the configuration file {theirs}/mlq.toml is not used")
    assert f"{theirs} belongs to uid {MALLORY}, mode 0755" in happened
    assert f"`chown root {theirs}`" in hint
    assert user.run("values", "queues").stdout == ""


@pytest.mark.parametrize(
    ("place", "mode", "who", "fix"),
    [
        ("mlq.toml", 0o646, "every user", "chmod o-w"),
        (".", 0o757, "every user", "chmod o-w"),
        (".", 0o777, "every user", "o-w"),
    ],
)
def test_a_file_that_others_may_write_is_refused_with_the_command_that_fixes_it(
    project: Path, place: str, mode: int, who: str, fix: str
) -> None:
    """Others may write to the file itself, or to the directory, in which they could replace it."""
    (project / place).chmod(mode)
    with pytest.raises(UntrustedConfig) as raised:
        read_setting(project / "deep")
    assert f"mode {mode:04o}" in raised.value.message
    assert who in raised.value.message
    assert fix in raised.value.hint
    (project / place).chmod(mode & 0o755)
    assert read_setting(project / "deep") == 7


@as_root
def test_the_group_may_write_only_if_it_is_the_owners_private_group(project: Path) -> None:
    """If each user has a private group, umask 002 makes every file group-writable."""
    (project / "mlq.toml").chmod(0o664)
    assert read_setting(project) == 7  # root:root
    os.chown(project / "mlq.toml", 0, MALLORY)
    with pytest.raises(UntrustedConfig, match=f"group {MALLORY} may write it"):
        read_setting(project)


@as_root
def test_a_link_and_its_target_are_both_checked(project: Path, tmp_path: Path) -> None:
    """A link of this user to another user's file is that user's file.

    In /tmp another user's link may lead to any file.
    """
    other = tmp_path / "other.toml"
    (project / "mlq.toml").replace(other)
    (project / "mlq.toml").symlink_to(other)
    assert read_setting(project) == 7  # as Kubernetes mounts a ConfigMap
    os.chown(other, MALLORY, MALLORY)
    with pytest.raises(UntrustedConfig, match=f"{MALLORY}"):
        read_setting(project)
    os.chown(other, 0, 0)
    project.chmod(0o1777)
    os.chown(project / "mlq.toml", MALLORY, MALLORY, follow_symlinks=False)
    with pytest.raises(UntrustedConfig, match=f"{MALLORY}"):
        read_setting(project)


def test_a_file_that_is_replaced_after_the_check_is_still_checked(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opened file is checked, not the name, which may stand for another file by then."""
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
        read_setting(project)


def test_the_search_ends_at_the_root_of_the_repository_and_at_the_users_home(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories above do not belong to the project."""
    below = project / "deep" / "deeper"
    below.mkdir()
    assert read_setting(below) == 7
    (project / "deep" / ".git").touch()  # in a worktree it is a file
    assert read_setting(below) == 3600
    (project / "deep" / ".git").unlink()
    monkeypatch.setenv("HOME", str(project / "deep"))
    assert read_setting(below) == 3600
    monkeypatch.setenv("HOME", str(project))
    assert read_setting(below) == 7


def test_no_user_can_block_commands_below_a_directory_like_tmp(project: Path) -> None:
    """Every user can create a file there.

    If mlq refused it, all commands and restarts below that directory would fail.
    """
    (project / "mlq.toml").chmod(0o666)
    project.chmod(0o1777)
    assert read_setting(project / "deep") == 3600
    with pytest.raises(UntrustedConfig, match="0666"):  # a command that runs in it gets the error
        read_setting(project)
    (project / "mlq.toml").chmod(0o600)
    assert read_setting(project) == 7  # no other user can replace it there


def test_the_users_own_file_and_a_named_file_are_checked_too(project: Path) -> None:
    """XDG_CONFIG_HOME of another user may stay set under su or sudo, and --config may name a file in /tmp."""
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


def test_a_project_file_without_settings_of_mlq_is_not_refused(project: Path) -> None:
    """A pyproject.toml that others may write stops no command unless it has a table for mlq."""
    (project / "mlq.toml").unlink()
    file = project / "pyproject.toml"
    file.write_text("[project]\nname = 'x'\n")
    file.chmod(0o666)
    assert read_setting(project) == 3600
    file.write_text("[tool.mlq]\nresult_expires = 7\n")
    with pytest.raises(UntrustedConfig, match="0666"):
        read_setting(project)
    file.write_text("no toml")
    assert read_setting(project) == 3600


def test_a_worker_takes_its_settings_only_from_its_supervisor(project: Path) -> None:
    """With --config the supervisor ignored the file in this directory, so its workers must ignore it, too."""
    assert load({ORIGINS: "{}"}, cwd=project).result_expires == 3600
    assert load({ORIGINS: "{}"}, cwd=project, config=project / "mlq.toml").result_expires == 7
