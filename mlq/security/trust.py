"""Trust: whose a file or directory is, and who else may change it, asked before its settings, code or state are used.

Trusted is what belongs to this user or to root and what no other user may write. A group may write if it is the owner's
own: many distributions give each user one, and a umask that lets it write. In a directory with the sticky bit, such as
/tmp, everybody may add names, but none may take another's away: what is there already can be trusted.
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
    """Why a file or directory may be another user's work, in words, and the command that ends the doubt."""

    what: str
    remedy: str


def is_strange(owner: int) -> bool:
    """Tell whether a user id is neither this user's nor root's."""
    return owner not in {os.geteuid(), _ROOT}


def doubt(path: Path, facts: os.stat_result, *, sticky_will_do: bool = False) -> Doubt | None:
    """Judge what `facts` say of `path`; None where only this user and root can change it.

    Take the facts from a descriptor that is used afterwards: a name may stand for another file by then.
    With `sticky_will_do` a directory may let everybody add names, as long as none can replace those of others.
    """
    found = f"{path} belongs to {user_name(facts.st_uid)}, mode {stat.S_IMODE(facts.st_mode):04o}"
    if is_strange(facts.st_uid):
        command = f"chown {user_name(os.geteuid(), bare=True)} {shlex.quote(str(path))}"
        sudo = "" if os.geteuid() == _ROOT else "sudo "
        return Doubt(found, f"if you trust it, make it yours with `{sudo}{command}`")
    if stat.S_ISLNK(facts.st_mode):  # its mode means nothing
        return None
    writers = _writers(facts)
    if not writers or (sticky_will_do and facts.st_mode & stat.S_ISVTX):
        return None
    who = "every user" if "o" in writers else f"group {_group_name(facts.st_gid)}"
    return Doubt(f"{found}: {who} may write it", f"`chmod {writers}-w {shlex.quote(str(path))}`")


def doubt_directory(directory: Path) -> Doubt | None:
    """Judge a directory that is used by its name: those above it count, too, since they say what the name stands for.

    Raises OSError for one that cannot be looked at.
    """
    real = directory.resolve(strict=True)
    found = doubt(real, real.stat())
    above = (doubt(place, place.stat(), sticky_will_do=True) for place in real.parents)
    return found or next((d for d in above if d is not None), None)


def user_name(uid: int, *, bare: bool = False) -> str:
    """Name a user: `alice (uid 1000)`, or a command's word for them with `bare`."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid) if bare else f"uid {uid}"
    return name if bare else f"{name} (uid {uid})"


def _writers(facts: os.stat_result) -> str:
    """Name, as chmod does, who may write besides the owner and the owner's own group."""
    group = "g" if facts.st_mode & stat.S_IWGRP and not _is_own_group(facts.st_gid, facts.st_uid) else ""
    return group + ("o" if facts.st_mode & stat.S_IWOTH else "")


def _is_own_group(gid: int, owner: int) -> bool:
    """Tell a user's private group: it has the user's name, is their first, and lists no other member."""
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
