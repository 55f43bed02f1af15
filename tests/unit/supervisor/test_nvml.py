"""GPUs behind a fake NVML: which are present, free, faulty, and cordoned."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from mlq.errors import MlqError, UsageError
from mlq.settings.errors import InvalidSetting
from mlq.supervisor.devices import cordon, nvml
from mlq.supervisor.devices.cordon import FaultWatch
from mlq.supervisor.devices.gpus import choose
from mlq.supervisor.errors import GpuDriverFails, NoFreeGpu, NoGpuDriver, SickGpu

LOST = pynvml.NVML_ERROR_GPU_IS_LOST
GIB = 2**30


@dataclass(eq=False)
class Board:
    """A GPU of the fake, or a MIG instance. If `broken` is set, every call for it fails with that error."""

    uuid: str
    used: int = 0
    pids: tuple[int, ...] = ()
    action: int | None = 0
    failed_remaps: int = 0
    uncorrected: int = 0
    instances: list[Board] | None = None
    broken: int | None = None
    unknown: set[str] = field(default_factory=set)


class Nvml:
    """A fake of the pynvml functions that mlq calls, with pynvml's errors and constants."""

    def __init__(self, *boards: Board, refuses: int | None = None) -> None:
        self.boards = list(boards)
        self.refuses = refuses
        self.open = 0
        self.xids: list[tuple[Board, int]] = []
        self.heard = threading.Event()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml") or name == "nvmlMemory_v2" or name.startswith("nvmlEventType"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    @staticmethod
    def _ask(board: Board, what: str = "") -> None:
        if board.broken is not None:
            raise pynvml.NVMLError(board.broken)
        if what in board.unknown:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's names, here and below)
        if self.refuses is not None:
            raise pynvml.NVMLError(self.refuses)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Board:  # noqa: N802
        self._ask(self.boards[index])
        return self.boards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Board:  # noqa: N802
        return next(b for b in self.boards if b.uuid == uuid)

    def nvmlDeviceGetUUID(self, board: Board) -> str:  # noqa: N802
        return board.uuid

    def nvmlDeviceGetName(self, board: Board) -> str:  # noqa: N802
        return "MIG 1g.10gb" if board.uuid.startswith("MIG-") else "Some GPU"

    def nvmlDeviceGetPciInfo(self, board: Board) -> object:  # noqa: N802
        self._ask(board)
        return object()

    def nvmlDeviceGetMigMode(self, board: Board) -> list[int]:  # noqa: N802
        self._ask(board)
        return [int(board.instances is not None)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, board: Board) -> int:  # noqa: N802
        return 7 if board.instances is not None else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, board: Board, index: int) -> Board:  # noqa: N802
        instances = board.instances or []
        if index >= len(instances):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return instances[index]

    def nvmlDeviceGetMemoryInfo(self, board: Board, version: int | None = None) -> SimpleNamespace:  # noqa: N802
        self._ask(board, "memory_v2" if version else "")
        return SimpleNamespace(total=80 * GIB, used=board.used)

    def nvmlDeviceGetComputeRunningProcesses(self, board: Board) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in board.pids]

    def nvmlDeviceGetFieldValues(self, board: Board, fields: list[int]) -> list[SimpleNamespace]:  # noqa: N802
        self._ask(board)
        assert fields == [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        code = pynvml.NVML_ERROR_NOT_SUPPORTED if board.action is None else pynvml.NVML_SUCCESS
        return [SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=board.action or 0))]

    def nvmlDeviceGetRemappedRows(self, board: Board) -> tuple[int, int, int, int]:  # noqa: N802
        self._ask(board, "remapped rows")
        return 0, 0, 0, board.failed_remaps

    def nvmlDeviceGetRetiredPagesPendingStatus(self, _board: Board) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetTotalEccErrors(self, board: Board, kind: int, since: int) -> int:  # noqa: N802
        assert (kind, since) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return board.uncorrected

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        return object()

    def nvmlDeviceRegisterEvents(self, board: Board, types: int, _events: object) -> None:  # noqa: N802
        assert types == pynvml.nvmlEventTypeXidCriticalError
        self._ask(board)

    def nvmlEventSetWait(self, _events: object, _timeout_ms: int) -> SimpleNamespace:  # noqa: N802
        if not self.xids:
            self.heard.set()
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        board, xid = self.xids.pop(0)
        return SimpleNamespace(device=board, eventData=xid)

    def nvmlEventSetFree(self, _events: object) -> None:  # noqa: N802
        pass


def of(wanted: str, *boards: Board, **environ: str) -> list[str]:
    """Return the UUIDs of the devices that an operator gets."""
    library = Nvml(*boards)
    chosen = [d.uuid for d in choose(wanted, nvml.offered(library, environ))]
    assert library.open == 0, "the library is closed again"
    return chosen


def a(**facts: Any) -> Board:
    """Make a GPU."""
    return Board("GPU-aaaa-1", **facts)


