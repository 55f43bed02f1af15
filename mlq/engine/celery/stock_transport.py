"""Celery's own transport, with RabbitMQ: a worker acknowledges at once, and reacts to signals at once.

Celery acknowledges in the next turn of kombu's loop. Its signal handlers set a flag, which the loop reads between two
waits, and Python resumes a wait that a signal interrupted. So a stock worker would do both up to 10 s later.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mlq.engine.celery import task_wrapper

if TYPE_CHECKING:
    from celery import Celery

    from mlq.engine.time_limits import TimeLimits

_AT_ONCE: Final = 4096
"""Bytes read with one call; each signal writes one."""


def acknowledge_at_once(app: Celery, limits: TimeLimits) -> None:
    """Time all tasks registered so far, and let the solo worker of this app send each acknowledgement at once.

    Celery delays an acknowledgement to the next turn of kombu's loop. If a task ran inside the loop, before it polls,
    that turn first waits for the socket. The broker delivers the next message only after the acknowledgement, so the
    worker is idle until a timer wakes it, up to 10 s later. The solo pool runs tasks in the thread of the loop, which
    may write to the connection.
    """
    from celery import bootsteps

    class AcknowledgeAtOnce(bootsteps.Step):
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            # Celery acknowledges through call_soon_ack since 5.7, and through call_soon before.
            for name in ("call_soon", "call_soon_ack"):
                setattr(consumer, name, _call_now)
            create = consumer.create_task_handler
            consumer.create_task_handler = lambda *args, **kwargs: _unless_stopping(create(*args, **kwargs))

    app.steps["consumer"].add(AcknowledgeAtOnce)
    limits.answer_first(answer_overdue)
    task_wrapper.wrap(app, None, limits)


def wake_on_signals(app: Celery) -> None:
    """Let the worker of this app react to a signal at once. Call this in the main thread."""
    from celery import bootsteps

    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.settimeout(0)
    # The C code that receives a signal writes to it, before Python runs the handler or resumes the wait.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def clear() -> None:
        with suppress(BlockingIOError):
            reader.recv(_AT_ONCE)

    class WakeOnSignal(bootsteps.StartStopStep):
        _writer = writer  # keeps the socket open while signals are written to it

        def start(self, parent: Any) -> None:
            """Watch the socket. A lost connection clears the loop; this step starts again with the next connection."""
            if parent.hub is not None:
                parent.hub.add_reader(reader.fileno(), clear)

    app.steps["consumer"].add(WakeOnSignal)


def answer_overdue(seconds: float) -> None:
    """Fail the running task with TimeLimitExceeded and acknowledge it, as the main process of Celery's pools does."""
    from celery.worker import state

    for request in list(state.active_requests):
        request.on_timeout(False, seconds)  # noqa: FBT003 (False is Celery's flag for the hard limit)


def _unless_stopping(handle: Callable[[Any], None]) -> Callable[[Any], None]:
    """Requeue messages that arrive while the worker ends.

    The acknowledgement of the last task lets the broker deliver the next message. Celery would run it while it waits
    for the reply that cancels its consumer.
    """
    from celery.worker import state

    def take(message: Any) -> None:
        # Each is an exit code, which may be 0, or None or False while the worker goes on.
        if any(code is not None and code is not False for code in (state.should_stop, state.should_terminate)):
            message.requeue()
        else:
            handle(message)

    return take


def _call_now(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Call now what Consumer.call_soon and call_soon_ack would call later; the signature is theirs."""
    callback(*args, **kwargs)
    return callback
