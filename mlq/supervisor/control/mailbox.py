"""Mailbox: a supervisor hears Celery's control messages for workers that are busy, and therefore deaf.

An idle worker answers by itself, with all that Celery knows. One that is in a task does not run its event loop, so
monitors take it for dead, and a revoke that should stop it comes too late. For these the supervisor answers, and says
on the notices that it has: the worker, when it hears again, stays silent.
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
from mlq.ipc.supervisor_notices import SupervisorNotices
from mlq.protocol import control_messages
from mlq.protocol.control_messages import is_addressed
from mlq.protocol.control_policy import obeys, refusal
from mlq.protocol.names import Controls
from mlq.store.workers import orders
from mlq.supervisor.control.inspection import MINE_AFTER_S, BusyWorker, answer, is_deaf

if TYPE_CHECKING:
    from kombu import Connection

_EVENT_EVERY_S: Final = 10.0
"""Between two of Celery's heartbeat events for a worker that cannot send them."""

_MOST_OPEN: Final = 1000
"""Questions that are looked at once more; of a flood the earlier ones are not."""

_WAIT_S: Final = 1.0
_AGAIN_S: Final = 2.0

_REVOKES: Final = frozenset({"revoke", "terminate"})

log = logging.getLogger("mlq.mailbox")

Terminate = Callable[[str], None]
"""Told to end the process of this worker (its wid), whose task was revoked."""


class Remembered(Protocol):
    """What was revoked, for those who did not hear it; it may fail to, since the broker may be away."""

    def add(self, task_ids: Sequence[str]) -> None:
        """Remember these."""

    def read(self) -> Sequence[str]:
        """Name all of them."""


@dataclass(frozen=True)
class _Question:
    """A control message, and who has been answered for."""

    body: Mapping[str, Any]
    method: str
    reply: Callable[..., None]
    came_at: float
    answered: set[str] = field(default_factory=set)


