"""The source of each setting's value, and the errors that name it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlq.broker.connection import transport_options
from mlq.security.masking import masked
from mlq.settings import config
from mlq.settings.config import DEFAULT, Settings, load, state_directory, to_environment
from mlq.settings.errors import BadConfigFile, InvalidSetting, PasswordInArguments, UnknownSetting


class Sources:
    """Every source of settings, in one directory."""

    def __init__(self, root: Path) -> None:
        self.user = root / "xdg" / "mlq" / "config.toml"
        self.project = root / "project" / "mlq.toml"
        self.pyproject = root / "project" / "pyproject.toml"
        self.cwd = root / "project" / "deep" / "deeper"
        self.environ = {"XDG_CONFIG_HOME": str(root / "xdg")}
        for directory in (self.user.parent, self.cwd):
            directory.mkdir(parents=True)

    def read(self, *, flags: dict[str, tuple[Any, str]] | None = None, file: Path | None = None) -> Settings:
        """Load from these sources only."""
        return load(self.environ, flags=flags, config=file, cwd=self.cwd)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Sources without settings."""
    return Sources(tmp_path)


def test_the_nearest_to_the_user_wins_and_is_named(sources: Sources) -> None:
    """The order is default < user file < project file < environment < flag; the origin of a value is its source."""

    def seen(**flags: tuple[Any, str]) -> tuple[int, str]:
        found = sources.read(flags=flags)
        return found.result_expires, found.origin("result_expires")

    assert seen() == (3600, DEFAULT)
    sources.user.write_text("result_expires = 1")
    assert seen() == (1, str(sources.user))
    sources.project.write_text("result_expires = 2")
    assert seen() == (2, str(sources.project))
    sources.environ["MLQ_RESULT_EXPIRES"] = "3"
    assert seen() == (3, "MLQ_RESULT_EXPIRES")
    assert seen(result_expires=(4, "--expires")) == (4, "--expires")
    assert seen(result_expires=(None, "--expires")) == (3, "MLQ_RESULT_EXPIRES")


def test_each_key_is_overridden_separately(sources: Sources) -> None:
    """A nearer file that sets one key does not affect the other keys of a farther file."""
    sources.user.write_text("result_expires = 1\n[worker]\nmax_batch_size = 8\nmodel = 'user.pt2'\n")
    sources.project.write_text("[worker]\nmodel = 'project.pt2'\n")
    found = sources.read()
    assert (found.result_expires, found.worker.max_batch_size, found.worker.model) == (1, 8, "project.pt2")
    assert found.origin("worker.max_batch_size") == str(sources.user)
    assert found.origin("worker.model") == str(sources.project)


def test_the_variable_of_mlq_wins_over_that_of_celery(sources: Sources) -> None:
    """CELERY_BROKER_URL is enough for a deployment, and MLQ_BROKER_URL can still differ."""
    sources.environ["CELERY_BROKER_URL"] = "redis://celery/0"
    assert (sources.read().broker_url, sources.read().origin("broker_url")) == ("redis://celery/0", "CELERY_BROKER_URL")
    sources.environ["MLQ_BROKER_URL"] = "redis://mlq/0"
    assert (sources.read().broker_url, sources.read().origin("broker_url")) == ("redis://mlq/0", "MLQ_BROKER_URL")


def test_an_empty_variable_is_not_set(sources: Sources) -> None:
    """`MLQ_BROKER_URL= mlq queues` unsets it, as do compose files with an unset variable."""
    sources.environ |= {"MLQ_BROKER_URL": "", "CELERY_BROKER_URL": "redis://celery/0"}
    assert sources.read().origin("broker_url") == "CELERY_BROKER_URL"


def test_pyproject_has_a_table_for_it(sources: Sources) -> None:
    """The table is [tool.mlq], which may have a table worker; the tables of other tools are ignored."""
    sources.pyproject.write_text("[tool.other]\nx = 1\n[tool.mlq]\nresult_expires = 5\nworker.output = 'classify'\n")
    found = sources.read()
    assert (found.result_expires, found.worker.output) == (5, "classify")
    assert found.origin("worker.output") == str(sources.pyproject)


def test_mlq_toml_wins_over_pyproject_beside_it(sources: Sources) -> None:
    """The file with the name of the tool is the more specific one."""
    sources.pyproject.write_text("[tool.mlq]\nresult_expires = 5\n")
    sources.project.write_text("result_expires = 6\n")
    assert sources.read().result_expires == 6


