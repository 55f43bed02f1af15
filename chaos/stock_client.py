"""A stock Celery client for tests and benchmarks, whose results can be collected after their server has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery


class _Client(Celery):
    """A Celery app that keeps its result backends: it makes one in each thread that asks for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.backends: list[Any] = []

    def _get_backend(self) -> Any:
        stock: Any = super()
        backend = stock._get_backend()  # noqa: SLF001 (the only method that creates one)
        self.backends.append(backend)
        return backend


@contextmanager
def stock_client(broker: str, results: str | None = None) -> Iterator[Celery]:
    """Return a stock client that knows only addresses; `results` is the broker's server by default.

    A result that is garbage-collected cancels its subscription, for which Celery reconnects: 20 tries a second apart if
    the server has ended, in the code that runs at that moment. So the results of a closed client cancel nothing.
    """
    app = _Client("stranger", broker=broker, backend=results or broker, set_as_current=False)
    try:
        yield app
    finally:
        for backend in app.backends:
            consumer = getattr(backend, "result_consumer", None)
            if consumer is not None:
                consumer.cancel_for = _nothing
                consumer.stop()
        app.close()


def wait_for_no_result(app: Celery) -> None:
    """Prevent all subscriptions of a client in this thread; groups subscribe to the results of their members."""
    backend: Any = app.backend
    backend.result_consumer.consume_from = _nothing


def _nothing(*_: Any) -> None:
    pass
