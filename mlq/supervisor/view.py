"""The view: what the threads of a supervisor know of its workers, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass

from mlq.ipc.shared_pages import ReportPage
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.supervisor import Phase, SlotState


@dataclass(frozen=True)
class WorkerView:
    """The process of a slot: the present one, or the last one.

    The report page is memory that the worker writes. Each thread reads it itself, because the loop may sleep for a
    second, and because a worker may be busy for hours.
    """

    spec: WorkerSpec
    #: Its id in mlq.
    wid: str
    pid: int
    #: Seconds since 1970.
    started_at: float
    #: Seconds from the start until it was ready; None before.
    ready_s: float | None
    #: The process has ended; its slot is free once the processes that it had started have ended, too.
    has_ended: bool
    #: It died because its device has a fault.
    is_cordoned: bool
    #: The last lines of the slot's log, those of earlier processes first.
    last_lines: tuple[str, ...]
    report_page: ReportPage


@dataclass(frozen=True)
class SlotView:
    """A slot, and its process; None before the first one."""

    state: SlotState
    worker: WorkerView | None


@dataclass(frozen=True)
class FleetView:
    """All slots at one moment."""

    slots: tuple[SlotView, ...] = ()
    #: A signal has asked the supervisor to stop.
    is_stopping: bool = False

    @property
    def running(self) -> list[WorkerView]:
        """The workers whose process runs."""
        running = [slot.worker for slot in self.slots if slot.state.phase is Phase.RUNNING]
        return [worker for worker in running if worker is not None and not worker.has_ended]

    @property
    def leased(self) -> list[str]:
        """The ids of the workers whose leases have to be renewed."""
        return [w.wid for w in self.running if (report := w.report_page.read()) is not None and report.leased]

    @property
    def vacant(self) -> dict[str, bool]:
        """Slots whose worker has ended for good: True if it was given up, or never became ready.

        An abandoned slot is not vacant: its process still runs and still holds the device.
        """
        ended = {Phase.FAILED: True, Phase.STOPPED: False}
        return {
            slot.state.name: ended[slot.state.phase] or (slot.worker is not None and slot.worker.ready_s is None)
            for slot in self.slots
            if slot.state.phase in ended
        }

    @property
    def cordoned(self) -> frozenset[str]:
        """Slots whose last worker died because its device has a fault."""
        return frozenset(s.state.name for s in self.slots if s.worker is not None and s.worker.is_cordoned)
