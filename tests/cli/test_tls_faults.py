"""An error of TLS names its reason, and the hint depends on the reason, not on the URL."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.test_tls import authority, openssl
from tests.server_programs import serving

pytestmark = pytest.mark.server

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

CONFIGURATION = """
[ca]
default_ca = ours
[ours]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@contextmanager
def tls_server(certificate: Path, *, wants_ours: bool = False) -> Iterator[int]:
    """Run a server that completes TLS handshakes and then closes the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if wants_ours:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.with_name("ours.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connected, _ = listening.accept()
                    with suppress(OSError), connected:
                        connected.settimeout(5)
                        with context.wrap_socket(connected, server_side=True) as secured:
                            secured.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def certificate(here: Path, *, ends: str = "20991231000000Z") -> Path:
    """Create a signed certificate for `localhost`."""
    authority(here, "ours")
    (here / "ca.cnf").write_text(CONFIGURATION)
    (here / "index").write_text("")
    (here / "serial").write_text("01\n")
    (here / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(here, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=any", "-keyout", "s.key", "-out", "s.csr")
    dates = ("-startdate", "20200101000000Z", "-enddate", ends)
    signed = ("-in", "s.csr", "-out", "s.crt", "-cert", "ours.pem", "-keyfile", "ours.key", "-extfile", "names")
    openssl(here, "ca", "-batch", "-notext", "-config", "ca.cnf", *dates, *signed)
    (here / "s.pem").write_text((here / "s.crt").read_text() + (here / "s.key").read_text())
    return here / "s.pem"


FAULTS = {
    "expired": ("rediss://localhost:{tls}/0", "certificate has expired", "renew the certificate there"),
    "other-host": ("rediss://127.0.0.1:{tls}/0", "mismatch", "set MLQ_BROKER_URL to a name that"),
    "unknown-authority": ("rediss://localhost:{tls}/0", "certificate verify failed", "set SSL_CERT_FILE"),
    "plain-port": ("rediss://localhost:{plain}/0", "", "that port does not answer with TLS"),
    "tls-port-in-plain-text": (
        "redis://127.0.0.1:{tls}/0",
        "closed the connection",
        "write rediss:// in MLQ_BROKER_URL",
    ),
    "wants-a-certificate": ("rediss://localhost:{tls}/0", "", "?ssl_certfile=FILE"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_command_names_the_tls_error(mlq: Mlq, state: Path, place: Path, name: str) -> None:
    """The exit code is 4. A bare client reports only `connection closed` for a TLS port that it uses without TLS."""
    url, reason, hint = FAULTS[name]
    (place / "row.json").write_text("[1]")
    (place / "serve.py").write_text("class Model:\n    def predict(self, rows):\n        return rows\n")
    signed = certificate(state, ends="20200102000000Z" if name == "expired" else "20991231000000Z")
    trusted = {} if name == "unknown-authority" else {"SSL_CERT_FILE": str(state / "ours.pem")}
    with ExitStack() as stack:
        tls = stack.enter_context(tls_server(signed, wants_ours=name == "wants-a-certificate"))
        plain = stack.enter_context(serving(state))
        broker = url.format(tls=tls, plain=plain)
        for command in (
            ["queues"],
            ["submit", "row.json"],
            ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"],
        ):
            ended = mlq(*command, MLQ_BROKER_URL=broker, **trusted)
            assert ended.returncode == 4, (command, ended.stderr)
            happened, cure = ended.stderr.splitlines()
            assert happened.startswith(f"mlq: cannot reach the broker at {broker} (from MLQ_BROKER_URL): "), happened
            assert reason in happened
            assert hint in cure
