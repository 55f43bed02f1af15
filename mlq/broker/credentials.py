"""Credentials: user and password of a server whose URL is in a file, read anew for each connection.

So a password is changed without a restart: whatever connects again, in whichever process, takes what is in the file by
then. Only user and password are taken. Another server there needs a restart: messages, claims and results of one are
not those of the other.
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
"""The transport option in which the result backends of workers find them; Celery ignores what it does not know."""

_LOCAL: Final = "127.0.0.1"
"""What py-amqp makes of localhost."""

log = logging.getLogger("mlq.credentials")


class FileCredentials:
    """User and password of each address in a file's URL. A file that cannot be read leaves the last known ones.

    All threads share it without a lock, which a fork could leave taken: two that read at once take the same.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._said = ""
        self._were_good = False

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"

    def of(self, host: str | None, port: int | None) -> tuple[str | None, str | None]:
        """Read user and password of an address; where the file names several, and not this one, of the first."""
        addresses = [urlsplit(address) for address in self._read().split(";")]
        parts = next((a for a in addresses if _is_at(a, host, port)), addresses[0])
        user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
        return user, password

    def connect(self, connection: Any, stock: Callable[[], Any]) -> Any:
        """Let a connection of kombu's connect with them; `stock` does it.

        RabbitMQ has one password for a user, so there is a moment in which server and file differ. kombu takes a
        refused login for final, and a worker would end. Where these credentials were good before it is an outage, as it
        is with Redis: the next attempt reads the file again.
        """
        address = (connection.hostname, connection.port)
        if not str(connection.transport_cls).startswith("amqp"):  # its pool connects again without asking us
            connection.credential_provider = RedisCredentials(self, *address)
            return stock()
        connection.userid, connection.password = self.of(*address)
        try:
            connected = stock()
        except AccessRefused as exc:
            if not self._were_good:
                raise
            raise RecoverableConnectionError(exc.reply_text) from exc
        self._were_good = True
        return connected

    def _read(self) -> str:
        try:
            url = url_file.read(self._path, _demand_sound)
        except url_file.Unusable as exc:
            self._warn(f"{self._path} cannot be used, so the last known password is: {exc}")
            return self._url
        if _places(url) != _places(self._url):
            self._warn(f"{self._path} names another server by now: a restart connects to it")
            return self._url
        if url != self._url:
            log.info("the credentials in %s have changed", self._path)
        self._said, self._url = "", url
        remember(url)
        return url

    def _warn(self, text: str) -> None:
        if text != self._said:
            log.warning("%s", text)
        self._said = text


@cache
def read_from(path: Path, url: str) -> FileCredentials:
    """Give what reads a file, one for all connections of a process: `url` is what was in it when it started."""
    return FileCredentials(path, url)


class RedisCredentials(CredentialProvider):
    """The same for redis-py, which asks before it authenticates a connection."""

    def __init__(self, credentials: FileCredentials, host: str | None, port: int | None) -> None:
        self._credentials = credentials
        self._address = (host, port)

    @property
    def user(self) -> str | None:
        """The user whose rights count, for messages about rights."""
        return self._credentials.of(*self._address)[0]

    def get_credentials(self) -> Any:
        """Give what AUTH is to be sent with; nothing for a server that wants no password."""
        user, password = self._credentials.of(*self._address)
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
    """Give all of a URL but users and passwords."""
    return [_place(urlsplit(address)) for address in url.split(";")]


def _place(parts: SplitResult) -> tuple[str, str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2], f"{parts.path}?{parts.query}"
