"""The supported versions of Celery and Python, and a check that the tests run on the intended Celery."""

from __future__ import annotations

import os
import re
from pathlib import Path

import celery

import mlq_cli

ROOT = Path(__file__).parents[3]


def test_the_celery_that_was_asked_for_is_the_one_that_is_tested() -> None:
    """Python ignores a missing directory on PYTHONPATH: then the newer Celery would be tested twice."""
    asked = re.search(r"celery-([0-9.]+)", os.environ.get("PYTHONPATH", ""))
    assert asked is None or celery.__version__.startswith(asked[1] + ".")


def test_the_older_celery_of_the_make_target_is_the_oldest_that_is_supported() -> None:
    """Two files name it: one for pip, one for the tests."""
    older = re.search(r"^OLDER_CELERY := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    supported = re.search(r'"celery>=([0-9.]+),<', (ROOT / "pyproject.toml").read_text())
    assert older
    assert supported
    assert older[1] == supported[1]


def test_both_places_name_the_same_oldest_python() -> None:
    """The file pyproject.toml is for pip; mlq_cli.py refuses to run a checkout on an older Python."""
    required = re.search(r'^requires-python = ">=([0-9.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert required
    assert required[1] == ".".join(map(str, mlq_cli.OLDEST_PYTHON))
    message, hint = mlq_cli.refuse_python((3, 9, 18))
    assert message.startswith("Python 3.9.18 in ")
    assert "Python 3.10 or newer" in hint
