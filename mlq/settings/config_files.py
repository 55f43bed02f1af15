"""Which configuration files count, and what they say: read only where no other user can have written them.

A file names a model, which is code, and a broker, which gets the payloads. One in a directory above belongs to this
user as much as the directory does, so each is judged by its descriptor before it is read: a name could be made to stand
for another file in between.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlq.errors import BadConfigFile, UntrustedConfig
from mlq.security.trust import Doubt, doubt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAMES: Final = ("mlq.toml", "pyproject.toml")
"""Looked for in each directory; the first that says something of mlq counts."""

_REPOSITORIES: Final = (".git", ".hg")

_LARGEST_FILE: Final = 2**20
"""Bytes. What is larger is no configuration, and TOML is read as a whole."""

_LOOKING: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Opens a directory for what is in it, without the right to list it where the system (Linux) knows that."""

_READING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: a pipe that took a file's place must not stop the command."""

Found = tuple[Path, dict[str, Any]]
"""A file and what it says of mlq."""


@dataclass(frozen=True)
class _Place:
    """A directory, held open: `path` is for people, everything else goes by the descriptor."""

    path: Path
    fd: int
    facts: os.stat_result

    def is_open_to_all(self) -> bool:
        """Tell a directory like /tmp, in which any user can leave a file for those who work below it."""
        return bool(self.facts.st_mode & stat.S_IWOTH and self.facts.st_mode & stat.S_ISVTX)

    def is_root_of_repository(self) -> bool:
        return any(_facts(name, self.fd) is not None for name in _REPOSITORIES)


def read_all(environ: Mapping[str, str], named: Path | None, cwd: Path | None) -> list[Found]:
    """Read the files that count, the weakest first: the user's own, then the project's; or `named` alone.

    Raises BadConfigFile, and UntrustedConfig where another user may have written one.
    """
    if named is not None:
        return [_read_named(named)]
    found = [_of_user(environ), None if cwd is None else _nearest(cwd)]
    return [file for file in found if file is not None]


def _read_named(path: Path) -> Found:
    """Read a file that the operator named. Its directory is the operator's choice; it may be a pipe, too."""
    try:
        with path.open("rb") as file:
            why = doubt(path, os.fstat(file.fileno()))
            if why is not None:
                raise UntrustedConfig(path=path, reason=why.what, remedy=why.remedy)
            table = _parse(path, file.read(_LARGEST_FILE + 1))
    except (OSError, ValueError) as exc:
        raise BadConfigFile(path=path, reason=getattr(exc, "strerror", None) or exc) from None
    return path, (_of_project(path, table) or {}) if path.name == "pyproject.toml" else table


def _of_user(environ: Mapping[str, str]) -> Found | None:
    """Read the user's own file; a user id that has no home has none."""
    try:
        directory = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mlq"
        fd = os.open(directory, _LOOKING)
    except (RuntimeError, OSError, ValueError):
        return None
    try:
        return _read_in(_Place(directory, fd, os.fstat(fd)), "config.toml")
    finally:
        os.close(fd)


def _nearest(cwd: Path) -> Found | None:
    """Read the file of the working directory, or of the nearest one above that has one."""
    with closing(_upwards(cwd)) as places:
        for place in places:
            for name in _NAMES:
                found = _read_in(place, name)
                if found is not None:
                    return found
    return None


def _upwards(cwd: Path) -> Generator[_Place, None, None]:
    """Yield a directory and those above it, up to the root of its repository or to the user's home.

    Above it, a directory like /tmp ends the search: else any user could have a say in what is done below it, or stop
    it with a file that is refused.
    """
    path = cwd.absolute()
    with suppress(OSError, ValueError):  # a directory that this user may not look into, or one that was removed
        fd = os.open(path, _LOOKING)
        try:
            place = _Place(path, fd, os.fstat(fd))
            home = _home()
            while True:
                yield place
                if place.is_root_of_repository() or (home is not None and os.path.samestat(home, place.facts)):
                    return
                above = os.open("..", _LOOKING, dir_fd=fd)
                os.close(fd)
                fd = above
                before, place = place, _Place(place.path.parent, fd, os.fstat(fd))
                if os.path.samestat(before.facts, place.facts) or place.is_open_to_all():
                    return
        finally:
            os.close(fd)


def _home() -> os.stat_result | None:
    try:
        return Path.home().stat()
    except (RuntimeError, OSError):
        return None


def _read_in(place: _Place, name: str) -> Found | None:
    """Read a file of a directory; None where there is none, or where it says nothing of mlq."""
    entry = _facts(name, place.fd)
    if entry is None:
        return None
    path = place.path / name
    try:
        fd = os.open(name, _READING, dir_fd=place.fd)
    except FileNotFoundError:  # a link to nothing
        return None
    except OSError as exc:
        raise BadConfigFile(path=path, reason=exc.strerror) from None
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return None
        why = _doubt(place, path, entry, facts)
        content = file.read(_LARGEST_FILE + 1)
    if name == "pyproject.toml":
        return _project_file(path, content, why)
    if why is not None:
        raise UntrustedConfig(path=path, reason=why.what, remedy=why.remedy)
    return path, _parse(path, content)


def _doubt(place: _Place, path: Path, entry: os.stat_result, facts: os.stat_result) -> Doubt | None:
    """Judge a file that was found, by its directory, by the link that may stand for it, and by itself."""
    link = doubt(path, entry) if stat.S_ISLNK(entry.st_mode) else None
    return doubt(place.path, place.facts, sticky_will_do=True) or link or doubt(path, facts)


def _project_file(path: Path, content: bytes, why: Doubt | None) -> Found | None:
    """Look for what a pyproject.toml says of mlq. Another user's is refused if it says something, else passed by."""
    try:
        table = _of_project(path, _parse(path, content))
    except BadConfigFile:
        if why is None:
            raise
        return None
    if table is None:
        return None
    if why is not None:
        raise UntrustedConfig(path=path, reason=why.what, remedy=why.remedy)
    return path, table


def _of_project(path: Path, table: Mapping[str, Any]) -> dict[str, Any] | None:
    """Pick what a pyproject.toml says of mlq; None where it says nothing."""
    tool = table.get("tool")
    own = tool.get("mlq") if isinstance(tool, dict) else None
    if own is not None and not isinstance(own, dict):
        raise BadConfigFile(path=path, reason="[tool.mlq] is no table")
    return own


def _facts(name: str, directory: int) -> os.stat_result | None:
    """Look at an entry of a directory, a link for itself; None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    if len(content) > _LARGEST_FILE:
        raise BadConfigFile(path=path, reason=f"it has more than {_LARGEST_FILE:,} bytes")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as exc:
        raise BadConfigFile(
            path=path, reason=f"it is not UTF-8: byte {exc.object[exc.start]:#x} at {exc.start}"
        ) from None
    except RecursionError:
        raise BadConfigFile(path=path, reason="it is nested too deeply") from None
    except ValueError as exc:  # what is no TOML, and numbers of more digits than Python reads
        raise BadConfigFile(path=path, reason=exc) from None
