"""The house rules that a machine can check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import mlq

HOUSE: Final = Path(mlq.__file__).parent
ROOMS: Final = sorted(HOUSE.rglob("*.py"))
FILE_LINES: Final = 500
FUNCTION_LINES: Final = 50
FOLDER_MODULES: Final = 16
DOCSTRING_WIDTH: Final = 120
NAMELESS: Final = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
"""Names that say nothing about what is inside, so that everything ends up there."""


def shown(path: Path) -> str:
    """Name a test after the file that it looks at."""
    return str(path.relative_to(HOUSE))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Find every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", ROOMS, ids=shown)
def test_a_module_says_in_its_first_line_what_lives_there(path: Path) -> None:
    """The first lines of all modules, read one after another, are the description of the tree."""
    first, *rest = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    assert 0 < len(first) <= DOCSTRING_WIDTH
    assert not rest or rest[0] == "", "the first line is a paragraph of its own"


@pytest.mark.parametrize("path", ROOMS, ids=shown)
def test_a_file_can_be_read_at_a_sitting(path: Path) -> None:
    """In comparable tools the command line and the worker grew into the longest files."""
    assert len(path.read_text().splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", ROOMS, ids=shown)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """The decorators and the docstring count, because a reader reads them, too."""
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(path)}
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}


@pytest.mark.parametrize("folder", [HOUSE, *(p for p in HOUSE.rglob("*") if p.is_dir())], ids=shown)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    """A reader looks for a thing among the names in one folder; among more names, only a search finds it."""
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= FOLDER_MODULES
    assert len(list(folder.glob("*.lua"))) <= FOLDER_MODULES


@pytest.mark.parametrize("path", [*ROOMS, *(p for p in HOUSE.rglob("*") if p.is_dir())], ids=shown)
def test_a_name_says_what_is_inside(path: Path) -> None:
    """A reader must be able to guess in which file a thing is."""
    assert path.stem not in NAMELESS
