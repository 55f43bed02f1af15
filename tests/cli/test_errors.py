"""The errors: each can be printed, its hint names commands and settings that exist, and its exit code is documented."""

from __future__ import annotations

import ast
import importlib
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import mlq
import mlq_cli
from mlq.cli.main import root
from mlq.errors import MlqError, NoSuchDeadLetter
from mlq.exit_codes import ExitCode
from mlq.settings.config import SETTINGS

HOUSE: Final = Path(mlq.__file__).parent

PARAMS: Final = {
    "command": "mlq result 3f2a9c41 --wait",
    "fix": "`mlq doctor` is what the caller says",
    "variable": "MLQ_BROKER_URL",
    "nearest": "broker_url",
    "job": "3f2a9c41",
}
"""Values of the parameters from which a hint builds a command or a setting."""

CONCRETE: Final = ("pip install", "correct the file", "install ")
"""Other actions than commands, options and settings that a hint may ask for."""


def every_error() -> list[type[MlqError]]:
    """Return the classes of mlq/errors.py and of the errors.py of each package."""
    paths = [path.relative_to(HOUSE.parent).with_suffix("") for path in sorted(HOUSE.rglob("errors.py"))]
    modules = [importlib.import_module(".".join(path.parts)) for path in paths]
    found = [e for module in modules for e in vars(module).values() if isinstance(e, type) and issubclass(e, MlqError)]
    return [e for e in dict.fromkeys(found) if e is not MlqError]


def error_fields(error: type[MlqError]) -> set[str]:
    """Return the parameters that a type checker demands of a class: its annotated fields and those of its bases."""
    return {name for c in error.__mro__[: error.__mro__.index(MlqError)] for name in vars(c).get("__annotations__", {})}


def template_fields(*templates: str) -> set[str]:
    """Return the parameters that templates use."""
    return {name for template in templates for _, name, _, _ in string.Formatter().parse(template) if name}


def invent_values(template: str) -> dict[str, Any]:
    """Return an invented value for each parameter: a number if the template formats one."""
    parameters = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name]
    return {name: 1.5 if spec else PARAMS.get(name, f"a-{name}") for name, spec in parameters}


def make_error(error: type[MlqError]) -> MlqError:
    """Return an error with invented parameters."""
    return error(**{**invent_values(error.message), **invent_values(error.hint)})


def every_fix() -> Iterator[Any]:
    """Return the hints that are given where an error is raised: `fix="…"` anywhere in mlq."""
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "fix":
                for number, text in enumerate(possible_texts(node.value)):
                    yield pytest.param(text, id=f"{path.stem}:{node.lineno}:{number}")


def possible_texts(node: ast.expr) -> list[str]:
    """Return the texts that an expression may become, with X for each value."""
    if isinstance(node, ast.IfExp):
        return possible_texts(node.body) + possible_texts(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return ["".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)]  # type: ignore[misc]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def check_hint(hint: str) -> list[str]:
    """Check the names in a hint, and return them."""
    commands = re.findall(r"`(mlq[^`|]*)", hint)
    rest = re.sub(r"`[^`]*`", "", hint)
    options = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)
    variables = re.findall(r"\b(?:MLQ|CELERY)_[A-Z_]+", hint)
    for command in commands:
        check_command(command)
    assert set(options) <= {name for found in every_command(root()) for name in option_names(found)}
    assert set(variables) <= {v for s in SETTINGS for v in s.variables}
    keys = [s.dotted for s in SETTINGS if re.search(rf"\b{re.escape(s.dotted)}\b", rest)]
    return [*commands, *options, *variables, *keys, *(c for c in CONCRETE if c in hint)]


def check_command(text: str) -> None:
    """Follow the words of `mlq worker start --cpus N` through the real command line, then check its options."""
    command, words = root(), text.split()[1:]
    assert words[0].startswith("-") or find_subcommand(command, words[0]), f"no such command: {text}"
    while words and (found := find_subcommand(command, words[0])):
        command, words = found, words[1:]
    known = {name for found in every_command(command) for name in option_names(found)}
    assert {w for w in words if w.startswith("-")} <= known, text


def find_subcommand(command: Any, word: str) -> Any:
    """Return the subcommand of this name, if there is one."""
    if not hasattr(command, "list_commands"):
        return None
    return command.get_command(command.make_context("mlq", [], resilient_parsing=True), word)


def every_command(command: Any) -> Iterator[Any]:
    """Return a command and all its subcommands."""
    context = command.make_context("mlq", [], resilient_parsing=True)
    yield command
    for word in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from every_command(command.get_command(context, word))


