"""TLS is checked for each address, chain and host name, on Redis and RabbitMQ; a disabled check causes a warning."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu.exceptions import OperationalError

from mlq.broker.channels import PatientConnection
from mlq.settings import advisories, tls
from mlq.settings.config import load
from mlq.settings.errors import InvalidSetting
from tests.conftest import Start, User
from tests.e2e.test_tls import Secured, authority, openssl, secured

pytestmark = pytest.mark.server

__all__ = ["secured"]


class TlsStub:
    """A server that completes TLS handshakes, and keeps what a client sends afterwards."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                with suppress(OSError), connected:
                    connected.settimeout(10)
                    with self._context.wrap_socket(connected, server_side=True) as secured:
                        self.heard.append(secured.recv(100))

    def close(self) -> None:
        """Stop the server."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Callable[..., TlsStub]]:
    """Return a function that runs stubs with a certificate for these names, signed by `ours.pem`."""
    authority(tmp_path, "ours")
    stubs: list[TlsStub] = []

    def make(names: str) -> TlsStub:
        (tmp_path / "names").write_text(f"subjectAltName={names}\n")
        openssl(tmp_path, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "k", "-out", "c")
        signed = ("x509", "-req", "-in", "c", "-CA", "ours.pem", "-CAkey", "ours.key", "-days", "2", "-out", "s")
        openssl(tmp_path, *signed, "-CAcreateserial", "-extfile", "names")
        both = tmp_path / f"server-{len(stubs)}.pem"
        both.write_text((tmp_path / "s").read_text() + (tmp_path / "k").read_text())
        stubs.append(TlsStub(both))
        return stubs[-1]

    yield make
    for made in stubs:
        made.close()


def connect(url: str, ssl_options: Any) -> None:
    """Connect to each address once, as mlq does; the stub closes connections that succeed."""
    lost = (OperationalError, RecoverableConnectionError, OSError)
    with PatientConnection(url, ssl=ssl_options, connect_timeout=10) as connection, suppress(*lost):
        connection.ensure_connection(max_retries=len(connection.alt) or 1, interval_start=0)


AT = "user:secret@"
RIGHT = [
    ("amqps://{}localhost:{}/", "DNS:localhost"),
    ("amqps://{}127.0.0.1:{}/", "IP:127.0.0.1"),
    ("rediss://{}localhost:{}/", "DNS:localhost"),
    ("amqps://127.0.0.1:1;amqps://{}localhost:{}/", "DNS:localhost"),
    ("redis://127.0.0.1:1;rediss://{}localhost:{}/", "DNS:localhost"),
]
WRONG = [
    ("amqps://{}localhost:{}/", "DNS:other.example"),
    ("amqps://{}127.0.0.1:{}/", "DNS:localhost"),
    ("rediss://{}localhost:{}/", "DNS:other.example"),
    ("amqps://other.example:1;amqps://{}localhost:{}/", "DNS:other.example"),
    ("amqp://127.0.0.1:1;amqps://{}localhost:{}/", "DNS:other.example"),
    ("redis://127.0.0.1:1;rediss://{}localhost:{}/", "DNS:other.example"),
]


@pytest.mark.parametrize(("url", "names"), [*RIGHT, *WRONG])
def test_no_password_goes_to_a_host_with_the_certificate_of_another_host(
    stub: Callable[..., TlsStub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, names: str
) -> None:
    """Nor if it is the second address after another host or one without TLS, of which kombu would use the options."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    server = stub(names)
    connect(url.format(AT, server.port), tls.options(url.partition(";")[0].format(AT, server.port)) or False)
    assert bool(server.heard) is ((url, names) in RIGHT)


def test_a_certificate_of_another_authority_is_refused(
    stub: Callable[..., TlsStub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A self-signed certificate is refused, too; both for both kinds of URL."""
    theirs = authority(tmp_path, "theirs")
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs))
    server = stub("DNS:localhost")
    for scheme in ("amqps", "rediss"):
        url = f"{scheme}://user:secret@localhost:{server.port}/"
        connect(url, tls.options(url))
    assert server.heard == []


@pytest.mark.parametrize("scheme", ["amqps", "rediss"])
@pytest.mark.parametrize(("option", "text"), [
    ("ssl_cert_reqs=none", "is not checked"), ("ssl_check_hostname=false", "certificate of any other host"),
])  # fmt: skip
def test_a_check_that_is_turned_off_causes_a_warning(
    stub: Callable[..., TlsStub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str, option: str, text: str
) -> None:
    """The operator asks for it in this URL only, and the warning shows no secret."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    server = stub("DNS:other.example")
    url = f"{scheme}://user:secret@localhost:{server.port}/?{option}"
    settings = load({"MLQ_BROKER_URL": url}, cwd=tmp_path)
    (warning,) = advisories.of_settings(settings)
    assert text in warning
    assert "localhost" in warning
    assert "secret" not in warning
    connect(url.partition("?")[0], tls.options(url))
    assert server.heard


@pytest.mark.parametrize("key", ["MLQ_BROKER_URL", "MLQ_RESULT_BACKEND", "MLQ_STATE_URL"])
@pytest.mark.parametrize("url", ["redis://a/0;rediss://b/0", "rediss://a/0;redis://b/0"])
def test_a_list_that_mixes_tls_and_plain_addresses_is_refused(tmp_path: Path, key: str, url: str) -> None:
    """After a failover the password would be sent in plain text."""
    with pytest.raises(InvalidSetting, match=r"different kinds|expected a URL"):
        load({key: url}, cwd=tmp_path)


def test_celerys_own_tls_setting_is_kept() -> None:
    """A client that sets `broker_use_ssl` itself uses TLS with its own checks, for any scheme of the URL."""
    own = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca"}
    for transport in ("redis", "rediss", "sentinel", "amqp"):
        assert tls.of_address(transport, "h", own) == own
    assert tls.of_address("redis", "h", None) is None
    assert tls.of_address("amqps", "h", {**own, "server_hostname": "other"})["server_hostname"] == "other"


def test_a_client_certificate_is_sent_to_rabbitmq(tmp_path: Path) -> None:
    """The options have the same names as for rediss://."""
    for name in ("ca", "crt", "key"):
        (tmp_path / name).touch()
    url = f"amqps://h//?ssl_ca_certs={tmp_path}/ca&ssl_certfile={tmp_path}/crt&ssl_keyfile={tmp_path}/key"
    assert tls.of_address("amqps", "h", tls.options(url)) == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": f"{tmp_path}/ca",
        "certfile": f"{tmp_path}/crt",
        "keyfile": f"{tmp_path}/key",
        "server_hostname": "h",
    }
    with pytest.raises(InvalidSetting, match="not known here"):
        load({"MLQ_BROKER_URL": "amqps://h//?ssl_ca_path=/"}, cwd=tmp_path)


def test_workers_warn_once_about_a_disabled_check(user: User, secured: Secured, start: Start) -> None:
    """The command and each worker's log have the warning, and the tasks run."""
    user.environment["MLQ_BROKER_URL"] = f"rediss://127.0.0.1:{secured.port}/0?ssl_cert_reqs=none"
    workers = start("--cpus", "1")
    warnings = [line for line in workers.lines if "is not checked" in line]
    assert len(warnings) == 2, workers.lines
    user.write("rows.json", [1])
    done = user.run("submit", "rows.json", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not checked") == 1
