"""What a model file holds, told by its members and never by its suffix."""

from __future__ import annotations

import enum
import zipfile
from collections.abc import Iterable
from pathlib import Path


class ModelFormat(enum.Enum):
    """What torch 2.13 writes. The first folder of a member is the archive's name and says nothing."""

    EXPORTED = "an exported program"
    TORCHSCRIPT = "TorchScript"
    AOTINDUCTOR = "an AOTInductor package"
    WEIGHTS = "weights, or a pickled module"
    UNKNOWN = "unknown"


def format_of(path: Path) -> ModelFormat:
    """Look at the list of members only; nothing is unpickled."""
    if not zipfile.is_zipfile(path):
        return ModelFormat.UNKNOWN
    with zipfile.ZipFile(path) as archive:
        return format_from_members(archive.namelist())


def format_from_members(names: Iterable[str]) -> ModelFormat:
    """Decide by names. A package that holds both a program and its compiled form counts as the program."""
    members = {name.partition("/")[2] for name in names}
    if any(m.startswith("models/") and m.endswith(".json") for m in members):
        return ModelFormat.EXPORTED
    if any(m.startswith("data/aotinductor/") for m in members):
        return ModelFormat.AOTINDUCTOR
    if "constants.pkl" in members or any(m.startswith("code/") for m in members):
        return ModelFormat.TORCHSCRIPT
    return ModelFormat.WEIGHTS if "data.pkl" in members else ModelFormat.UNKNOWN
