"""The adapter to Typer: who may know its insides, and the options that it makes for durations and sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import mlq
from mlq.cli import main, simulate
from mlq.settings import config

HOUSE: Final = Path(mlq.__file__).parent


def imports(path: Path) -> Iterator[str]:
    """List what a module imports, as `module.name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_inside(name: str) -> bool:
    """Return whether an import reaches behind the public names of Typer: a submodule, a private name, or Click."""
    parts = name.split(".")
    return parts[0] == "click" or (parts[0] == "typer" and (len(parts) > 2 or any(p.startswith("_") for p in parts)))


def test_one_file_knows_the_insides_of_typer() -> None:
    """When an upgrade of Typer moves a name, one file changes."""
    knowing = {str(p.relative_to(HOUSE)) for p in HOUSE.rglob("*.py") if any(map(is_inside, imports(p)))}
    assert knowing == {"cli/framework.py"}


def options(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Walk the options of a command and of its subcommands."""
    context = command.make_context(path, [], resilient_parsing=True)
    yield from ((path, p) for p in command.get_params(context) if p.param_type_name == "option")
    for word in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from options(command.get_command(context, word), f"{path} {word}")


def parsed(option: Any, text: str) -> Any:
    """Return what an option makes of a text: those that set a setting are parsed with the settings."""
    if option.name.startswith("worker__"):
        key = option.name.replace("__", ".")
        return config.load({}, flags={key: (text, option.opts[0])}).get(key)
    return option.type.convert(text, option, None)


OPTIONS: Final = list(options(main.root(), "mlq"))
DURATIONS: Final = [(p, o) for p, o in OPTIONS if o.metavar == "SECONDS" or (o.help or "").startswith("Seconds")]
BYTES: Final = [(p, o) for p, o in OPTIONS if (o.help or "").startswith("Bytes")]


@pytest.mark.parametrize(("path", "option"), DURATIONS, ids=lambda v: v if isinstance(v, str) else v.opts[0])
def test_every_option_that_takes_a_duration_accepts_a_unit(path: str, option: Any) -> None:
    """Its help says so, and names its default."""
    assert parsed(option, "5m") == 300, path
    assert parsed(option, "300") == 300, path
    assert "(or as 5m, 2h; default" in option.help
    assert option.metavar == "SECONDS"


@pytest.mark.parametrize(("path", "option"), BYTES, ids=lambda v: v if isinstance(v, str) else v.opts[0])
def test_every_option_that_takes_a_size_accepts_a_unit(path: str, option: Any) -> None:
    """Its help says so, and names its default."""
    assert parsed(option, "4MiB") == 2**22, path
    assert "(or as 512MiB, 4GiB; default" in option.help


def test_durations_and_sizes_are_found() -> None:
    """An option that takes a number of seconds is found by its metavar or by its help."""
    names = {o.opts[0] for _, o in DURATIONS}
    assert {"--timeout", "--watch", "--target-wait", "--cold-start", "--wait-broker"} <= names
    assert {o.opts[-1] for _, o in BYTES} == {"--max-memory"}


def test_both_parts_of_a_batch_time_are_durations() -> None:
    """A forward pass takes milliseconds."""
    assert simulate._batch("20ms,1ms") == (0.02, 0.001, 64)
