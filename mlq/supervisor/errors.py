"""Errors of devices, their locks and the pools of workers, by exit code."""

from __future__ import annotations

from pathlib import Path

from mlq.errors import MlqError
from mlq.exit_codes import ExitCode

# 1: it failed


class SickGpu(MlqError):
    exit_code = ExitCode.FAILED
    message = "GPUs that are not fit to compute: {sick}"
    hint = (
        "`mlq worker start --gpus auto` uses the other GPUs; mlq does not reset a GPU; `nvidia-smi -q` shows its state"
    )

    sick: str


class DeviceTaken(MlqError):
    exit_code = ExitCode.FAILED
    message = "{device} is in use: {holder}"
    hint = "stop that worker first, or use the free GPUs with `mlq worker start --gpus auto`"

    device: str
    holder: str


class DeviceLockUnusable(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot lock {device}: {path}: {reason}"
    hint = "the owner of that file, or root, has to remove it; then run `mlq worker start` again"

    device: str
    path: Path
    reason: str | None


# 3: configuration invalid


class NoWorkForPool(MlqError):
    exit_code = ExitCode.INVALID
    message = "nothing to serve: a prefork worker needs a model, or tasks (worker.imports) and their queues (--queues)"
    hint = "add `--model model.pt2`; or set worker.imports in mlq.toml, and name their queues with --queues"


class GpuDriverFails(MlqError):
    exit_code = ExitCode.INVALID
    message = "the NVIDIA driver does not work: {reason}"
    hint = "{fix}"

    reason: str
    fix: str


# 5: not found


class NoSuchGpu(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no GPU {wanted}: {present}"
    hint = "name a GPU that exists, or start CPU workers with `mlq worker start --cpus N`"

    wanted: str
    present: str


class NoGpuDriver(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no GPU found: {reason}"
    hint = (
        "install the NVIDIA driver, give the container access to it, or start CPU workers with `mlq worker start "
        "--cpus N`"
    )

    reason: str


class NoFreeGpu(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no GPU is free: {why}"
    hint = "`mlq worker start --gpus all` uses busy GPUs as well; `mlq worker` lists the workers"

    why: str
