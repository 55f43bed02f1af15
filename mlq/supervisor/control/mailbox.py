"""The mailbox: the thread in which a supervisor receives Celery's control messages for its busy workers.

An idle worker answers control messages with all that Celery knows. A solo worker in a task does not run its
event loop, so it does not answer: monitors would show it as offline, and a revoke would come too late. The supervisor
answers for such a worker, and writes the ticket of each answered message on the notices page, so that the worker does
not answer the message again after its task.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from mlq.errors import MlqError
from mlq.ipc.shared_pages import SupervisorNotices
from mlq.ipc.threads import StoppableThread
from mlq.protocol import control_messages
from mlq.protocol.control_messages import is_addressed
from mlq.protocol.control_policy import obeys, refusal
from mlq.protocol.names import Controls
from mlq.store.workers import orders
from mlq.supervisor.control.inspection import MINE_AFTER_S, BusyWorker, answer, is_unresponsive

if TYPE_CHECKING:
    from kombu import Connection

_EVENT_EVERY_S: Final = 10.0
"""Seconds between two of Celery's heartbeat events for a worker that cannot send them."""

_MOST_OPEN: Final = 1000
"""Control messages kept for a second look. In a flood the oldest ones get none."""

_WAIT_S: Final = 1.0
"""Seconds to wait for a control message before other work is done."""

_AGAIN_S: Final = 2.0
"""Seconds until the next attempt to connect."""

_REVOKES: Final = frozenset({"revoke", "terminate"})

log = logging.getLogger("mlq.mailbox")

Terminate = Callable[[str], None]
"""Ends the process of a worker, named by its id, because its task was revoked."""


class RevokedTasks(Protocol):
    """The stored ids of revoked tasks, for workers that miss the message. While the store is away nothing is stored."""

    def add(self, task_ids: Sequence[str]) -> None:
        """Store these ids."""

    def read(self) -> Sequence[str]:
        """Return all stored ids."""


@dataclass(frozen=True)
class _Question:
    """A control message, and the workers for which it was answered."""

    body: Mapping[str, Any]
    method: str
    reply: Callable[..., None]
    #: Seconds since 1970.
    came_at: float
    #: Celery's names of the workers for which it was answered.
    answered: set[str] = field(default_factory=set)


