"""The check that no other user can change a file or directory, made before its settings, code or state are used.

A file is trusted if it belongs to this user or to root and no other user may write it. The owner's private group may
write it: many distributions give each user such a group, and a umask that lets the group write. In a directory with the
sticky bit, such as /tmp, every user may add entries but not replace those of others: existing entries can be trusted.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = 0


@dataclass(frozen=True)
class Doubt:
    """The reason why a file or directory is not trusted."""

    what: str
    """Its owner, its mode and what another user may do, in words."""
    remedy: str
    """The command that corrects it."""


def is_strange(owner: int) -> bool:
    """Return whether a user id is neither this user's nor root's."""
    return owner not in {os.geteuid(), _ROOT}


def doubt(path: Path, facts: os.stat_result, *, sticky_will_do: bool = False) -> Doubt | None:
    """Return why a file or directory is not trusted; None if only this user and root can change it.

    Args:
        path: Its path, for the message.
        facts: Its status. Take it from the descriptor that is used afterwards: another user may replace the file of
            a given name in the meantime.
        sticky_will_do: Accept a directory in which every user may add entries, if its sticky bit is set.
    """
    found = f"{path} belongs to {user_name(facts.st_uid)}, mode {stat.S_IMODE(facts.st_mode):04o}"
    if is_strange(facts.st_uid):
        command = f"chown {user_name(os.geteuid(), bare=True)} {shlex.quote(str(path))}"
        sudo = "" if os.geteuid() == _ROOT else "sudo "
        return Doubt(found, f"if you trust it, make it yours with `{sudo}{command}`")
    if stat.S_ISLNK(facts.st_mode):  # the mode of a link has no meaning
        return None
    writers = _writers(facts)
    if not writers or (sticky_will_do and facts.st_mode & stat.S_ISVTX):
        return None
    who = "every user" if "o" in writers else f"group {_group_name(facts.st_gid)}"
    return Doubt(f"{found}: {who} may write it", f"`chmod {writers}-w {shlex.quote(str(path))}`")


def doubt_directory(directory: Path) -> Doubt | None:
    """Return why a directory is not trusted. The directories above it are checked, too: they can replace the directory.

    Raises OSError if the status of one of them cannot be read.
    """
    real = directory.resolve(strict=True)
    found = doubt(real, real.stat())
    above = (doubt(place, place.stat(), sticky_will_do=True) for place in real.parents)
    return found or next((d for d in above if d is not None), None)


def user_name(uid: int, *, bare: bool = False) -> str:
    """Return the name of a user: `alice (uid 1000)`, or with `bare` a word for a command, `alice`."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid) if bare else f"uid {uid}"
    return name if bare else f"{name} (uid {uid})"


def _writers(facts: os.stat_result) -> str:
    """Return the classes of chmod, g and o, that may write besides the owner and the owner's private group."""
    group = "g" if facts.st_mode & stat.S_IWGRP and not _is_own_group(facts.st_gid, facts.st_uid) else ""
    return group + ("o" if facts.st_mode & stat.S_IWOTH else "")


def _is_own_group(gid: int, owner: int) -> bool:
    """Return whether a group is the owner's private one: with the user's name, their primary group, no other member."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(owner)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
