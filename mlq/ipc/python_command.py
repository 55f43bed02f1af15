"""Launching: Python for a module of mlq, without the working directory among the places where modules are looked for.

`python -m` puts it first: a psutil.py that lies there would run in place of the one that mlq imports, whoever wrote it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_PLACE: Final = Path(__file__).resolve().parents[2]

_WITHOUT_DIRECTORY: Final = (
    "import sys; del sys.path[0]; import runpy; "
    "del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
"""What -P does, for Python 3.10: sys is built in, and runpy is looked for when the directory is out."""


def python(module: str) -> list[str]:
    """Begin the command line of a module of mlq; its own options follow.

    A checkout that is run where it lies, without an installation, is found in the working directory alone.
    """
    if _is_working_directory(_PLACE):
        return [sys.executable, "-m", module]
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    return [sys.executable, "-c", _WITHOUT_DIRECTORY, module]


def _is_working_directory(place: Path) -> bool:
    try:
        return place.samefile(".")
    except OSError:  # it was removed
        return False