def test_a_pyproject_without_the_table_is_skipped(sources: Sources) -> None:
    """A package in a repository may have its own pyproject.toml, with the configuration in a directory above."""
    sources.project.write_text("result_expires = 6\n")
    (sources.cwd / "pyproject.toml").write_text("[project]\nname = 'inner'\n")
    assert sources.read().result_expires == 6


def test_only_the_nearest_parent_is_read(sources: Sources) -> None:
    """Files of one project are not mixed."""
    sources.project.write_text("result_expires = 6\nsocket_timeout = 1\n")
    nearest = sources.cwd.parent / "mlq.toml"
    nearest.write_text("result_expires = 7\n")
    found = sources.read()
    assert (found.result_expires, found.origin("result_expires")) == (7, str(nearest))
    assert found.origin("socket_timeout") == DEFAULT


def test_a_named_file_is_the_only_one(sources: Sources, tmp_path: Path) -> None:
    """--config replaces the files of the user and the project; the environment still wins over it."""
    sources.user.write_text("result_expires = 1\n")
    sources.project.write_text("socket_timeout = 1\n")
    sources.environ["MLQ_QUEUES"] = "one"
    named = tmp_path / "other.toml"
    named.write_text("visibility_timeout = 9\n")
    found = sources.read(file=named)
    assert (found.visibility_timeout, found.queues) == (9.0, ("one",))
    assert (found.origin("result_expires"), found.origin("socket_timeout")) == (DEFAULT, DEFAULT)


def test_a_model_is_looked_for_beside_the_file_that_names_it(sources: Sources) -> None:
    """The path in a file is relative to the file, not to the working directory."""
    model = sources.project.parent / "serve.py"
    model.touch()
    sources.project.write_text("[worker]\nmodel = 'serve.py:Model'\n")
    assert sources.read().worker.model == f"{model}:Model"


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("broker_ulr = 'redis://x'", "broker_ulr", "broker_url"),
        ("[worker]\nmodle = 'm.pt2'", "worker.modle", "worker.model"),
        ("visibility = 3", "visibility", "visibility_timeout"),
    ],
)
def test_an_unknown_key_names_the_nearest(sources: Sources, text: str, key: str, nearest: str) -> None:
    """A misspelled key is an error, since it would have no effect."""
    sources.project.write_text(text)
    with pytest.raises(UnknownSetting) as raised:
        sources.read()
    assert (raised.value.key, raised.value.origin, raised.value.nearest) == (key, sources.project, nearest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("result_expires", "soon"),
        ("result_expires", "0"),
        ("socket_timeout", "-1"),
        ("socket_timeout", "inf"),
        ("queues", "a,,b"),
        ("queues", "a,b,a"),
        ("broker_url", "localhost:6379"),
        ("broker_url", "http://localhost"),
        ("state_url", "amqp://localhost"),
        ("broker_transport_options", "[1]"),
        ("broker_transport_options", "{"),
        ("worker.output", "scores"),
        ("worker.max_batch_size", "1.5"),
    ],
)
def test_a_bad_value_is_named_with_its_origin(sources: Sources, key: str, value: str) -> None:
    """The error has the value, the key and the origin, which the user needs to correct it."""
    variable = "MLQ_" + key.upper().replace(".", "_")
    sources.environ[variable] = value
    with pytest.raises(InvalidSetting) as raised:
        sources.read()
    message = raised.value.message
    assert message.startswith(f"{key} = {value!r} (from {variable}): ")


@pytest.mark.parametrize(
    ("text", "key"),
    [("result_expires = true", "result_expires"), ("result_expires = 1.5", "result_expires"), ("queues = 3", "queues")],
)
def test_a_bad_value_in_a_file_names_the_file(sources: Sources, text: str, key: str) -> None:
    """TOML has its own types, which are not converted silently."""
    sources.project.write_text(text)
    with pytest.raises(InvalidSetting, match=f"^{key} = .* \\(from {sources.project}\\): "):
        sources.read()


@pytest.mark.parametrize("text", ["result_expires =", "[worker", "result_expires = 1\nresult_expires = 2"])
def test_a_file_that_is_not_toml_is_named(sources: Sources, text: str) -> None:
    """The error has the position that the parser reports."""
    sources.project.write_text(text)
    with pytest.raises(BadConfigFile, match=r"mlq\.toml: .* \(at "):
        sources.read()


def test_a_named_file_that_is_missing_is_an_error(sources: Sources, tmp_path: Path) -> None:
    """A file of --config must exist; the files that mlq searches for need not."""
    with pytest.raises(BadConfigFile, match="No such file"):
        sources.read(file=tmp_path / "missing.toml")


