"""Exit codes: what mlq's commands and workers report to the process that started them.

docs/exit-codes.md is the public list of the commands' codes. mlq_cli.py has a copy of one code, because it must run
where the package mlq is broken. Tests compare both with this file.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command or a worker ended. Scripts and supervisors rely on the numbers."""

    DONE = 0
    """The work is done. A completed drain ends with this code, too."""

    FAILED = 1
    """The command failed, or a check gave a negative answer."""

    USAGE = 2
    """The command line is wrong, or an input document does not parse."""

    INVALID = 3
    """The configuration, the model or the result backend is invalid. Another attempt would fail in the same way."""

    BROKER = 4
    """The broker or the result backend cannot be reached, or refuses."""

    NOT_FOUND = 5
    """There is no such file, queue, worker, job or GPU."""

    ROWS_FAILED = 6
    """The job finished, and some of its rows failed."""

    UNFINISHED = 7
    """The command timed out or was interrupted while work was left. No work is lost."""

    DEVICE_LOST = 70
    """A worker's device failed, and its process must not use the device again (EX_SOFTWARE of sysexits)."""

    SYSTEM_REFUSED = 71
    """The system had no process, memory or file descriptor for a worker (EX_OSERR). No process ends with this code."""

    RECYCLED = 75
    """A worker reached the limit of tasks or memory for one process, and is to be replaced (EX_TEMPFAIL)."""

    FENCED = 76
    """A worker lost its lease, so that other workers run the messages that it had claimed (EX_PROTOCOL)."""

    def __str__(self) -> str:
        """Return the number, in Python 3.10 as well."""
        return str(int(self))


SIGNALLED: Final = 128
"""A process that ends because of a signal has the signal's number added to this, as in a shell."""
