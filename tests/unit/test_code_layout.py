"""Rules of the code that a machine can check: sizes, names, first lines, who reads the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import mlq

PACKAGE: Final = Path(mlq.__file__).parent
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
FILE_LINES: Final = 500
FUNCTION_LINES: Final = 50
FOLDER_MODULES: Final = 16
DOCSTRING_WIDTH: Final = 120
NAMELESS: Final = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
"""Names that say nothing about the content, so that such a module collects unrelated code."""


def relative_name(path: Path) -> str:
    """Return the name of a test: the path of the file that it checks."""
    return str(path.relative_to(PACKAGE))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_the_first_line_of_a_module_says_what_it_contains(path: Path) -> None:
    """The first lines of all modules, read one after another, describe the tree."""
    first, *rest = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    assert 0 < len(first) <= DOCSTRING_WIDTH
    assert not rest or rest[0] == "", "the first line is a paragraph of its own"


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    """In similar tools the command line and the worker are the files that grew too long."""
    assert len(path.read_text().splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_a_function_has_at_most_50_lines(path: Path) -> None:
    """Decorators and docstring count, because they are read, too."""
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(path)}
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    "folder", [PACKAGE, *(p for p in PACKAGE.rglob("*") if p.is_dir() and p.name != "__pycache__")], ids=relative_name
)
def test_a_folder_has_at_most_16_modules(folder: Path) -> None:
    """A reader finds a module by its name in a short list; in a longer list only a search finds it."""
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= FOLDER_MODULES
    assert len(list(folder.glob("*.lua"))) <= FOLDER_MODULES


@pytest.mark.parametrize(
    "path", [*MODULES, *(p for p in PACKAGE.rglob("*") if p.is_dir() and p.name != "__pycache__")], ids=relative_name
)
def test_a_name_says_what_a_module_contains(path: Path) -> None:
    """A reader must be able to guess where a piece of code is."""
    assert path.stem not in NAMELESS


def test_only_entry_points_read_the_command_line() -> None:
    """Code that reads sys.argv has an input that no caller sees, and works in one process only."""
    entries = {"__init__.py", "cli/main.py", "ipc/parent_death.py", "supervisor/recovery/guard.py"}
    read = {
        relative_name(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv"
    }
    assert read == entries
