"""The parts of the URL of a broker or a store: the server, the database and the options.

kombu and Celery both pass the options after the `?` as keyword arguments, but to different functions: an option that
one of these does not know raises a TypeError inside the library. So the options are read and checked here, for both.
"""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

REDIS: Final = ("redis", "rediss", "redis+socket", "sentinel")
SECURE: Final = ("rediss", "amqps")
_FEWEST_CONNECTIONS: Final = 10
"""kombu's default. A worker uses about as many connections; with fewer it could deadlock."""


@dataclass(frozen=True)
class ServerUrl:
    """The parts of a URL."""

    url: str
    """The URL in its normal form: without options, and with the database."""
    database: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    """Transport options of kombu."""
    tls: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of redis-py's TLS connections."""


def read(url: str) -> ServerUrl:
    """Read a URL: one address, or several with `;` between them (Sentinels, or servers to fail over to).

    Raises ValueError, whose text quotes no part of the URL but the name of an option: any other part may be a password.
    """
    if any(ord(character) < ord(" ") for character in url):
        raise ValueError("a URL holds no control characters")
    try:
        url.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8; write other bytes as %XX") from None
    given = url.split(";")
    if len({address.partition("://")[0] for address in given}) > 1:
        raise ValueError("the addresses between the ; are of different kinds")
    addresses = [_read_address(address) for address in given]
    first = addresses[0]
    if any(a.options != first.options or a.tls != first.tls for a in addresses[1:] if a.options or a.tls):
        raise ValueError("the addresses have different options; those of the first hold for all")
    if len({a.database for a in addresses}) > 1:
        raise ValueError("the addresses name different databases; write the same one behind each, such as /0")
    return ServerUrl(";".join(a.url for a in addresses), first.database, first.options, first.tls)


def without_credentials(url: str) -> str:
    """Remove users and passwords from a URL, which are then read from a file for each connection."""
    return ";".join(_CREDENTIALS.sub("", address) for address in url.split(";"))


_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#]*@")


def in_database_0(url: str) -> str:
    """Return the URL of database 0 of the same server, without options; every server has a database 0."""
    return ";".join(_without_options(_split(address), 0) for address in url.split(";"))


def _read_address(url: str) -> ServerUrl:
    parts = _split(url)
    _demand_host(parts)
    if parts.scheme not in REDIS:
        if parts.scheme in SECURE:
            return ServerUrl(url.partition("?")[0], tls=_consistent(_options(parts).tls))
        if parts.query:
            raise ValueError(f"a URL of {parts.scheme}:// takes no options here, and it has ?{_names(parts.query)}")
        return ServerUrl(url)
    is_socket = parts.scheme == "redis+socket"
    if is_socket and (parts.hostname or parts.port or not unquote(parts.path).strip("/")):
        raise ValueError("expected the path of a socket behind three slashes: redis+socket:///run/redis.sock")
    given = _options(parts)
    database = given.options.get("db")
    named = None if is_socket else _database(parts.path)
    if None not in {named, database} and named != database:
        raise ValueError(f"it names two databases: /{named} and ?db={database}")
    found = named or database or 0
    options = {name: value for name, value in given.options.items() if name != "db"}
    return ServerUrl(_without_options(parts, found), found, options, _consistent(given.tls))


def _split(url: str) -> SplitResult:
    """Split a URL; raise ValueError if a password with an unescaped # / ? @ or [ has made it ambiguous."""
    try:
        parts = urlsplit(url)
        is_whole = parts.port != 0 and "@" not in parts.query + parts.fragment and not parts.fragment
    except ValueError:
        is_whole = False
    if not is_whole or (parts.netloc and "@" in parts.path):
        raise ValueError("expected user:password@host:port; in a password, write # / ? @ [ as %23 %2F %3F %40 %5B")
    if "password=" in parts.query:
        raise ValueError("expected the password before the host: redis://user:password@host:6379/0")
    return parts


def _demand_host(parts: SplitResult) -> None:
    """Raise ValueError for a host that cannot be looked up: a connection would raise a UnicodeError, not an OSError."""
    host = unquote(parts.hostname or "")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("the host is not a name that can be looked up") from None
    if any(ord(c) <= ord(" ") or c in "/?#" for c in host) or "\0" in unquote(parts.path):
        raise ValueError("the host is not a name that can be looked up, or the path holds a NUL")


