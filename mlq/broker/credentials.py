"""Credentials: user and password of a server whose URL is in a file, read again for each connection.

So a password can be changed without a restart: every new connection of every process uses the current content of the
file. Only user and password are used. A change to another server needs a restart, because the two servers have
different messages, claims and results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from amqp.exceptions import AccessRefused, RecoverableConnectionError
from redis import CredentialProvider

from mlq.security.masking import remember
from mlq.settings import url_file
from mlq.settings.server_url import read

OPTION: Final = "mlq_credentials"
"""The transport option that passes credentials to the workers' result backends; Celery ignores unknown options."""

_LOCAL: Final = "127.0.0.1"
"""The address to which py-amqp changes localhost."""

log = logging.getLogger("mlq.credentials")


class FileCredentials:
    """User and password of each address in a file's URL. If the file cannot be read, the last known ones are used.

    All threads share this object without a lock, because a fork could leave a lock locked. Threads that read the file
    at the same time get the same content.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._last_warning = ""
        self._has_logged_in = False

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"

    def current(self, host: str | None, port: int | None) -> tuple[str | None, str | None]:
        """Return the current user and password of an address; if the file does not have the address, of its first."""
        addresses = [urlsplit(address) for address in self._read().split(";")]
        parts = next((a for a in addresses if _is_at(a, host, port)), addresses[0])
        user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
        return user, password

    def connect(self, connection: Any, stock: Callable[[], Any]) -> Any:
        """Connect a kombu connection with the current credentials; `stock` is kombu's own method.

        RabbitMQ has one password per user, so for a moment server and file differ after a change. kombu does not retry
        a refused login, and the worker would exit. If a login has succeeded before, a refusal is treated as an outage,
        as with Redis: the next attempt reads the file again.
        """
        address = (connection.hostname, connection.port)
        if not str(connection.transport_cls).startswith("amqp"):
            # redis-py reconnects without this method, and asks the provider for the credentials.
            connection.credential_provider = RedisCredentials(self, *address)
            return stock()
        connection.userid, connection.password = self.current(*address)
        try:
            connected = stock()
        except AccessRefused as exc:
            if not self._has_logged_in:
                raise
            raise RecoverableConnectionError(exc.reply_text) from exc
        self._has_logged_in = True
        return connected

    def _read(self) -> str:
        try:
            url = url_file.read(self._path, _demand_sound)
        except url_file.Unusable as exc:
            self._warn(f"{self._path} cannot be used; the last known password stays in use: {exc}")
            return self._url
        if _places(url) != _places(self._url):
            self._warn(f"{self._path} names another server now; a restart is needed to connect to it")
            return self._url
        if url != self._url:
            log.info("the credentials in %s have changed", self._path, extra={"action": "credentials_changed"})
        self._last_warning, self._url = "", url
        remember(url)
        return url

    def _warn(self, text: str) -> None:
        if text != self._last_warning:
            log.warning("%s", text, extra={"action": "credentials_file_ignored"})
        self._last_warning = text


@cache
def read_from(path: Path, url: str) -> FileCredentials:
    """Return the credentials of a file, one object per process; `url` is the file's content at the process's start."""
    return FileCredentials(path, url)


class RedisCredentials(CredentialProvider):
    """FileCredentials as a provider for redis-py, which calls it before it authenticates a connection."""

    def __init__(self, credentials: FileCredentials, host: str | None, port: int | None) -> None:
        self._credentials = credentials
        self._address = (host, port)

    @property
    def user(self) -> str | None:
        """The current user, for error messages about rights."""
        return self._credentials.current(*self._address)[0]

    def get_credentials(self) -> Any:
        """Return the arguments of AUTH; empty if no password is set."""
        user, password = self._credentials.current(*self._address)
        if password is None:
            return ()
        return (user, password) if user else (password,)


def _is_at(parts: SplitResult, host: str | None, port: int | None) -> bool:
    found = _LOCAL if parts.hostname == "localhost" else parts.hostname
    return (found, parts.port) == (_LOCAL if host == "localhost" else host, port)


def _demand_sound(url: str) -> str:
    read(url)
    return url


def _places(url: str) -> list[tuple[str, str, str]]:
    """Return all parts of a URL except users and passwords."""
    return [_place(urlsplit(address)) for address in url.split(";")]


def _place(parts: SplitResult) -> tuple[str, str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2], f"{parts.path}?{parts.query}"
