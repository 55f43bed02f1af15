"""What counts as a part of a row's walk, on logs written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.walk import Event, File, walk_of

SUBMITTER, WORKER, SUPERVISOR = 1, 2, 3
CYCLE = 1000
CALLS = [CYCLE * number for number in range(10, 21)]
"""The times at which the model was called: ten cycles."""


def per_row(pid: int, kind: str, name: str, at: int) -> Iterator[Event]:
    """Call a function once per row, those that warm up included."""
    return (Event(pid, CYCLE * number + at, kind, name) for number in range(20))


def log() -> list[Event]:
    """Write what a run might: a walk, and calls that do not belong to it."""
    return sorted(
        [
            Event(SUBMITTER, 0, "call", "cli.py:1:main"),
            *per_row(SUBMITTER, "call", "lines.py:9:take", 100),
            *per_row(SUBMITTER, "form", "mlq.jobs.chunk:Chunk", 200),
            *per_row(SUBMITTER, "call", "lines.py:3:decode", 300),
            *per_row(WORKER, "call", "intake.py:1:claim", 400),
            *per_row(SUPERVISOR, "call", "lease.py:1:renew", 400),
            *(Event(WORKER, 3 * CYCLE * number, "call", "heartbeat.py:1:beat") for number in range(7)),
        ],
        key=lambda event: event.at_ns,
    )


def test_the_walk_is_what_is_called_for_each_row_in_the_order_of_the_first_call() -> None:
    """Neither the start of a process, nor work by the clock, nor the supervisor tells how a row travels."""
    walk = walk_of(log(), CALLS, {"submitter": SUBMITTER, "worker": WORKER})
    submitter, worker = walk.processes
    assert submitter.files == [File("lines.py", ["take", "decode"])]
    assert submitter.types == ["mlq.jobs.chunk:Chunk"]
    assert submitter.called == 2
    assert worker.files == [File("intake.py", ["claim"])]
    assert (walk.files, walk.types) == (["lines.py", "intake.py"], ["mlq.jobs.chunk:Chunk"])


def test_a_call_that_falls_on_either_side_of_the_models_call_is_on_the_walk() -> None:
    """Two processes run at the same time, so one cycle may miss a call that the next one has twice."""
    late = [Event(SUBMITTER, CYCLE * n + (10 if n % 3 else -10), "call", "window.py:1:add") for n in range(1, 20)]
    walk = walk_of(late, CALLS, {"submitter": SUBMITTER})
    assert walk.files == ["window.py"]


def test_cycles_that_a_busy_machine_made_long_do_not_count() -> None:
    """A long cycle holds work that runs by the clock, which would be taken for a part of the walk."""
    calls = [*CALLS, *(CALLS[-1] + 50 * CYCLE * number for number in range(1, 9))]
    beats = [Event(WORKER, at + 1, "call", "heartbeat.py:1:beat") for at in calls[10:]]
    walk = walk_of([*log(), *beats], calls, {"worker": WORKER})
    assert walk.files == ["intake.py"]
