"""rediss://: every connection of mlq checks the server's certificate and its name by default."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlq.broker import embedded
from mlq.settings import tls
from tests.conftest import DEADLINE_S, Start, User

TERMINATOR = '''
"""TLS in front of a unix socket: servers in wheels have none of their own."""
import asyncio, ssl, sys

certificate, upstream = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def serve(reader, writer):
    up_reader, up_writer = await asyncio.open_unix_connection(upstream)
    await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
'''


def openssl(directory: Path, *words: str) -> None:
    """Run openssl."""
    program = shutil.which("openssl")
    assert program is not None, "openssl makes this test's certificates"
    subprocess.run([program, *words], cwd=directory, check=True, capture_output=True, timeout=DEADLINE_S)


def authority(directory: Path, name: str) -> Path:
    """Create a certificate authority."""
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    openssl(directory, *new, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return directory / f"{name}.pem"


@dataclass
class Secured:
    """A server behind TLS with a certificate for `localhost`, which `ours` has signed and `theirs` has not."""

    port: int
    ours: Path
    theirs: Path


@pytest.fixture
def secured(server: embedded.Server, user: User) -> Iterator[Secured]:
    """Sign a certificate, and run a server with it."""
    here = user.directory
    ours, theirs = authority(here, "ours"), authority(here, "theirs")
    openssl(here, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=any", "-keyout", "s.key", "-out", "s.csr")
    user.write("names", "subjectAltName=DNS:localhost\n")
    signed = ("x509", "-req", "-in", "s.csr", "-CA", str(ours), "-CAkey", "ours.key", "-days", "2", "-out", "s.crt")
    openssl(here, *signed, "-CAcreateserial", "-extfile", "names")
    both = user.write("s.pem", (here / "s.crt").read_text() + (here / "s.key").read_text())
    program = [sys.executable, str(user.write("terminator.py", TERMINATOR)), str(both)]
    upstream = server.url.removeprefix("redis+socket://")
    with subprocess.Popen([*program, upstream], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Secured(int(process.stdout.readline()), ours, theirs)
        process.terminate()


def test_a_server_with_the_right_certificate_serves_everything(user: User, secured: Secured, start: Start) -> None:
    """Commands, the worker's claims and its bell, and the results."""
    user.environment["MLQ_BROKER_URL"] = f"rediss://localhost:{secured.port}/0"
    user.environment["SSL_CERT_FILE"] = str(secured.ours)
    workers = start("--cpus", "1")
    user.write("rows.json", [1, 2, 3])
    done = user.run("submit", "rows.json", "--wait")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    (worker,) = user.json("worker")["workers"]
    assert worker["state"] == "idle"
    assert not [line for line in workers.lines if "without TLS" in line or "no watching" in line]


@pytest.mark.parametrize(
    ("host", "authority", "why"),
    [
        ("localhost", "theirs", "certificate verify failed"),
        ("localhost", None, "certificate verify failed"),
        ("127.0.0.1", "ours", "IP address mismatch"),
    ],
)
def test_no_connection_is_made_to_a_server_with_another_certificate(
    user: User, secured: Secured, host: str, authority: str | None, why: str
) -> None:
    """Every command ends with exit code 4 and the reason, and does not show the password."""
    user.environment["MLQ_BROKER_URL"] = f"rediss://:secret@{host}:{secured.port}/0"
    if authority is not None:
        user.environment["SSL_CERT_FILE"] = str(getattr(secured, authority))
    user.write("rows.json", [1])
    for argv in (["queues"], ["submit", "rows.json"]):
        refused = user.run(*argv)
        assert refused.returncode == 4, refused.stderr
        assert f"rediss://:***@{host}:{secured.port}/0" in refused.stderr
        assert why in refused.stderr
        assert "secret" not in refused.stderr


def test_certificates_are_checked_for_every_secure_url_and_for_no_other() -> None:
    """Without a setting kombu accepts any certificate silently."""
    assert tls.options("rediss://host/0") == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert [tls.options(f"{s}://host") for s in ("redis", "redis+socket", "sentinel", "amqp")] == [None] * 4
