"""Orders reach a supervisor when they are given, not with its next heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Connection
from redis import Redis

from mlq.broker import embedded
from mlq.ipc.shared_pages import SupervisorNotices, WorkerReport
from mlq.liveness import heartbeat_writer
from mlq.liveness.heartbeat_writer import HeartbeatThread
from mlq.store.workers import heartbeats, orders
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order
from mlq.supervisor.control.inspection import BusyWorker
from mlq.supervisor.control.mailbox import MailboxThread
from tests.conftest import DEADLINE_S

WORKER = Heartbeat(
    id="here:cpu0:1",
    name="cpu0",
    host="here",
    pid=1,
    gpu=None,
    device="cpu",
    state="idle",
    queues=("realtime",),
    model="m",
    fingerprint="f",
    task=None,
    tasks_done=0,
    rows_done=0,
    started_at=0.0,
    rss_bytes=0,
)


class _Nothing:
    """Remembers no revoked task."""

    def add(self, task_ids: Any) -> None:
        del task_ids

    def read(self) -> tuple[str, ...]:
        return ()


@pytest.fixture
def obeyed(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HeartbeatThread, Callable[[], Any]]]:
    """Run a heartbeat that is due once an hour; give it, and a function that waits for an order."""
    monkeypatch.setattr(heartbeat_writer, "INTERVAL_S", 3600.0)
    taken: list[Mapping[str, Order]] = []
    came = threading.Event()

    def obey(new: Mapping[str, Order]) -> None:
        taken.append(new)
        came.set()

    @contextmanager
    def store() -> Iterator[Redis]:
        yield redis

    def wait() -> Mapping[str, Order]:
        assert came.wait(DEADLINE_S), "no order came"
        return taken[-1]

    thread = HeartbeatThread(store, lambda: [WORKER], obey)
    thread.start()
    while not heartbeats.read(redis):
        pass
    yield thread, wait
    thread.end()


def test_an_announced_order_is_fetched_at_once(
    redis: Redis, server: embedded.Server, obeyed: tuple[HeartbeatThread, Callable[[], Any]]
) -> None:
    """By any supervisor that has the worker, over the connection on which it hears Celery's control messages anyway."""
    thread, wait = obeyed
    here = BusyWorker("cpu0@here", 1, WORKER.id, ("realtime",), 0.0, WorkerReport(state="idle"))
    listens = threading.Event()

    def workers() -> list[BusyWorker]:
        listens.set()  # it has heard something
        return [here]

    mailbox = MailboxThread(
        lambda: Connection(server.url), workers, SupervisorNotices(), lambda _: None, _Nothing(), thread.hurry
    )
    mailbox.start()
    try:
        order = Order("stop", 0.0)
        assert orders.give(redis, WORKER.id, order)
        with Connection(server.url) as connection:
            while not listens.wait(0.1):  # what is sent before it listens reaches nobody
                orders.announce(connection, ["cpu0@elsewhere"])
            orders.announce(connection, ["cpu0@here"])
        assert wait() == {WORKER.id: order}
    finally:
        mailbox.end()
        mailbox.join(DEADLINE_S)
