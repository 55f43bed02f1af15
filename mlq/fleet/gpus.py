"""Gpu: what the driver says is there, and which of them an operator means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlq.errors import NoSuchGpu


@dataclass(frozen=True)
class Gpu:
    """One GPU. `index` is nvidia-smi's (PCI bus order); the mask of a process is always the `uuid`."""

    index: int
    uuid: str
    name: str
    memory_bytes: int


def present() -> list[Gpu]:
    """Ask the driver, through NVML; without a driver there are none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _describe(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(index, pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle), int(memory.total))


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Keep what an inherited CUDA_VISIBLE_DEVICES leaves, in its order; an empty mask leaves none.

    As CUDA reads it: the list ends at the first entry that names nothing, and a repeated entry empties it.
    """
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return list(gpus)
    left: list[Gpu] = []
    for entry in filter(None, (e.strip() for e in mask.split(","))):
        found = _named(gpus, entry)
        if found is None:
            break
        if found in left:
            return []
        left.append(found)
    return left


def choose(wanted: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Pick the GPUs that `--gpus` names: all, or positions in `gpus` and UUIDs (or their beginnings).

    Raises NoSuchGpu, which says what is there.
    """
    if wanted == "all":
        if not gpus:
            raise _missing("to serve from", gpus)
        return list(gpus)
    chosen = []
    for entry in (e.strip() for e in wanted.split(",")):
        found = _at(gpus, entry) if entry.isdigit() else _named(gpus, entry)
        if found is None:
            raise _missing(entry or repr(wanted), gpus)
        if found not in chosen:
            chosen.append(found)
    return chosen


def _at(gpus: Sequence[Gpu], position: str) -> Gpu | None:
    """Read a position as CUDA would under the inherited mask."""
    return gpus[int(position)] if int(position) < len(gpus) else None


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """Find by index or by UUID; CUDA accepts the beginning of a UUID that fits one GPU only."""
    if entry.isdigit():
        return next((g for g in gpus if g.index == int(entry)), None)
    fitting = [g for g in gpus if entry.startswith("GPU-") and g.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None


def _missing(wanted: str, gpus: Sequence[Gpu]) -> NoSuchGpu:
    there = "; ".join(f"{i}: {g.name} ({g.uuid})" for i, g in enumerate(gpus))
    return NoSuchGpu(wanted=wanted, present=f"there is {there}" if there else "this machine offers none to us")
