"""Refusals: errors with a hint for failed connections, chosen by the server's error text and not by the URL."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from mlq.broker.errors import BrokerRefused, BrokerUnreachable, ClusterBroker
from mlq.errors import MlqError

if TYPE_CHECKING:
    from mlq.broker.connection import Address

_PIPELINED: Final = re.compile(r"\ACommand # \d+ .* of pipeline caused error: ", re.DOTALL)
DENIED: Final = re.compile(
    r"NOPERM|no permissions? to |can't run this command|can't access at least one|ACL failure", re.IGNORECASE
)
"""Error texts of all server versions if the user lacks a right, in a command or in a script."""

_NO_PRIMARY: Final = re.compile(r"unknown command ['`]SENTINEL['`]|connecting to", re.IGNORECASE)
"""Errors of a server that is not a Sentinel (Redis 6.2 uses the other quotes), and of a primary that is unreachable."""

_NO_DATABASE: Final = re.compile(r"DB index is out of range|invalid DB index", re.IGNORECASE)
_LOOK_S: Final = 1.0

_ROLES: Final = (
    "`mlq acl submitter --user {user}` prints the rights that submitting and collecting need, "
    "`mlq acl worker --user {user}` those of workers and operators"
)


@dataclass(frozen=True)
class _Meaning:
    """An error text, and the error with a hint for it."""

    pattern: re.Pattern[str]
    hint: str
    """In it `{set}` is the setting that named the server, `{at}` its host and port, `{user}` the user in the URL."""

    error: type[MlqError] = BrokerRefused


def _meaning(pattern: str, hint: str, error: type[MlqError] = BrokerRefused) -> _Meaning:
    return _Meaning(re.compile(pattern, re.IGNORECASE), hint, error)


_REFUSED: Final = (
    _meaning(
        r"^OOM|used memory > 'maxmemory'",
        "its memory is full: let workers drain it, or raise maxmemory; `mlq queues` shows what waits",
    ),
    _meaning(
        r"CROSSSLOT|don't hash to the same slot|^MOVED|^ASK |CLUSTERDOWN|TRYAGAIN|hash slot|in cluster mode",
        "set {set} to a server that is no cluster; Sentinel (sentinel://) gives one that fails over",
        ClusterBroker,
    ),
    _meaning(
        r"without any password configured",
        "leave the password out of {set}: this server asks for none",
    ),
    _meaning(
        r"NOAUTH|Authentication required|HELLO must be called with the client already authenticated",
        "put user and password into {set}: redis://user:password@host:6379/0",
    ),
    _meaning(
        r"WRONGPASS|invalid username-password pair|invalid password|user is disabled",
        "put the right user and password into {set} (redis://user:password@host:6379/0); "
        "`redis-cli ACL LIST` there shows its users",
    ),
    _meaning(r"protected mode", "set a password there (`requirepass`), and put it into {set}"),
    _meaning(DENIED.pattern, f"its user may not do that: {_ROLES}"),
    _meaning(
        r"READONLY|read only replica|read only slave",
        "it is a replica: set {set} to its primary (`redis-cli ROLE` there names it), or to Sentinel with sentinel://",
    ),
    _meaning(
        r"unknown command|Unknown Redis command|unknown subcommand",
        "that command was renamed or disabled there: allow it, or set {set} to another server",
    ),
    _meaning(
        r"max number of clients",
        "raise `maxclients` there (`redis-cli CONFIG SET maxclients 10000`), or end clients that "
        "`redis-cli CLIENT LIST` shows",
    ),
    _meaning(_NO_DATABASE.pattern, "name a database that is there in {set}: redis://host:6379/0"),
    _meaning(r"MISCONF", "it cannot write its snapshots: free its disk; its own log has the reason"),
    _meaning(
        r"NOREPLICAS", "too few of its replicas are connected (`min-replicas-to-write`): `redis-cli INFO replication`"
    ),
    _meaning(r"MASTERDOWN", "it is a replica that has lost its primary: set {set} to the primary"),
    _meaning(r"^BUSY", "it runs a script that does not end: `redis-cli SCRIPT KILL` there ends it"),
)
"""Error texts of a server that refuses, the most specific first."""

_UNREACHED: Final = (
    _meaning(
        r"certificate has expired|certificate is not yet valid",
        "renew the certificate there, or correct the clock here: `openssl s_client -connect {at}` shows it",
    ),
    _meaning(
        r"Hostname mismatch|IP address mismatch|doesn't match",
        "set {set} to a name that the server's certificate is for: `openssl s_client -connect {at}` shows them",
    ),
    _meaning(
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|unknown ca",
        "set SSL_CERT_FILE to the certificate of the authority that signed the server's",
    ),
    _meaning(
        r"certificate required|bad certificate|handshake failure|certificate unknown",
        "the server wants a certificate of ours: add ?ssl_certfile=FILE&ssl_keyfile=FILE to {set}",
    ),
    _meaning(
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG",
        "that port does not answer with TLS: set {set} to its TLS port, or to a URL without TLS (redis://, amqp://)",
    ),
    _meaning(
        r"UNEXPECTED_EOF|EOF occurred in violation",
        "the server ended the handshake: if it wants a certificate of ours, add ?ssl_certfile=FILE&ssl_keyfile=FILE "
        "to {set}; if it has no TLS there, set {set} to redis://",
    ),
    _meaning(
        r"Name or service not known|nodename nor servname|No address associated|getaddrinfo|name resolution",
        "no such host is known here: correct the name in {set}, or look at this host's DNS",
    ),
    _meaning(
        r"Permission denied", "this user may not open it: `ls -l` shows who may (`unixsocketperm`), {set} names it"
    ),
    _meaning(
        r"closed by server|reset by peer",
        "its log says why: it ends clients that are idle (`timeout`), or whose reply is too large "
        "(`client-output-buffer-limit normal`)",
    ),
    _meaning(
        r"loading the dataset", "it reads its data from the disk: wait, and try again; {set} names another server"
    ),
)
"""Error texts of the system and the TLS library, the most specific first."""


def explain(exc: Exception, address: Address) -> MlqError | None:
    """Return the error to show to the user, or None if the failure does not concern a broker."""
    from redis.exceptions import AuthenticationError, ResponseError

    chain = tuple(_chain(exc))
    reason = reason_of(exc)
    refused = any(isinstance(e, (AuthenticationError, ResponseError)) for e in chain)
    if not (refused or _is_away(exc)):
        return None
    texts = [_text(e) for e in chain]
    found = next((m for m in _REFUSED for text in texts if m.pattern.search(text)), None)
    if found is not None:
        return _error(found.error, address, reason, found.hint)
    if refused:
        return _error(BrokerRefused, address, reason, "see its log; {set} names another server")
    return _unreached(address, reason, chain)


def _unreached(address: Address, reason: str, chain: Sequence[BaseException]) -> MlqError:
    texts = [_text(e) for e in chain]
    if _speaks_tls(address, chain):
        hint = "that port speaks TLS: write rediss:// in {set}"
        return _error(BrokerUnreachable, address, f"it closed the connection ({reason})", hint)
    found = next((m for m in _UNREACHED for text in texts if m.pattern.search(text)), None)
    if found is not None:
        return _error(BrokerUnreachable, address, reason, found.hint)
    if _speaks_plain_text(address):
        hint = "that port does not answer with TLS: set {set} to its TLS port, or to redis:// if it has none"
        return _error(BrokerUnreachable, address, f"it does not answer the TLS handshake ({reason})", hint)
    return _error(BrokerUnreachable, address, reason, _away_hint(address, texts))


def is_denied(exc: Exception) -> bool:
    """Return True if the server's user lacks the right to a command, a key or a channel."""
    from redis.exceptions import ResponseError

    return isinstance(exc, ResponseError) and bool(DENIED.search(_text(exc)))


