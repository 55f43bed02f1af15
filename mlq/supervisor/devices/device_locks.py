"""Bookings: one worker a device on the whole host, whoever starts it: locks that all its users share.

A slot's lock lies in its user's state directory, so it cannot keep two users, or one with two directories, off the
same GPU. These lie where everybody may write. The kernel frees them however their supervisor ends, and the files stay:
to remove one is to let a second process lock a new file of the same name. Containers that share GPUs must share that
directory, too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

from mlq.ipc.file_lock import locked
from mlq.supervisor.errors import DeviceLockUnusable, DeviceTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlq.supervisor.devices.gpus import Gpu

_PLACES: Final = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 (see shared_directory and _open)

_HOLDER: Final = re.compile(r"(\d{1,10}) (\d{1,10}) ([\w.-]{1,80})\n")
"""What a holder writes: its pid, its user, its worker. Anybody can write anything, and it is shown to others."""

_EVERYBODYS: Final = stat.S_ISVTX | stat.S_IWOTH


def shared_directory(places: Sequence[Path] = _PLACES) -> Path:
    """Choose where all users of this host look: the first of `places` that everybody may write to.

    By its mode and not by our own rights: root may write anywhere, and would lock where nobody else looks.
    """
    modes = ((place, place.stat().st_mode) for place in places if place.is_dir())
    return next((place for place, mode in modes if mode & _EVERYBODYS == _EVERYBODYS), places[-1])


def book(directory: Path, gpu: Gpu, worker: str) -> IO[str]:
    """Book a device for as long as the file that is given stays open.

    Raises DeviceTaken, naming who has it, and DeviceLockUnusable.
    """
    path = directory / f"mlq-{quote(gpu.uuid, safe='')}.lock"
    try:
        file = _open(path)
    except OSError as exc:
        raise DeviceLockUnusable(device=gpu.words, path=path, reason=exc.strerror) from None
    if not locked(file):
        with file:
            raise DeviceTaken(device=gpu.words, holder=_holder(file.read(200)))
    file.truncate(0)
    file.write(f"{os.getpid()} {os.getuid()} {worker}\n")
    file.flush()
    return file


def _holder(text: str) -> str:
    said = _HOLDER.fullmatch(text)
    if said is None:
        return "another process holds its lock"
    pid, user, worker = said.groups()
    return f"worker {worker} of user {user} has it, kept up by process {pid}"


def _open(path: Path) -> IO[str]:
    """Open a file that everybody may write, and make it if it is not there.

    Without O_CREAT first: where files are protected (fs.protected_regular) not even root may open another user's
    file with it, in a directory like these. What somebody planted there, a link to a file of ours, is refused.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        with _no_umask():
            try:
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:  # made between the two
                fd = os.open(path, flags)
    file = os.fdopen(fd, "r+", errors="replace")
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        file.close()
        raise OSError(0, "it is a link, or no file")
    return file


@contextmanager
def _no_umask() -> Iterator[None]:
    """Let a file have its mode from the start: opened by another user before a chmod, it would be refused."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
