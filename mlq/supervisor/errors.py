"""Errors of devices, their locks and pools, in the form of mlq/errors.py, ordered by exit code."""

from __future__ import annotations

from mlq.errors import MlqError

# 1: it failed


class SickGpu(MlqError):
    """this GPU has a fault: {sick}"""

    hint = "`mlq worker start --gpus auto` leaves it out; mlq resets no GPU, and `nvidia-smi -q` shows details"


class DeviceTaken(MlqError):
    """{device} is taken: {holder}"""

    hint = "stop that worker first, or use the free GPUs with `mlq worker start --gpus auto`"


class DeviceLockUnusable(MlqError):
    """{device} cannot be locked: {path}: {reason}"""

    hint = "ask the owner of the file, or root, to remove it, then run `mlq worker start` again"


# 3: configuration invalid


class NoWorkForPool(MlqError):
    """nothing to serve: without a model, both worker.imports and --queues are required"""

    exit_code = 3
    hint = "add `--model model.pt2`, or set worker.imports in mlq.toml and name the queues of these tasks with --queues"


class GpuDriverFails(MlqError):
    """the NVIDIA driver does not work: {reason}"""

    exit_code = 3
    hint = "{fix}"


# 5: no such thing


class NoSuchGpu(MlqError):
    """no GPU {wanted}: {present}"""

    exit_code = 5
    hint = "name a GPU of this host, or start CPU workers with `mlq worker start --cpus N`"


class NoGpuDriver(MlqError):
    """no GPU found: {reason}"""

    exit_code = 5
    hint = (
        "install the NVIDIA driver, or make it visible in the container, or start CPU workers with "
        "`mlq worker start --cpus N`"
    )


class NoFreeGpu(MlqError):
    """no GPU is free: {why}"""

    exit_code = 5
    hint = "`mlq worker start --gpus all` uses busy GPUs, too; `mlq worker` lists the workers"
