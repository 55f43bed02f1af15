"""The only file that knows the insides of Typer and Click, which may move with any of their versions.

It uses `typer.core`, `typer.main` and the copy of Click in `typer._click`. Other modules use Typer's public names, and
take the rest from here; a test checks that.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from typer._click.exceptions import ClickException, NoArgsIsHelpError  # Typer re-exports one subclass only
from typer._click.types import ParamType
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from mlq.settings import parsers

__all__ = [
    "ClickException", "DurationType", "NoArgsIsHelpError", "TyperCommand", "TyperGroup", "TyperOption", "default_to",
    "get_command", "lazy_group",
]  # fmt: skip


class DurationType(ParamType):
    """The type of an option that takes a duration, in the spellings of `parsers.duration`."""

    name = "duration"

    def __init__(self, least_s: float = 0.0) -> None:
        self.least_s = least_s

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the duration in seconds; a value that is no duration is a usage error."""
        try:
            return parsers.duration(value, self.least_s)
        except ValueError as exc:
            self.fail(f"{value!r}: {exc}", param, ctx)


def lazy_group(package: str, summaries: Mapping[str, str], hidden: Collection[str]) -> type[TyperGroup]:
    """Make the class of a group whose commands are imported when they are called, and not to list them.

    Args:
        package: The package in which the module of each command has its `app`.
        summaries: Command → its line in the help.
        hidden: Commands that the help leaves out.
    """

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            del ctx
            return list(summaries)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            del ctx
            if cmd_name not in summaries and cmd_name not in hidden:
                return None
            return get_command(importlib.import_module(f"{package}.{cmd_name}").app)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            del ctx
            with formatter.section("Commands"):
                formatter.write_dl(list(summaries.items()))

    return LazyGroup


def default_to(word: str) -> type[TyperGroup]:
    """Make the class of a group that runs the command `word` if the arguments name no other command.

    `mlq queues realtime --json` is `mlq queues ls realtime --json`.
    """

    class DefaultingGroup(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
            return super().parse_args(ctx, args if named else [word, *args])

    return DefaultingGroup
