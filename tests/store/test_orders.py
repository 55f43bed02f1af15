"""An order reaches a supervisor when it is given, not with the supervisor's next heartbeat."""

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
from mlq.store.workers.orders import Order
from mlq.supervisor.control.inspection import BusyWorker
from mlq.supervisor.control.mailbox import MailboxThread
from tests.conftest import DEADLINE_S
from tests.heartbeats import heartbeat

WORKER = heartbeat("cpu0", "here", fingerprint="f")


class NoRevocations:
    """A stand-in for the revoked tasks that remembers none."""

    def add(self, task_ids: Any) -> None:
        del task_ids

    def read(self) -> tuple[str, ...]:
        return ()


@pytest.fixture
def heartbeat_and_order(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HeartbeatThread, Callable[[], Any]]]:
    """Run a heartbeat that is due once an hour; return it, and a function that waits for an order."""
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


def test_a_supervisor_fetches_an_announced_order_at_once(
    redis: Redis, server: embedded.Server, heartbeat_and_order: tuple[HeartbeatThread, Callable[[], Any]]
) -> None:
    """Every supervisor hears announcements on the connection that brings Celery's control messages."""
    thread, wait = heartbeat_and_order
    here = BusyWorker("cpu0@here", 1, WORKER.id, ("realtime",), 0.0, WorkerReport(state="idle"))
    listens = threading.Event()

    def workers() -> list[BusyWorker]:
        listens.set()  # it has received an announcement
        return [here]

    mailbox = MailboxThread(
        lambda: Connection(server.url), workers, SupervisorNotices(), lambda _: None, NoRevocations(), thread.hurry
    )
    mailbox.start()
    try:
        order = Order("stop", 0.0)
        assert orders.give(redis, WORKER.id, order)
        with Connection(server.url) as connection:
            while not listens.wait(0.1):  # an announcement that is sent before it listens is lost
                orders.announce(connection, ["cpu0@elsewhere"])
            orders.announce(connection, ["cpu0@here"])
        assert wait() == {WORKER.id: order}
    finally:
        mailbox.end(DEADLINE_S)
