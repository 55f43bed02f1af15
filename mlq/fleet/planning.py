"""Plan a fleet: from what the operator asked for and what is there to a WorkerSpec for each device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlq.config import Settings
from mlq.errors import NoModel, UsageError
from mlq.fleet import cpus, gpus
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec


@dataclass(frozen=True)
class Devices:
    """What an operator asked for: `gpus` as --gpus takes it, or a number of CPU workers."""

    gpus: str | None = None
    cpus: int | None = None


def plan(
    settings: Settings, devices: Devices, slots: Slots, environ: Mapping[str, str], *, prefix: str | None = None
) -> list[WorkerSpec]:
    """Make a spec for each GPU that is named, or for each CPU worker.

    Raises UsageError, NoModel, NoSuchGpu, SlotTaken.
    """
    if (devices.gpus is None) == (devices.cpus is None):
        raise UsageError(
            what="name the devices: --gpus or --cpus, one of them",
            mend="`mlq worker start --gpus all`, or `--gpus 0,1`, or `--cpus 2`",
        )
    if settings.worker.model is None:
        raise NoModel
    lead = f"{prefix}-" if prefix else ""
    if devices.gpus is None:
        return _on_cpus(settings, devices.cpus or 1, slots, lead)
    chosen = gpus.choose(devices.gpus, gpus.visible(gpus.present(), environ))
    names = slots.take([f"{lead}gpu{g.index}" for g in chosen])
    return [WorkerSpec(n, settings, gpu=g) for n, g in zip(names, chosen, strict=True)]


def pool(settings: Settings, devices: Devices, environ: Mapping[str, str], *, prefix: str | None) -> list[WorkerSpec]:
    """Make a spec for each device that an autoscaler may use; none is taken yet.

    Raises UsageError, NoModel, NoSuchGpu.
    """
    if devices.gpus is not None and devices.cpus is not None:
        raise UsageError(what="name GPUs or a number of CPU workers, not both", mend="`mlq autoscale --gpus all`")
    if settings.worker.model is None:
        raise NoModel
    lead = f"{prefix}-" if prefix else ""
    if devices.gpus is None:
        number = devices.cpus or 1
        threads = cpus.threads_each(number, cpus.cores())
        return [WorkerSpec(f"{lead}cpu{n}", settings, threads=threads) for n in range(number)]
    chosen = gpus.choose(devices.gpus, gpus.visible(gpus.present(), environ))
    return [WorkerSpec(f"{lead}gpu{g.index}", settings, gpu=g) for g in chosen]


def _on_cpus(settings: Settings, workers: int, slots: Slots, lead: str) -> list[WorkerSpec]:
    threads = cpus.threads_each(workers, cpus.cores())
    return [WorkerSpec(name, settings, threads=threads) for name in slots.take_free(f"{lead}cpu", workers)]


def found(environ: Mapping[str, str]) -> Devices:
    """Say what this machine offers: all its GPUs; where it has none, one CPU worker on all cores."""
    return Devices(gpus="all") if gpus.visible(gpus.present(), environ) else Devices(cpus=1)
