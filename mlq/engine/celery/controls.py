"""Controls: the mailbox of a worker for Celery's control messages, which obeys those that `controls` allows.

Celery's mailbox obeys every client that can publish, even one that sends `shutdown`, and writes a traceback to the log
for each command that fails.
"""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final

from celery.utils.saferepr import saferepr as safe_repr
from celery.utils.serialization import jsonify
from celery.utils.time import rate
from celery.worker import pidbox, state
from celery.worker.control import Panel

from mlq.protocol import control_messages
from mlq.protocol.control_messages import complaints, is_addressed, task_ids
from mlq.protocol.control_policy import obeys, refusal
from mlq.protocol.names import Controls, is_task_id
from mlq.security.masking import without_passwords

if TYPE_CHECKING:
    from celery import Celery


Limited = Callable[[dict[str, str]], None]
"""Called with the rate limits of all tasks that have one, whenever they change."""

_OF_QUEUES: Final = ("add_consumer", "cancel_consumer")
"""Commands that change a worker's queues. They are refused: its claims, its lease and the doorbell that wakes it use
the queues with which it was started."""

_SIGNALS: Final = frozenset({"TERM", "KILL", "INT", "QUIT", "HUP", "USR1"})
"""Signals that a revoke may send, because they end a task. SIGSTOP would block its process without end."""

_MOST_STAMPS: Final = 1000
_MOST_STAMPED_HEADERS: Final = 20
_MOST_PROCESSES: Final = 1000
_MOST_ATTRIBUTES: Final = 100
_MOST_PER_S: Final = 1e9
_LONGEST_RATE: Final = 32
_LONGEST_S: Final = 1e9

log = logging.getLogger("mlq.mailbox")


def begin(app: Celery, controls: Controls, limited: Limited, *, keeps_queues: bool) -> None:
    """Let the worker of this app obey these control messages; call this before the worker is created.

    Args:
        app: The app.
        controls: Which control messages are obeyed.
        limited: Called with the rate limits of tasks, now and whenever they change.
        keeps_queues: Refuse commands that change the queues. Celery's handlers would report success and change nothing.
    """
    app.conf.worker_enable_remote_control = controls != "none"
    if keeps_queues:
        Panel.data.update(dict.fromkeys(_OF_QUEUES, _keep_queues))

    class OfThisWorker(Mailbox):
        pass

    OfThisWorker.controls, OfThisWorker.limited = controls, staticmethod(limited)
    stock: Any = pidbox
    stock.Pidbox = OfThisWorker
    limited(rate_limits(app))


def rate_limits(app: Celery) -> dict[str, str]:
    """Return the rate limit, as it was given, of each task that has one, its own or by a control message."""
    return {name: str(task.rate_limit) for name, task in app.tasks.items() if task.rate_limit}


