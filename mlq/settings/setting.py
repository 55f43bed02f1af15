"""The schema of a setting: its key, what it does, how its value is parsed, and what holds without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """The schema of one key."""

    dotted: str
    """The key as a configuration file has it, such as `worker.model`."""
    help: str
    """What the setting does: for docs/settings.md, and for the option that sets it."""
    parse: Callable[[Any], Any]
    """Turns a value from a file, the environment or a flag into the setting's type; see `parsers`."""
    default: Any
    unset: str
    """What holds while the setting has no value, in words; "" if it has a default."""
    also: tuple[str, ...]
    """Environment variables of other tools that are accepted after mlq's own."""
    secret: bool
    """Whether the value may hold a password."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set the key; the first that is set wins."""
        return ("MLQ_" + self.dotted.replace(".", "_").upper(), *self.also)

    @property
    def shown_default(self) -> str:
        """The default in words, for the help and the documentation."""
        match self.default:
            case None:
                return self.unset
            case tuple(names):
                return ", ".join(names)
            case float(number):
                return f"{number:g}"
            case value:
                return str(value)


def declare(
    parse: Callable[[Any], Any],
    default: Any,
    help: str,  # noqa: A002 (the name of the field)
    *,
    unset: str = "",
    also: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    """Make a field of a dataclass of settings; the arguments are those of `Setting`."""
    metadata = {"parse": parse, "help": help, "unset": unset, "also": also, "secret": secret}
    return field(default=default, metadata=metadata)
