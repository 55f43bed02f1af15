"""What can go wrong with devices, their booking and their pools, in the form of mlq/errors.py, by exit code."""

from __future__ import annotations

from mlq.errors import MlqError

# 1: it failed


class SickGpu(MlqError):
    """not fit to compute: {sick}"""

    hint = "`mlq worker start --gpus auto` leaves it out; mlq resets no GPU, `nvidia-smi -q` says more"


class DeviceTaken(MlqError):
    """{device} is taken: {holder}"""

    hint = "stop that one first, or take what is free with `mlq worker start --gpus auto`"


class DeviceLockUnusable(MlqError):
    """{device} cannot be booked: {path}: {reason}"""

    hint = "the file belongs to whoever made it: have its owner or root remove it, then `mlq worker start` again"


# 3: configuration invalid


class NoWorkForPool(MlqError):
    """nothing to serve: no model, and not both tasks (worker.imports) and the queues that they come on (--queues)"""

    exit_code = 3
    hint = "add `--model model.pt2`; or set worker.imports in mlq.toml, and name their queues with --queues"


class GpuDriverFails(MlqError):
    """the NVIDIA driver does not work: {reason}"""

    exit_code = 3
    hint = "{fix}"


# 5: no such thing


class NoSuchGpu(MlqError):
    """no GPU {wanted}: {present}"""

    exit_code = 5
    hint = "name one that is there, or start CPU workers with `mlq worker start --cpus N`"


class NoGpuDriver(MlqError):
    """no GPU is there: {reason}"""

    exit_code = 5
    hint = "install the NVIDIA driver, let a container see it, or start CPU workers with `mlq worker start --cpus N`"


class NoFreeGpu(MlqError):
    """no GPU is free: {why}"""

    exit_code = 5
    hint = "`mlq worker start --gpus all` takes busy ones too; `mlq worker` lists the workers"
