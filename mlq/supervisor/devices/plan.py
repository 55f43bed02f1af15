"""The plan of a fleet: from the operator's request and the devices of the host to one WorkerSpec per worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlq.errors import MlqError, NoModel, SlotTaken, UsageError
from mlq.settings.config import Settings
from mlq.supervisor.devices import cpus, gpus, nvml, pools
from mlq.supervisor.devices.pools import Pool
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.errors import DeviceTaken, NoGpuDriver, NoWorkForPool
from mlq.supervisor.spec import WorkerSpec


@dataclass(frozen=True)
class DeviceRequest:
    """The devices that an operator asked for: GPUs, or CPU workers, or one worker with Celery's prefork pool."""

    #: The value of --gpus.
    gpus: str | None = None
    #: The number of CPU workers.
    cpus: int | None = None
    #: Workers on each GPU.
    per_gpu: int | None = None
    #: `solo` or `prefork`.
    pool: str | None = None
    #: Processes of a prefork pool: a number or a range.
    concurrency: str | None = None


def plan(
    settings: Settings, devices: DeviceRequest, slots: Slots, environ: Mapping[str, str], *, prefix: str | None = None
) -> list[WorkerSpec]:
    """Reserve a slot for each worker, lock the GPUs that are used, and return one spec per worker.

    A slot is the name of a worker, which is locked on this host, so that no two workers have the same name.

    Raises UsageError, NoModel, NoWorkForPool, NoGpuDriver, GpuDriverFails, NoSuchGpu, NoFreeGpu, SickGpu, DeviceTaken,
    SlotTaken.
    """
    lead = f"{prefix}-" if prefix else ""
    pool = pools.read(devices.pool, devices.concurrency, cpus.cores())
    if pool is not None:
        return _prefork(settings, devices, pool, slots, lead)
    if (devices.gpus is None) == (devices.cpus is None):
        raise UsageError(
            what="name the devices with either --gpus or --cpus",
            fix="`mlq worker start --gpus all`, or `--gpus 0,1`, or `--cpus 2`",
        )
    if devices.per_gpu is not None and devices.gpus is None:
        raise UsageError(what="--per-gpu goes with --gpus", fix="`mlq worker start --cpus N` starts N CPU workers")
    if settings.worker.model is None:
        raise NoModel
    if devices.gpus is None:
        return _on_cpus(settings, devices.cpus or 1, slots, lead)
    return _on_gpus(settings, devices, slots, environ, lead)


def _prefork(settings: Settings, devices: DeviceRequest, pool: Pool, slots: Slots, lead: str) -> list[WorkerSpec]:
    """Make the spec of one prefork worker. Devices are refused, and so are options that only mlq's engine supports."""
    if devices.gpus is not None or devices.per_gpu is not None or devices.cpus is not None:
        fix = "leave them out; `--concurrency N` sets the number of processes"
        raise UsageError(what="--pool prefork computes on the CPU and takes no --gpus, --per-gpu or --cpus", fix=fix)
    if settings.worker.shares:
        fix = "leave out `--share`, or start solo workers with `--cpus N`"
        what = "--pool prefork does not support shares (--share), because Celery chooses the next message, not mlq"
        raise UsageError(what=what, fix=fix)
    if settings.worker.model is None and not (settings.worker.imports and settings.worker.queues):
        raise NoWorkForPool
    threads = cpus.threads_each(pool.most, cpus.cores())
    (name,) = slots.take_free(f"{lead}pool", 1)
    return [WorkerSpec(name, settings, threads=threads, pool=pool)]


def _on_gpus(
    settings: Settings, devices: DeviceRequest, slots: Slots, environ: Mapping[str, str], lead: str
) -> list[WorkerSpec]:
    """Take slots and devices. With `auto`, a GPU that another process has locked in the meantime is left out."""
    wanted = devices.gpus or ""
    specs: list[WorkerSpec] = []
    refusal: MlqError | None = None
    for gpu in gpus.choose(wanted, nvml.offered(nvml.library(), environ)):
        try:
            names = slots.take(_names(lead + gpu.slot, devices.per_gpu or 1), gpu)
        except (DeviceTaken, SlotTaken) as exc:
            if wanted != gpus.AUTO:
                raise
            refusal = exc
        else:
            specs += [WorkerSpec(name, settings, gpu=gpu) for name in names]
    if refusal is not None and not specs:
        raise refusal
    return specs


def _names(slot: str, workers: int) -> list[str]:
    return [slot] if workers == 1 else [f"{slot}-{number}" for number in range(workers)]


def autoscaler_specs(
    settings: Settings, devices: DeviceRequest, environ: Mapping[str, str], *, prefix: str | None
) -> list[WorkerSpec]:
    """Make a spec for each device that an autoscaler may use; neither slots nor devices are taken yet.

    Raises UsageError, NoModel, NoGpuDriver, GpuDriverFails, NoSuchGpu, NoFreeGpu, SickGpu.
    """
    if devices.gpus is not None and devices.cpus is not None:
        raise UsageError(what="name GPUs or a number of CPU workers, not both", fix="`mlq autoscale --gpus all`")
    if settings.worker.model is None:
        raise NoModel
    lead = f"{prefix}-" if prefix else ""
    if devices.gpus is None:
        workers = devices.cpus or 1
        threads = cpus.threads_each(workers, cpus.cores())
        return [WorkerSpec(f"{lead}cpu{n}", settings, threads=threads) for n in range(workers)]
    chosen = gpus.choose(devices.gpus, nvml.offered(nvml.library(), environ))
    return [WorkerSpec(lead + gpu.slot, settings, gpu=gpu) for gpu in chosen]


def count_devices(devices: DeviceRequest, environ: Mapping[str, str]) -> int:
    """Return the number of devices that an autoscaler may use. Unlike `autoscaler_specs`, it needs no model.

    Raises NoGpuDriver, GpuDriverFails, NoSuchGpu, NoFreeGpu, SickGpu.
    """
    if devices.gpus is None:
        return devices.cpus or 1
    return len(gpus.choose(devices.gpus, nvml.offered(nvml.library(), environ)))


def _on_cpus(settings: Settings, workers: int, slots: Slots, lead: str) -> list[WorkerSpec]:
    threads = cpus.threads_each(workers, cpus.cores())
    return [WorkerSpec(name, settings, threads=threads) for name in slots.take_free(f"{lead}cpu", workers)]


def default_request(environ: Mapping[str, str]) -> DeviceRequest:
    """Return the default request for this host: all GPUs, or one CPU worker on all cores if it has none.

    Raises GpuDriverFails, because a driver that fails does not mean that there are no GPUs.
    """
    try:
        return DeviceRequest(gpus="all") if nvml.offered(nvml.library(), environ) else DeviceRequest(cpus=1)
    except NoGpuDriver:
        return DeviceRequest(cpus=1)
