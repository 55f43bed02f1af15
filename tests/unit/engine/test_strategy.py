"""The micro-batch strategy: what shares a forward, what goes first, and whom a failure touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlq.engine.strategy import BatchOutcome, run
from mlq.model.failure import RowFailure


@dataclass(frozen=True)
class Message:
    """A name and its rows."""

    name: str
    rows: Sequence[Any]


@dataclass
class Doubling:
    """A model that doubles numbers, remembers its forwards, and fails those that hold a given row."""

    max_batch_size: int = 4
    transient: tuple[type[Exception], ...] = (ConnectionError,)
    interrupts: tuple[type[Exception], ...] = ()
    away_at: int | None = None
    forwards: list[list[Any]] = field(default_factory=list)

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, or raise what can pass."""
        self.forwards.append(list(rows))
        if self.away_at in rows:
            raise ConnectionError("away")
        return [2 * row for row in rows]


Urgent = Callable[[int], Sequence[Message]]


def nothing_urgent(_: int) -> Sequence[Message]:
    """Be alone."""
    return ()


def outcomes(model: Doubling, *messages: Message, urgent: Urgent = nothing_urgent) -> list[BatchOutcome[Message]]:
    """Run messages to their ends."""
    return list(run(model, messages, urgent))


def test_chunks_and_single_rows_share_forwards() -> None:
    """A forward is as full as the backlog allows, whoever's rows they are: that is where the speed comes from."""
    model = Doubling()
    found = outcomes(model, Message("a", [1, 2, 3]), Message("b", [4]), Message("c", [5, 6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [(o.message.name, list(o.answers)) for o in found] == [
        ("a", [2, 4, 6]),
        ("b", [8]),
        ("c", [10, 12, 14, 16, 18]),
    ]


def test_a_chunk_fills_up_the_forward_that_the_one_before_leaves_open() -> None:
    """No forward runs half empty between two chunks."""
    model = Doubling()
    outcomes(model, Message("a", [1, 2, 3, 4, 5]), Message("b", [6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_message_is_answered_with_its_last_row_and_not_with_the_batch() -> None:
    """Who sent one row does not wait for a neighbour's thousand."""
    model = Doubling(max_batch_size=2)
    seen = [(o.message.name, len(model.forwards)) for o in run(model, messages(1, 4, 1), nothing_urgent)]
    assert seen == [("m0", 1), ("m1", 3), ("m2", 3)]


def test_urgent_messages_go_between_two_forwards() -> None:
    """What comes while a long chunk runs waits for one forward, and the chunk goes on where it was."""
    model = Doubling(max_batch_size=2)
    come = {1: [Message("u1", [100]), Message("u2", [101])], 2: [Message("u3", [102])]}
    found = outcomes(model, Message("long", [1, 2, 3, 4, 5]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [100, 101], [102, 3], [4, 5]]
    assert [o.message.name for o in found] == ["u1", "u2", "u3", "long"]
    assert list(found[-1].answers) == [2, 4, 6, 8, 10]


def test_whoever_is_asked_for_urgent_messages_learns_how_many_rows_are_left() -> None:
    """The next batch is claimed behind the last forward, and not while there is much to do yet."""
    told: list[int] = []

    def urgent(left: int) -> Sequence[Message]:
        told.append(left)
        return ()

    outcomes(Doubling(), *messages(3, 4, 3), urgent=urgent)
    assert told == [10, 6, 2]


def test_a_failure_that_can_pass_touches_only_the_messages_of_its_forward() -> None:
    """They are tried again; the others have their answers."""
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
    """It is tried again as a whole: computing the rest now would be for nothing."""
    model = Doubling(max_batch_size=2, away_at=3)
    found = outcomes(model, Message("long", [1, 2, 3, 4, 5, 6]), Message("next", [7]))
    assert model.forwards == [[1, 2], [3, 4], [7]]
    assert isinstance(found[0].failure, ConnectionError)
    assert list(found[1].answers) == [14]


def test_an_empty_message_is_answered_without_a_forward() -> None:
    """An empty list of rows is a question, too."""
    model = Doubling()
    (found,) = outcomes(model, Message("none", []))
    assert (list(found.answers), found.failure) == ([], None)
    assert model.forwards == []


def test_an_empty_message_between_others_splits_no_forward() -> None:
    """It takes no room, so it must not end one."""
    model = Doubling()
    found = outcomes(model, Message("a", [1]), Message("none", []), Message("b", [2]))
    assert model.forwards == [[1, 2]]
    assert [o.message.name for o in found] == ["a", "none", "b"]


def test_urgent_messages_without_rows_cost_no_forward() -> None:
    """A forward of nothing is more than some models can do."""
    model = Doubling(max_batch_size=2)
    come = {1: [Message("none", [])]}
    found = outcomes(model, Message("long", [1, 2, 3]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [3]]
    assert {o.message.name for o in found} == {"none", "long"}


def test_answers_keep_their_rows_whatever_shares_the_forwards() -> None:
    """A thousand messages of every size: each gets its own answers, in its own order, once."""
    sizes = [(7 * n) % 11 for n in range(1000)]
    found = outcomes(Doubling(max_batch_size=8), *messages(*sizes))
    assert len({o.message.name for o in found}) == len(sizes)
    assert all(list(o.answers) == [2 * row for row in o.message.rows] for o in found)


def messages(*sizes: int) -> list[Message]:
    """Make messages of so many rows, all rows different."""
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return [Message(f"m{n}", range(s, s + size)) for n, (s, size) in enumerate(zip(starts, sizes, strict=True))]
