"""Ids: what stands for a missing id is never the id of another row, in a file or a stream, whatever ids rows have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlq.jobs import checking
from mlq.jobs.chunk import Chunk, decode, placed
from mlq.jobs.errors import UnknownIdField
from mlq.jobs.feeding import Feeder
from mlq.jobs.row_ids import Naming, StreamNaming
from mlq.jobs.sources import opening
from mlq.jobs.sources.lines import Lines
from mlq.jobs.sources.stream import Stream

MALFORMED = object()
OWN = st.one_of(st.integers(-2, 9), st.text("ab0", max_size=2), st.sampled_from([2**70, 2**61 - 1]))
ODD: st.SearchStrategy[Any] = st.sampled_from([None, 1.5, [], True])
BARE = st.sampled_from([7, "plain", {"input": 1}, {"x": 1}, MALFORMED])
LINE = st.one_of(st.one_of(OWN, ODD).map(lambda row_id: {"id": row_id, "input": 1}), BARE)
LOOSE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def written(rows: list[Any]) -> bytes:
    """Write rows as JSON Lines."""
    return b"".join(b"oops\n" if row is MALFORMED else json.dumps(row).encode() + b"\n" for row in rows)


def fed(data: bytes, naming: Naming, at_once: int = 3) -> list[Chunk]:
    """Feed lines as a job does, and keep of each chunk what its record keeps."""
    feeder = Feeder(Lines(Stream(io.BytesIO(data).read)), "rows", naming, number=0, settled=b"")
    chunks = []
    while (part := feeder.next(at_once)) is not None:
        assert list(decode(part.number, part.encode()).ids) == list(part.ids)
        chunks.append(part)
    return chunks


def named(chunks: list[Chunk]) -> list[Any]:
    """Give the ids of all rows that have one."""
    return [row_id for part in chunks for row_id in part.ids if row_id is not None]


@LOOSE
@given(rows=st.lists(LINE, max_size=14))
def test_no_id_stands_twice_in_a_stream(rows: list[Any]) -> None:
    """Ids that rows have, in any order and of any kind, and indexes that stand for missing ones."""
    chunks = fed(written(rows), StreamNaming())
    ids = named(chunks)
    assert len(set(ids)) == len(ids)
    assert sum(map(len, chunks)) == len(rows)


@LOOSE
@given(own=st.lists(OWN, max_size=8, unique=True), bare=st.lists(st.one_of(BARE, ODD), max_size=8), data=st.data())
def test_every_id_in_a_file_is_kept_and_none_stands_twice(own: list[Any], bare: list[Any], data: st.DataObject) -> None:
    """An index that another row has as its id is not made up."""
    rows = data.draw(st.permutations([{"id": row_id, "input": 1} for row_id in own] + bare))
    ids = checking._Ids(None)
    source = Lines(Stream(io.BytesIO(written(rows)).read))
    for values in checking._read(source, None):
        ids.add(values)
    found = named(fed(written(rows), Naming(None, ids.taken)))
    assert len(set(found)) == len(found)
    assert set(own) <= set(found)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("1\noops\n3\n", [0, 1, 2]),
        ('oops\n{"id":0,"input":1}\n', [None, 0]),
        ('{"id":2,"input":1}\n{"id":0,"input":1}\noops\n', [2, 0, None]),
        ('{"id":10,"input":1}\noops\n{"id":30,"input":1}\n', [10, 1, 30]),
        ('{"id":"1","input":1}\noops\n', ["1", 1]),
        ('{"id":147573952589676412928,"input":1}\n', [2**67]),
    ],
)
def test_an_error_row_has_its_index_or_no_id(tmp_path: Path, lines: str, expected: list[Any]) -> None:
    """A line that cannot be read has an id as long as it is nobody else's."""
    path = tmp_path / "rows.jsonl"
    path.write_text(lines)
    checked = checking.check(opening.find(str(path)), None)
    assert [i for part in fed(path.read_bytes(), Naming(None, checked.taken)) for i in part.ids] == expected


def test_a_repeated_id_of_a_stream_is_in_the_message_and_not_in_the_id() -> None:
    """The row that came first has it."""
    (chunk,) = fed(b'{"id":"a","input":1}\n{"id":"a","input":2}\n', StreamNaming())
    assert chunk.ids == ["a", None]
    assert chunk.errors[1].message == "an earlier row has the id 'a'"


@pytest.mark.parametrize("text", ['{"idd":1,"x":2}\n', '[{"idd":1}]', "idd,x\n1,2\n", "7\n8\n"])
def test_an_id_field_that_no_row_has_is_refused_before_anything_is_sent(tmp_path: Path, text: str) -> None:
    """A typo must not number the rows."""
    path = tmp_path / ("rows.csv" if text.startswith("idd") else "rows.json")
    path.write_text(text)
    with pytest.raises(UnknownIdField, match="'id'") as raised:
        checking.check(opening.find(str(path)), "id")
    assert "'idd'" in raised.value.advice or "no objects" in raised.value.advice


def test_a_row_without_the_id_field_is_an_error_row() -> None:
    """In a stream, too, where nothing was looked at before."""
    (chunk,) = fed(b'{"key":"a"}\n{"kye":"b"}\n3\n', StreamNaming("key"))
    assert [p for p, _ in placed(chunk)] == [0]
    assert chunk.errors[1].message == "no field 'key' (--id-field); did you mean 'kye'? the fields are kye"
    assert "no object" in chunk.errors[2].message
