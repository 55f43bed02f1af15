"""A TCP proxy in front of a server's socket or port, which can freeze, cut and refuse connections."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import cast


class Wire:
    """A TCP proxy in front of a server's socket or port.

    A frozen connection drops all data, and the end of the connection, too.
    """

    def __init__(self, upstream: str | int) -> None:
        self._upstream = upstream
        self._links: list[_Link] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = self._serve()

    def freeze(self) -> int:
        """Make every open connection half-open: no data passes, and neither side notices. New connections work."""
        alive = [link for link in self._links if link.lives]
        for link in alive:
            link.frozen.set()
        return len(alive)

    @property
    def requests(self) -> int:
        """Count the packets from the workers: a pipeline is one request."""
        return sum(link.requests for link in self._links)

    def cut(self) -> None:
        """Close every open connection."""
        for link in self._links:
            link.close()

    def refuse(self) -> None:
        """Cut all connections, and refuse new ones."""
        self._stop_accepting()
        self.cut()

    def accept(self) -> None:
        """Accept new connections again."""
        self._listener = self._listen(self.port)
        self._accepting = self._serve()

    def close(self) -> None:
        """Close the proxy and all its connections."""
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
            except OSError:  # the listener was shut down
                return
            family, place = self._where()
            far = socket.socket(family)
            try:
                far.connect(place)
            except OSError:
                near.close()
                far.close()
                continue
            self._links.append(_Link(near, far))

    def _where(self) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
        if isinstance(self._upstream, int):
            return socket.AF_INET, ("127.0.0.1", self._upstream)
        return socket.AF_UNIX, self._upstream

    def _stop_accepting(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join(10)
            self._listener.close()


class _Link:
    """One connection through the proxy, carried by its own thread."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self.frozen = threading.Event()
        self.requests = 0
        self._ended = False
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        """True if the connection carries data, or would if it were not frozen."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Shut both ends down, which wakes the thread; the thread closes them."""
        self._ended = True
        for end in self._ends:
            with suppress(OSError):  # no longer connected, or closed
                end.shutdown(socket.SHUT_RDWR)
        self.join()

    def join(self) -> None:
        """Wait until both ends are closed."""
        self._thread.join(10)

    def _carry(self) -> None:
        near, far = self._ends
        try:
            with selectors.PollSelector() as selector:  # select() cannot use descriptors above 1,023
                selector.register(near, selectors.EVENT_READ, far)
                selector.register(far, selectors.EVENT_READ, near)
                while selector.get_map():
                    for key, _ in selector.select():
                        if not self._pass_on(selector, cast("socket.socket", key.fileobj), key.data):
                            return
        except OSError:
            return
        finally:
            near.close()
            far.close()

    def _pass_on(self, selector: selectors.BaseSelector, source: socket.socket, target: socket.socket) -> bool:
        """Pass on received data. Return False when the connection has ended."""
        data = source.recv(65536)
        if self._ended:
            return False
        self.requests += source is self._ends[0]
        if not self.frozen.is_set():
            target.sendall(data)
            return bool(data)
        if not data:  # the other side does not learn of this end
            selector.unregister(source)
        return True