B = Board("GPU-bbbb-2")


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, NoGpuDriver, "libnvidia-ml"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, NoGpuDriver, "not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, GpuDriverFails, "different versions"),
        (pynvml.NVML_ERROR_UNKNOWN, GpuDriverFails, "does not work"),
    ],
)
def test_the_error_says_why_there_is_no_gpu(code: int, kind: type[MlqError], says: str) -> None:
    """A missing driver is exit 5, a failing driver is exit 3, and neither starts a worker on the CPU."""
    with pytest.raises(kind, match=says) as raised:
        nvml.offered(Nvml(refuses=code), {})
    assert raised.value.exit_code == (5 if kind is NoGpuDriver else 3)


def test_an_empty_mask_means_the_cpu_and_asks_no_driver() -> None:
    """A user who has hidden the GPUs does not need a driver that works."""
    assert nvml.offered(Nvml(refuses=pynvml.NVML_ERROR_UNKNOWN), {"CUDA_VISIBLE_DEVICES": ""}) == []


def test_a_gpu_in_mig_mode_stands_for_its_instances() -> None:
    """A process can use one instance; the whole GPU cannot compute."""
    split = a(instances=[Board("MIG-1"), Board("MIG-2")])
    assert of("all", split, B) == ["MIG-1", "MIG-2", B.uuid]
    assert of("0", split, B) == ["MIG-1", "MIG-2"]
    assert of("MIG-2", split, B) == ["MIG-2"]
    assert of("all", split, B, CUDA_VISIBLE_DEVICES="MIG-2") == ["MIG-2"]
    (_, second), *_ = [g.usable for g in nvml.offered(Nvml(split), {})]
    assert (second.slot, second.parent) == ("gpu0-mig1", split.uuid)
    with pytest.raises(SickGpu, match="without an instance"):
        of("all", a(instances=[]))


@pytest.mark.parametrize(
    "board",
    [a(pids=(4711,)), a(used=3 * GIB), a(used=3 * GIB, unknown={"memory_v2"})],
    ids=["a process", "memory alone", "an old driver"],
)
def test_auto_takes_free_gpus_and_all_takes_busy_ones_too(board: Board) -> None:
    """Processes of other containers are not listed; then the used memory shows that a GPU is busy."""
    assert of("auto", board, B) == [B.uuid]
    assert of("all", board, B) == [board.uuid, B.uuid]
    with pytest.raises(NoFreeGpu, match=r"GPU 0.*(process 4711|3\.0 GiB)"):
        of("auto", board)


@pytest.mark.parametrize(
    ("board", "says"),
    [
        (a(action=1), "asks for a reset"),
        (a(action=2), "asks for a reboot"),
        (a(failed_remaps=1), "could not be remapped"),
        (a(action=None, uncorrected=3), "3 uncorrectable"),
        (a(broken=LOST), "fallen off the bus"),
    ],
)
def test_a_gpu_with_a_fault_is_reported_and_never_used(board: Board, says: str) -> None:
    """`auto` leaves it out; its number and `all` are errors that name the fault."""
    assert of("auto", board, B) == [B.uuid]
    for wanted in ("0", "all"):
        with pytest.raises(SickGpu, match=says):
            of(wanted, board, B)


def test_errors_that_the_driver_has_contained_are_not_a_fault() -> None:
    """The driver asks for no recovery."""
    assert of("all", a(action=0, uncorrected=3)) == ["GPU-aaaa-1"]


def test_a_gpu_without_permission_is_left_out() -> None:
    """A container may see more GPUs than it may use."""
    assert of("all", a(broken=pynvml.NVML_ERROR_NO_PERMISSION), B) == [B.uuid]


def test_a_device_named_twice_is_refused() -> None:
    """With such a mask CUDA would see no device; --per-gpu starts two workers on one GPU."""
    with pytest.raises(UsageError, match="twice"):
        of("0,GPU-aaaa", a(), B)
    with pytest.raises(InvalidSetting, match="twice"):
        of("all", a(), B, CUDA_VISIBLE_DEVICES="1,1")


@pytest.mark.parametrize("xid", [48, 63, 64, 74, 79, 95])
def test_these_xids_cordon(xid: int) -> None:
    """The device has the fault, so another process would meet it again."""
    assert f"Xid {xid}" in str(cordon.reason([xid], None))


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 68, 94, 109])
def test_these_do_not(xid: int) -> None:
    """The program had the fault, or it ends with the process."""
    assert cordon.reason([xid], None) is None
    assert cordon.reason([xid], "the driver asks for a reset") == "the driver asks for a reset"


def test_the_verdict_counts_xids_of_the_workers_gpu_since_its_start() -> None:
    """An operator may have reset the GPU before the start, so earlier Xids do not count."""
    split = a(instances=[Board("MIG-1")])
    library = Nvml(split, B)
    gpus = [d for g in nvml.offered(library, {}) for d in g.usable]
    library.xids = [(split, 79), (split, 13)]
    watch = FaultWatch(lambda: library, clock=lambda: 10.0)
    for gpu in gpus:
        watch.follow(gpu)
    try:
        assert library.heard.wait(10)
        instance, whole = gpus
        assert watch.verdict(instance, since=9.0) == "Xid 79: it has fallen off the bus"
        assert watch.verdict(instance, since=11.0) is None
        assert watch.verdict(whole, since=9.0) is None
    finally:
        watch.end(10)
    assert library.open == 0
