"""The view of a supervisor's workers, and the threads that get nothing else of them."""

from __future__ import annotations

import gc
import select
import threading
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

import pytest
from redis import Redis

from mlq.broker.connection import broker_address
from mlq.ipc.shared_pages import ReportPage, WorkerReport
from mlq.settings import config
from mlq.store.workers.orders import Order
from mlq.supervisor import session
from mlq.supervisor.child import Child
from mlq.supervisor.event_loop import Fleet
from mlq.supervisor.fleet_handle import AddWorker, FenceWorkers, FleetHandle, ObeyOrder, Settle, TerminateWorker
from mlq.supervisor.heartbeat_source import HeartbeatSource
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.supervisor import Phase, SlotState, Supervisor
from mlq.supervisor.view import FleetView, SlotView, WorkerView

# No server answers at this address: the threads are made, and none is started.
SETTINGS: Final = config.load({"MLQ_BROKER_URL": "redis://127.0.0.1:1/0", "MLQ_CONTROLS": "none"})
LOOP_ONLY: Final = (Fleet, Supervisor, Child)


def reachable(root: object) -> Iterator[object]:
    """Yield every object that code which holds `root` can reach through attributes, closures and arguments."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, FunctionType):
            waiting += [cell.cell_contents for cell in found.__closure__ or ()] + list(found.__defaults__ or ())
        elif isinstance(found, (MethodType, partial, dict, list, tuple, set, frozenset)) or is_of_mlq(found):
            waiting += [it for it in gc.get_referents(found) if not isinstance(it, type)]


def is_of_mlq(found: object) -> bool:
    """Return whether an object is an instance of a class of mlq."""
    return type(found).__module__.startswith("mlq.")


def worker(name: str, **known: Any) -> WorkerView:
    """Describe a worker that runs and is ready."""
    facts: dict[str, Any] = {"ready_s": 1.0, "has_ended": False, "is_cordoned": False, "last_lines": ()} | known
    return WorkerView(WorkerSpec(name, SETTINGS), f"h:{name}:1", 1, 0.0, report_page=ReportPage.create(), **facts)


def slot(name: str, phase: Phase, *, is_draining: bool = False, **known: Any) -> SlotView:
    """Describe a slot with a worker."""
    return SlotView(SlotState(name, phase, is_draining, restarts=0), worker(name, **known))


def threads(fleet: Fleet) -> list[threading.Thread]:
    """Make the threads that know the workers of a supervisor, as a session does."""
    broker, handle = broker_address(SETTINGS), fleet.handle
    return [
        session._heartbeats(SETTINGS, handle),
        session._mailbox(SETTINGS, broker, handle, fleet.notices, lambda: None),
        session._renewal(SETTINGS, Redis(port=1), handle),
    ]


def test_no_thread_reaches_the_state_that_the_loop_changes() -> None:
    """A thread that read it could find a slot between two changes, and renew the lease of a worker that has ended."""
    fleet = Fleet([WorkerSpec("cpu0", SETTINGS)], lambda _: None, lambda _: None)
    assert any(isinstance(found, Supervisor) for found in reachable(lambda: fleet)), "the search finds a state"
    for thread in threads(fleet):
        assert fleet.handle in reachable(thread), "the search finds the view"
        assert [found for found in reachable(thread) if isinstance(found, LOOP_ONLY)] == []
    recovery = session._recovery(SETTINGS, broker_address(SETTINGS))
    assert [found for found in reachable(recovery) if isinstance(found, LOOP_ONLY)] == []


@pytest.mark.parametrize("kind", [FleetView, SlotView, SlotState, WorkerView])
def test_a_view_cannot_be_changed(kind: type) -> None:
    """The loop may only replace the whole view, so a thread that reads it once sees one moment."""
    view = FleetView((slot("cpu0", Phase.RUNNING),))
    part = next(found for found in reachable(view) if isinstance(found, kind))
    assert is_dataclass(part)
    for field in fields(part):
        with pytest.raises(FrozenInstanceError):
            setattr(part, field.name, None)


def test_a_worker_whose_process_has_ended_needs_no_lease() -> None:
    """It keeps its slot until the processes that it started have ended, and recovery reaps its lease meanwhile."""
    view = FleetView((slot("cpu0", Phase.RUNNING), slot("cpu1", Phase.RUNNING, has_ended=True)))
    for each in view.slots:
        assert each.worker is not None
        each.worker.report_page.write(WorkerReport(leased=True))
    assert view.leased == ["h:cpu0:1"]


def test_a_vacant_slot_is_one_whose_worker_was_given_up_or_stopped() -> None:
    """An abandoned process still holds its device, so no other worker may start there."""
    view = FleetView(
        (
            slot("failed", Phase.FAILED, is_cordoned=True),
            slot("stopped", Phase.STOPPED),
            slot("never ready", Phase.STOPPED, ready_s=None),
            SlotView(SlotState("never started", Phase.STOPPED, is_draining=True, restarts=0), worker=None),
            slot("abandoned", Phase.ABANDONED),
            slot("waiting", Phase.WAITING),
        )
    )
    assert view.vacant == {"failed": True, "stopped": False, "never ready": True, "never started": False}
    assert view.cordoned == {"failed"}


def test_a_slot_without_a_process_is_shown_as_starting_or_failed() -> None:
    """Operators see why a slot is empty; a worker that was stopped is no longer listed."""
    phases = [Phase.WAITING, Phase.FAILED, Phase.ABANDONED, Phase.STOPPED]
    view = FleetView(tuple(slot(phase.value, phase) for phase in phases))
    shown = {beat.name: beat.state for beat in HeartbeatSource(lambda: view).read()}
    assert shown == {"waiting": "starting", "failed": "failed", "abandoned": "failed"}


def test_a_draining_worker_is_shown_as_draining_until_its_leftovers_have_ended() -> None:
    """Its slot is not free before that."""
    view = FleetView((slot("cpu0", Phase.RUNNING, is_draining=True, has_ended=True),))
    (beat,) = HeartbeatSource(lambda: view).read()
    assert (beat.state, beat.pid) == ("draining", None)


def test_requests_reach_the_loop_in_their_order() -> None:
    """A worker that is added and then ordered to stop must not be stopped first. The descriptor wakes the loop."""
    handle, spec, order = FleetHandle(), WorkerSpec("cpu0", SETTINGS), Order("stop", 0.0)
    assert select.select([handle.fd], [], [], 0)[0] == []
    handle.add(spec)
    handle.obey({"w": order})
    handle.fence(["w"])
    handle.terminate("w")
    handle.settle()
    assert select.select([handle.fd], [], [], 0)[0] == [handle.fd]
    assert list(handle.take_requests()) == [
        AddWorker(spec),
        ObeyOrder("w", order),
        FenceWorkers(frozenset({"w"})),
        TerminateWorker("w"),
        Settle(),
    ]
    assert list(handle.take_requests()) == []
    assert select.select([handle.fd], [], [], 0)[0] == []
