"""Why a model did not load, in a sentence, and what mends it."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from mlq import DISTRIBUTION
from mlq.model.accelerator import Trouble, trouble
from mlq.model.failure import NotServable


@dataclass(frozen=True)
class Diagnosis:
    """The two halves of an error message."""

    reason: str
    mend: str


def diagnose(error: BaseException, source: Path | None) -> Diagnosis:
    """Say what an exception of loading, setup or warm-up means; `source` is the file the operator named."""
    if isinstance(error, NotServable):
        return Diagnosis(error.reason, error.mend)
    if isinstance(error, Exception) and trouble(error) is Trouble.MEMORY:
        return Diagnosis(_memory(str(error)), "serve a smaller model, or free the device: `nvidia-smi` shows its users")
    reason = f"{type(error).__name__}: {_sentence(str(error))}{_where(error, source)}"
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return Diagnosis(reason, f"pip install '{DISTRIBUTION}[torch]'")
    return Diagnosis(reason, "run the command again with --debug for the traceback")


def _sentence(text: str) -> str:
    """Pick the line that says it: the last under a traceback of TorchScript, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["(no message)"]
    return lines[-1] if "Traceback" in text else lines[0]


def _where(error: BaseException, source: Path | None) -> str:
    """Name the operator's own line, if the exception passed through one."""
    if source is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == source.resolve()]
    return f" ({source}, line {lines[-1]})" if lines else ""


def _memory(text: str) -> str:
    """Say how much was missing, as far as torch's message tells."""
    needs = re.search(r"[Tt]ried to allocate (\d[\d.]* \w+)", text)
    free = re.search(r"of which (\d[\d.]* \w+) is free", text)
    wanted = f": needs about {needs[1]} more" if needs else ""
    return "out of memory" + wanted + (f", free {free[1]}" if needs and free else "")
