"""The command line as completion sees it: words, options, and what completes the values of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from mlq.cli.main import COMMANDS, root
from mlq.jobs.input import delimiters, encodings
from mlq.settings.config import Settings, WorkerSettings

Kind = Literal["none", "file", "names", "list"]

_ASKED_BY_WORD: Final = {"queues": "queues", "worker": "workers", "result": "jobs", "job": "jobs"}
"""First word → what its arguments name, so far as they are not files."""

_ASKED_BY_OPTION: Final[dict[str, tuple[Kind, str]]] = {"--queue": ("names", "queues"), "--queues": ("list", "queues")}
_FILES: Final = {"FILE", "REF"}
"""Metavars of what is a path, or mostly one."""


@dataclass(frozen=True)
class Value:
    """What may stand at one place: a file, one of `choices`, or names that `mlq values ASKED` prints."""

    kind: Kind = "none"
    asked: str = ""
    choices: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Option:
    """An option under all its names, long and short. A flag has no value."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    repeatable: bool


@dataclass(frozen=True)
class Command:
    """A word, or two. `default` is the subcommand that runs when none is named."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...] = ()
    arguments: tuple[Value, ...] = ()
    many: bool = False
    commands: tuple[Command, ...] = ()
    default: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """Every option's every name, the short ones of each last."""
        return tuple(n for o in self.options for n in reversed(o.names))

    @property
    def word(self) -> str:
        """The last word of the path."""
        return self.path[-1]

    @property
    def function(self) -> str:
        """The name of the shell function that completes this command."""
        return "_" + "_".join(self.path).replace("-", "_")

    def walk(self) -> Iterator[Command]:
        """Give this command and all below it, the outermost first."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read() -> Command:
    """Walk the real command line."""
    tree = _command(root(), ("mlq",))
    described = (replace(c, help=COMMANDS[c.word].rstrip(".")) for c in tree.commands)  # as `mlq --help` does
    return replace(tree, commands=tuple(described))


def _command(found: Any, path: tuple[str, ...]) -> Command:
    context = found.make_context(path[-1], [], resilient_parsing=True)
    words = found.list_commands(context) if hasattr(found, "list_commands") else []
    arguments = [p for p in found.params if p.param_type_name == "argument"]
    return Command(
        path=path,
        help=found.get_short_help_str(limit=200).rstrip("."),
        options=tuple(_option(p) for p in found.get_params(context) if p.param_type_name == "option" and not p.hidden),
        arguments=tuple(_argument(p, path) for p in arguments),
        many=any(p.nargs == -1 for p in arguments),
        commands=tuple(_command(found.get_command(context, word), (*path, word)) for word in words),
        # What a group makes of no words at all (a bare `mlq queues`) is its default subcommand.
        default=next(iter(context._protected_args), ""),  # noqa: SLF001 (where Click keeps a subcommand's name)
    )


def _option(found: Any) -> Option:
    names = tuple(sorted((*found.opts, *found.secondary_opts), key=len))
    is_flag = found.is_flag or found.count
    return Option(
        names=names,
        help=(found.help or "").rstrip("."),
        value=None if is_flag else _option_value(found, names[-1]),
        repeatable=found.count or found.multiple,
    )


def _option_value(found: Any, name: str) -> Value:
    label = found.metavar or found.name.replace("_", " ")
    if name in _ASKED_BY_OPTION:
        kind, asked = _ASKED_BY_OPTION[name]
        return Value(kind, asked, label=label)
    choices = tuple(getattr(found.type, "choices", ())) or _SETTING_CHOICES.get(name, ()) or _WORDS.get(name, ())
    return Value("file" if found.metavar in _FILES else "none", choices=choices, label=label)


def _argument(found: Any, path: tuple[str, ...]) -> Value:
    label = (found.metavar or found.name).strip("[].").lower()
    if found.metavar in _FILES:
        return Value("file", label=label)
    choices = tuple(getattr(found.type, "choices", ()))
    if choices:
        return Value(choices=choices, label=label)
    asked = _ASKED_BY_WORD.get(path[1])
    return Value("names", asked, label=label) if asked else Value(label=label)


def _setting_choices() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Find the settings that allow certain words only; the option of that name allows the same."""
    for settings in (Settings, WorkerSettings):
        for name, hint in get_type_hints(settings).items():
            if get_origin(hint) is Literal:
                yield "--" + name.replace("_", "-"), get_args(hint)


_SETTING_CHOICES: Final = dict(_setting_choices())
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "--encoding": encodings.COMMON,
    "--delimiter": tuple(word for word in delimiters.NAMES if word.isalpha()),
}
"""Options that take more than these words, which are the usual ones."""
