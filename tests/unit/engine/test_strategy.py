"""The micro-batch strategy: which rows share a forward, which go first, and which ones a failure affects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlq.engine.strategy import BatchOutcome, run
from mlq.model.failure import RowFailure


@dataclass(frozen=True)
class Message:
    """A message with a name and rows."""

    name: str
    rows: Sequence[Any]


@dataclass
class Doubling:
    """A model that doubles numbers, records its forwards, and fails those that hold a given row."""

    max_batch_size: int = 4
    transient: tuple[type[Exception], ...] = (ConnectionError,)
    interrupts: tuple[type[Exception], ...] = ()
    away_at: int | None = None
    forwards: list[list[Any]] = field(default_factory=list)

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, or raise a transient failure."""
        self.forwards.append(list(rows))
        if self.away_at in rows:
            raise ConnectionError("away")
        return [2 * row for row in rows]


Urgent = Callable[[int], Sequence[Message]]


def nothing_urgent(_: int) -> Sequence[Message]:
    """Return no urgent messages."""
    return ()


def outcomes(model: Doubling, *messages: Message, urgent: Urgent = nothing_urgent) -> list[BatchOutcome[Message]]:
    """Run messages until all have ended."""
    return list(run(model, messages, urgent))


def test_chunks_and_single_rows_share_forwards() -> None:
    """A forward is as full as the backlog allows, across messages, which makes mlq fast."""
    model = Doubling()
    found = outcomes(model, Message("a", [1, 2, 3]), Message("b", [4]), Message("c", [5, 6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [(o.message.name, list(o.answers)) for o in found] == [
        ("a", [2, 4, 6]),
        ("b", [8]),
        ("c", [10, 12, 14, 16, 18]),
    ]


def test_a_chunk_fills_up_the_forward_that_the_one_before_leaves_open() -> None:
    """No forward between two chunks is half empty."""
    model = Doubling()
    outcomes(model, Message("a", [1, 2, 3, 4, 5]), Message("b", [6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_message_is_answered_with_its_last_row_and_not_with_the_batch() -> None:
    """A client that sent one row does not wait for the thousand rows of another message."""
    model = Doubling(max_batch_size=2)
    seen = [(o.message.name, len(model.forwards)) for o in run(model, messages(1, 4, 1), nothing_urgent)]
    assert seen == [("m0", 1), ("m1", 3), ("m2", 3)]


def test_urgent_messages_go_between_two_forwards() -> None:
    """An urgent message waits for one forward at most, and the chunk continues where it stopped."""
    model = Doubling(max_batch_size=2)
    come = {1: [Message("u1", [100]), Message("u2", [101])], 2: [Message("u3", [102])]}
    found = outcomes(model, Message("long", [1, 2, 3, 4, 5]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [100, 101], [102, 3], [4, 5]]
    assert [o.message.name for o in found] == ["u1", "u2", "u3", "long"]
    assert list(found[-1].answers) == [2, 4, 6, 8, 10]


def test_the_callback_for_urgent_messages_gets_the_number_of_rows_left() -> None:
    """The engine claims the next batch during the last forward, not earlier."""
    told: list[int] = []

    def urgent(left: int) -> Sequence[Message]:
        told.append(left)
        return ()

    outcomes(Doubling(), *messages(3, 4, 3), urgent=urgent)
    assert told == [10, 6, 2]


def test_a_transient_failure_affects_only_the_messages_of_its_forward() -> None:
    """They are retried; the other messages have their answers."""
    model = Doubling(away_at=3)
    found = outcomes(model, Message("a", [1, 2]), Message("b", [3]), Message("c", [4, 5]), Message("d", [6]))
    assert [(o.message.name, type(o.failure)) for o in found] == [
        ("a", ConnectionError),
        ("b", ConnectionError),
        ("c", ConnectionError),
        ("d", type(None)),
    ]
    assert model.forwards == [[1, 2, 3, 4], [6]]


def test_a_long_message_that_fails_half_way_costs_no_further_forward() -> None:
    """The whole message is retried, so computing the rest now would be useless."""
    model = Doubling(max_batch_size=2, away_at=3)
    found = outcomes(model, Message("long", [1, 2, 3, 4, 5, 6]), Message("next", [7]))
    assert model.forwards == [[1, 2], [3, 4], [7]]
    assert isinstance(found[0].failure, ConnectionError)
    assert list(found[1].answers) == [14]


def test_an_empty_message_is_answered_without_a_forward() -> None:
    """An empty list of rows is a valid request."""
    model = Doubling()
    (found,) = outcomes(model, Message("none", []))
    assert (list(found.answers), found.failure) == ([], None)
    assert model.forwards == []


def test_an_empty_message_between_others_splits_no_forward() -> None:
    """It has no rows, so it must not end a forward."""
    model = Doubling()
    found = outcomes(model, Message("a", [1]), Message("none", []), Message("b", [2]))
    assert model.forwards == [[1, 2]]
    assert [o.message.name for o in found] == ["a", "none", "b"]


def test_urgent_messages_without_rows_cost_no_forward() -> None:
    """Some models cannot compute an empty forward."""
    model = Doubling(max_batch_size=2)
    come = {1: [Message("none", [])]}
    found = outcomes(model, Message("long", [1, 2, 3]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [3]]
    assert {o.message.name for o in found} == {"none", "long"}


def test_each_message_gets_the_answers_of_its_rows_in_any_mix() -> None:
    """A thousand messages of many sizes: each gets its own answers, in its own order, once."""
    sizes = [(7 * n) % 11 for n in range(1000)]
    found = outcomes(Doubling(max_batch_size=8), *messages(*sizes))
    assert len({o.message.name for o in found}) == len(sizes)
    assert all(list(o.answers) == [2 * row for row in o.message.rows] for o in found)


def messages(*sizes: int) -> list[Message]:
    """Make messages with these numbers of rows, all rows different."""
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return [Message(f"m{n}", range(s, s + size)) for n, (s, size) in enumerate(zip(starts, sizes, strict=True))]