def test_a_password_in_a_flag_is_refused(sources: Sources) -> None:
    """`ps` shows arguments to every user of the machine."""
    with pytest.raises(PasswordInArguments) as raised:
        sources.read(flags={"broker_url": ("redis://:secret@host/0", "--broker")})
    assert "secret" not in raised.value.message + raised.value.hint
    assert "MLQ_BROKER_URL" in raised.value.hint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host/0", "redis://host/0"),
        ("redis://user@host/0", "redis://user@host/0"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://user:secret@host:6379/0?x=1", "redis://user:***@host:6379/0?x=1"),
        ("redis://:se%23cret@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("sentinel://:secret@a:1;sentinel://:secret@b:2", "sentinel://:***@a:1;sentinel://:***@b:2"),
        ("redis://host/0?password=secret&x=1", "redis://host/0?password=***&x=1"),
        ("redis://:#secret@host/0", "redis://:***@host/0"),
        ("redis://:sec/ret@host/0", "redis://:***@host/0"),
        ("redis://:sec?ret@host/0", "redis://:***@host/0"),
        ("redis://:sec@ret@host/0", "redis://:***@host/0"),
        ("redis://:[secret@host/0", "redis://:***@host/0"),
    ],
)
def test_a_shown_url_has_no_password(url: str, shown: str) -> None:
    """This also holds for a URL that is invalid because its password is not escaped."""
    assert masked(url) == shown


def test_a_bad_url_is_named_without_its_password(sources: Sources) -> None:
    """Errors are copied into logs and bug reports."""
    sources.environ["MLQ_STATE_URL"] = "http://:secret@host/0"
    with pytest.raises(InvalidSetting) as raised:
        sources.read()
    assert "http://:***@host/0" in raised.value.message
    assert "secret" not in raised.value.message


def test_workers_get_the_values_with_their_origins(sources: Sources, tmp_path: Path) -> None:
    """A worker's error names the flag or the file that its operator used, not the variable that carried it."""
    sources.project.write_text("queues = ['a', 'b']\nbroker_transport_options = {master_name = 'm', n = 1}\n")
    sources.environ |= {"CELERY_BROKER_URL": "redis://:secret@host/0", "MLQ_SOCKET_TIMEOUT": "2.5"}
    flags = {"worker.queues": ("b", "--queues"), "worker.max_batch_size": (8, "--max-batch-size")}
    sent = sources.read(flags={**flags, "state_dir": (str(tmp_path), "--state")})
    assert load(to_environment(sent), cwd=tmp_path, config=_empty(tmp_path)) == sent


def test_defaults_are_not_passed_to_workers(sources: Sources) -> None:
    """A worker has the same defaults, so only the variable of the origins is passed."""
    assert to_environment(sources.read()) == {config.ORIGINS: "{}"}


def test_the_state_directory_is_configurable(sources: Sources, tmp_path: Path) -> None:
    """It is the setting, otherwise XDG_STATE_HOME, otherwise the default of XDG."""
    found = sources.read()
    assert state_directory(found, {}) == Path.home() / ".local" / "state" / "mlq"
    assert state_directory(found, {"XDG_STATE_HOME": "/state"}) == Path("/state/mlq")
    sources.environ["MLQ_STATE_DIR"] = str(tmp_path)
    assert state_directory(sources.read(), {"XDG_STATE_HOME": "/state"}) == tmp_path


@pytest.mark.parametrize(
    ("queues", "urgent", "default", "batch"),
    [("one", "one", "one", "one"), ("a,b", "a", "b", "b"), ("a,b,c,d", "a", "b", "d")],
)
def test_the_role_of_a_queue_follows_from_its_position(
    sources: Sources, queues: str, urgent: str, default: str, batch: str
) -> None:
    """The first is the most urgent, the last is for files, and the second is the default."""
    sources.environ["MLQ_QUEUES"] = queues
    found = sources.read()
    assert (found.urgent_queue, found.default_queue, found.batch_queue) == (urgent, default, batch)


def _empty(directory: Path) -> Path:
    path = directory / "empty.toml"
    path.touch()
    return path


@pytest.mark.parametrize("option", ["global_keyprefix", "priority_steps", "sep"])
def test_options_under_which_messages_would_not_be_found_are_refused(option: str) -> None:
    """With such an option Celery's clients would send to keys that mlq's workers do not read, without an error."""
    settings = load({"MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({option: "x"})}, cwd=Path("/"))
    with pytest.raises(InvalidSetting, match=option):
        transport_options(settings, "redis://host/0")
    assert transport_options(settings, "amqp://host//") == {"confirm_publish": True, option: "x"}
