"""A recording never loses a part silently, and a difference names its place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.document import difference, losses


@pytest.mark.parametrize(
    ("new", "lost"),
    [
        ({"a": {"b": [1, 2], "c": "x"}}, []),
        ({"a": {"b": [1, 9, 2], "c": "x"}, "d": 1}, []),
        ({"a": {"b": [2, 1], "c": "x"}}, ["/a/b"]),
        ({"a": {"b": [1, 2], "c": "y"}}, ["/a/c"]),
        ({"a": {"b": [1, 2]}}, ["/a/c"]),
        ({}, ["/a"]),
    ],
)
def test_a_recording_may_only_add(new: Any, lost: list[str]) -> None:
    """Additions are written at once. A change or a loss is named, and stops the recording."""
    assert list(losses({"a": {"b": [1, 2], "c": "x"}}, new)) == lost


def test_a_difference_names_the_path_of_each_value() -> None:
    """A reader finds the place without a search in a file of thousands of lines."""
    shown = difference({"up": {"up more": 2}}, {"up": {"up more": 3}}, "recorded", "found").splitlines()
    assert shown[:4] == ["--- recorded", "+++ found", "-/up/up more: 2", "+/up/up more: 3"]
