"""What submitting and collecting need: the Celery app and the store of records, with failures explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import Celery

from mlq.app import create_app
from mlq.broker.connection import broker_address, explained, state_store
from mlq.config import Settings

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Desk:
    """Where jobs are handed in and collected."""

    app: Celery
    store: Redis


@contextmanager
def desk(settings: Settings) -> Iterator[Desk]:
    """Connect. The store comes first: it tells within seconds that a server is away, Celery would try for 19.

    Raises NoBroker, NoStateStore, BrokerUnreachable, BrokerRefused.
    """
    with state_store(settings) as store, explained(broker_address(settings)):
        app = create_app(settings)
        try:
            yield Desk(app, store)
        finally:
            app.close()
