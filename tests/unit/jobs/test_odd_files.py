"""Files as they are outside: other encodings, other delimiters, torn, encrypted, of another kind than their name."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlq.errors import MlqError, UsageError
from mlq.jobs.collect import failed_rows
from mlq.jobs.errors import NotReadable, NotText, UnclearDelimiter
from mlq.jobs.input import handles, sources
from mlq.jobs.input.format import InputFormat
from mlq.jobs.input.sources import Reading, reading_of
from mlq.jobs.row import Unreadable
from mlq.jobs.send import submission


def rows(path: Path, reading: Reading | None = None) -> list[Any]:
    """Read a file; an error row is its message."""
    with sources.find(str(path), reading).opened() as source:
        return [v.error.message if isinstance(v, Unreadable) else v for v in source.take(100, 2**20)]


def wrote(path: Path, data: bytes | str) -> Path:
    """Write a file."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id;x\n1;2,5\n", [{"id": 1, "x": "2,5"}]),
        ("id|x\n1|2\n", [{"id": 1, "x": 2}]),
        ("SEP=|\r\nid|x\r\n1|2\r\n", [{"id": 1, "x": 2}]),
        ('sep=,\n"id;x",y\n1,2\n', [{"id;x": 1, "y": 2}]),
        ("\n\r\n\nid,x\n1,2\n", [{"id": 1, "x": 2}]),
        ("a,b|c\n1,2\n", [{"a": 1, "b|c": 2}]),
        ('x\n"a\nb"\n\x0c\n', [{"x": "a\nb"}, {"x": "\x0c"}]),
        ("x\n1\u20282\n", [{"x": "1\u20282"}]),
        ('a,b\n1,"2\n3,4\n', ["line 2: the quote that opens here has no proper end (line 3: unexpected end of data)"]),
        ("a,b\r1,2\r", [{"a": 1, "b": 2}]),
        ("x\n1", [{"x": 1}]),
        ("x", []),
        ("", []),
    ],
)
def test_a_table_tells_what_separates_its_fields(tmp_path: Path, text: str, expected: list[Any]) -> None:
    """Its header does, or its first line; blank lines before the header are none of it."""
    assert rows(wrote(tmp_path / "t.csv", text)) == expected


def test_a_table_that_does_not_tell_is_refused(tmp_path: Path) -> None:
    """Two candidates fit, and neither is a guess to bet a job on; --delimiter decides."""
    path = wrote(tmp_path / "t.csv", "a,b;c\n1,2;3\n")
    with pytest.raises(UnclearDelimiter, match="comma or semicolon"):
        rows(path)
    assert rows(path, reading_of(None, delimiter="semicolon")) == [{"a,b": "1,2", "c": 3}]
    assert rows(path, reading_of(None, delimiter=",")) == [{"a": 1, "b;c": "2;3"}]
    failed_rows.write(tmp_path / "errors.csv", sources.find(str(path), reading_of(None, delimiter=";")), [0])
    assert (tmp_path / "errors.csv").read_text() == "a,b;c\n1,2;3\n"


@pytest.mark.parametrize("header", ["id,a,a", "a,,b,", "x;x"])
def test_columns_of_one_name_are_refused(tmp_path: Path, header: str) -> None:
    """One of them would be lost."""
    with pytest.raises(NotReadable, match="2 columns"):
        rows(wrote(tmp_path / "t.csv", f"{header}\n"))


@pytest.mark.parametrize("given", ["ab", "", '"', "\n", "semi"])
def test_a_delimiter_is_one_character(given: str) -> None:
    """Or the name of one."""
    with pytest.raises(UsageError, match="--delimiter"):
        reading_of(None, delimiter=given)


def test_bytes_that_are_no_text_are_named_with_their_place(tmp_path: Path) -> None:
    """In each format, and never replaced by another character."""
    latin = "id,name\n1,caf\u00e9\n".encode("latin-1")
    with pytest.raises(NotText, match=r"t\.csv:2: byte 6 \(0xe9\) is not UTF-8"):
        rows(wrote(tmp_path / "t.csv", latin))
    assert rows(tmp_path / "t.csv", reading_of(None, encoding="latin-1")) == [{"id": 1, "name": "caf\u00e9"}]
    assert rows(wrote(tmp_path / "t.jsonl", b'1\n"caf\xe9"\n3\n')) == [
        1,
        "line 2: not JSON: byte 5 (0xe9) is not UTF-8",
        3,
    ]
    with pytest.raises(MlqError, match=r"t\.json:2:1: not JSON: byte 5 \(0xe9\) is not UTF-8"):
        rows(wrote(tmp_path / "t.json", b'[1,\n"caf\xe9"]'))
    with pytest.raises(NotText, match=r"t\.csv:2: character 3 \(0x81\) is not shift_jis"):
        rows(wrote(tmp_path / "t.csv", b"x,y\n1,\x81"), reading_of(None, encoding="shift_jis"))