def has_no_primary(exc: Exception) -> bool:
    """Return True if Sentinel named no primary or an unreachable one, or if the server is not a Sentinel."""
    from redis.sentinel import MasterNotFoundError

    return any(isinstance(e, MasterNotFoundError) or _NO_PRIMARY.search(str(e)) for e in _chain(exc))


def names_no_database(exc: Exception) -> bool:
    """Return True if the server has no database with the number in the URL."""
    return any(_NO_DATABASE.search(str(e)) for e in _chain(exc))


def _error(kind: type[MlqError], address: Address, reason: str, hint: str) -> MlqError:
    place = urlsplit(address.url)
    at = f"{place.hostname or 'HOST'}:{place.port or 6379}" if "," not in place.netloc else "HOST:PORT"
    user = unquote(place.username or "") or "default"
    filled = hint.replace("{set}", address.setting).replace("{at}", at).replace("{user}", user)
    return kind(url=address.shown, origin=address.origin, reason=reason, fix=filled)


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, because kombu and redis-py wrap the errors of the system."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _is_away(exc: Exception) -> bool:
    from amqp.exceptions import RecoverableConnectionError
    from kombu.exceptions import OperationalError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import InvalidResponse
    from redis.exceptions import TimeoutError as RedisTimeoutError

    # Other kinds of OSError do not count: a full disk under the output is not an unreachable broker.
    away = (OperationalError, RedisConnectionError, RedisTimeoutError, InvalidResponse, RecoverableConnectionError)
    return isinstance(exc, (*away, ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError))


def _text(exc: BaseException) -> str:
    return _PIPELINED.sub("", str(exc))


def reason_of(exc: Exception) -> str:
    """Return the server's own text, without the command (with the values to store) that redis-py puts before it."""
    return _text(exc).strip().rstrip(".") or type(exc).__name__


def _speaks_tls(address: Address, chain: Sequence[BaseException]) -> bool:
    """Return True if a server that closed a plain connection speaks TLS; its certificate is not verified here."""
    from redis.exceptions import InvalidResponse

    place = urlsplit(address.url)
    hung_up = any(isinstance(e, (InvalidResponse, ConnectionResetError)) or "closed by server" in str(e) for e in chain)
    if place.scheme not in {"redis", "sentinel"} or not hung_up:
        return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((place.hostname, place.port or 6379), _LOOK_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLError as exc:  # it speaks TLS, and may require a client certificate
        return "WRONG_VERSION" not in str(exc) and "EOF" not in str(exc)
    except OSError:
        return False


def _speaks_plain_text(address: Address) -> bool:
    """Return True if a server of a rediss:// URL speaks plain text; it waits for the end of a line in the handshake."""
    place = urlsplit(address.url)
    if place.scheme != "rediss":
        return False
    try:
        with socket.create_connection((place.hostname, place.port or 6379), _LOOK_S) as plain:
            plain.sendall(b"PING\r\n")
            return plain.recv(1) in {b"+", b"-"}
    except OSError:
        return False


def _away_hint(address: Address, texts: Sequence[str]) -> str:
    was_refused = any("refused" in text for text in texts)
    if was_refused and _in_container() and urlsplit(address.url).hostname in {"localhost", "127.0.0.1", "::1"}:
        return "inside a container `localhost` is the container: set {set} to the server's own name"
    if address.is_embedded:
        return "start one with `mlq up`, or set {set}"
    return "start that server, or set {set} to another; with neither, `mlq up` runs an embedded one"


def _in_container() -> bool:
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return any(m.exists() for m in marks) or "KUBERNETES_SERVICE_HOST" in os.environ
