"""Files of every format become rows; what is broken in them is said before anything is sent, or is one row's error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlq.jobs import chunk
from mlq.jobs.chunk import Chunk, ChunkFeed
from mlq.jobs.collect import failed_rows
from mlq.jobs.errors import DuplicateIds, NotJson, NotReadable
from mlq.jobs.input import documents, sources, validation
from mlq.jobs.input.format import InputFormat
from mlq.jobs.input.sources import Input, Reading
from mlq.jobs.row import LARGEST_BYTES, Naming, Unreadable

TABLE = pd.DataFrame({"x": [1.5, -2.0, 3e-7], "n": [1, 2, 3], "name": ["a", 'b,"c"', "007"]})
ROWS = [
    {"x": 1.5, "n": 1, "name": "a"},
    {"x": -2.0, "n": 2, "name": 'b,"c"'},
    {"x": 3e-7, "n": 3, "name": "007"},
]

OPENAI = """\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-3.5-turbo-0125", \
"messages": [{"role": "system", "content": "You are a helpful assistant."},\
{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-3.5-turbo-0125", \
"messages": [{"role": "system", "content": "You are an unhelpful assistant."},\
{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
"""
"""The sample lines of OpenAI's guide to batches."""


def write(tmp_path: Path, text: str, name: str = "input.json") -> Path:
    """Write a file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def chunks(given: Input, id_field: str | None = None) -> list[Chunk]:
    """Read an input as a job does."""
    with given.opened() as source:
        feed = ChunkFeed(source, "rows", Naming(id_field), number=0, settled=b"")
        found = []
        while (part := feed.next(2)) is not None:
            found.append(part)
    return found


def read(path: Path, id_field: str | None = None) -> list[tuple[Any, Any]]:
    """Give the id of every row with its input, or with the message of its error."""
    rows: list[tuple[Any, Any]] = []
    for part in chunks(sources.find(str(path)), id_field):
        inputs = dict(chunk.placed(part))
        rows += [(part.ids[p], part.errors[p].message if p in part.errors else inputs[p]) for p in range(len(part))]
    return rows


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ('[\n  {"a": 1},\n  {"a": 2}\n]', [{"a": 1}, {"a": 2}]),
        ("[1, 2]\n[3, 4]\n", [[1, 2], [3, 4]]),
        ('{"a": 1}\n\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{\n  "a": 1\n}', [{"a": 1}]),
        ('{"inputs": [[1], [2]]}', [[1], [2]]),
        ('{"instances": [{"b64": "aGk="}]}', [{"b64": "aGk="}]),
        ('{"inputs": [1], "other": 2}', [{"inputs": [1], "other": 2}]),
        ("\ufeff[1, 2]", [1, 2]),
        ("a,b\n1,x\n,y\n", [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]),
        ("a\tb\n1\tx,y\n", [{"a": 1, "b": "x,y"}]),
        ("[]", []),
    ],
)
def test_what_is_in_a_file_tells_its_format(tmp_path: Path, text: str, inputs: list[Any]) -> None:
    """An array has a row per element, an object is a row, lines that are values are rows, what is no JSON a table."""
    assert [given for _, given in read(write(tmp_path, text, "input"))] == inputs


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet", "jsonl", "json"])
def test_what_pandas_wrote_comes_back(tmp_path: Path, suffix: str) -> None:
    """Numbers as numbers, texts as texts, also one that looks like a number and is none."""
    path = tmp_path / f"table.{suffix}"
    match suffix:
        case "parquet":
            TABLE.to_parquet(path)
        case "jsonl":
            TABLE.to_json(path, orient="records", lines=True)
        case "json":
            TABLE.to_json(path, orient="records")
        case _:
            TABLE.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
    assert [given for _, given in read(path)] == ROWS


def test_openais_batch_lines_are_understood(tmp_path: Path) -> None:
    """The task receives the body, the output line carries the custom_id."""
    first, second = read(write(tmp_path, OPENAI, "batch.jsonl"))
    assert (first[0], second[0]) == ("request-1", "request-2")
    assert first[1]["messages"][1] == {"role": "user", "content": "Hello world!"}


def test_a_directory_or_a_pattern_is_a_row_a_file(tmp_path: Path) -> None:
    """By path where workers share the disk; --inline sends what is in it."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "b.txt").write_text("hi")
    rows = read(tmp_path)
    assert [Path(given).name for _, given in rows] == ["a.png", "b.txt"]
    assert [row_id for row_id, _ in rows] == [str(tmp_path / "a.png"), str(tmp_path / "b.txt")]
    (only,) = chunks(sources.find(f"{tmp_path}/*.png", Reading(inline=True)))
    assert only.inputs == [{"name": "a.png", "base64": "iVBORw=="}]


def test_an_array_that_is_larger_than_memory_may_be_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows either way; what breaks it is said with the line."""
    monkeypatch.setattr(documents, "_WHOLE_BYTES", 64)
    rows = [{"x": i / 4, "deep": [i, [i]]} for i in range(50)]
    assert [given for _, given in read(write(tmp_path, json.dumps(rows)))] == rows
    assert [given for _, given in read(write(tmp_path, json.dumps({"inputs": rows})))] == rows
    broken = write(tmp_path, "[" + ",\n".join(map(json.dumps, rows)) + ",\n oops]")
    with pytest.raises(NotJson, match=r"input\.json:51:2: not JSON"):
        validation.check(sources.find(str(broken)), None)


def test_an_id_is_the_envelopes_or_the_named_fields_or_the_index(tmp_path: Path) -> None:
    """The task receives the input; the output line carries the id."""
    assert read(write(tmp_path, '[{"id": "a", "input": [1]}, {"input": [2]}, [3]]')) == [("a", [1]), (1, [2]), (2, [3])]
    keyed = write(tmp_path, '[{"key": "a", "x": 1}, {"x": 2}, {"key": [1]}]')
    assert read(keyed, id_field="key") == [
        ("a", {"key": "a", "x": 1}),
        (1, "no field 'key' (--id-field); the fields are x"),
        (2, "an id is a text or a whole number, not a list"),
    ]


def test_a_malformed_line_is_an_error_row_with_its_number(tmp_path: Path) -> None:
    """One bad line never ends a job; the --errors file has it as it was."""
    path = write(tmp_path, "[1]\n{oops\n\n[2]\n", "rows.jsonl")
    (_, first), (_, second), (_, third) = read(path)
    assert (first, third) == ([1], [2])
    assert second.startswith("line 2: ")
    failed_rows.write(tmp_path / "errors.jsonl", sources.find(str(path)), [1])
    assert (tmp_path / "errors.jsonl").read_text() == "{oops\n"


def test_a_record_with_too_few_fields_is_an_error_row(tmp_path: Path) -> None:
    """And the --errors file is a table with the same header."""
    path = write(tmp_path, 'a,b\n1,2\n3\n"x,y",5\n', "rows.csv")
    assert [given for _, given in read(path)][1] == "line 3: 1 fields, the header has 2"
    failed_rows.write(tmp_path / "errors.csv", sources.find(str(path)), [1, 2])
    assert (tmp_path / "errors.csv").read_text() == 'a,b\n3\n"x,y",5\n'


def test_a_row_over_the_size_limit_is_an_error_row(tmp_path: Path) -> None:
    """It is never held in memory whole; the rows around it are answered."""
    path = write(tmp_path, "1\n" + '"' + "x" * (LARGEST_BYTES + 2**21) + '"\n3\n', "rows.jsonl")
    (_, first), (_, second), (_, third) = read(path)
    assert (first, third) == (1, 3)
    assert second.startswith("line 2: 16,777,216 bytes or more")


def test_a_document_that_does_not_parse_names_line_and_column(tmp_path: Path) -> None:
    """Nothing is sent of a file that is broken as a whole."""
    path = write(tmp_path, "[\n  [1, 2],\n]")
    with pytest.raises(NotJson, match=r"input\.json:2:9: not JSON") as raised:
        validation.check(sources.find(str(path)), None)
    assert raised.value.exit_code == 2


def test_a_truncated_gzip_file_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    """It is the transfer that failed, and half a file is no file."""
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"[1]\n" * 10_000)[:-20])
    with pytest.raises(NotReadable, match="as gzip"):
        validation.check(sources.find(str(path), Reading(InputFormat.JSONL)), None)


def test_ids_that_are_there_twice_are_named_the_first_ten(tmp_path: Path) -> None:
    """Ids that rows have of their own: an index that stands for a missing one gives way."""
    lines = [json.dumps({"id": i % 12, "input": i}) for i in range(36)]
    with pytest.raises(DuplicateIds, match="24 rows") as raised:
        validation.check(sources.find(str(write(tmp_path, "\n".join(lines), "rows.jsonl"))), None)
    assert raised.value.message.count("(row ") == 10
    assert "0 (row 12)" in raised.value.message


def test_ids_are_found_however_their_key_is_written(tmp_path: Path) -> None:
    """JSON may write any letter as an escape."""
    path = write(tmp_path, '{"\\u0069d": "a", "input": 1}\n{"id": "a", "input": 2}\n', "rows.jsonl")
    with pytest.raises(DuplicateIds):
        validation.check(sources.find(str(path)), None)


def test_a_checked_file_has_the_fingerprint_of_its_bytes(tmp_path: Path) -> None:
    """Whatever its format: another input is told from it."""
    for name, text in (("a.jsonl", "[1]\n[2]\n"), ("a.csv", "x\n1\n2\n"), ("a.json", "[1, 2]")):
        one = validation.check(sources.find(str(write(tmp_path, text, name))), None)
        other = validation.check(sources.find(str(write(tmp_path, text.replace("2", "3"), name))), None)
        assert one.rows == other.rows == 2
        assert one.fingerprint != other.fingerprint


def test_rows_that_are_settled_are_not_read_again(tmp_path: Path) -> None:
    """What a resumed job has is left out, wherever it is."""
    given = sources.find(str(write(tmp_path, "".join(f"{n}\n" for n in range(10)), "rows.jsonl")))
    with given.opened() as source:
        feed = ChunkFeed(source, "rows", Naming(), number=7, settled=bytes([1, 1, 1, 0, 1]))
        first, second = feed.next(4), feed.next(4)
    assert first is not None
    assert second is not None
    assert (first.number, list(first.indexes), first.inputs) == (7, [3, 5, 6], [3, 5, 6])
    assert (second.number, list(second.indexes), second.inputs) == (8, [7, 8, 9], [7, 8, 9])
    assert chunk.decode(7, first.encode()).indexes == [3, 5, 6]


def test_a_stand_in_for_a_row_is_never_an_input() -> None:
    """What could not be read is an error in its place."""
    from mlq.jobs.row import malformed

    stand_in = malformed(1, "x")
    assert isinstance(stand_in, Unreadable)
    made = chunk.chunk_of(0, range(2), [stand_in, [1]], None)
    assert (made.sent, made.inputs, list(made.errors)) == (1, [[1]], [0])


def test_what_looks_like_a_number_and_is_none_stays_text(tmp_path: Path) -> None:
    """1e999 is infinite in JSON, a hash may look like 7e88012, and the 20 digits of a card are no fraction."""
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n1e999,7e88012,89490200001234567890\n1.5,-3,18446744073709551615\n")
    with sources.find(str(path)).opened() as source:
        one, two = source.take(10, 10**6)
    assert one == {"a": "1e999", "b": "7e88012", "c": "89490200001234567890"}
    assert two == {"a": 1.5, "b": -3, "c": 18446744073709551615}


def test_a_record_that_breaks_is_one_error_row(tmp_path: Path) -> None:
    """The others are answered; a file all of whose lines end in a carriage return is read as such."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,2\n3,x\ry\n5,6\n")
    with sources.find(str(path)).opened() as source:
        one, broken, three = source.take(10, 10**6)
    assert (one, three) == ({"a": 1, "b": 2}, {"a": 5, "b": 6})
    assert isinstance(broken, Unreadable)
    path.write_bytes(b"a,b\r1,2\r")
    with sources.find(str(path)).opened() as source:
        assert source.take(10, 10**6) == [{"a": 1, "b": 2}]


def test_a_torn_archive_is_refused_whatever_its_name(tmp_path: Path) -> None:
    """Where the name does not tell what is in it, it is read to find out."""
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress(b"[1, 2, 3]" * 1000)[:30])
    with pytest.raises(NotReadable, match="gzip"):
        sources.find(str(path))
