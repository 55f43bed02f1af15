"""One call of mlq: the options that every command takes, and the settings and the terminal that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from mlq.cli.framework import TyperCommand, TyperOption, default_to
from mlq.cli.setting_help import describe
from mlq.settings import advisories, config
from mlq.terminal.terminal import Terminal

_GIVEN: Final = "mlq.given"
HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True)
class Invocation:
    """The settings, the terminal and the command line of one call."""

    settings: config.Settings
    terminal: Terminal
    #: The command line without `mlq` itself.
    argv: Sequence[str]


def begin(ctx: typer.Context, **flags: Any) -> Invocation:
    """Read the settings and open the terminal.

    Args:
        ctx: The context of the command.
        flags: The command's own options that set a key; `__` in a name stands for a dot, so that `worker__model`
            overrides `worker.model`.
    """
    given = _given(ctx)
    path: Path | None = given.get("config")
    named = {key.replace("__", "."): (value, _flag(key)) for key, value in flags.items()}
    named["broker_url"] = (given.get("broker"), "--broker")
    call = Invocation(config.load(flags=named, config=path), _terminal(given), ctx.find_root().obj)
    for warning in advisories.of_settings(call.settings):
        call.terminal.warn(f"warning: {warning}")
    for key, origin in call.settings.origins.items():
        if origin != config.DEFAULT:
            call.terminal.detail(f"{key} is set by {origin}")
    return call


def _terminal(given: dict[str, Any]) -> Terminal:
    verbosity = int(given.get("verbose") or 0) - int(given.get("quiet") or 0)
    return Terminal(json=bool(given.get("json")), verbosity=verbosity, color=not given.get("no_color"))


def _flag(key: str) -> str:
    return _FLAGS.get(key) or "--" + key.rpartition("__")[2].replace("_", "-")


_FLAGS: Final = {"worker__shares": "--share"}


def _given(ctx: Any) -> dict[str, Any]:
    found: dict[str, Any] = ctx.meta.setdefault(_GIVEN, {})
    return found


def given(ctx: Any, prefix: str) -> dict[str, Any]:
    """Return the remembered options whose names begin with a prefix."""
    return {name: value for name, value in _given(ctx).items() if name.startswith(prefix)}


def _remember(ctx: Any, param: Any, value: Any) -> Any:
    """Remember an option that was given at any level: `mlq --broker URL queues` is `mlq queues --broker URL`."""
    if value is not None and value != param.default:
        _given(ctx)[param.name] = value
    return value


def option(*names: str, text: str, **kind: Any) -> TyperOption:
    """Make an option whose value is remembered for `begin` and not passed to the command's function."""
    return TyperOption(param_decls=list(names), help=text, expose_value=False, callback=_remember, **kind)


def shared_options() -> Iterator[TyperOption]:
    """Make the options that every command takes, and `mlq` without a command, too."""
    text = f"{describe('broker_url')[:-1]}; put a URL with a password into MLQ_BROKER_URL."
    yield option("--broker", text=text, metavar="URL")
    yield option("--config", text="Configuration file to read instead of mlq.toml.", metavar="FILE", type=Path)
    # Typer would write [x>=0] behind the help of a counted option without a type.
    yield option("--verbose", "-v", text="Print details to stderr.", count=True, type=int)
    yield option("--quiet", "-q", text="Print only answers and errors.", count=True, type=int)
    yield option("--no-color", text="Print without colors.", is_flag=True)
    yield option("--debug", text="Print the traceback of an error.", is_flag=True)


class Command(TyperCommand):
    """A command; takes the options that every command takes."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, params=[*(params or []), *self.extra_options(), *shared_options()], **kwargs)

    def extra_options(self) -> Iterator[TyperOption]:
        """Return the options that come before the shared ones: none, unless a subclass adds some."""
        return iter(())


class JsonCommand(Command):
    """A command that answers a question; takes --json."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add --json."""
        yield option("--json", text="Print the answer as JSON.", is_flag=True)


def group(default: str, text: str) -> typer.Typer:
    """Make the Typer app of a first word with several commands; `default` is the one that runs if none is named."""
    return typer.Typer(
        cls=default_to(default), help=text, context_settings=HELP_OPTIONS, add_completion=False, rich_markup_mode=None
    )


def single() -> typer.Typer:
    """Make the Typer app of a first word that is one command."""
    return typer.Typer(context_settings=HELP_OPTIONS, add_completion=False, rich_markup_mode=None)


def command(app: typer.Typer, name: str | None = None, *, cls: type[Command] = JsonCommand) -> Callable[[Any], Any]:
    """Register a function as a command of `app`, with -h and the options that every command takes."""
    return app.command(name, cls=cls, context_settings=HELP_OPTIONS)
