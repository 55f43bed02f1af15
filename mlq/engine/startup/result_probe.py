"""The result probe: a worker stores a test result in the result backend before it is ready.

Otherwise an unusable backend would be noticed with the first result: a valid message would end its worker, or its
result would be lost.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from mlq.broker.connection import (
    Address,
    broker_address,
    configured_address,
    connected,
    explained,
    is_redis,
    redis_client,
)
from mlq.broker.errors import BrokerRefused, BrokerUnreachable, ResultsUnreachable, ResultsUnusable
from mlq.protocol import keys
from mlq.protocol.result import Answer
from mlq.store.claims import stored_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from redis import Redis

    from mlq.settings.config import Settings

_LASTS: Final = re.compile(
    r"NOPERM|permission|READONLY|read only|WRONGPASS|NOAUTH|invalid password|without any password|"
    r"DB index|nknown (Redis )?command|can't run this command|can't access|in cluster mode",
    re.IGNORECASE,
)
"""Replies of a server that refuses permanently, in contrast to one that is starting or full."""

_FULL: Final = re.compile(r"^OOM|used memory > 'maxmemory'")
_READ_ONLY: Final = re.compile(r"READONLY|read only", re.IGNORECASE)

_FAILOVER_S: Final = 30.0
"""Seconds that a read-only server has to become a primary."""

_AGAIN_S: Final = 0.5
"""Seconds between two attempts."""

_KEPT_S: Final = 10
"""Seconds after which the test result expires, if it could not be deleted."""

_AWAY_NAMES: Final = frozenset({"OperationalError", "ServerSelectionTimeoutError", "AutoReconnect", "NoHostAvailable"})
"""Exceptions of database drivers for a server that does not answer; the drivers need not be installed."""


def is_lasting(error: Exception) -> bool:
    """Return True for a permanent refusal, False for a server that is away, starting, full or failing over."""
    text = str(error)
    return _LASTS.search(text) is not None and _READ_ONLY.search(text) is None


def demand_results(settings: Settings, make_app: Callable[[Settings], Celery]) -> None:
    """Store a test result, read it and delete it; `make_app` makes an app for a backend that is not Redis.

    Raises ResultsUnreachable and ResultsUnusable.
    """
    if settings.result_backend is None:
        address = broker_address(settings)
    else:
        address = configured_address(settings, "result_backend")
    if address.url == "none":
        return
    if is_redis(address.url):
        _demand_redis(settings, address)
    elif settings.result_backend is not None:
        _demand_backend(address, lambda: make_app(settings))


def _demand_redis(settings: Settings, address: Address) -> None:
    until = time.monotonic() + _FAILOVER_S
    while True:
        try:
            with connected(settings, address) as connection, explained(address):
                _store(redis_client(connection))
        except BrokerUnreachable as exc:
            raise ResultsUnreachable(url=exc.url, origin=exc.origin, reason=exc.reason, fix=exc.fix) from exc
        except BrokerRefused as exc:
            reason = exc.reason
            if _FULL.search(reason):  # results wait until there is room, and running tasks makes room
                return
            if _READ_ONLY.search(reason) and time.monotonic() < until:
                time.sleep(_AGAIN_S)
                continue
            kind = ResultsUnusable if _LASTS.search(reason) else ResultsUnreachable
            raise kind(url=exc.url, origin=exc.origin, reason=reason, fix=exc.fix) from exc
        return


def _store(redis: Redis) -> None:
    key = keys.task_result(f"mlq-probe-{socket.gethostname()}-{os.getpid()}")
    stored_results.probe(redis, Answer(key, b"{}", _KEPT_S))


def _demand_backend(address: Address, make_app: Callable[[], Celery]) -> None:
    """Test a backend of Celery as a worker uses it."""
    from mlq.engine.celery import backend as backends

    where = {"url": address.shown, "origin": address.origin}
    fix = f"set {address.setting} to a result backend that works, or to `none`"
    try:
        backend: Any = make_app().backend
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        install = f"`pip install {package}` in the environment of the workers; or " if package else ""
        raise ResultsUnusable(**where, reason=str(exc), fix=install + fix) from exc
    except Exception as exc:
        raise ResultsUnusable(**where, reason=_first_line(exc), fix=fix) from exc
    try:
        is_kept = backends.keeps_result(backend, f"mlq-probe-{socket.gethostname()}-{os.getpid()}")
    except Exception as exc:
        kind = ResultsUnreachable if _is_away(exc, address) else ResultsUnusable
        raise kind(**where, reason=_first_line(exc), fix=fix) from exc
    if not is_kept:  # the memcached client reports no error if its server is away
        raise ResultsUnreachable(**where, reason="a stored test result cannot be read", fix=fix)


def _is_away(exc: Exception, address: Address) -> bool:
    from kombu.exceptions import OperationalError

    if isinstance(exc, (OperationalError, ConnectionError, TimeoutError, socket.gaierror)):
        return True
    return type(exc).__name__ in _AWAY_NAMES and not address.url.startswith("db+sqlite")


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