class MailboxThread(threading.Thread):
    """Listens for as long as the fleet runs. While the broker is away it tries again; nobody asks then, either."""

    def __init__(
        self,
        open_broker: Callable[[], AbstractContextManager[Connection]],
        workers: Callable[[], Sequence[BusyWorker]],
        notices: SupervisorNotices,
        terminate: Terminate,
        remembered: Remembered,
        beat: Callable[[], None],
        *,
        controls: Controls = "inspect",
    ) -> None:
        super().__init__(name="mlq-mailbox", daemon=True)
        self._open_broker = open_broker
        self._workers = workers
        self._notices = notices
        self._terminate = terminate
        self._remembered = remembered
        self._beat = beat
        self._controls = controls
        self._ended = threading.Event()
        self._open: deque[_Question] = deque(maxlen=_MOST_OPEN)
        self._event_at = 0.0

    def end(self) -> None:
        """Stop listening."""
        self._ended.set()

    def run(self) -> None:
        """Listen until `end`."""
        while not self._ended.is_set():
            try:
                with self._open_broker() as connection:
                    self._listen(connection)
            except MlqError as exc:
                log.debug("no control messages: %s", exc)
                self._ended.wait(_AGAIN_S)
            except Exception as exc:  # noqa: BLE001 (py-amqp says with an OSError that RabbitMQ has gone, for one)
                log.warning("control messages are not heard for a moment: %s", exc)
                self._ended.wait(_AGAIN_S)

    def _listen(self, connection: Connection) -> None:
        from kombu import Consumer, Exchange, Queue
        from kombu.pidbox import Mailbox
        from redis.exceptions import RedisError

        mailbox: Any = Mailbox("celery", type="fanout", connection=connection, accept=["json"], serializer="json")
        name = f"{socket.gethostname()}.{threading.get_native_id()}.mlq.pidbox"
        # A queue of its own: on RabbitMQ two consumers of a worker's would share its messages.
        queue = Queue(name, Exchange("celery.pidbox", type="fanout", durable=False), auto_delete=True, durable=False)
        channel: Any = connection.channel()
        control_messages.screen(channel)

        def reply(data: Any, exchange: str, routing_key: str, ticket: str | None) -> None:
            if exchange != mailbox.reply_exchange.name:  # it came with the message, which may name anything
                log.warning("a control message gets no reply: its address is none of a monitor's")
                return
            mailbox._publish_reply(  # noqa: SLF001 (what kombu's own Node calls)
                data, exchange, routing_key, ticket or "", channel=channel, serializer="json"
            )

        def heard(body: Any, message: Any) -> None:
            del message
            try:
                self._hear(body, reply)
            except (RedisError, OSError):
                raise  # the connection's
            except Exception as exc:  # noqa: BLE001 (anybody may send anything, and the next one must be heard)
                control_messages.complaints.add(f"it makes no sense: {type(exc).__name__}")

        def unreadable(message: Any, exc: Exception) -> None:
            del message
            control_messages.complaints.add(exc)

        with Consumer(channel, [queue], callbacks=[heard], accept=["json"], no_ack=True, on_decode_error=unreadable):
            is_new = True
            while not self._ended.is_set():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=MINE_AFTER_S if self._open else _WAIT_S)
                self._ask_again()
                if is_new:  # only now does the broker know that somebody listens: what came before was heard elsewhere
                    self._notices.revoke(self._remembered.read())
                    is_new = False
                self._send_events(connection, channel)

    def _hear(self, body: Mapping[str, Any], reply: Callable[..., None]) -> None:
        method, arguments = body["method"], body["arguments"]
        if method == orders.ANNOUNCEMENT:  # mlq's own orders are heard under every setting
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
        """Look once more: one that became busy a moment before the message came may have heard it, or not.

        Later, and not at once: monitors send a dozen messages in a row, and wait a second for the answers.
        """
        while self._open and time.time() - self._open[0].came_at >= MINE_AFTER_S:
            self._ask(self._open.popleft())

    def _ask(self, question: _Question) -> None:
        for worker in self._workers():
            was_busy = is_deaf(worker.report, time.time()) and worker.report.since <= question.came_at
            mine = worker.hostname not in question.answered and is_addressed(worker.hostname, question.body)
            if was_busy and mine:
                question.answered.add(worker.hostname)
                self._answer(worker, question.method, question.body, question.reply)

    def _answer(self, worker: BusyWorker, method: str, body: Mapping[str, Any], reply: Callable[..., None]) -> None:
        to, ticket = body.get("reply_to"), body.get("ticket")
        is_obeyed = obeys(self._controls, method)
        said = answer(worker, method, list(self._notices.revoked)) if is_obeyed else refusal(self._controls)
        if not to or said is None:
            return
        if ticket:
            self._notices.answered(str(ticket))  # before the reply: the worker may wake up between the two
        reply({worker.hostname: said}, to["exchange"], to["routing_key"], ticket)

    def _revoke(self, arguments: Mapping[str, Any], *, terminates: bool) -> None:
        """Let nobody start these tasks; with `terminates` end the processes that run them.

        With SIGKILL, whatever signal was asked for: a solo worker takes the others for itself. The message goes back to
        the head of its queue, where the next worker finds that it was revoked, and says so to its client. The notice
        comes first, since that worker reads it; then the end of the process, which no trouble with the store prevents.
        """
        ids = control_messages.task_ids(arguments.get("task_id"))
        self._notices.revoke(ids)
        named = frozenset(ids)
        for worker in self._workers() if terminates else ():
            if any(task.id in named for task in worker.report.running):
                self._terminate(worker.wid)
        self._remembered.add(ids)

    def _send_events(self, connection: Connection, channel: Any) -> None:
        """Send what the busy ones cannot: monitors count a worker as offline after a few that are missing."""
        if time.monotonic() - self._event_at < _EVENT_EVERY_S:
            return
        self._event_at = time.monotonic()
        from kombu import Exchange, Producer

        # As celery.events.event.get_exchange has it: on Redis nobody reads a topic.
        kind = "fanout" if connection.transport.driver_type == "redis" else "topic"
        producer = Producer(channel, Exchange("celeryev", type=kind), serializer="json")
        for worker in self._workers():
            if is_deaf(worker.report, time.time()):
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