def option_names(command: Any) -> list[str]:
    """Return all names of a command's options."""
    context = command.make_context("mlq", [], resilient_parsing=True)
    return [name for p in command.get_params(context) for name in p.opts if name.startswith("-")]


@pytest.mark.parametrize("error", every_error())
def test_an_error_is_two_lines(error: type[MlqError]) -> None:
    """The first says what failed, the second how to fix it; neither is empty or contains a line break."""
    made = make_error(error)
    for line in (made.message, made.hint):
        assert line.strip()
        assert "\n" not in line
        assert "{" not in line
    assert not made.message.endswith(".")


@pytest.mark.parametrize("error", every_error())
def test_the_templates_name_the_annotated_fields(error: type[MlqError]) -> None:
    """A template with another field would fail while an error is reported, and a field in no template is useless."""
    assert template_fields(error.message, error.hint) == error_fields(error)


@pytest.mark.parametrize("error", every_error())
def test_a_field_does_not_replace_an_attribute_of_exceptions(error: type[MlqError]) -> None:
    """Parameters become attributes, and `args`, `message` and `exit_code` have other meanings."""
    assert not error_fields(error) & set(dir(MlqError))


def test_a_type_checker_finds_missing_and_unknown_parameters() -> None:
    """The type checker reports an unneeded ignore comment, so the two comments here are the assertion."""
    with pytest.raises(KeyError):
        NoSuchDeadLetter()  # type: ignore[call-arg]
    assert NoSuchDeadLetter(id="1-1", name="x").id == "1-1"  # type: ignore[call-arg]


def test_passwords_are_masked_in_both_lines() -> None:
    """A parameter may contain a URL, and so may a hint."""
    made = MlqError(what="cannot reach redis://:hush@host/0", fix="set it to redis://:hush@other/0")
    assert "hush" not in made.message + made.hint + str(made)
    assert "redis://:***@host/0" in made.message


def test_errors_keep_their_texts_without_docstrings(tmp_path: Path) -> None:
    """`python -OO` removes docstrings; a user still needs both lines and the exit code."""
    command = [sys.executable, "-OO", "-m", "mlq", "submit", "missing.jsonl"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(HOUSE.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    message, hint = done.stderr.splitlines()
    assert (done.returncode, message) == (ExitCode.NOT_FOUND, "mlq: no such file: missing.jsonl")
    assert hint.startswith("hint: ")
    assert len(hint) > len("hint: ")


@pytest.mark.parametrize("error", every_error())
def test_a_hint_names_something_that_exists(error: type[MlqError]) -> None:
    """It names a command, an option or a setting that a user can type."""
    if error.hint != "{fix}":
        assert check_hint(make_error(error).hint)


@pytest.mark.parametrize("hint", list(every_fix()))
def test_a_hint_given_with_the_raised_error_names_something_that_exists(hint: str) -> None:
    """Hints that depend on the circumstances are checked as far as their text is in the source."""
    check_hint(hint)


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("UsageError|NotJson|DuplicateIds|Password.*|Output(Is|Exists).*", 2),
        (".*Setting|BadConfigFile|(No|Invalid|WorkerNeeds)Model|NoStateStore|NoResults", 3),
        ("Broker.*|NoBroker|NoServerProgram|ServerDidNotStart", 4),
        ("NoSuch.*", 5),
        ("RowsFailed", 6),
        ("TimedOut|Interrupted|Unfinished", 7),
        ("InternalError|WorkersFailed|SlotTaken", 1),
    ],
)
def test_exit_codes_are_those_of_the_contract(pattern: str, code: int) -> None:
    """Scripts rely on the codes in docs/exit-codes.md."""
    found = {e.__name__: e.exit_code for e in every_error() if re.fullmatch(pattern, e.__name__)}
    assert found
    assert set(found.values()) == {code}, found


def test_no_error_ends_with_a_code_that_means_something_else() -> None:
    """0 is success, and codes from 8 on have no meaning."""
    assert {e.exit_code for e in every_error()} == set(range(1, 8))


def test_the_documented_exit_codes_are_those_of_the_enum() -> None:
    """docs/exit-codes.md lists the codes of commands; those from 70 to 76 pass between a worker and its supervisor."""
    page = (HOUSE.parent / "docs" / "exit-codes.md").read_text()
    documented = {int(number) for number in re.findall(r"^\| (\d) \|", page, re.MULTILINE)}
    assert documented == {int(code) for code in ExitCode if code < ExitCode.DEVICE_LOST}


def test_the_copy_of_an_exit_code_outside_the_package_is_the_same() -> None:
    """mlq_cli.py cannot import the package if it is broken."""
    assert int(ExitCode.INVALID) == mlq_cli._INVALID
