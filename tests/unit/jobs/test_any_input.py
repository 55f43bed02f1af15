"""Inputs of any content: rows come back as they were written, or an error says why not; never anything else."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlq.errors import MlqError
from mlq.jobs.chunk import Chunk
from mlq.jobs.input import documents, handles, sources, validation
from mlq.jobs.input.format import InputFormat
from mlq.jobs.input.sources import Reading
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import Unreadable
from mlq.jobs.send.chunk_message import message_of
from mlq.protocol import json_text
from mlq.protocol.packing import pack, rows_in
from mlq.store.jobs.record import Job

LOOSE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.one_of(st.integers(), st.integers(-(2**200), 2**200), st.floats(allow_nan=False, allow_infinity=False))
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)


def values(data: bytes, name: str, reading: Reading | None = None) -> list[Any]:
    """Write a file, check it as a job does, and read all its rows."""
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as directory:
        path = Path(directory, name)
        path.write_bytes(data)
        found = sources.find(str(path), reading)
        rows = validation.check(found, None).rows
        with found.opened() as source:
            taken: list[Any] = []
            while part := source.take(7, 2**20):
                taken += part
        assert len(taken) == rows
        return taken


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 is not 1.0, and -0.0 is not 0."""
    return repr(one) == repr(other)


@LOOSE
@given(rows=st.lists(VALUE, max_size=6), packed=st.booleans())
def test_what_json_lines_hold_comes_back(rows: list[Any], packed: bool) -> None:  # noqa: FBT001 (drawn)
    """Numbers of any size, texts of any characters, packed or not."""
    data = b"".join(json.dumps(row, ensure_ascii=packed).encode() + b"\n" for row in rows)
    assert same(values(gzip.compress(data) if packed else data, "rows.jsonl"), rows)


@LOOSE
@given(rows=st.lists(VALUE, min_size=1, max_size=6), encoding=st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_a_byte_order_mark_tells_the_encoding(rows: list[Any], encoding: str) -> None:
    """Of every text, whatever it holds."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert same(values(text.encode(encoding), "rows.jsonl"), rows)
    assert same(
        values(gzip.compress(json.dumps(rows).encode(encoding)), "rows.json.gz", Reading(InputFormat.JSON)), rows
    )


@LOOSE
@given(rows=st.lists(VALUE, max_size=6), indent=st.sampled_from([None, 1]), wrapper=st.sampled_from(["", "inputs"]))
def test_a_document_means_the_same_whatever_its_size(rows: list[Any], indent: int | None, wrapper: str) -> None:
    """Read at once, or element by element in blocks that end anywhere."""
    text = json.dumps({wrapper: rows} if wrapper else rows, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_WHOLE_BYTES", 1)
        patch.setattr(documents, "_BLOCK", 3)
        large = list(documents.values(Stream(io.BytesIO(text).read), "x"))
    assert same(large, rows)
    assert same(list(documents.values(Stream(io.BytesIO(text).read), "x")), rows)


@pytest.mark.parametrize(
    "text",
    ["[1,]", "[1 2]", "[NaN]", "[1e999]", '["\\ud800"]', "[1]]", '["a', "[tru", "[1", '{"inputs":[1],"x":2}', "[01]"],
)
def test_what_is_refused_is_refused_whatever_its_size(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A large document accepts nothing that a small one does not."""
    small: Callable[[], Any] = lambda: list(documents.values(Stream(io.BytesIO(text.encode()).read), "x"))  # noqa: E731
    if "x" not in text:
        with pytest.raises(MlqError, match="not JSON"):
            small()
    monkeypatch.setattr(documents, "_WHOLE_BYTES", 1)
    with pytest.raises(MlqError, match="not JSON"):
        small()


@LOOSE
@given(
    rows=st.lists(st.lists(TEXT.filter(lambda t: "\r" not in t), min_size=2, max_size=2), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_a_table_holds_comes_back(rows: list[list[str]], delimiter: str, encoding: str) -> None:
    """Texts stay texts, whatever separates them; what JSON would write as a number is one."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["first", "second"], *rows])
    found = values(text.getvalue().encode(encoding), "T.CSV", Reading(delimiter=delimiter))
    assert len(found) == len(rows)
    for row, record in zip(found, rows, strict=True):
        for value, written in zip(row.values(), record, strict=True):
            assert value == written or (value is None and not written) or float(value) == float(written)


SUFFIXES = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a", "a.csv.gz", "a.JSONL.GZ"]


@LOOSE
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.text(st.sampled_from('a1,;|\t"\r\n{}[]:\0\u2028é\x0c'), max_size=40).map(str.encode),
        st.binary(max_size=30).map(lambda b: gzip.compress(b)[:-3]),
        st.binary(max_size=30).map(lambda b: b"PAR1" + b + b"PAR1"),
        st.binary(max_size=30).map(lambda b: b"\xff\xfe" + b),
    ),
    name=st.sampled_from(SUFFIXES),
    encoding=st.sampled_from([None, "utf-8", "utf-16-le", "latin-1", "shift_jis", "iso2022_jp", "utf-32"]),
)
def test_any_bytes_are_rows_or_an_error_in_words(data: bytes, name: str, encoding: str | None) -> None:
    """No library's own exception gets through, whatever the file is called."""
    error: MlqError | None = None
    found: list[Any] = []
    try:
        found = values(data, name, Reading(encoding=encoding))
    except MlqError as exc:
        error = exc
    assert error is None or (error.exit_code in (2, 5) and error.message and error.hint)
    for value in found:
        assert isinstance(value, Unreadable) or json_text.loads_strict(json_text.dumps_strict(value)) == value


@LOOSE
@given(name=st.text(min_size=1, max_size=300))
def test_any_name_is_found_or_refused_in_words(name: str) -> None:
    """Line ends, halves of characters, names that are longer than names can be."""
    handles.is_once(name)
    with pytest.raises(MlqError):
        sources.find(f"/nowhere/{name}")


@LOOSE
@given(rows=st.lists(st.lists(NUMBER, min_size=2, max_size=2), min_size=1, max_size=4))
def test_packing_changes_no_number(rows: list[list[Any]]) -> None:
    """Numpy makes fractions of whole numbers that fit neither of its kinds together: those are not packed."""
    packed = pack(rows)
    unpacked: Any = rows_in(packed)
    assert same(rows, rows if packed is rows else unpacked.tolist())


def test_a_whole_number_of_any_size_is_in_the_message_as_it_is() -> None:
    """The worker reads it as the task of one's own does."""
    chunk = Chunk(0, range(1), [2**70], inputs=[[2**67 - 1, -(2**63) - 1]])
    job = Job("j", "batch", "rows", "f", 1)
    message = message_of(job, chunk, taken=1, priority=None, sent_at=0.0, keep_result=True)
    body = json.loads(json.loads(message.raw)["body"])
    assert body[0][0] == [[2**67 - 1, -(2**63) - 1]]


@pytest.mark.parametrize("text", ["9" * 309, "NaN", "Infinity", "-Infinity", "1e400", '{"a":[NaN]}'])
def test_a_number_that_json_cannot_hold_is_the_error_of_its_row(text: str) -> None:
    """The rows around it are answered."""
    one, broken, three = values(f"1\n{text}\n3\n".encode(), "rows.jsonl")
    assert (one, three) == (1, 3)
    assert isinstance(broken, Unreadable)
