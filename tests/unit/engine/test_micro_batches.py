"""Micro-batches: which messages share a forward, which rows go first, and which ones a failure affects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mlq.engine import micro_batches
from mlq.engine.micro_batches import BatchOutcome, run
from mlq.model.failure import RowFailure
from mlq.protocol.message import Claim, Message, decode
from mlq.protocol.names import BATCH_PREDICT, PREDICT

SERVED = {PREDICT: PREDICT, BATCH_PREDICT: BATCH_PREDICT, "their.predict": PREDICT}


def message(task_id: str, argument: Any = 1, *, task: str = PREDICT, crashes: int | None = None) -> Message:
    """Decode a message of a stock client; `crashes` workers died while they held it."""
    raw = {
        "body": json.dumps([[argument], {}, {}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": task_id},
        "properties": {"delivery_info": {"exchange": "", "routing_key": "q"}, "delivery_tag": "t"},
    }
    found = decode(replace(Claim("1-1", "q", 0, json.dumps(raw).encode()), crashes=crashes))
    assert isinstance(found, Message)
    return found


def ids(messages: list[Message], revoked: set[str] | None = None) -> tuple[list[str], list[str]]:
    """Split messages, and return the ids that share a forward and those that run alone."""
    together, alone = micro_batches.split(messages, SERVED, revoked or set())
    return [rows.message.task_id for rows in together], [m.task_id for m in alone]


def test_plain_rows_share_a_forward_in_their_order() -> None:
    """This holds for single rows, for many rows and for an alias of the task."""
    messages = [message("a"), message("b", [1, 2], task=BATCH_PREDICT), message("c", task="their.predict")]
    assert ids(messages) == (["a", "b", "c"], [])


def test_of_two_messages_with_the_same_id_one_shares_a_forward() -> None:
    """Outcomes are looked up by id, so one of them would get the answers of the other."""
    first, second, third = message("a", 1), message("a", 2), message("a", 3)
    together, alone = micro_batches.split([first, message("b"), second, third], SERVED, ())
    assert [rows.message for rows in together if rows.message.task_id == "a"] == [first]
    assert alone == [second, third]


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_suspect_runs_alone(crashes: int) -> None:
    """A worker died while it held this message: the next death proves its guilt, and affects no other message."""
    assert ids([message("a"), message("b", crashes=crashes), message("c")]) == (["a", "c"], ["b"])


def test_a_revoked_message_runs_alone() -> None:
    """Celery checks revocation when it runs a message."""
    assert ids([message("a"), message("b"), message("c")], {"b", "x"}) == (["a", "c"], ["b"])


@pytest.mark.parametrize("task", ["own.task", "mlq.other"])
def test_another_task_runs_alone(task: str) -> None:
    """It does not use the model."""
    assert ids([message("a"), message("b", task=task)]) == (["a"], ["b"])


def test_a_duplicate_of_a_message_that_runs_alone_still_shares_a_forward() -> None:
    """Only equal ids within a forward are a conflict."""
    assert ids([message("a", crashes=1), message("a")]) == (["a"], ["a"])


@dataclass(frozen=True)
class Request:
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


Urgent = Callable[[int], Sequence[Request]]


def nothing_urgent(_: int) -> Sequence[Request]:
    """Return no urgent messages."""
    return ()


def outcomes(model: Doubling, *messages: Request, urgent: Urgent = nothing_urgent) -> list[BatchOutcome[Request]]:
    """Run messages until all have ended."""
    return list(run(model, messages, urgent))


def test_chunks_and_single_rows_share_forwards() -> None:
    """A forward is as full as the backlog allows, across messages, which makes mlq fast."""
    model = Doubling()
    found = outcomes(model, Request("a", [1, 2, 3]), Request("b", [4]), Request("c", [5, 6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [(o.message.name, list(o.answers)) for o in found] == [
        ("a", [2, 4, 6]),
        ("b", [8]),
        ("c", [10, 12, 14, 16, 18]),
    ]


def test_a_chunk_fills_up_the_forward_that_the_one_before_leaves_open() -> None:
    """No forward between two chunks is half empty."""
    model = Doubling()
    outcomes(model, Request("a", [1, 2, 3, 4, 5]), Request("b", [6, 7, 8, 9]))
    assert model.forwards == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_message_is_answered_with_its_last_row_and_not_with_the_batch() -> None:
    """A client that sent one row does not wait for the thousand rows of another message."""
    model = Doubling(max_batch_size=2)
    seen = [(o.message.name, len(model.forwards)) for o in run(model, messages(1, 4, 1), nothing_urgent)]
    assert seen == [("m0", 1), ("m1", 3), ("m2", 3)]


def test_urgent_messages_go_between_two_forwards() -> None:
    """An urgent message waits for one forward at most, and the chunk continues where it stopped."""
    model = Doubling(max_batch_size=2)
    come = {1: [Request("u1", [100]), Request("u2", [101])], 2: [Request("u3", [102])]}
    found = outcomes(model, Request("long", [1, 2, 3, 4, 5]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [100, 101], [102, 3], [4, 5]]
    assert [o.message.name for o in found] == ["u1", "u2", "u3", "long"]
    assert list(found[-1].answers) == [2, 4, 6, 8, 10]


def test_the_callback_for_urgent_messages_gets_the_number_of_rows_left() -> None:
    """The engine claims the next batch during the last forward, not earlier."""
    told: list[int] = []

    def urgent(left: int) -> Sequence[Request]:
        told.append(left)
        return ()

    outcomes(Doubling(), *messages(3, 4, 3), urgent=urgent)
    assert told == [10, 6, 2]


def test_a_transient_failure_affects_only_the_messages_of_its_forward() -> None:
    """They are retried; the other messages have their answers."""
    model = Doubling(away_at=3)
    found = outcomes(model, Request("a", [1, 2]), Request("b", [3]), Request("c", [4, 5]), Request("d", [6]))
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
    found = outcomes(model, Request("long", [1, 2, 3, 4, 5, 6]), Request("next", [7]))
    assert model.forwards == [[1, 2], [3, 4], [7]]
    assert isinstance(found[0].failure, ConnectionError)
    assert list(found[1].answers) == [14]


def test_an_empty_message_is_answered_without_a_forward() -> None:
    """An empty list of rows is a valid request."""
    model = Doubling()
    (found,) = outcomes(model, Request("none", []))
    assert (list(found.answers), found.failure) == ([], None)
    assert model.forwards == []


def test_an_empty_message_between_others_splits_no_forward() -> None:
    """It has no rows, so it must not end a forward."""
    model = Doubling()
    found = outcomes(model, Request("a", [1]), Request("none", []), Request("b", [2]))
    assert model.forwards == [[1, 2]]
    assert [o.message.name for o in found] == ["a", "none", "b"]


def test_urgent_messages_without_rows_cost_no_forward() -> None:
    """Some models cannot compute an empty forward."""
    model = Doubling(max_batch_size=2)
    come = {1: [Request("none", [])]}
    found = outcomes(model, Request("long", [1, 2, 3]), urgent=lambda _: come.pop(len(model.forwards), ()))
    assert model.forwards == [[1, 2], [3]]
    assert {o.message.name for o in found} == {"none", "long"}


def test_each_message_gets_the_answers_of_its_rows_in_any_mix() -> None:
    """A thousand messages of many sizes: each gets its own answers, in its own order, once."""
    sizes = [(7 * n) % 11 for n in range(1000)]
    found = outcomes(Doubling(max_batch_size=8), *messages(*sizes))
    assert len({o.message.name for o in found}) == len(sizes)
    assert all(list(o.answers) == [2 * row for row in o.message.rows] for o in found)


def messages(*sizes: int) -> list[Request]:
    """Make messages with these numbers of rows, all rows different."""
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return [Request(f"m{n}", range(s, s + size)) for n, (s, size) in enumerate(zip(starts, sizes, strict=True))]
