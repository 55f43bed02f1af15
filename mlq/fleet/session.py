"""A fleet from start to end: a broker that is there, the workers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from mlq.broker import embedded
from mlq.broker.connection import Address, broker_address, connected
from mlq.config import Settings, state_directory
from mlq.fleet.running import Fleet, News
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec


def run(
    settings: Settings,
    plan: Callable[[Slots], list[WorkerSpec]],
    opened: Callable[[Address, Sequence[WorkerSpec]], Callable[[News], None]],
) -> int:
    """Plan, make sure of a broker, run the workers until they are stopped; give the exit code.

    `opened` is told what is about to run, and gives the function that is told all further news.
    Devices and model are looked at before a broker is started. Raises what `plan` raises, NoServerProgram,
    ServerDidNotStart, BrokerUnreachable, BrokerRefused, WorkersFailed, WorkersMisconfigured.
    """
    with closing(Slots(state_directory(settings))) as slots:
        specs = plan(slots)
        with _broker(settings) as broker:
            return Fleet(specs, opened(broker, specs)).run()


@contextmanager
def _broker(settings: Settings) -> Iterator[Address]:
    """Make sure that a broker answers: the configured one, else the embedded one, which is ours to start."""
    if settings.broker_url is None:
        with embedded.running(state_directory(settings)):
            yield broker_address(settings)
        return
    address = broker_address(settings)
    with connected(settings, address):
        pass
    yield address
