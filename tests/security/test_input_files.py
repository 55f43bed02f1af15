"""Hostile input files: they cannot fill the memory, and cannot make a client send its own files."""

from __future__ import annotations

import base64
import itertools
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlq.errors import MlqError
from mlq.jobs.input import sources, tables
from mlq.jobs.input.sources import Reading
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import LARGEST_BYTES, Unreadable
from tests.conftest import Start, User


def endless_stream(first: bytes, line: bytes) -> Stream:
    """Return a stream that never ends."""
    blocks: Iterator[bytes] = itertools.chain([first], itertools.repeat(line * (2**20 // len(line))))
    return Stream(lambda _: next(blocks))


LONG = b"x" * 4000


@pytest.mark.parametrize("line", [b"3," + LONG + b"\n", b'",' + LONG + b',"\n'], ids=["one field", "many short fields"])
def test_an_unclosed_quote_ends_at_the_maximum_row_size(line: bytes) -> None:
    """Otherwise the record would contain the rest of the file. The error names the quote."""
    rows = tables.values(endless_stream(b'a,b\n1,2\n3,"4\n', line), ",", "x.csv")
    assert next(rows) == {"a": 1, "b": 2}
    broken = next(rows)
    assert isinstance(broken, Unreadable)
    assert broken.error.message.startswith("line 3: the quote that opens here is not closed within 16,777,216")
    next(rows)  # and the following rows are read


def test_the_error_names_an_unclosed_quote_in_the_header() -> None:
    """There is no row yet to which the error could belong."""
    with pytest.raises(MlqError, match="line 1: the quote that opens here is not closed"):
        next(tables.values(endless_stream(b'"a,b\n', b"3," + LONG + b"\n"), ",", "x.csv"))


def test_the_error_names_a_quote_that_is_unclosed_at_the_end() -> None:
    """It has the line of the opening quote, not the last line of the file."""
    content = iter([b'a,b\n1,"x\ny"\n2,"open\n3,4\n', b""])
    rows = list(tables.values(Stream(lambda _: next(content, b"")), ",", "x.csv"))
    assert rows[0] == {"a": 1, "b": "x\ny"}
    assert rows[1].error.message.startswith("line 4: the quote that opens here has no proper end")


def read_rows(path: Path, **reading: Any) -> list[Any]:
    """Read all rows of an input."""
    with sources.find(str(path), Reading(**reading)).opened() as source:
        return source.take(1000, LARGEST_BYTES)


def test_inline_sends_no_file_from_outside_the_directory(tmp_path: Path) -> None:
    """A user who may write to the directory could make the operator send a private key to a queue."""
    (tmp_path / "id_rsa").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.txt").write_text("secret")
    inside = tmp_path / "images"
    (inside / "sub").mkdir(parents=True)
    (inside / "a.txt").write_text("fine")
    (inside / "b.txt").symlink_to("a.txt")
    (inside / "c.txt").symlink_to("../id_rsa")
    (inside / "d.txt").symlink_to(tmp_path / "id_rsa")
    (inside / "sub" / "e.txt").symlink_to("/proc/self/environ")
    (inside / "dir").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(inside / "pipe")
    rows = read_rows(inside, inline=True)
    sent = [base64.b64decode(row["input"]["base64"]) for row in rows if not isinstance(row, Unreadable)]
    assert sent == [b"fine", b"fine"]
    refused = [row.error for row in rows if isinstance(row, Unreadable)]
    assert {error.type for error in refused} == {"LinkOutside"}
    assert len(refused) >= 3
    rows = read_rows(inside / "*.txt", inline=True)
    assert [isinstance(row, Unreadable) for row in rows] == [False, False, True, True]


def test_inline_reads_a_directory_that_is_itself_a_link(tmp_path: Path) -> None:
    """The caller named it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("fine")
    (tmp_path / "link").symlink_to("real")
    (row,) = read_rows(tmp_path / "link", inline=True)
    assert base64.b64decode(row["input"]["base64"]) == b"fine"


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("depth", [1020, 2000, 1_000_000])
def test_a_deeply_nested_document_is_refused_with_an_error(tmp_path: Path, name: str, depth: int) -> None:
    """This holds for orjson, for the scanner of large documents, and for Python's json."""
    path = tmp_path / name
    path.write_text("[" * depth + "1" * 25 + "]" * depth)
    tracemalloc.start()
    try:
        rows = read_rows(path)
        assert name.endswith("l") or depth < 1024
        assert depth < 1024 or isinstance(rows[0], Unreadable)
    except MlqError as exc:
        assert "depth" in exc.message or "recursion" in exc.message.lower()  # noqa: PT017 (only one of the two raises)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.server
def test_a_row_that_workers_refuse_fails_alone(user: User, start: Start) -> None:
    """Otherwise its whole chunk would be refused, with a thousand valid rows."""
    start("--cpus", "1")
    deep = "[" * 300 + "]" * 300
    user.write("rows.jsonl", f'1\n{deep}\n"{"[" * 300}"\n3\n')
    done = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl")
    assert done.returncode == 6, done.stderr
    lines = [json.loads(line) for line in (user.directory / "out.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error", "ok", "ok"]
    assert (
        "nested deeper than 200 levels" in lines[1]["error"]["message"] or "Recursion" in lines[1]["error"]["message"]
    )
