"""Queries to NVML, the library of the NVIDIA driver: the GPUs of the host, their users, and their faults.

`nvml` is the module pynvml, or a substitute in tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from mlq.supervisor.devices.gpus import MASK, Gpu, visible
from mlq.supervisor.errors import GpuDriverFails, NoGpuDriver

_IDLE_BYTES: Final = 2**30
"""Bytes of used memory above which a GPU counts as occupied. An idle driver and a display use less. Processes in other
containers are not listed, so their memory is the only sign of them."""

_RECOVERY_ACTION: Final = 230
"""NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, a constant that older releases of pynvml lack."""

_RECOVERIES: Final = {
    1: "a reset",
    2: "a reboot of the machine",
    3: "a drain of its peer-to-peer traffic",
    4: "a drain and a reset",
    5: "a recovery of its IMEX domain",
    6: "a reset of its bus",
    7: "a reboot of the machine",
}

_WITHOUT: Final = "`mlq worker start --cpus N` needs no driver"


def library() -> Any:
    """Import the bindings of NVML. The import succeeds without a driver."""
    import pynvml

    return pynvml


def offered(nvml: Any, environ: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that an inherited mask allows. An empty mask means the CPU: then the driver is not asked.

    Raises NoGpuDriver, GpuDriverFails, InvalidSetting.
    """
    if environ.get(MASK) == "":
        return []
    with session(nvml):
        return visible(_present(nvml), environ)


@contextmanager
def session(nvml: Any) -> Iterator[None]:
    """Keep the library open for a block. Raises NoGpuDriver if there is no driver, GpuDriverFails if it fails."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as exc:
        raise _driver_error(nvml, exc) from None
    try:
        yield
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _driver_error(nvml: Any, exc: Any) -> NoGpuDriver | GpuDriverFails:
    if exc.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return NoGpuDriver(reason="there is no libnvidia-ml.so.1, which comes with the NVIDIA driver")
    if exc.value == nvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return NoGpuDriver(reason="the NVIDIA driver is not loaded")
    if exc.value == nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        reason = "its library and its kernel module have different versions: it was updated while in use"
        return GpuDriverFails(reason=reason, fix=f"reboot, or reload the kernel modules; {_WITHOUT}")
    return GpuDriverFails(reason=str(exc), fix=f"`nvidia-smi` shows details; {_WITHOUT}")


def _present(nvml: Any) -> list[Gpu]:
    try:
        number = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as exc:
        raise _driver_error(nvml, exc) from None
    found = [_describe(nvml, index) for index in range(number)]
    if not any(found):
        raise NoGpuDriver(reason="this user may use none of them" if number else "the NVIDIA driver finds none")
    return [gpu for gpu in found if gpu is not None]


def _describe(nvml: Any, index: int) -> Gpu | None:
    """Describe one GPU; return None if the container or the user has no access to it."""
    uuid, name = f"unknown-{index}", "unknown"
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
        return _with_details(nvml, handle, Gpu(index, uuid, name, 0, trouble=trouble(nvml, handle)))
    except nvml.NVMLError as exc:
        if exc.value == nvml.NVML_ERROR_NO_PERMISSION:
            return None
        return Gpu(index, uuid, name, 0, trouble=_describe_failure(nvml, exc))


def _with_details(nvml: Any, handle: Any, gpu: Gpu) -> Gpu:
    """Add the memory, the users and the MIG instances of a GPU that works."""
    if gpu.trouble is not None:
        return gpu
    if _ask(nvml, [0, 0], nvml.nvmlDeviceGetMigMode, handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
        instances = tuple(_instances(nvml, handle, gpu))
        return replace(gpu, instances=instances, trouble=None if instances else "it is in MIG mode without an instance")
    total, occupied = _memory(nvml, handle)
    return replace(gpu, memory_bytes=total, occupied=occupied)


def _instances(nvml: Any, handle: Any, parent: Gpu) -> Iterator[Gpu]:
    for number in range(_ask(nvml, 0, nvml.nvmlDeviceGetMaxMigDeviceCount, handle)):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            uuid, name = nvml.nvmlDeviceGetUUID(instance), nvml.nvmlDeviceGetName(instance)
        except nvml.NVMLError:  # the numbers of instances may have gaps
            continue
        total, occupied = _memory(nvml, instance)
        yield Gpu(parent.index, uuid, name, total, occupied=occupied, mig=number, parent=parent.uuid)


def _memory(nvml: Any, handle: Any) -> tuple[int, str | None]:
    """Return the memory of a device in bytes, and a text that says what uses it (None: nothing)."""
    # The first version of the call, which older drivers have, counts the memory reserved by the driver as used.
    info = _ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    info = info or _ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)
    total, used = (int(info.total), int(info.used)) if info else (0, 0)
    processes = _ask(nvml, [], nvml.nvmlDeviceGetComputeRunningProcesses, handle)
    users = ", ".join(f"process {p.pid}" for p in processes)
    if users:
        return total, f"used by {users} ({used / 2**30:.1f} GiB)"
    return total, f"{used / 2**30:.1f} GiB of its memory are in use" if used > _IDLE_BYTES else None


def trouble(nvml: Any, handle: Any) -> str | None:
    """Return why no worker should run on a GPU; None if it is healthy.

    The recovery action is the driver's own verdict. A driver that reports none is asked for uncorrectable errors.
    """
    try:
        nvml.nvmlDeviceGetPciInfo(handle)  # fails if the GPU has fallen off the bus
        action = _recovery_action(nvml, handle)
        *_, failed = _ask(nvml, (0, 0, 0, 0), nvml.nvmlDeviceGetRemappedRows, handle)
    except nvml.NVMLError as exc:
        return _describe_failure(nvml, exc)
    if action:
        return f"the driver asks for {_RECOVERIES.get(action, f'recovery action {action}')}"
    if failed:
        return "rows of its memory could not be remapped"
    if action is None and _ask(nvml, 0, nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle):
        return "pages of its memory have to be retired, which requires a reset"
    errors = 0 if action is not None else _uncorrected(nvml, handle)
    return f"{errors} uncorrectable memory errors since the driver was loaded" if errors else None


def _recovery_action(nvml: Any, handle: Any) -> int | None:
    (field,) = _ask(nvml, [None], nvml.nvmlDeviceGetFieldValues, handle, [_RECOVERY_ACTION])
    return int(field.value.uiVal) if field is not None and field.nvmlReturn == nvml.NVML_SUCCESS else None


def _uncorrected(nvml: Any, handle: Any) -> int:
    kind, since = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    return int(_ask(nvml, 0, nvml.nvmlDeviceGetTotalEccErrors, handle, kind, since))


def _ask(nvml: Any, otherwise: Any, function: Any, *arguments: Any) -> Any:
    """Call an NVML function; return `otherwise` if the driver, the GPU or the user's rights do not allow it.

    Raises NVMLError if the GPU itself is lost.
    """
    try:
        return function(*arguments)
    except nvml.NVMLError as exc:
        if exc.value in {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}:
            raise
        return otherwise


def _describe_failure(nvml: Any, exc: Any) -> str:
    if exc.value == nvml.NVML_ERROR_GPU_IS_LOST:
        return "it has fallen off the bus"
    if exc.value == nvml.NVML_ERROR_RESET_REQUIRED:
        return f"the driver asks for {_RECOVERIES[1]}"
    return f"the driver cannot reach it: {exc}"
