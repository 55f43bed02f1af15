"""What a test leaves of the stock client disturbs no later test."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from chaos.stock_client import stock_client, wait_for_no_result
from mlq.broker import embedded

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # raised by Celery's client


def task(app: Celery) -> Any:
    """Return a task that no worker runs."""
    return app.signature("theirs", args=[1], queue="q")


def send_in_another_thread(app: Celery) -> Any:
    """Send in another thread, for which Celery makes a backend of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: task(app).apply_async()).result()


def send_in_a_cycle(app: Celery) -> Any:
    """Send a task whose result only the garbage collector finds."""
    result = task(app).apply_async()
    result.itself = result
    return result


SENT: dict[str, Callable[[Celery], Any]] = {
    "task": lambda app: task(app).apply_async(),
    "callback": lambda app: task(app).apply_async().then(print),
    "chain": lambda app: chain(task(app), task(app)).apply_async(),
    "group": lambda app: group([task(app), task(app)], app=app).apply_async(),
    "chord": lambda app: chord([task(app), task(app)], task(app), app=app).apply_async(),
    "another thread": send_in_another_thread,
    "cycle": send_in_a_cycle,
}


@pytest.mark.parametrize("send", SENT.values(), ids=SENT)
def test_results_that_outlive_their_server_do_not_connect_to_it(
    server: embedded.Server, send: Callable[[Celery], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Each one took 20 s of another test, and failed it."""
    with stock_client(server.url) as app:
        left = send(app)
    server.stop()
    del app, left
    gc.collect()
    assert not caplog.messages


def test_results_of_a_failed_test_do_not_connect_to_their_server(
    server: embedded.Server, caplog: pytest.LogCaptureFixture
) -> None:
    """They live as long as the test's traceback, which the report keeps."""

    def fail() -> None:
        with stock_client(server.url) as app:
            left = task(app).apply_async()
            raise ZeroDivisionError(left)

    with pytest.raises(ZeroDivisionError) as failed:
        fail()
    server.stop()
    del failed
    gc.collect()
    assert not caplog.messages


@pytest.mark.parametrize("send", [SENT["task"], SENT["group"], SENT["chord"]], ids=["task", "group", "chord"])
def test_a_client_that_waits_for_no_result_has_none_to_cancel(
    server: embedded.Server, send: Callable[[Celery], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A test whose server stalls sends beforehand; the client is still open when its results are collected."""
    with stock_client(server.url) as app:
        wait_for_no_result(app)
        left = send(app)
        server.stop()
        del left
        gc.collect()
    assert not caplog.messages
