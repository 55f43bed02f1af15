"""Files become rows, rows become chunks, answers become lines in input order."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mlq.errors import DuplicateIds, NotJson
from mlq.jobs import chunk, reading
from mlq.jobs.chunk import LARGEST_BYTES, Chunk, pack
from mlq.jobs.collection import Answered
from mlq.jobs.output import Output
from mlq.jobs.row import Row


def read(tmp_path: Path, text: str, name: str = "input.json", id_field: str | None = None) -> list[Row]:
    """Read a file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return reading.read_file(path, id_field)


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ('[\n  {"a": 1},\n  {"a": 2}\n]', [{"a": 1}, {"a": 2}]),
        ("[1, 2]\n[3, 4]\n", [[1, 2], [3, 4]]),
        ('{"a": 1}\n\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{\n  "a": 1\n}', [{"a": 1}]),
        ("[]", []),
    ],
)
def test_what_is_in_a_file_tells_its_format(tmp_path: Path, text: str, inputs: list[Any]) -> None:
    """An array has a row per element, an object is a row, lines that are values of their own are rows."""
    assert [r.input for r in read(tmp_path, text)] == inputs


def test_an_id_is_the_envelopes_or_the_named_fields_or_the_index(tmp_path: Path) -> None:
    """The task receives the input; the output line carries the id."""
    assert read(tmp_path, '[{"id": "a", "input": [1]}, {"input": [2]}, [3]]') == [
        Row(0, "a", [1]),
        Row(1, 1, [2]),
        Row(2, 2, [3]),
    ]
    assert read(tmp_path, '[{"key": "a", "x": 1}, {"x": 2}]', id_field="key") == [
        Row(0, "a", {"key": "a", "x": 1}),
        Row(1, 1, {"x": 2}),
    ]


def test_a_malformed_line_is_an_error_row_with_its_number(tmp_path: Path) -> None:
    """One bad line never ends a job."""
    rows = read(tmp_path, "[1]\n{oops\n\n[2]\n", "rows.jsonl")
    assert [r.error is None for r in rows] == [True, False, True]
    assert rows[1].error is not None
    assert rows[1].error.message.startswith("line 2: ")


def test_a_document_that_does_not_parse_names_line_and_column(tmp_path: Path) -> None:
    """Nothing is sent of a file that is broken as a whole."""
    with pytest.raises(NotJson, match=r"input\.json:2:9: not JSON") as raised:
        read(tmp_path, "[\n  [1, 2],\n]")
    assert raised.value.exit_code == 2


def test_an_id_that_is_there_twice_stops_a_file_but_not_a_pipe(tmp_path: Path) -> None:
    """A file can be corrected before anything is sent; a pipe cannot."""
    text = '{"id": 1, "input": 1}\n{"id": 1, "input": 2}\n'
    with pytest.raises(DuplicateIds, match="1 rows"):
        read(tmp_path, text)
    first, second = reading.read_stream(io.BytesIO(text.encode()))
    assert first.error is None
    assert second.error is not None
    assert second.error.type == "DuplicateId"


def test_chunks_are_bounded_by_rows_and_by_bytes() -> None:
    """A row that alone is larger than a chunk may be travels alone."""
    rows = [Row(i, i, [0.5]) for i in range(5)]
    assert [len(c.rows) for c in pack(rows, 2)] == [2, 2, 1]
    large = [Row(i, i, "x" * (LARGEST_BYTES // 2 + 1)) for i in range(3)]
    assert [len(c.rows) for c in pack(large, 64)] == [1, 1, 1]


def test_answers_of_the_wrong_length_are_errors_that_name_both() -> None:
    """Rows must never be given each other's answers."""
    packed = Chunk(0, (Row(0, "a", 1), Row(1, "b", 2)))
    lines = chunk.lines(packed, [1])
    assert [line["status"] for line in lines] == ["error", "error"]
    assert lines[0]["error"]["message"] == "the worker answered 1 rows to 2"


def test_output_is_in_input_order_whatever_comes_first() -> None:
    """A chunk that comes early waits for those before it."""
    stream = io.BytesIO()
    output = Output(stream)
    first, second = pack([Row(i, i, [i]) for i in range(4)], 2)
    output.add(Answered(second, chunk.lines(second, [20, 30])))
    assert stream.getvalue() == b""
    output.add(
        Answered(
            first,
            chunk.lines(first, [0, {"mlq.error": {"type": "E", "message": "m", "retryable": True, "attempts": 2}}]),
        )
    )
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert lines[1] == {
        "id": 1,
        "index": 1,
        "status": "error",
        "error": {"type": "E", "message": "m", "retryable": True, "attempts": 2},
    }
    assert (output.ok, output.failed) == (3, 1)
