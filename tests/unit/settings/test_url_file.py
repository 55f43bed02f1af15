"""URLs in files: the files that are read, the source that wins, and the errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, RecoverableConnectionError

from mlq.broker.connection import broker_address
from mlq.broker.credentials import FileCredentials, RedisCredentials
from mlq.settings import advisories, url_file
from mlq.settings.config import Settings, load, to_environment
from mlq.settings.errors import InvalidSetting, UnusableUrlFile, UrlGivenTwice

PASSWORD = "c4n4ry-1"  # noqa: S105 (of no server)
URL = f"redis://user:{PASSWORD}@host:1/0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a URL that only this user reads."""
    path = tmp_path / "secret"
    path.write_text(f"{URL}\n")
    path.chmod(0o600)
    return path


def read(tmp_path: Path, **environ: str) -> Settings:
    """Read the settings of an environment, without configuration files."""
    return load(environ, cwd=tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  \n\n"])
def test_the_end_of_the_line_is_not_part_of_the_url(tmp_path: Path, file: Path, end: str) -> None:
    """Editors and `echo` end a file with one."""
    file.write_text(URL + end)
    settings = read(tmp_path, MLQ_BROKER_URL_FILE=str(file))
    assert settings.broker_url == URL
    assert settings.origin("broker_url") == f"{file}, named by MLQ_BROKER_URL_FILE"


def _empty(file: Path) -> None:
    file.write_text("\n")


def _two(file: Path) -> None:
    file.write_text(f"{URL}\n{URL}\n")


def _bare(file: Path) -> None:
    file.write_text(PASSWORD)


def _binary(file: Path) -> None:
    file.write_bytes(b"\xff" + URL.encode())


def _large(file: Path) -> None:
    file.write_text(URL * 10_000)


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _writable(file: Path) -> None:
    file.chmod(0o620)


def _replaceable(file: Path) -> None:
    file.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "No such file"),
        (_empty, "it is empty"),
        (_two, "more than one word"),
        (_bare, "expected a URL"),
        (_binary, "not UTF-8"),
        (_large, "more than 16,384 bytes"),
        (_directory, "no regular file"),
        (_fifo, "no regular file"),
        (_writable, "other users may write it"),
        (_replaceable, "other users may replace it"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(
    tmp_path: Path, file: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    """The error names the file, has exit code 3, and quotes nothing of the content."""
    spoil(file)
    with pytest.raises(UnusableUrlFile, match=reason) as raised:
        read(tmp_path, MLQ_BROKER_URL_FILE=str(file))
    assert str(file) in raised.value.message
    assert "MLQ_BROKER_URL_FILE" in raised.value.message
    assert PASSWORD not in raised.value.message + raised.value.hint
    assert raised.value.exit_code == 3


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner could redirect the tasks to another server."""
    if os.getuid() == 0:
        os.chown(file, 4711, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(url_file.Unusable, match="belongs to user id"):
        url_file.read(file, str)


def test_a_file_that_others_can_read_causes_a_warning(tmp_path: Path, file: Path) -> None:
    """There is no warning while the directory keeps other users out."""
    settings = read(tmp_path, MLQ_BROKER_URL_FILE=str(file))
    assert list(advisories.of_settings(settings)) == []
    file.chmod(0o644)
    tmp_path.chmod(0o755)
    (said,) = advisories.of_settings(settings)
    assert f"chmod o-r {file}" in said
    tmp_path.chmod(0o700)
    assert list(advisories.of_settings(settings)) == []


def test_a_secret_behind_links_is_read(tmp_path: Path, file: Path) -> None:
    """Kubernetes keeps secrets behind a link to a directory, and changes the link to update them."""
    (tmp_path / "link").symlink_to(file)
    assert read(tmp_path, MLQ_RESULT_BACKEND_FILE=str(tmp_path / "link")).result_backend == URL


def test_the_nearest_source_of_a_url_wins(tmp_path: Path, file: Path) -> None:
    """The order is flag, MLQ_*, CELERY_BROKER_URL, systemd, mlq.toml; the overridden sources are known."""
    (tmp_path / "mlq.toml").write_text('broker_url_file = "secret"\nstate_url = "redis://toml/0"\n')
    (tmp_path / "mlq.broker_url").write_text("redis://systemd/0")
    assert read(tmp_path).broker_url == URL
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read(tmp_path, **systemd).broker_url == "redis://systemd/0"
    celery = {**systemd, "CELERY_BROKER_URL": "redis://celery/0"}
    assert read(tmp_path, **celery).broker_url == "redis://celery/0"
    assert read(tmp_path, **celery, MLQ_BROKER_URL_FILE=str(file)).broker_url == URL
    ours = {**celery, "MLQ_BROKER_URL": "redis://ours/0"}
    found = load(ours, cwd=tmp_path, flags={"broker_url": ("redis://flag/0", "--broker")})
    assert found.broker_url == "redis://flag/0"
    assert found.broker_url_file is None
    assert found.overridden == {
        "broker_url": (str(tmp_path / "mlq.toml"), "CREDENTIALS_DIRECTORY", "MLQ_BROKER_URL"),
    }


def test_a_url_and_a_file_in_one_source_are_refused(tmp_path: Path, file: Path) -> None:
    """Otherwise an operator could change the password in a file that is overridden."""
    with pytest.raises(UrlGivenTwice, match="MLQ_BROKER_URL and MLQ_BROKER_URL_FILE"):
        read(tmp_path, MLQ_BROKER_URL="redis://h/0", MLQ_BROKER_URL_FILE=str(file))
    (tmp_path / "mlq.toml").write_text(f'state_url = "redis://h/0"\nstate_url_file = "{file}"\n')
    with pytest.raises(UrlGivenTwice, match="state_url is given twice"):
        read(tmp_path)
    with pytest.raises(InvalidSetting):
        read(tmp_path, MLQ_STATE_URL="http://h/0")


def test_workers_get_the_path_of_the_file_and_not_its_content(tmp_path: Path, file: Path) -> None:
    """Their environment holds no password, and no source that their supervisor did not use."""
    settings = read(tmp_path, MLQ_BROKER_URL_FILE=str(file), MLQ_STATE_URL="redis://state/0")
    handed = to_environment(settings)
    assert PASSWORD not in str(handed)
    inherited = {"MLQ_BROKER_URL": "redis://other/0", "MLQ_STATE_URL_FILE": str(file)}
    assert load({**inherited, **handed}, cwd=tmp_path) == settings
    flagged = load({"MLQ_BROKER_URL_FILE": str(file)}, cwd=tmp_path, flags={"broker_url": ("redis://f/0", "--broker")})
    inherited = {"MLQ_BROKER_URL_FILE": str(file)}
    assert load({**inherited, **to_environment(flagged)}, cwd=tmp_path).broker_url == "redis://f/0"


def test_a_password_is_read_anew_for_each_connection(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is unusable or names another server is reported once, and the last password stays in use."""
    credentials = FileCredentials(file, URL)
    asked = RedisCredentials(credentials, "host", 1)
    assert asked.get_credentials() == ("user", PASSWORD)
    file.write_text("redis://:n%23w@host:1/0")
    assert asked.get_credentials() == ("n#w",)
    for spoiled in ("", "redis://:x@elsewhere:1/0", "n#w"):
        file.write_text(spoiled)
        caplog.clear()
        assert asked.get_credentials() == asked.get_credentials() == ("n#w",)
        assert len(caplog.records) == 1, caplog.text
    file.unlink()
    assert asked.get_credentials() == ("n#w",)
    file.write_text("redis://host:1/0")
    file.chmod(0o600)
    assert asked.get_credentials() == ()


def test_a_login_that_was_good_and_is_refused_is_an_outage(file: Path) -> None:
    """RabbitMQ has one password for each user, which may be changed in the server before it is changed in the file."""
    file.write_text("amqp://user:first@host:1//")
    credentials = FileCredentials(file, "amqp://user:first@host:1//")
    connection = SimpleNamespace(transport_cls="amqp", hostname="host", port=1, userid=None, password=None)

    def refused() -> None:
        raise AccessRefused("Login was refused", (0, 0), "")

    with pytest.raises(AccessRefused):
        credentials.connect(connection, refused)
    assert credentials.connect(connection, lambda: "connected") == "connected"
    assert (connection.userid, connection.password) == ("user", "first")
    file.write_text("amqp://user:second@host:1//")
    with pytest.raises(RecoverableConnectionError, match="Login was refused"):
        credentials.connect(connection, refused)
    assert connection.password == "second"  # noqa: S105 (of no server)


def test_each_address_has_its_own_password(file: Path) -> None:
    """The addresses are servers to fail over to; py-amqp replaces localhost by its IP address."""
    file.write_text("redis://:a@localhost:1/0;redis://:b@other:2/0")
    credentials = FileCredentials(file, "redis://localhost:1/0;redis://other:2/0")
    found = [credentials.current(*at) for at in (("127.0.0.1", 1), ("other", 2), ("socket:///x", None))]
    assert found == [(None, "a"), (None, "b"), (None, "a")]


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(file: Path) -> None:
    """The old content or the new content is returned, never a mixture."""
    urls = [f"redis://:{letter * 4000}@host:1/0" for letter in "ab"]
    file.write_text(urls[0])
    ended = threading.Event()

    def rotate() -> None:
        new = file.with_name("new")
        while not ended.is_set():
            for url in urls:
                new.write_text(url)
                new.chmod(0o600)
                new.replace(file)

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        assert {url_file.read(file, str) for _ in range(500)} <= set(urls)
    finally:
        ended.set()
        thread.join()


def test_the_address_says_where_to_change_it(tmp_path: Path, file: Path) -> None:
    """The hint names the file instead of a variable that is not set."""
    address = broker_address(read(tmp_path, MLQ_BROKER_URL_FILE=str(file)))
    assert address.setting == f"the URL in {file}"
    assert address.file == file
