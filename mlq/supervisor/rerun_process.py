"""A rerun of a dead letter's message, in a process with a worker's environment that takes no other work."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from mlq.errors import RerunFailed, UsageError
from mlq.exit_codes import ExitCode
from mlq.ipc import python_command
from mlq.settings.config import Settings
from mlq.supervisor.devices import cpus, gpus, nvml
from mlq.supervisor.news import exit_text
from mlq.supervisor.spec import WorkerSpec

_COULD_NOT_BE_TRIED: Final = frozenset({ExitCode.INVALID, ExitCode.BROKER, ExitCode.NOT_FOUND})


def run(settings: Settings, letter_id: str, raw: bytes, gpu: str | None) -> int:
    """Run a message in a new process, which writes to this process's stdout and stderr.

    Returns:
        0, or the exit code (3 to 5) of a process that could not run the message and has written the reason.

    Raises:
        RerunFailed: The task failed, or its process died.
        UsageError: `gpu` names more than one device.
        MlqError: No such device, or no driver; see gpus.choose.
    """
    chosen = gpus.choose(gpu, nvml.offered(nvml.library(), os.environ)) if gpu else []
    if len(chosen) > 1:
        fix = "name one device: `mlq dead rerun ID --gpu 0`"
        raise UsageError(what=f"--gpu {gpu} names {len(chosen)} devices", fix=fix)
    spec = WorkerSpec("rerun", settings, gpu=chosen[0] if chosen else None, threads=cpus.cores())
    command = python_command.python("mlq.rerun")
    code = subprocess.run(command, input=raw, env=spec.environment(os.environ), check=False).returncode
    if code == ExitCode.DONE or code in _COULD_NOT_BE_TRIED:
        return code
    raise RerunFailed(
        id=letter_id, how="failed" if code == ExitCode.FAILED else f"ended its process with {exit_text(code)}"
    )
