"""The cordon: the decision to start no worker on a GPU again, because the GPU has a fault and not the program."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mlq.errors import MlqError
from mlq.ipc.threads import StoppableThread
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
"""Xids after which an operator has to look at the device, from NVIDIA's catalog. Others, such as 13, 31, 43, 45, 68, 94
and 109, are faults of the program, or end with its process."""

_LOOK_EVERY_MS: Final = 1000

log = logging.getLogger("mlq.gpu")


def reason(xids: Collection[int], trouble: str | None) -> str | None:
    """Return why a GPU is cordoned, or None if it is not.

    Args:
        xids: The Xids since its worker was started.
        trouble: The fault that the driver reports now, if any.
    """
    fatal = [f"Xid {x}: {FATAL_XIDS[x]}" for x in sorted(set(xids)) if x in FATAL_XIDS]
    return "; ".join([*fatal, *([trouble] if trouble else [])]) or None


class FaultWatch(StoppableThread):
    """Receives Xids, and asks the driver for faults of the GPUs once a second.

    It is a thread, because with a failing GPU each of these calls may take long and the event loop must not wait. Its
    knowledge may be a second old when a worker dies. If a worker is restarted because of that, it soon dies again.
    """

    def __init__(self, library: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("mlq-gpu-watch")
        self._library = library
        self._clock = clock
        # The loop and this thread both read these three, and only one of them writes each. The writer replaces the
        # value by one assignment and never changes it, so that the reader cannot see it half changed.
        self._uuids: frozenset[str] = frozenset()
        self._xids: Mapping[tuple[str, int], float] = {}  # by GPU and Xid: when the Xid came last
        self._trouble: Mapping[str, str | None] = {}

    def follow(self, gpu: Gpu) -> None:
        """Watch this GPU, too. The first call starts the thread: without a GPU there is no driver to ask."""
        self._uuids |= {gpu.parent or gpu.uuid}
        if self.ident is None:
            self.start()

    def verdict(self, gpu: Gpu, since: float) -> str | None:
        """Return why no worker may be started on this GPU again after the death of its worker; None if one may.

        Args:
            gpu: The GPU of the dead worker.
            since: When that worker was started. Earlier Xids do not count: an operator may have reset the GPU since.
        """
        uuid = gpu.parent or gpu.uuid
        xids = [xid for (on, xid), at in self._xids.items() if on == uuid and at >= since]
        return reason(xids, self._trouble.get(uuid))

    def run(self) -> None:
        """Watch until the end is asked for. If the driver does not answer, no GPU is cordoned."""
        nvml = self._library()
        try:
            with driver.session(nvml):
                self._watch(nvml)
        except (MlqError, nvml.NVMLError) as exc:
            log.warning("GPUs are not watched for faults: %s", exc, extra={"action": "gpu_watch_failed"})

    def _watch(self, nvml: Any) -> None:
        handles: dict[str, Any] = {}
        events = nvml.nvmlEventSetCreate()
        try:
            while not self.is_ending:
                for uuid in self._uuids - handles.keys():
                    handles[uuid] = nvml.nvmlDeviceGetHandleByUUID(uuid)
                    with suppress(nvml.NVMLError):  # not every GPU reports its Xids
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
                self._ended.wait(_LOOK_EVERY_MS / 1000)  # the call fails at once, for example for a lost GPU
            return
        self._xids = {**self._xids, (uuid, xid): self._clock()}
        level = logging.ERROR if xid in FATAL_XIDS else logging.WARNING
        log.log(level, "GPU %s: Xid %d", uuid, xid, extra={"action": "xid_received"})
