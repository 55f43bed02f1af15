"""The two lines in which mlq reports a failure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mlq
from mlq.errors import NoModel, print_error, two_lines
from mlq.terminal.terminal import Terminal


def test_a_failure_is_two_lines_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Scripts and people find the reason and the fix at the same place, from whichever process it comes."""
    error = NoModel()
    print_error(error)
    of_worker = capfd.readouterr()
    Terminal().fail(error.message, error.hint)
    assert capfd.readouterr() == of_worker
    assert (of_worker.out, of_worker.err) == ("", f"mlq: {error.message}\nhint: {error.hint}\n")


def test_one_function_writes_the_two_lines() -> None:
    """A second one would differ from it some day. `mlq_cli.py` is outside the package and cannot import it."""
    user = Path(mlq.__file__).parent
    texts = {
        str(path.relative_to(user))
        for path in user.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith("\nhint: ")
    }
    assert texts == {"errors.py"}
    assert two_lines("a", "b") == "mlq: a\nhint: b"
