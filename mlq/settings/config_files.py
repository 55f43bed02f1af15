"""The search for configuration files, which are read only if no other user can have written them.

A file names a model, which is code that runs, and a broker, which receives the payloads. So the owner and the mode of
a file and its directory are checked before the file is read. The checks use open descriptors, because another user
could replace the file of a given name between the check and the read.
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

from mlq.security.trust import Doubt, doubt
from mlq.settings.errors import BadConfigFile, UntrustedConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAMES: Final = ("mlq.toml", "pyproject.toml")
"""Files to look for in each directory; the first one with settings of mlq is used."""

_REPOSITORIES: Final = (".git", ".hg")

_LARGEST_FILE: Final = 2**20
"""Bytes. TOML is parsed as a whole, so a larger file would take too much memory."""

_LOOKING: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open a directory for access to its entries; on Linux this needs no right to list it."""

_READING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags to open a file. O_NONBLOCK: a named pipe in place of the file must not block the command."""

Found = tuple[Path, dict[str, Any]]
"""The path of a file, and its table of mlq's settings."""


@dataclass(frozen=True)
class _Place:
    """A directory that is open."""

    path: Path
    """Its path, for messages only: the files in it are found through the descriptor."""
    fd: int
    facts: os.stat_result

    def is_open_to_all(self) -> bool:
        """Return whether every user can create files in the directory, as in /tmp."""
        return bool(self.facts.st_mode & stat.S_IWOTH and self.facts.st_mode & stat.S_ISVTX)

    def is_root_of_repository(self) -> bool:
        return any(_facts(name, self.fd) is not None for name in _REPOSITORIES)


def read_all(environ: Mapping[str, str], named: Path | None, cwd: Path | None) -> list[Found]:
    """Read the configuration files, the weakest first: the user's file, then the project's; or `named` alone.

    Raises BadConfigFile, and UntrustedConfig for a file that another user may have written.
    """
    if named is not None:
        return [_read_named(named)]
    found = [_of_user(environ), None if cwd is None else _nearest(cwd)]
    return [file for file in found if file is not None]


def _read_named(path: Path) -> Found:
    """Read the file of --config, which may be a pipe. Its directory is not checked, because the operator named it."""
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
    """Read the user's own file; None if there is no such file, or the user has no home."""
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
    """Read the file in the working directory, or in the nearest directory above that has one."""
    with closing(_upwards(cwd)) as places:
        for place in places:
            for name in _NAMES:
                found = _read_in(place, name)
                if found is not None:
                    return found
    return None


def _upwards(cwd: Path) -> Generator[_Place, None, None]:
    """Yield a directory and those above it, up to the root of its repository or to the user's home.

    The search ends below a directory like /tmp. Otherwise any user could put a file there that changes what commands
    do below it, or that makes them fail because the file is refused.
    """
    path = cwd.absolute()
    with suppress(OSError, ValueError):  # a directory may be inaccessible to this user, or removed
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
    """Read a file of a directory; None if it does not exist or has no settings of mlq."""
    entry = _facts(name, place.fd)
    if entry is None:
        return None
    path = place.path / name
    try:
        fd = os.open(name, _READING, dir_fd=place.fd)
    except FileNotFoundError:  # the entry is a link to a file that does not exist
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
    """Check the directory of a file, the link through which it was found, if any, and the file itself."""
    link = doubt(path, entry) if stat.S_ISLNK(entry.st_mode) else None
    return doubt(place.path, place.facts, sticky_will_do=True) or link or doubt(path, facts)


def _project_file(path: Path, content: bytes, why: Doubt | None) -> Found | None:
    """Read [tool.mlq] of a pyproject.toml; None if there is no such table.

    A file that another user can write is refused if it has such a table, and skipped otherwise.
    """
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
    """Return the table [tool.mlq] of a pyproject.toml, None if it has none."""
    tool = table.get("tool")
    own = tool.get("mlq") if isinstance(tool, dict) else None
    if own is not None and not isinstance(own, dict):
        raise BadConfigFile(path=path, reason="[tool.mlq] is not a table")
    return own


def _facts(name: str, directory: int) -> os.stat_result | None:
    """Return the status of an entry of a directory, of a link itself; None if there is no such entry."""
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
    except ValueError as exc:  # invalid TOML, or a number with more digits than Python reads
        raise BadConfigFile(path=path, reason=exc) from None
