"""Cordon: when no worker is started on a GPU again, because the fault is the device's and not the program's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mlq.errors import MlqError
from mlq.supervisor.devices import nvml as driver

if TYPE_CHECKING:
    from mlq.supervisor.devices.gpus import Gpu

FATAL_XIDS: Final[Mapping[int, str]] = {
    48: "an uncorrectable memory error",
    63: "a memory row or page was retired",
    64: "a memory row or page could not be retired",
    74: "an NVLink error",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
}
"""Xids after which a device must be looked at, as NVIDIA's catalogue has them. Others, such as 13, 31, 43, 45, 68, 94
and 109, are the program's own fault, or over once its process has ended."""

_LOOK_EVERY_MS: Final = 1000

log = logging.getLogger("mlq.gpu")


def reason(xids: Collection[int], trouble: str | None) -> str | None:
    """Decide from the Xids since a worker was started and what the driver says now: why to cordon, or None."""
    fatal = [f"Xid {x}: {FATAL_XIDS[x]}" for x in sorted(set(xids)) if x in FATAL_XIDS]
    return "; ".join([*fatal, *([trouble] if trouble else [])]) or None


class FaultWatch(threading.Thread):
    """Listens for Xids, and asks the driver about its GPUs once in a second.

    In a thread: with a GPU that fails, each of these calls may take long, and the fleet must not wait for it. What it
    knows when a worker dies may be a second old; a worker that is started again in spite of it soon dies again.
    """

    def __init__(self, library: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="mlq-gpu-watch", daemon=True)
        self._library = library
        self._clock = clock
        self._uuids: set[str] = set()
        self._xids: dict[str, list[tuple[float, int]]] = {}
        self._trouble: dict[str, str | None] = {}
        self._ended = threading.Event()

    def follow(self, gpu: Gpu) -> None:
        """Watch this one, too. The first begins the watch: without GPUs there is no driver to ask."""
        self._uuids = {*self._uuids, gpu.parent or gpu.uuid}
        if self.ident is None:
            self.start()

    def verdict(self, gpu: Gpu, since: float) -> str | None:
        """Say why nothing is to be started on a GPU again whose worker, begun at `since`, has died; None: start it.

        An operator who starts it anew, with the GPU reset, begins with a clean slate.
        """
        uuid = gpu.parent or gpu.uuid
        return reason([xid for at, xid in list(self._xids.get(uuid, ())) if at >= since], self._trouble.get(uuid))

    def run(self) -> None:
        """Watch until `end`. Without a driver that answers nothing is known, and so nothing cordoned."""
        nvml = self._library()
        try:
            with driver.session(nvml):
                self._watch(nvml)
        except (MlqError, nvml.NVMLError) as exc:
            log.warning("GPUs are not watched for faults: %s", exc)

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _watch(self, nvml: Any) -> None:
        handles: dict[str, Any] = {}
        events = nvml.nvmlEventSetCreate()
        try:
            while not self._ended.is_set():
                for uuid in self._uuids - handles.keys():
                    handles[uuid] = nvml.nvmlDeviceGetHandleByUUID(uuid)
                    with suppress(nvml.NVMLError):  # not every GPU tells of its Xids
                        nvml.nvmlDeviceRegisterEvents(handles[uuid], nvml.nvmlEventTypeXidCriticalError, events)
                self._trouble = {uuid: driver.trouble(nvml, handle) for uuid, handle in handles.items()}
                self._listen(nvml, events)
        finally:
            nvml.nvmlEventSetFree(events)

    def _listen(self, nvml: Any, events: Any) -> None:
        try:
            event = nvml.nvmlEventSetWait(events, _LOOK_EVERY_MS)
            uuid, xid = nvml.nvmlDeviceGetUUID(event.device), int(event.eventData)
        except nvml.NVMLError as exc:
            if exc.value != nvml.NVML_ERROR_TIMEOUT:
                self._ended.wait(_LOOK_EVERY_MS / 1000)  # it fails at once, for a GPU that is lost, say
            return
        self._xids.setdefault(uuid, []).append((self._clock(), xid))
        log.log(logging.ERROR if xid in FATAL_XIDS else logging.WARNING, "GPU %s: Xid %d", uuid, xid)
