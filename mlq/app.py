"""The Celery app, which accepts JSON only. Clients use `from mlq.app import app`, monitors `celery -A mlq.app`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, signals

from mlq import tasks
from mlq.broker import rabbitmq
from mlq.broker.connection import (
    Address,
    bare,
    broker_address,
    configured_address,
    connectable,
    credentials,
    is_redis,
    transport_options,
)
from mlq.engine.celery import reconnection
from mlq.errors import WorkerNeedsModel, print_error
from mlq.protocol import compression, names
from mlq.settings import tls
from mlq.settings.config import Settings, load

_OFF = "none"


def create_app(settings: Settings) -> Celery:
    """Create the app from the settings.

    Raises NoBroker if no broker is configured and no embedded one runs.
    """
    broker = broker_address(settings)
    compression.install()  # bounds all that this process decompresses, including replies to `celery inspect`
    app = Celery("mlq", set_as_current=False)
    app.conf.update(_routing(settings), **_delivery(), **_connections(settings, broker), **_results(settings, broker))
    reconnection.install(app, credentials(broker))
    tasks.register(app, settings.aliases or {})
    signals.before_task_publish.connect(_stamp, weak=False, dispatch_uid=names.STAMP)
    return app


def _routing(settings: Settings) -> dict[str, Any]:
    """Return the settings of queues and routes, most urgent queue first.

    The last queue is the one to which clients without routes publish. Each queue has its own exchange and routing key:
    Celery would bind all of them to those of the default queue.
    """
    return {
        "task_queues": [rabbitmq.queue_entity(settings, name) for name in settings.known_queues],
        "task_default_queue": settings.default_queue,
        "task_routes": {
            names.PREDICT: {"queue": settings.urgent_queue},
            names.BATCH_PREDICT: {"queue": settings.batch_queue},
        },
    }


def _delivery() -> dict[str, Any]:
    """Return the settings of delivery: JSON only, acknowledgement after the result is stored, one message at a time.

    Soft shutdown stays off: in the solo pool it interrupts the running task, sleeps, and then fails the task.
    """
    return {
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "event_serializer": "json",
        "task_acks_late": True,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": 0.0,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


_SENTINELS: Final = ("master_name", "sentinel_kwargs", "min_other_sentinels")
"""Options without which Celery's backend does not find the primary, and retries to store a result without end."""


def _connections(settings: Settings, broker: Address) -> dict[str, Any]:
    """Return the settings of connections: retry while the broker is away, and time out if it hangs."""
    return {
        "broker_url": connectable(broker),
        "broker_transport_options": transport_options(settings, broker.url),
        "broker_use_ssl": tls.options(broker.url),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
    }


def _results(settings: Settings, broker: Address) -> dict[str, Any]:
    """Return the settings of results: retry to store a result for as long as the store is away."""
    address = broker if settings.result_backend is None else configured_address(settings, "result_backend")
    backend = address.url
    if backend == _OFF:
        return {"result_backend": None, "task_ignore_result": True}
    options = transport_options(settings, backend)
    return {
        "result_backend": bare(backend),
        "result_backend_transport_options": {
            **{k: options[k] for k in _SENTINELS if k in options},
            **_credentials_of_results(address),
        },
        "redis_backend_use_ssl": tls.options(backend) if is_redis(backend) else None,
        "result_expires": settings.result_expires,
        "result_backend_always_retry": True,
        "redis_socket_timeout": options.get("socket_timeout", settings.socket_timeout),
        "redis_socket_connect_timeout": options.get("socket_connect_timeout", settings.socket_timeout),
        "redis_socket_keepalive": _keepalive(backend, options),
        "redis_backend_health_check_interval": options.get("health_check_interval", settings.socket_timeout),
        **{f"redis_{name}": options[name] for name in _SAME_IN_BACKENDS if name in options},
    }


def _credentials_of_results(address: Address) -> dict[str, Any]:
    """Let result backends in workers read the password file again; clients keep the password of their start."""
    from mlq.broker.credentials import OPTION

    found = credentials(address) if is_redis(address.url) else None
    return {OPTION: found} if found is not None else {}


_SAME_IN_BACKENDS: Final = ("max_connections", "retry_on_timeout", "client_name")
"""Transport options that Celery's Redis backend has under the same name."""


def _keepalive(backend: str, options: Mapping[str, Any]) -> bool | None:
    """Return whether TCP keepalive is on; None for a Unix socket, which has no such option."""
    return None if backend.startswith("redis+socket") else bool(options.get("socket_keepalive", True))


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Write the time of sending into a message, so that `mlq queues` can show the age of the oldest one."""
    if headers is not None:
        headers.setdefault(names.SENT_AT_HEADER, time.time())


@signals.celeryd_init.connect(weak=False)
def _refuse_without_model(instance: Any = None, **_: Any) -> None:
    """Stop `celery -A mlq.app worker`: without a model it would fail all tasks that it takes."""
    if getattr(instance, "app", None) is None or tasks.can_answer(instance.app):
        return
    error = WorkerNeedsModel()
    print_error(error)
    sys.exit(error.exit_code)


def __getattr__(name: str) -> Celery:
    """Create `mlq.app.app` on first access, so that importing this module reads no configuration."""
    if name != "app":
        raise AttributeError(name)
    app = create_app(load())
    globals()[name] = app
    return app
