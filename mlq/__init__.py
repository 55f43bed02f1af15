"""mlq: operate inference workers on Celery and Redis."""

import sys
from pathlib import Path
from typing import Final

__version__ = "0.1.0"

DISTRIBUTION: Final = "mlq-cli"
"""What to install: PyPI has another project that is named mlq. Also in mlq_cli.py, see there."""


def _look_elsewhere_for_modules() -> None:
    """Take the working directory out of what is searched for modules, where `python -m mlq…` has put it first.

    Supervisors of older versions start their workers so, and people start `python -m mlq.migrate`: see
    ipc/python_command.py. A worker adds it again, for its operator's own modules, once it knows whose it is. While
    Python looks for the module that -m names, its argv says no more than that; a checkout that is run where it lies has
    no other place.
    """
    if sys.argv[:1] != ["-m"] or sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        return
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return
    if sys.path[:1] == [str(here)] and not Path(__file__).parents[1].samefile(here):
        del sys.path[0]


_look_elsewhere_for_modules()
