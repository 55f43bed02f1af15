"""Formats of model files, recognized by the members of the archive and never by the suffix."""

from __future__ import annotations

import enum
import zipfile
from collections.abc import Iterable
from pathlib import Path


class ModelFormat(enum.Enum):
    """The formats that torch 2.13 writes."""

    EXPORTED = "an exported program"
    TORCHSCRIPT = "TorchScript"
    AOTINDUCTOR = "an AOTInductor package"
    WEIGHTS = "weights, or a pickled module"
    UNKNOWN = "unknown"


def format_of(path: Path) -> ModelFormat:
    """Return the format of a file. Only the list of members is read; nothing is unpickled."""
    if not zipfile.is_zipfile(path):
        return ModelFormat.UNKNOWN
    with zipfile.ZipFile(path) as archive:
        return format_from_members(archive.namelist())


def format_from_members(names: Iterable[str]) -> ModelFormat:
    """Return the format of an archive with these members; a program with its compiled form counts as a program."""
    # The first folder is the name of the archive.
    members = {name.partition("/")[2] for name in names}
    if any(m.startswith("models/") and m.endswith(".json") for m in members):
        return ModelFormat.EXPORTED
    if any(m.startswith("data/aotinductor/") for m in members):
        return ModelFormat.AOTINDUCTOR
    if "constants.pkl" in members or any(m.startswith("code/") for m in members):
        return ModelFormat.TORCHSCRIPT
    return ModelFormat.WEIGHTS if "data.pkl" in members else ModelFormat.UNKNOWN
