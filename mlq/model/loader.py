"""The loader: it makes a model of a reference, and lets it answer a first row."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from mlq import DISTRIBUTION
from mlq.errors import InvalidModel
from mlq.model.accelerator import Trouble, trouble
from mlq.model.classes import load_class
from mlq.model.failure import NotServable, contained
from mlq.model.files.exported import HOW_TO_EXPORT, load_exported
from mlq.model.files.formats import ModelFormat, format_of
from mlq.model.files.torchscript import load_torchscript
from mlq.model.model import Model, Output, Predictor
from mlq.model.places import demand_own
from mlq.model.reference import ModelRef


@dataclass(frozen=True)
class Diagnosis:
    """The reason of an error, and its fix."""

    reason: str
    fix: str


def diagnose(error: BaseException, source: Path | None) -> Diagnosis:
    """Explain an exception of loading, setup or warm-up; `source` is the file that the operator named."""
    if isinstance(error, NotServable):
        return Diagnosis(error.reason, error.fix)
    if isinstance(error, Exception) and trouble(error) is Trouble.MEMORY:
        return Diagnosis(_memory(str(error)), "serve a smaller model, or free the device: `nvidia-smi` shows its users")
    reason = f"{type(error).__name__}: {_sentence(str(error))}{_where(error, source)}"
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return Diagnosis(reason, f"pip install '{DISTRIBUTION}[torch]'")
    return Diagnosis(reason, "run the command again with --debug for the traceback")


def _sentence(text: str) -> str:
    """Return the line that names the cause: the last one of a TorchScript traceback, otherwise the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["(no message)"]
    return lines[-1] if "Traceback" in text else lines[0]


def _where(error: BaseException, source: Path | None) -> str:
    """Return the line of the operator's file that the exception passed through, if there is one."""
    if source is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == source.resolve()]
    return f" ({source}, line {lines[-1]})" if lines else ""


def _memory(text: str) -> str:
    """Return how much memory was missing, if torch's message says so."""
    needs = re.search(r"[Tt]ried to allocate (\d[\d.]* \w+)", text)
    free = re.search(r"of which (\d[\d.]* \w+) is free", text)
    wanted = f": needs about {needs[1]} more" if needs else ""
    return "out of memory" + wanted + (f", free {free[1]}" if needs and free else "")


_WRAP = f"export the model with {HOW_TO_EXPORT}; or name file.py:Class, whose setup() loads the weights"


def load(reference: str, *, origin: str, device: str, output: Output, max_batch_size: int) -> Model:
    """Load, set up and warm up a model.

    Args:
        reference: The model that the operator named.
        origin: Where the name came from, such as a setting.
        device: The device as torch names it.
        output: What becomes of the output.
        max_batch_size: Most rows of a forward, if the model sets no limit of its own.

    Raises:
        InvalidModel: The model cannot be served, for any reason, including exceptions of the operator's code.
    """
    ref = ModelRef.parse(reference)
    try:
        demand_own(ref.source())
        fingerprint = ref.fingerprint()
        predictor = _open(ref, device, max_batch_size)
        model = Model(predictor, name=ref.name, fingerprint=fingerprint, device=device, output=output)
        model.warm_up()
    except BaseException as raised:  # noqa: BLE001 (a script without `if __name__ == "__main__"` raises SystemExit)
        error = contained(raised)
        found = diagnose(error, ref.path)
        raise InvalidModel(reference=reference, origin=origin, reason=found.reason, fix=found.fix) from error
    return model


def _open(ref: ModelRef, device: str, max_batch_size: int) -> Predictor:
    if ref.class_name is not None:
        return load_class(ref, device=device, max_batch_size=max_batch_size)
    path = ref.source()
    found = ModelFormat.UNKNOWN if path.suffix == ".py" else format_of(path)
    if found is ModelFormat.EXPORTED:
        return load_exported(path, device=device, max_batch_size=max_batch_size)
    if found is ModelFormat.TORCHSCRIPT:
        return load_torchscript(path, device=device, max_batch_size=max_batch_size)
    raise _refusal(found, path.suffix)


def _refusal(found: ModelFormat, suffix: str) -> NotServable:
    if suffix == ".py":
        return NotServable("it names no class", fix="name the class that serves: serve.py:Model")
    if found is ModelFormat.WEIGHTS:
        return NotServable(f"it holds {found.value}, and no program to run", fix=_WRAP)
    if found is ModelFormat.AOTINDUCTOR:
        # It does not check shapes: it would read rows of a wrong width past their end, and answer them.
        return NotServable(
            f"it is {found.value}, which does not check the shape of its input, nor tell it",
            fix="serve the exported program, or name file.py:Class, whose predict() checks shapes and calls it",
        )
    return NotServable(
        "it is neither an exported program (torch.export.save) nor TorchScript (torch.jit.save)", fix=_WRAP
    )
