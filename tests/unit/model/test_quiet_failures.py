"""Errors about a row that a file model cannot take: they help to fix it, and quote no value of it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mlq.model.files.signature import Signature  # noqa: E402 (needs torch)


@pytest.mark.parametrize(
    ("row", "said"),
    [("canary", "texts"), (["canary", "1"], "texts"), ([{"name": "canary"}], "null, objects"), ([1.0, None], "null")],
)
def test_a_row_that_holds_no_numbers_is_not_quoted(row: Any, said: str) -> None:
    """The failure is logged, and a row may hold private data."""
    with pytest.raises(TypeError, match=f"rows of numbers, not of {said}") as failed:
        Signature(torch.float32).tensor([row], "cpu")
    assert "canary" not in str(failed.value)