def _database(path: str) -> int | None:
    text = unquote(path).strip("/")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_DATABASE:
        raise ValueError("the database behind the host is a whole number from 0 on: redis://host:6379/0")
    return int(text)


def _without_options(parts: SplitResult, database: int) -> str:
    if parts.scheme != "redis+socket":
        return f"{parts.scheme}://{parts.netloc}/{database}"
    query = f"?virtual_host={database}" if database else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


def _consistent(tls: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raise ValueError for TLS options that contradict each other: the library would fail with each connection."""
    if "ssl_keyfile" in tls and "ssl_certfile" not in tls:
        raise ValueError("the option ?ssl_keyfile needs ?ssl_certfile beside it")
    if tls.get("ssl_cert_reqs") != ssl.CERT_NONE:
        return tls
    if tls.get("ssl_check_hostname"):
        raise ValueError("without a certificate (?ssl_cert_reqs=none) no host name can be checked")
    return {**tls, "ssl_check_hostname": False}


def _names(query: str) -> str:
    return ", ".join(sorted({name for name, _ in parse_qsl(query, keep_blank_values=True)}))


def _options(parts: SplitResult) -> ServerUrl:
    """Read the options after the `?`."""
    options: dict[str, Any] = {}
    tls: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        into, known = (tls, _TLS) if name in _TLS else (options, _OPTIONS)
        if name not in _KNOWN_OF.get(parts.scheme, {*_KNOWN, *_SAME}):
            known_names = ", ".join(_KNOWN_OF.get(parts.scheme, _KNOWN))
            raise ValueError(f"the option ?{name[:50]} is not known here; those that are: {known_names}")
        if name in _TLS and parts.scheme not in SECURE:
            raise ValueError(f"the option ?{name} is for rediss:// and amqps:// only")
        stored = _SAME.get(name, name)
        if stored in into:
            raise ValueError(f"the option ?{name} stands there twice")
        try:
            into[stored] = known[name](value)
        except ValueError as exc:
            raise ValueError(f"the option ?{name} has {exc}") from None
    return ServerUrl("", options=options, tls=tls)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("a value that is no number of seconds above 0")
    return number


def _interval(text: str) -> float:
    return 0.0 if text.strip() == "0" else _seconds(text)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_DATABASE or int(text) < least:
            raise ValueError(f"a value that is no whole number from {least} on")
        return int(text)

    return parse


def _truth(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError("a value that is neither true nor false")
    return known[text.lower()]


def _text(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise ValueError("a value that is empty, or has a space in it")
    return text


def _file(text: str) -> str:
    if not os.access(text, os.R_OK) or not os.path.isfile(text):  # noqa: PTH113 (a text that Path may refuse)
        raise ValueError("a value that is no file which can be read here")
    return text


def _directory(text: str) -> str:
    if not os.path.isdir(text):  # noqa: PTH112 (a text that Path may refuse)
        raise ValueError("a value that is no directory here")
    return text


def _certificates(text: str) -> ssl.VerifyMode:
    word = text.lower().removeprefix("cert_")
    known = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
    if word not in known:
        raise ValueError("a value that is not required, optional or none")
    return known[word]


_LONGEST_DATABASE: Final = 9
"""Digits."""

_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "db": _whole(0),
    "virtual_host": _whole(0),
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _truth,
    "health_check_interval": _interval,
    "retry_on_timeout": _truth,
    "max_connections": _whole(_FEWEST_CONNECTIONS),
    "client_name": _text,
}

_TLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl_cert_reqs": _certificates,
    "ssl_check_hostname": _truth,
    "ssl_ca_certs": _file,
    "ssl_ca_path": _directory,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
}

_SAME: Final = {"virtual_host": "db"}
"""Option → the other name of the same option: kombu and redis-py name it differently."""

_KNOWN: Final = sorted({*_OPTIONS, *_TLS} - _SAME.keys())
_KNOWN_OF: Final = {"amqps": sorted(_TLS.keys() - {"ssl_ca_path"})}
"""py-amqp supports none of the other options, and reads certificate authorities from a file only."""
