"""Ids: what stands for a missing id is never the id of another row, in a file or a stream, whatever ids rows have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlq.jobs.chunk import Chunk, ChunkFeed, decode, placed
from mlq.jobs.errors import UnknownIdField
from mlq.jobs.input import sources, validation
from mlq.jobs.input.lines import JsonLines
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import Naming, StreamNaming

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
    feed = ChunkFeed(JsonLines(Stream(io.BytesIO(data).read)), "rows", naming, number=0, settled=b"")
    chunks = []
    while (part := feed.next(at_once)) is not None:
        assert list(decode(part.number, part.encode()).ids) == list(part.ids)
        chunks.append(part)
    return chunks


def named(chunks: list[Chunk], *, repeated: bool = False) -> list[Any]:
    """Give the ids of all rows that have one; `repeated`: of the error rows that repeat one, else of all others."""
    return [
        row_id
        for part in chunks
        for place, row_id in enumerate(part.ids)
        if row_id is not None and repeated == (place in part.errors and part.errors[place].type == "DuplicateId")
    ]


@LOOSE
@given(rows=st.lists(LINE, max_size=14))
def test_no_id_stands_twice_in_a_stream(rows: list[Any]) -> None:
    """Of any kind, in any order, made up or not; only an error row may carry an id again that an earlier row gave."""
    chunks = fed(written(rows), StreamNaming())
    ids = named(chunks)
    assert len(set(ids)) == len(ids)
    assert sum(map(len, chunks)) == len(rows)
    assert set(named(chunks, repeated=True)) <= set(ids)


@LOOSE
@given(own=st.lists(OWN, max_size=8, unique=True), bare=st.lists(st.one_of(BARE, ODD), max_size=8), data=st.data())
def test_every_id_in_a_file_is_kept_and_none_stands_twice(own: list[Any], bare: list[Any], data: st.DataObject) -> None:
    """An index that another row has as its id is not made up."""
    rows = data.draw(st.permutations([{"id": row_id, "input": 1} for row_id in own] + bare))
    ids = validation._Ids(None)
    source = JsonLines(Stream(io.BytesIO(written(rows)).read))
    for values in validation._read(source, None):
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
    checked = validation.check(sources.find(str(path)), None)
    assert [i for part in fed(path.read_bytes(), Naming(None, checked.taken)) for i in part.ids] == expected


@pytest.mark.parametrize(
    ("rows", "ids", "errors"),
    [
        ([{"id": "a"}, {"id": "a"}], ["a", "a"], {1: "an earlier row has the id 'a'"}),
        ([{"id": 7}, {"id": "7"}, {"id": 7}], [7, "7", 7], {2: "an earlier row has the id 7"}),
        ([{"id": "a"}, {"id": "a"}, {"id": 1}], ["a", "a", 1], {1: "an earlier row has the id 'a'"}),
        ([5, {"id": 0}], [0, None], {1: "row 0, which has no id of its own, carries 0"}),
    ],
)
def test_a_row_that_repeats_an_id_carries_it_unless_that_was_made_up(
    rows: list[Any], ids: list[Any], errors: dict[int, str]
) -> None:
    """Its sender finds the error by the id that it gave; an id that is made up is never that of another row."""
    lines = [row if isinstance(row, int) else {**row, "input": 1} for row in rows]
    (chunk,) = fed(written(lines), StreamNaming(), at_once=9)
    assert (list(chunk.ids), {place: error.message for place, error in chunk.errors.items()}) == (ids, errors)


@pytest.mark.parametrize("text", ['{"idd":1,"x":2}\n', '[{"idd":1}]', "idd,x\n1,2\n", "7\n8\n"])
def test_an_id_field_that_no_row_has_is_refused_before_anything_is_sent(tmp_path: Path, text: str) -> None:
    """A typo must not number the rows."""
    path = tmp_path / ("rows.csv" if text.startswith("idd") else "rows.json")
    path.write_text(text)
    with pytest.raises(UnknownIdField, match="'id'") as raised:
        validation.check(sources.find(str(path)), "id")
    assert "'idd'" in raised.value.hint or "no objects" in raised.value.hint


def test_a_row_without_the_id_field_is_an_error_row() -> None:
    """In a stream, too, where nothing was looked at before."""
    (chunk,) = fed(b'{"key":"a"}\n{"kye":"b"}\n3\n', StreamNaming("key"))
    assert [p for p, _ in placed(chunk)] == [0]
    assert chunk.errors[1].message == "no field 'key' (--id-field); did you mean 'kye'? the fields are kye"
    assert "no object" in chunk.errors[2].message