class MailboxThread(StoppableThread):
    """Receives control messages as long as the fleet runs. While the broker is away it tries to reconnect.

    Args:
        open_broker: Opens a connection to the broker.
        workers: Returns the running workers and their reports.
        notices: The page on which revoked tasks and answered tickets are written.
        terminate: Ends the process of a worker.
        revoked: The stored ids of revoked tasks.
        beat: Writes the heartbeats, and reads orders, at once.
        controls: Which control messages are obeyed.
    """

    def __init__(
        self,
        open_broker: Callable[[], AbstractContextManager[Connection]],
        workers: Callable[[], Sequence[BusyWorker]],
        notices: SupervisorNotices,
        terminate: Terminate,
        revoked: RevokedTasks,
        beat: Callable[[], None],
        *,
        controls: Controls = "inspect",
    ) -> None:
        super().__init__("mlq-mailbox")
        self._open_broker = open_broker
        self._workers = workers
        self._notices = notices
        self._terminate = terminate
        self._revoked = revoked
        self._beat = beat
        self._controls = controls
        self._open: deque[_Question] = deque(maxlen=_MOST_OPEN)
        self._event_at = 0.0

    def run(self) -> None:
        """Receive control messages until the end is asked for."""
        while not self.is_ending:
            try:
                with self._open_broker() as connection:
                    self._listen(connection)
            except MlqError as exc:
                log.debug(
                    "control messages are not received until the broker is back: %s",
                    exc,
                    extra={"action": "mailbox_disconnected"},
                )
                self._ended.wait(_AGAIN_S)
            except Exception as exc:  # noqa: BLE001 (each client library has its own errors for a lost connection)
                log.warning(
                    "control messages are not received for %g s: %s", _AGAIN_S, exc, extra={"action": "mailbox_failed"}
                )
                self._ended.wait(_AGAIN_S)

    def _listen(self, connection: Connection) -> None:
        from kombu import Consumer, Exchange, Queue
        from kombu.pidbox import Mailbox
        from redis.exceptions import RedisError

        mailbox: Any = Mailbox("celery", type="fanout", connection=connection, accept=["json"], serializer="json")
        name = f"{socket.gethostname()}.{threading.get_native_id()}.mlq.pidbox"
        # The supervisor has a queue of its own: on RabbitMQ two consumers of a worker's queue would each get only a
        # part of its messages.
        queue = Queue(name, Exchange("celery.pidbox", type="fanout", durable=False), auto_delete=True, durable=False)
        channel: Any = connection.channel()
        control_messages.screen(channel)

        def reply(data: Any, exchange: str, routing_key: str, ticket: str | None) -> None:
            if exchange != mailbox.reply_exchange.name:  # the message names the address, and anyone may send one
                log.warning(
                    "a control message got no reply: its reply address is not that of a monitor",
                    extra={"action": "reply_refused"},
                )
                return
            mailbox._publish_reply(  # noqa: SLF001 (what kombu's own Node calls)
                data, exchange, routing_key, ticket or "", channel=channel, serializer="json"
            )

        def received(body: Any, message: Any) -> None:
            del message
            try:
                self._receive(body, reply)
            except (RedisError, OSError):
                raise  # the connection was lost
            except Exception as exc:  # noqa: BLE001 (a client may send any bytes, and must not end the thread with them)
                control_messages.complaints.add(f"it makes no sense: {type(exc).__name__}")

        def unreadable(message: Any, exc: Exception) -> None:
            del message
            control_messages.complaints.add(exc)

        with Consumer(channel, [queue], callbacks=[received], accept=["json"], no_ack=True, on_decode_error=unreadable):
            is_new = True
            while not self.is_ending:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=MINE_AFTER_S if self._open else _WAIT_S)
                self._ask_again()
                if is_new:
                    # The queue exists only since the first drain. Tasks that were revoked before are in the store,
                    # written by the supervisors that received those messages.
                    self._notices.revoke(self._revoked.read())
                    is_new = False
                self._send_events(connection, channel)

    def _receive(self, body: Mapping[str, Any], reply: Callable[..., None]) -> None:
        method, arguments = body["method"], body["arguments"]
        if method == orders.ANNOUNCEMENT:  # mlq's own orders are obeyed with every value of `controls`
            if any(is_addressed(w.hostname, body) for w in self._workers()):
                self._beat()
            return
        if self._controls == "none":
            return
        if method in _REVOKES and obeys(self._controls, method):
            self._revoke(arguments, terminates=method == "terminate" or bool(arguments.get("terminate")))
        question = _Question({**body, "arguments": {}}, method, reply, time.time())
        self._ask(question)
        self._open.append(question)

    def _ask_again(self) -> None:
        """Look at each message a second time: a worker that had just become busy may not have received it.

        This happens a moment later, when such a worker has been busy for MINE_AFTER_S. Monitors send a dozen messages
        in a row and wait a second for the answers, so there is time for it.
        """
        while self._open and time.time() - self._open[0].came_at >= MINE_AFTER_S:
            self._ask(self._open.popleft())

    def _ask(self, question: _Question) -> None:
        for worker in self._workers():
            was_busy = is_unresponsive(worker.report, time.time()) and worker.report.since <= question.came_at
            mine = worker.hostname not in question.answered and is_addressed(worker.hostname, question.body)
            if was_busy and mine:
                question.answered.add(worker.hostname)
                self._answer(worker, question.method, question.body, question.reply)

    def _answer(self, worker: BusyWorker, method: str, body: Mapping[str, Any], reply: Callable[..., None]) -> None:
        to, ticket = body.get("reply_to"), body.get("ticket")
        is_obeyed = obeys(self._controls, method)
        content = answer(worker, method, list(self._notices.revoked)) if is_obeyed else refusal(self._controls)
        if not to or content is None:
            return
        if ticket:
            self._notices.answered(str(ticket))  # before the reply: the worker's task may end between the two
        reply({worker.hostname: content}, to["exchange"], to["routing_key"], ticket)

    def _revoke(self, arguments: Mapping[str, Any], *, terminates: bool) -> None:
        """Revoke these tasks; with `terminates` also end the workers that run them.

        The worker gets SIGKILL even if the message names another signal, because other signals are orders to a solo
        worker, such as to drain. Its message goes back to the head of the queue; the next worker finds that the task
        was revoked, and answers its client. The notice is written first, because that worker reads it. The store comes
        last, so that a store which is away does not prevent the end of the process.
        """
        ids = control_messages.task_ids(arguments.get("task_id"))
        self._notices.revoke(ids)
        named = frozenset(ids)
        for worker in self._workers() if terminates else ():
            if any(task.id in named for task in worker.report.running):
                self._terminate(worker.wid)
        self._revoked.add(ids)

    def _send_events(self, connection: Connection, channel: Any) -> None:
        """Send heartbeat events for busy workers: monitors show a worker as offline after a few missing ones."""
        if time.monotonic() - self._event_at < _EVENT_EVERY_S:
            return
        self._event_at = time.monotonic()
        from kombu import Exchange, Producer

        # As in celery.events.event.get_exchange: on Redis monitors read a fanout exchange.
        kind = "fanout" if connection.transport.driver_type == "redis" else "topic"
        producer = Producer(channel, Exchange("celeryev", type=kind), serializer="json")
        for worker in self._workers():
            if is_unresponsive(worker.report, time.time()):
                producer.publish(
                    _heartbeat(worker), routing_key="worker.heartbeat", headers={"hostname": worker.hostname}
                )


def _heartbeat(worker: BusyWorker) -> dict[str, Any]:
    return {
        "type": "worker-heartbeat",
        "hostname": worker.hostname,
        "pid": worker.pid,
        "timestamp": time.time(),
        "utcoffset": -time.timezone // 3600,
        "clock": 0,
        "freq": _EVENT_EVERY_S,
        "active": len(worker.report.running),
        "processed": worker.report.tasks_done,
        "sw_ident": "mlq",
        "sw_ver": "0",
        "sw_sys": "Linux",
    }