def test_a_declared_encoding_is_known_and_agrees_with_the_mark(tmp_path: Path) -> None:
    """A typo names the nearest; a byte-order mark is never read as letters."""
    with pytest.raises(UsageError, match="latin1x") as raised:
        reading_of(None, encoding="latin1x")
    assert "latin1" in raised.value.hint
    for name in ("base64", "idna", "rot13", "unicode_escape"):
        with pytest.raises(UsageError, match="text files"):
            reading_of(None, encoding=name)
    path = wrote(tmp_path / "t.csv", "x\n1\n".encode("utf-16"))
    with pytest.raises(NotText, match="byte-order mark of utf-16-le"):
        rows(path, reading_of(None, encoding="latin-1"))
    assert rows(path, reading_of(None, encoding="UTF-16")) == [{"x": 1}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\0\0\0", "NUL bytes"),
        (b"\x0c", "not JSON"),
        (b"1\r2", "carriage return"),
        (b"(cut)", "not JSON"),
        (b"\0", "NUL"),
    ],
)
def test_a_line_that_is_no_json_says_what_it_is(tmp_path: Path, line: bytes, said: str) -> None:
    """Also where it looks like what stands for a line that is too long."""
    one, broken, three = rows(wrote(tmp_path / "t.jsonl", b"1\n" + line + b"\n3\n"))
    assert (one, three) == (1, 3)
    assert said in broken


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.parquet", b"", "Parquet"),
        ("a.parquet", b"PAR1 torn", "Parquet"),
        ("a", b"PARE" + bytes(20) + b"PARE", "Parquet"),
        ("a.csv", b"PK\x03\x04rest", "zip"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfdrest", "zstd"),
        ("a.jsonl", b"BZh91AY&SYrest", "bzip2"),
        ("a.csv.gz", gzip.compress(b"x\n1\n" * 99, mtime=0)[:-9], "gzip"),
        ("a.gz", b"\x1f\x8bnothing", "gzip"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """Before anything is sent, whatever its name promises."""
    with pytest.raises(NotReadable, match=said):
        rows(wrote(tmp_path / name, data))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array([1.5], pa.float16()), 1.5),
        (pa.array([decimal.Decimal("1.50")]), "1.50"),
        (pa.array([decimal.Decimal(10**30)], pa.decimal256(40, 2)), f"{10**30}.00"),
        (pa.array([dt.date(2024, 2, 29)]), "2024-02-29"),
        (pa.array([253402300799], pa.timestamp("s")), "9999-12-31T23:59:59"),
        (pa.array([1], pa.timestamp("ms", "Nowhere/Land")), "1970-01-01T00:00:00.001000Z"),
        (pa.array([-1], pa.timestamp("ns")), "1969-12-31T23:59:59.999999999"),
        (pa.array([1000], pa.time32("ms")), "00:00:01"),
        (pa.array([-1500], pa.duration("ms")), "-PT1.500000S"),
        (pa.array([{"bytes": b"\xff\xd8", "path": None}]), {"bytes": "/9g=", "path": None}),
        (pa.array([[b"x"], None]), ["eA=="]),
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())), [["k", 1], ["k", 2]]),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.nulls(1), None),
        (pa.array([[[{"d": dt.date(1, 1, 1)}]]]), [[{"d": "0001-01-01"}]]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_parquet_value_has_its_documented_form(tmp_path: Path, array: Any, expected: Any) -> None:
    """Without pandas, and without a database of time zones."""
    pq.write_table(pa.table({"v": array}), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet")[0] == {"v": expected}


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([float("nan"), 1.0]), "column 'v': NaN"),
        (pa.array([[float("-inf")], [1.0]]), "column 'v': -Infinity"),
        (pa.array([{"x": float("inf")}, {"x": 1.0}]), "column 'v': Infinity"),
        (pa.array([b"caf\xe9", b"x"]).view(pa.string()), "byte 4 (0xe9) is not UTF-8"),
        (pa.array([2932897, 0], pa.date32()), "not within the years 1 to 9999"),
        (pa.array([253402300800000000, 0], pa.timestamp("us")), "not within the years 1 to 9999"),
    ],
)
def test_a_parquet_value_that_json_cannot_hold_is_the_error_of_its_row(tmp_path: Path, array: Any, said: str) -> None:
    """The rows around it are read."""
    pq.write_table(pa.table({"v": array}), tmp_path / "a.parquet")
    broken, fine = rows(tmp_path / "a.parquet")
    assert said in broken
    assert isinstance(fine, dict)


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """One of them would be lost."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(NotReadable, match="2 columns are named 'a'"):
        rows(tmp_path / "a.parquet")


def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    """Each says for what it is."""
    path = wrote(tmp_path / "a.jsonl", "1\n")
    for reading in (Reading(inline=True), Reading(delimiter=";")):
        with pytest.raises(UsageError, match="not for"):
            sources.find(str(path), reading)
    with pytest.raises(UsageError, match="--encoding is for text"):
        sources.find(str(tmp_path), Reading(encoding="latin-1"))


def test_what_an_input_is_read_with_belongs_to_what_a_resumed_job_compares(tmp_path: Path) -> None:
    """And without these options a job that an earlier version began goes on."""
    path = wrote(tmp_path / "a.csv", "x;y\n1;2\n")
    prints = set()
    for reading in (Reading(), Reading(delimiter=";"), Reading(encoding="latin-1"), Reading(InputFormat.TSV)):
        prints.add(submission._fingerprint(submission.Request(sources.find(str(path), reading)), "content"))
    assert len(prints) == 4


def test_what_cannot_be_read_twice_is_known_by_what_it_is(tmp_path: Path) -> None:
    """Pipes, sockets, devices, files that the kernel writes for each reader; a file and a directory are none."""
    os.mkfifo(tmp_path / "fifo")
    assert handles.is_once(str(tmp_path / "fifo"))
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as short, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{short}/s")
        assert handles.is_once(f"{short}/s")
        with pytest.raises(MlqError):
            sources.find(f"{short}/s")
    for name in ("-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/3", "/dev/null", "/proc/self/status"):
        assert handles.is_once(name)
    assert not handles.is_once(str(wrote(tmp_path / "a", "1\n")))
    assert not handles.is_once(str(tmp_path))


def test_a_file_name_that_is_no_text_is_the_error_of_its_row(tmp_path: Path) -> None:
    """In a directory of files; the others are sent."""
    wrote(tmp_path / "a", "1")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    fine, broken = rows(tmp_path)
    assert fine["id"] == str(tmp_path / "a")
    assert "the file name is not UTF-8" in broken
