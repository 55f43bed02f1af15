"""Device locks: files that all users of a host share, so that only one supervisor uses a GPU at a time.

The lock of a slot is in the state directory of its user, so it cannot keep two users, or one user with two state
directories, off the same GPU. The device locks are in a directory that every user may write to. The kernel releases a
lock when its supervisor ends, in any way. The files are never removed: if one were, a second process could lock a new
file of the same name. Containers that share GPUs have to share that directory, too.
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

from mlq.ipc.file_lock import try_lock
from mlq.supervisor.errors import DeviceLockUnusable, DeviceTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlq.supervisor.devices.gpus import Gpu

_PLACES: Final = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 (see shared_directory and _open)

_HOLDER: Final = re.compile(r"(\d{1,10}) (\d{1,10}) ([\w.-]{1,80})\n")
"""What the holder writes into the file: its pid, its user, its worker. It is shown to other users, and any user can
write any text, so nothing else is accepted."""

_SHARED: Final = stat.S_ISVTX | stat.S_IWOTH
"""Mode bits of a directory that every user may write to, such as /tmp."""


def shared_directory(places: Sequence[Path] = _PLACES) -> Path:
    """Return the directory of the locks: the first of `places` that every user may write to.

    The mode decides, not this process's own rights: root may write anywhere, and would choose another directory than
    the other users.
    """
    modes = ((place, place.stat().st_mode) for place in places if place.is_dir())
    return next((place for place, mode in modes if mode & _SHARED == _SHARED), places[-1])


def lock_device(directory: Path, gpu: Gpu, worker: str) -> IO[str]:
    """Lock a device until the returned file is closed.

    Raises DeviceTaken, which names the holder, and DeviceLockUnusable.
    """
    path = directory / f"mlq-{quote(gpu.uuid, safe='')}.lock"
    try:
        file = _open(path)
    except OSError as exc:
        raise DeviceLockUnusable(device=gpu.words, path=path, reason=exc.strerror) from None
    if not try_lock(file):
        with file:
            raise DeviceTaken(device=gpu.words, holder=_holder(file.read(200)))
    file.truncate(0)
    file.write(f"{os.getpid()} {os.getuid()} {worker}\n")
    file.flush()
    return file


def _holder(text: str) -> str:
    match = _HOLDER.fullmatch(text)
    if match is None:
        return "another process holds its lock"
    pid, user, worker = match.groups()
    return f"worker {worker} of user {user} uses it, under supervisor process {pid}"


def _open(path: Path) -> IO[str]:
    """Open a file that every user may write to, and create it if it does not exist.

    The first attempt is without O_CREAT: with the kernel's fs.protected_regular not even root may open another user's
    file with it in such a directory. Links are refused: another user may have planted one to a file of this user.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        with _no_umask():
            try:
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:  # another process created it in between
                fd = os.open(path, flags)
    file = os.fdopen(fd, "r+", errors="replace")
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        file.close()
        raise OSError(0, "it is a link, or not a regular file")
    return file


@contextmanager
def _no_umask() -> Iterator[None]:
    """Clear the umask, so that a new file has its mode from the start: a chmod after it would leave a gap."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
