"""The script that lists what a row passes through, run on this version."""

from __future__ import annotations

from pathlib import Path

from benchmarks.walk import Installation, trace


def test_a_rows_walk_is_traced_through_both_processes() -> None:
    """The figure is compared between versions, so it must include both processes and exclude their start."""
    walk = trace(Installation.find(Path(__file__).parents[2]), rows=10)
    assert [process.name for process in walk.processes] == ["submitter", "worker"]
    for process in walk.processes:
        assert process.types
        assert 0 < len(process.files) < process.called
    assert len(walk.files) < sum(len(process.files) for process in walk.processes), "they share the message format"
