"""Child: a worker's process in a slot, with its log pipe and its ready pipe."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from mlq.ipc import parent_death, ready_pipe
from mlq.ipc.shared_pages import NOTICES_VARIABLE, REPORT_VARIABLE, ReportPage, SupervisorNotices
from mlq.security.masking import masked
from mlq.supervisor.recovery import guard
from mlq.supervisor.spec import WorkerSpec

LAST_LINES: Final = 20
"""Log lines that are shown of a worker that failed."""

_READ_BYTES: Final = 65536
_LONGEST_LINE: Final = 16384


class PipeLines:
    """Splits the output of a pipe into lines; a very long line is cut, so that it cannot fill the memory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._rest = b""
        os.set_blocking(fd, False)

    def read(self) -> list[str]:
        """Return the lines that are available now; afterwards `ended` says whether every writer has closed the pipe."""
        self._fill()
        *whole, self._rest = self._rest.split(b"\n")
        return self._text(whole) + (self._leftover() if len(self._rest) > _LONGEST_LINE else [])

    def finish(self) -> list[str]:
        """Return everything that a writer which has ended left in the pipe; a grandchild may still hold it open."""
        while self._fill():
            pass
        return self.read() + self._leftover()

    def _fill(self) -> bool:
        try:
            chunk = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        self.ended = not chunk
        self._rest += chunk
        return bool(chunk)

    def close(self) -> None:
        """Close the reading end."""
        os.close(self.fd)

    def _leftover(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return self._text([rest]) if rest else []

    @staticmethod
    def _text(lines: list[bytes]) -> list[str]:
        return [masked(line.decode(errors="replace").rstrip("\r")) for line in lines]


class Child:
    """A worker's process. It has a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone.

    Args:
        spec: What the worker is.
        inherited: The environment of the supervisor.
        notices: The page that the supervisor writes for all its workers.
        supervisor: The mark of this supervisor, which is in the environment of all processes of its workers.
        umask: The user's umask, for the files that the model writes; -1 leaves this process's own.

    Attributes:
        owner: The mark of the processes that this worker starts.
        ended_with: Exit code, or minus the signal, once the process has ended.
        began_at: The time of the start on the monotonic clock; `started_at`: in seconds since 1970.
        ready_s: Seconds from the start until the worker was ready.
        cordoned: The fault of the device, if the worker died of one.

    Raises:
        OSError: The system has no process, memory or descriptor left.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        inherited: Mapping[str, str],
        notices: SupervisorNotices,
        supervisor: str,
        umask: int = -1,
    ) -> None:
        self.spec = spec
        self.wid = f"{socket.gethostname()}:{spec.name}:{secrets.token_hex(4)}"
        self.owner = f"{supervisor}/{self.wid}"
        self.ended_with: int | None = None
        self.began_at, self.started_at = time.monotonic(), time.time()
        self.ready_s: float | None = None
        self.cordoned: str | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.report_page = ReportPage.create()
        log_read, log_write = os.pipe()
        status_read, status_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                parent_death.command([*spec.argv(), "--id", self.wid], signal.SIGKILL),
                env={
                    **spec.environment(inherited),
                    ready_pipe.VARIABLE: str(status_write),
                    REPORT_VARIABLE: str(self.report_page.page.fd),
                    NOTICES_VARIABLE: str(notices.page.fd),
                    guard.VARIABLE: self.owner,
                },
                stdin=subprocess.DEVNULL,
                stdout=log_write,
                stderr=log_write,
                pass_fds=[status_write, self.report_page.page.fd, notices.page.fd],
                start_new_session=True,
                umask=umask,
            )
        except OSError:
            os.close(log_read)
            os.close(status_read)
            self.report_page.close()
            raise
        finally:
            os.close(log_write)
            os.close(status_write)
        self.log, self.status = PipeLines(log_read), PipeLines(status_read)
        self.pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id. The kernel does not reuse it before `reap`."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. A child that has ended ignores it.

        Popen.send_signal would collect a child that has just ended, and `look_at_end` would then find no child.
        """
        if self._process.returncode is None:  # not reaped: the descriptor is open
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def look_at_end(self) -> int:
        """Return the exit code, or minus the signal, of a child that has ended, without collecting it."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # noqa: S101 (without WNOHANG it waits)
        self.ended_with = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self.ended_with

    def reap(self) -> None:
        """Collect the ended process, and close its descriptors."""
        self._process.wait()
        os.close(self.pidfd)
        self.log.close()
        self.status.close()
        self.report_page.close()
