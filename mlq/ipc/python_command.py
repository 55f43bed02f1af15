"""The command line of a module of mlq, which keeps the working directory out of Python's search path for modules.

`python -m` puts the working directory first, so a psutil.py in it would run in place of the package that mlq imports.
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
"""Does what -P does, for Python 3.10. Only sys, which is built in, is imported while the directory is in the path."""


def python(module: str) -> list[str]:
    """Return the beginning of a command line that runs a module of mlq; the module's options follow.

    In a checkout without an installation the working directory stays in the path: mlq is found only there.
    """
    if _is_working_directory(_PLACE):
        return [sys.executable, "-m", module]
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    return [sys.executable, "-c", _WITHOUT_DIRECTORY, module]


def _is_working_directory(place: Path) -> bool:
    try:
        return place.samefile(".")
    except OSError:  # the working directory was removed
        return False