class Mailbox(pidbox.Pidbox):
    """Celery's mailbox, but mlq decodes the messages, and only an allowed `shutdown` can end the worker."""

    controls: ClassVar[Controls] = "inspect"
    limited: ClassVar[Limited]

    def __init__(self, consumer: Any) -> None:
        super().__init__(consumer)
        self._node: Any = self.node
        self._hostname = str(consumer.hostname)
        self._node.handle = self._handle
        self._node.on_decode_error = _refuse

    def start(self, consumer: Any) -> None:
        """Listen on a channel of its own."""
        channel = consumer.connection.channel()
        control_messages.screen(channel)
        self._node.channel = channel
        self.consumer = self._node.listen(callback=self.on_message)

    def on_message(self, body: dict[str, Any], message: Any) -> None:
        """Run the command of a message, if it is addressed to this worker."""
        self._node.mailbox.clock.forward()
        self._node.adjust_clock(message.headers["clock"])
        if not is_addressed(self._hostname, body):
            return
        try:
            self._node.dispatch(**body)
        except Exception as exc:  # noqa: BLE001 (the reply cannot be sent; a new channel may send the next one)
            complaints.add(f"it could not be answered: {exc!r}")
            self.reset()

    def _handle(self, method: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run a command and return its reply, or the reason why it is refused. Raises SystemExit for `shutdown`."""
        handler = self._node.handlers.get(method)
        if handler is None:
            complaints.add(f"there is no command {method!r}")
            return {"error": f"no such command: {method}"}
        meta = Panel.meta.get(method)
        if not obeys(self.controls, method, only_asks=meta is not None and meta.type == "inspect"):
            complaints.add(f"{method!r} is not obeyed with controls = {self.controls!r}")
            return refusal(self.controls)
        try:
            check = _CHECKS.get(method)
            reply = handler(self._node.state, **(check(arguments or {}) if check else arguments or {}))
        except Exception as exc:  # noqa: BLE001 (arguments may be anything, so handlers may raise anything)
            complaints.add(f"{method!r} failed: {_brief(exc)}")
            return {"error": _brief(exc)}
        return self._finish(method, reply)

    def _finish(self, method: str, reply: Any) -> Any:
        """Report changed rate limits to the supervisor, and mask passwords in the reply."""
        if method == "rate_limit":
            type(self).limited(rate_limits(self._node.state.app))
        if method == "revoke_by_stamped_headers":
            stamps: Any = state.revoked_stamps  # the stub says that it holds sets
            _forget_stamps(stamps)
        return without_passwords(reply) if method in {"conf", "dump_conf"} else reply


def _refuse(_: Any, exc: Exception) -> None:
    complaints.add(exc)


def _brief(exc: Exception) -> str:
    return f"{type(exc).__name__}: {reprlib.repr(str(exc))}"


def _keep_queues(_: Any, **__: Any) -> dict[str, str]:
    return {
        "error": "a worker keeps its queues; `mlq queues pause` pauses one, `mlq worker start --queues` serves others"
    }


# Checks of the arguments of commands. Each raises ValueError or TypeError with a sentence.


def _of_revoke(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**arguments, "task_id": task_ids(arguments.get("task_id")), **_signal(arguments)}


def _signal(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument `signal`, if it names a signal that ends a task."""
    value = arguments.get("signal")
    if value is None:
        return {}
    name = value.upper().removeprefix("SIG") if isinstance(value, str) else None
    if name not in _SIGNALS:
        raise ValueError(f"signal must be one of {', '.join(sorted(_SIGNALS))}")
    return {"signal": name}


def _of_stamps(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Accept headers as an object, or as the list of key=value that Celery's command line sends."""
    value = arguments.get("headers")
    if isinstance(value, list):
        value = dict(h.partition("=")[::2] for h in value if isinstance(h, str))
    if not isinstance(value, dict) or len(value) > _MOST_STAMPED_HEADERS or not all(map(is_task_id, value)):
        raise ValueError(f"expected up to {_MOST_STAMPED_HEADERS} headers and the stamps to revoke")
    found = {header: task_ids(stamps) for header, stamps in value.items()}
    if any(len(stamps) > _MOST_STAMPS for stamps in found.values()):
        raise ValueError(f"expected up to {_MOST_STAMPS} stamps of a header")
    return {**arguments, "headers": found, **_signal(arguments)}


def _forget_stamps(revoked: dict[str, list[str]]) -> None:
    """Drop the oldest revoked stamps if there are too many: Celery keeps all of them, repeated ones included."""
    for header, stamps in revoked.items():
        revoked[header] = list(dict.fromkeys(reversed(stamps)))[:_MOST_STAMPS][::-1]
    for header in list(revoked)[:-_MOST_STAMPED_HEADERS]:
        del revoked[header]


def _of_rate(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Accept a rate from 0 to 1e9 per second: with NaN, or with a negative one, a task would wait without end."""
    value: Any = arguments.get("rate_limit")
    try:
        per_s = math.nan if isinstance(value, bool) or len(str(value)) > _LONGEST_RATE else float(rate(value))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        per_s = math.nan
    if not 0 <= per_s <= _MOST_PER_S:
        raise ValueError("expected a rate such as 10/s, 5/m or 100/h; 0 lifts the limit")
    return dict(arguments)


def _of_limits(arguments: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("hard", "soft"):
        value = arguments.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _LONGEST_S
        ):
            raise ValueError(f"expected seconds for {name}, more than 0")
    return dict(arguments)


def _of_hello(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**arguments, "revoked": task_ids(list(arguments.get("revoked") or ()))}


def _of_attributes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if len(arguments.get("taskinfoitems") or ()) > _MOST_ATTRIBUTES:
        raise ValueError(f"expected up to {_MOST_ATTRIBUTES} attributes")
    return dict(arguments)


def _of_processes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    values = [n for n in arguments.values() if n is not None]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= _MOST_PROCESSES for n in values):
        raise ValueError(f"expected numbers of processes, up to {_MOST_PROCESSES}")
    return dict(arguments)


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "revoke": _of_revoke,
    "terminate": _of_revoke,
    "revoke_by_stamped_headers": _of_stamps,
    "rate_limit": _of_rate,
    "time_limit": _of_limits,
    "hello": _of_hello,
    "registered": _of_attributes,
    "dump_tasks": _of_attributes,
    "pool_grow": _of_processes,
    "pool_shrink": _of_processes,
    "autoscale": _of_processes,
}


_REVEALING: Final = ("stats", "conf", "dump_conf", "report")

Handler = Callable[..., Any]


def mask_replies() -> None:
    """Mask passwords in the replies of this process from now on."""
    Panel.data.update({name: _masked(Panel.data[name]) for name in _REVEALING if name in Panel.data})


def _masked(handler: Handler) -> Handler:
    @wraps(handler)
    def answer(*args: Any, **kwargs: Any) -> Any:
        reply = handler(*args, **kwargs)
        return without_passwords(jsonify(reply, unknown_type_filter=safe_repr))

    return answer
