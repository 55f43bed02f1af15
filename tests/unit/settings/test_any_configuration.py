"""Any configuration: reading it returns settings or raises one of mlq's own errors, never another exception."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlq.app import create_app
from mlq.broker.connection import is_redis, result_address, state_address, transport_options
from mlq.errors import MlqError
from mlq.settings import config, tls

KEYS: Final = [s.dotted for s in config.SETTINGS]
VARIABLES: Final = [v for s in config.SETTINGS for v in s.variables] + [
    config.ORIGINS, "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME",
]  # fmt: skip

PIECES: Final = st.sampled_from(
    [
        *(
            "redis",
            "rediss",
            "redis+socket",
            "sentinel",
            "amqp",
            "://",
            ":",
            "/",
            "//",
            "?",
            "&",
            "=",
            ";",
            "@",
            "#",
            "%",
        ),
        *(
            "[::1]",
            "[",
            "]",
            "host",
            "127.0.0.1",
            "6379",
            "0",
            "-1",
            "abc",
            "%00",
            "%zz",
            "%2F",
            "..",
            " ",
            "\x00",
            "\udcff",
        ),
        *("db", "virtual_host", "socket_timeout", "ssl_cert_reqs", "none", "family", "password", "é", "1e999", "true"),
    ]
)
URLS: Final = st.lists(PIECES, max_size=12).map("".join) | st.builds(
    "{}://{}/{}?{}={}".format,
    st.sampled_from(["redis", "rediss", "redis+socket", "sentinel", "amqp"]),
    st.text(max_size=12),
    st.text(max_size=4),
    st.sampled_from(["db", "socket_timeout", "max_connections", "ssl_check_hostname", "family"]) | st.text(max_size=8),
    st.text(max_size=8),
)
SCALARS: Final = st.one_of(URLS, st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(), st.dates())
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MANY: Final = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(key=st.sampled_from(KEYS), value=VALUES)
@example(key="socket_timeout", value=10**400)
@example(key="worker.max_memory", value=True)
@example(key="broker_transport_options", value="[" * 100_000)
@example(key="state_dir", value="~nobody-of-this-name/x")
def test_a_value_of_any_type_is_accepted_or_refused(key: str, value: Any) -> None:
    """TOML has its own types, and JSON in the environment may hold any value."""
    (setting,) = [s for s in config.SETTINGS if s.dotted == key]
    with suppress(MlqError):
        parsed = config._parse(setting, value, "somewhere")
        assert config.shown(setting, parsed) is not None


@MANY
@given(url=URLS)
@example(url="redis://127.0.0.1:1/0?health_check_interval=5")
@example(url="redis+socket:///run/x.sock?socket_timeout=1")
def test_a_url_that_is_accepted_can_be_used_everywhere(url: str) -> None:
    """The app, with Celery and kombu, and every command can use it; a URL that they cannot use is refused first."""
    for variable in ("MLQ_BROKER_URL", "MLQ_RESULT_BACKEND", "MLQ_STATE_URL"):
        environ = {"MLQ_BROKER_URL": "redis://127.0.0.1:1/0", variable: url}
        with suppress(MlqError):
            found = config.load(environ, config=Path(os.devnull))
            state_address(found)
            if variable != "MLQ_RESULT_BACKEND" or is_redis(url):  # which other stores there are is Celery's to say
                result_address(found)
                app = create_app(found)
                app.connection()
                getattr(app.backend, "client", None)
            transport_options(found, url)
            tls.options(url)


@MANY
@given(name=st.sampled_from(VARIABLES), value=URLS | st.text(max_size=20) | st.just("x" * 5000))
@example(name=config.ORIGINS, value="[]")
@example(name=config.ORIGINS, value='{"queues": 5}')
def test_an_environment_of_any_text_is_read_or_refused(name: str, value: str) -> None:
    """A variable may hold bytes that are not UTF-8, which Python reads as surrogate characters."""
    if "\x00" in value:  # the operating system has none
        return
    with suppress(MlqError):
        found = config.load({name: value}, cwd=Path("/"))
        config.state_directory(found, {name: value})


@MANY
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
@example(content=b"a = " + b"[" * 50_000)
@example(content=b"lease = " + b"9" * 5000)
@example(content=b"lease = 0x" + b"f" * 5000)
@example(content=b"queues = '\xff'")
@example(content=b"#" * 2 * 2**20)
@example(content=b"[worker.queues]\nx = 1")
@example(content=b"worker = 5")
@example(content=b"tool = 5")
def test_a_file_of_any_content_is_read_or_refused(content: bytes) -> None:
    """The file is read as mlq.toml and as pyproject.toml, which holds tables of other tools, too."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("mlq.toml", "pyproject.toml"):
            path = Path(directory) / name
            path.write_bytes(content)
            with suppress(MlqError):
                config.load({}, config=path)
            with suppress(MlqError):
                config.load({"XDG_CONFIG_HOME": directory}, cwd=Path(directory))
            path.unlink()


@pytest.mark.parametrize("path", ["/", "/dev/zero", "/proc/self/mem", "/no/such", "x" * 300, "/etc/hostname/x"])
def test_a_path_that_is_not_a_configuration_is_refused(path: str) -> None:
    """The paths are a directory, an endless device, the memory of a process and a missing file."""
    with pytest.raises(MlqError):
        config.load({}, config=Path(path))
