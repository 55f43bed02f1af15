"""Fixtures of the fault tests: a server, workers that nobody supervises, and a wire that can be cut."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import faultkit
from benchmarks.faultkit import World
from mlq.broker import embedded


@pytest.fixture
def faulty(state: Path) -> Iterator[embedded.Server]:
    """A server whose append-only file is never rewritten: it is the witness of what was recorded."""
    server = faultkit.serve(state)
    yield server
    server.stop()


@pytest.fixture
def world(state: Path, faulty: embedded.Server) -> Iterator[World]:
    """Workers on a socket that nothing disturbs but the server's own fate."""
    world = World(state, faulty.url)
    yield world
    world.close()


@pytest.fixture
def wire(faulty: embedded.Server) -> Iterator[Wire]:
    """The workers' way to the server, as a TCP port that the test can freeze, cut and refuse."""
    wire = Wire(faulty.url.removeprefix("redis+socket://"))
    yield wire
    wire.close()


@pytest.fixture
def remote(state: Path, wire: Wire) -> Iterator[World]:
    """Workers that reach the server over the wire; the test itself looks past it."""
    world = World(state, f"redis://127.0.0.1:{wire.port}/0")
    yield world
    world.close()


class Wire:
    """A TCP proxy in front of a server's unix socket. A frozen connection swallows everything, ends included."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._links: list[_Link] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = self._serve()

    def freeze(self) -> int:
        """Make every open connection half-open: nothing passes, and nobody is told. New ones work."""
        alive = [link for link in self._links if link.lives]
        for link in alive:
            link.frozen.set()
        return len(alive)

    @property
    def requests(self) -> int:
        """Count what came from the workers' side, a packet each: a pipeline is one request."""
        return sum(link.requests for link in self._links)

    def cut(self) -> None:
        """Close every open connection under its users' feet."""
        for link in self._links:
            link.close()

    def refuse(self) -> None:
        """Cut everything, and refuse whoever comes anew."""
        self._stop_accepting()
        self.cut()

    def accept(self) -> None:
        """Let new connections through again."""
        self._listener = self._listen(self.port)
        self._accepting = self._serve()

    def close(self) -> None:
        """End with everything that is open."""
        self.refuse()
        for link in self._links:
            link.join()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=64)

    def _serve(self) -> threading.Thread:
        thread = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:  # shut down
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._upstream)
            except OSError:
                near.close()
                far.close()
                continue
            self._links.append(_Link(near, far))

    def _stop_accepting(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join(10)
            self._listener.close()


class _Link:
    """One connection through the wire, carried by a thread of its own."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self.frozen = threading.Event()
        self.requests = 0
        self._asked_to_end, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        """Whether it still carries anything, or would if it were not frozen."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close both ends."""
        if self.lives:
            self._end.send(b"x")
            self.join()

    def join(self) -> None:
        """Wait until both ends are closed."""
        self._thread.join(10)
        self._asked_to_end.close()
        self._end.close()

    def _carry(self) -> None:
        near, far = self._ends
        open_ends = {near: far, far: near}
        try:
            while True:
                for readable in select.select([*open_ends, self._asked_to_end], [], [])[0]:
                    if readable is self._asked_to_end:
                        return
                    data = readable.recv(65536)
                    self.requests += readable is near
                    if self.frozen.is_set():
                        if not data:  # an end that the other side never learns of
                            del open_ends[readable]
                    elif data:
                        open_ends[readable].sendall(data)
                    else:
                        return
        except OSError:
            return
        finally:
            near.close()
            far.close()
