"""A RabbitMQ server for the tests, with private ports, node name, cookie and data; it and its epmd are ended by pid."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

PROGRAM: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The script behind Debian's /usr/sbin/rabbitmq-server, which would run it as another user in a fixed directory."""

_DEADLINE_S: Final = 90.0


def missing() -> str | None:
    """Return why no server can be started here, or None if one can."""
    if not PROGRAM.exists():
        return "rabbitmq-server is not installed (`apt-get install rabbitmq-server`)"
    return None if shutil.which("epmd") else "epmd, which Erlang needs to start RabbitMQ, is not installed"


class RabbitServer:
    """A server that `start` starts and `stop` ends. Everything that it writes is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._epmd_port, self._port, self._dist_port = _free_ports(3)
        self._processes: list[subprocess.Popen[bytes]] = []

    def url(self, user: str = "guest", password: str = "guest", vhost: str = "/") -> str:  # noqa: S107 (RabbitMQ's own)
        """Return the URL for a user."""
        return f"amqp://{user}:{password}@127.0.0.1:{self._port}/{vhost}"

    def start(self) -> None:
        """Start Erlang's port mapper and the server, and wait until it accepts connections."""
        (self._directory / "plugins").write_text("[].")
        # Two Erlang programs would each create the cookie: on a busy machine one reads half of the other's.
        cookie = self._directory / ".erlang.cookie"
        if not cookie.exists():  # this server starts again
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        environment = self._environment()
        with (self._directory / "log").open("wb") as log:
            epmd = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            for argv in (epmd, [str(PROGRAM)]):
                process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                self._processes.append(process)
        deadline = time.monotonic() + _DEADLINE_S
        while not self._answers():
            assert self._processes[1].poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, (self._directory / "log").read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with Connection(self.url(), connect_timeout=5) as connection:
                connection.ensure_connection(max_retries=1, timeout=5)
        except (OSError, OperationalError):
            return False
        return True

    def _environment(self) -> dict[str, str]:
        home = str(self._directory)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))}
        return {
            **inherited,
            "HOME": home,  # the cookie is in this directory
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"mlqtest{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/logs",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{home}/none",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            # One scheduler that does not spin while it waits, because the tests need the processors.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def declare(self, name: str, *, exchange: str = "direct", **arguments: Any) -> None:
        """Declare a queue as another client might, in place of an existing one."""
        with Connection(self.url()) as connection:
            channel: Any = connection.default_channel
            channel.queue_delete(name)
            channel.exchange_delete(name)
            named = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
            queue = Queue(name, Exchange(name, type=exchange), routing_key=name, queue_arguments=named)
            queue.bind(channel).declare()

    def delete(self, *names: str) -> None:
        """Delete queues and their exchanges; missing ones are no error."""
        with Connection(self.url()) as connection:
            channel: Any = connection.default_channel
            for name in names:
                channel.queue_delete(name)
                channel.exchange_delete(name)

    def depth(self, name: str) -> int:
        """Count the messages that wait in a queue; a missing queue has none."""
        with Connection(self.url()) as connection:
            channel: Any = connection.default_channel
            try:
                return int(channel.queue_declare(name, passive=True).message_count)
            except connection.channel_errors:
                return 0

    @property
    def port(self) -> int:
        """The port on this host that accepts connections."""
        return self._port

    def stop(self) -> None:
        """End the server, then the port mapper."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self._kill_node()
                process.kill()
                process.wait()
        self._processes.clear()

    def _kill_node(self) -> None:
        """Kill the Erlang node, which is a child of the script."""
        with suppress(OSError, ValueError):
            os.kill(int((self._directory / "pid").read_text()), signal.SIGKILL)


@contextmanager
def running() -> Iterator[RabbitServer]:
    """Run a server in a private directory."""
    with tempfile.TemporaryDirectory(prefix="mlq-rabbit-") as directory:
        server = RabbitServer(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
