"""Gpu: a device as the driver knows it, and which of them an operator means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlq.errors import InvalidSetting, UsageError
from mlq.supervisor.errors import NoFreeGpu, NoSuchGpu, SickGpu

MASK: Final = "CUDA_VISIBLE_DEVICES"
AUTO: Final = "auto"


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of it. The mask of a process is always the `uuid`.

    `index` is nvidia-smi's (PCI bus order). `trouble` says why nothing should run on it, `occupied` who uses it
    already. A GPU in MIG mode computes through its `instances` alone; each has the GPU's index, its own number as
    `mig`, and the GPU's UUID as `parent`.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    trouble: str | None = None
    occupied: str | None = None
    mig: int | None = None
    parent: str | None = None
    instances: tuple[Gpu, ...] = ()

    @property
    def slot(self) -> str:
        """The name of a worker on it: gpu0, gpu0-mig1."""
        return f"gpu{self.index}" if self.mig is None else f"gpu{self.index}-mig{self.mig}"

    @property
    def words(self) -> str:
        """Name it for people."""
        of_it = "" if self.mig is None else f" MIG {self.mig}"
        return f"GPU {self.index}{of_it}, {self.name}"

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """What a process can be masked to: its instances, or itself."""
        return self.instances or (self,)


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Keep what an inherited CUDA_VISIBLE_DEVICES leaves, in its order; an empty mask leaves none.

    As CUDA reads it, the list ends at the first entry that names nothing. It would read a repeated entry as no
    devices at all, which nobody means: Raises InvalidSetting.
    """
    mask = environ.get(MASK)
    if mask is None:
        return list(gpus)
    left: list[Gpu] = []
    for entry in filter(None, (e.strip() for e in mask.split(","))):
        found = _named(gpus, entry)
        if found is None:
            break
        if found in left:
            raise InvalidSetting(key=MASK, value=mask, origin="the environment", reason="it names a GPU twice")
        left.append(found)
    return left


def choose(wanted: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Pick the devices that `--gpus` names: all, auto, or positions in `gpus` and UUIDs (or their beginnings).

    A GPU in MIG mode stands for its instances. Raises NoSuchGpu and NoFreeGpu, which say what is there, SickGpu, and
    UsageError for a device that is named twice.
    """
    if wanted == AUTO:
        return _free([device for gpu in gpus for device in gpu.usable])
    if wanted == "all":
        if not gpus:
            raise _missing("to serve from", gpus)
        return _healthy([device for gpu in gpus for device in gpu.usable])
    named = [_one(gpus, entry.strip(), wanted) for entry in wanted.split(",")]
    devices = [device for gpu in named for device in gpu.usable]
    (twice, times), *_ = Counter(device.uuid for device in devices).most_common(1)
    if times > 1:
        raise UsageError(
            what=f"--gpus {wanted} names {twice} twice", fix="name it once; `--per-gpu 2` puts two workers on each GPU"
        )
    return _healthy(devices)


def _one(gpus: Sequence[Gpu], entry: str, wanted: str) -> Gpu:
    found = _at(gpus, entry) if entry.isdecimal() else _named(gpus, entry)
    if found is None:
        raise _missing(entry or repr(wanted), gpus)
    return found


def _at(gpus: Sequence[Gpu], position: str) -> Gpu | None:
    """Read a position as CUDA would under the inherited mask."""
    return gpus[int(position)] if int(position) < len(gpus) else None


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """Find by index or by UUID; CUDA accepts the beginning of a UUID that fits one device only."""
    if entry.isdecimal():
        return next((g for g in gpus if g.index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    every = [device for gpu in gpus for device in (gpu, *gpu.instances)]
    fitting = [d for d in every if d.uuid == entry] or [d for d in every if d.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None


def _healthy(devices: list[Gpu]) -> list[Gpu]:
    sick = [f"{d.words}: {d.trouble}" for d in devices if d.trouble]
    if sick:
        raise SickGpu(sick="; ".join(sick))
    return devices


def _free(devices: Sequence[Gpu]) -> list[Gpu]:
    if not devices:
        raise _missing("to serve from", devices)
    free = [d for d in devices if not d.trouble and not d.occupied]
    if not free:
        raise NoFreeGpu(why="; ".join(f"{d.words}: {d.trouble or d.occupied}" for d in devices))
    return free


def _missing(wanted: str, gpus: Sequence[Gpu]) -> NoSuchGpu:
    there = "; ".join(f"{i}: {g.name} ({_names(g)})" for i, g in enumerate(gpus))
    return NoSuchGpu(wanted=wanted, present=f"there is {there}" if there else f"{MASK} hides all that there are")


def _names(gpu: Gpu) -> str:
    return gpu.uuid + "".join(f", {instance.name} {instance.uuid}" for instance in gpu.instances)
