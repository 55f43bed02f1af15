"""Gpu: one device as the driver describes it, and the choice of devices that `--gpus` names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlq.errors import UsageError
from mlq.settings.errors import InvalidSetting
from mlq.supervisor.errors import NoFreeGpu, NoSuchGpu, SickGpu

MASK: Final = "CUDA_VISIBLE_DEVICES"
AUTO: Final = "auto"


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of a GPU."""

    #: The number in nvidia-smi (PCI bus order); for an instance that of its GPU.
    index: int
    #: Used as the mask of a worker's process.
    uuid: str
    name: str
    memory_bytes: int
    #: Why no worker should run on it; None if it is healthy.
    trouble: str | None = None
    #: What uses it already; None if it is free.
    occupied: str | None = None
    #: The number of a MIG instance on its GPU; None for a GPU.
    mig: int | None = None
    #: The UUID of a MIG instance's GPU; None for a GPU.
    parent: str | None = None
    #: The MIG instances of a GPU in MIG mode: it computes only through these.
    instances: tuple[Gpu, ...] = ()

    @property
    def slot(self) -> str:
        """The slot of a worker on this device: gpu0, gpu0-mig1."""
        return f"gpu{self.index}" if self.mig is None else f"gpu{self.index}-mig{self.mig}"

    @property
    def words(self) -> str:
        """The device, as text for people."""
        instance = "" if self.mig is None else f" MIG {self.mig}"
        return f"GPU {self.index}{instance}, {self.name}"

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """The devices that a process can use: the instances, or the GPU itself."""
        return self.instances or (self,)


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that an inherited CUDA_VISIBLE_DEVICES allows, in its order; an empty mask allows none.

    As in CUDA, the list ends at the first entry that names no device. With a repeated entry CUDA would see no device at
    all, which is certainly a mistake: then this raises InvalidSetting.
    """
    mask = environ.get(MASK)
    if mask is None:
        return list(gpus)
    left: list[Gpu] = []
    for entry in filter(None, (e.strip() for e in mask.split(","))):
        found = _find(gpus, entry)
        if found is None:
            break
        if found in left:
            raise InvalidSetting(key=MASK, value=mask, origin="the environment", reason="it names a GPU twice")
        left.append(found)
    return left


def choose(wanted: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the devices that `--gpus` names. A GPU in MIG mode stands for its instances.

    Args:
        wanted: `all`, `auto` (the free ones), or a list of positions in `gpus` and of UUIDs or their beginnings.
        gpus: The visible GPUs.

    Raises:
        NoSuchGpu, NoFreeGpu: No such device; the message lists the present ones.
        SickGpu: A named device has a fault.
        UsageError: A device is named twice.
    """
    if wanted == AUTO:
        return _free([device for gpu in gpus for device in gpu.usable])
    if wanted == "all":
        if not gpus:
            raise _no_such_gpu("to serve from", gpus)
        return _demand_healthy([device for gpu in gpus for device in gpu.usable])
    named = [_find_or_raise(gpus, entry.strip(), wanted) for entry in wanted.split(",")]
    devices = [device for gpu in named for device in gpu.usable]
    (twice, times), *_ = Counter(device.uuid for device in devices).most_common(1)
    if times > 1:
        raise UsageError(
            what=f"--gpus {wanted} names {twice} twice",
            fix="name it once; `--per-gpu 2` starts two workers on each GPU",
        )
    return _demand_healthy(devices)


def _find_or_raise(gpus: Sequence[Gpu], entry: str, wanted: str) -> Gpu:
    found = _at_position(gpus, entry) if entry.isdecimal() else _find(gpus, entry)
    if found is None:
        raise _no_such_gpu(entry or repr(wanted), gpus)
    return found


def _at_position(gpus: Sequence[Gpu], position: str) -> Gpu | None:
    """Return the GPU at a position, counted under the inherited mask as CUDA does."""
    return gpus[int(position)] if int(position) < len(gpus) else None


def _find(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """Find a device by index or UUID. As in CUDA, the beginning of a UUID is enough if it fits one device only."""
    if entry.isdecimal():
        return next((g for g in gpus if g.index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    every = [device for gpu in gpus for device in (gpu, *gpu.instances)]
    fitting = [d for d in every if d.uuid == entry] or [d for d in every if d.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None


def _demand_healthy(devices: list[Gpu]) -> list[Gpu]:
    sick = [f"{d.words}: {d.trouble}" for d in devices if d.trouble]
    if sick:
        raise SickGpu(sick="; ".join(sick))
    return devices


def _free(devices: Sequence[Gpu]) -> list[Gpu]:
    if not devices:
        raise _no_such_gpu("to serve from", devices)
    free = [d for d in devices if not d.trouble and not d.occupied]
    if not free:
        raise NoFreeGpu(why="; ".join(f"{d.words}: {d.trouble or d.occupied}" for d in devices))
    return free


def _no_such_gpu(wanted: str, gpus: Sequence[Gpu]) -> NoSuchGpu:
    present = "; ".join(f"{i}: {g.name} ({_names(g)})" for i, g in enumerate(gpus))
    return NoSuchGpu(wanted=wanted, present=f"this host has {present}" if present else f"{MASK} hides all GPUs")


def _names(gpu: Gpu) -> str:
    return gpu.uuid + "".join(f", {instance.name} {instance.uuid}" for instance in gpu.instances)
