"""Exact JSON: as fast as orjson, with the values that Python's own json reads and writes."""

from __future__ import annotations

import json
import random

import pytest

from mlq.protocol import json_text


@pytest.mark.parametrize("power", [53, 62, 63, 64, 65, 70, 128, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_of_any_size_is_exact(power: int, sign: int) -> None:
    """A number of more than 64 bits would be a float if orjson read it."""
    for number in (sign * 2**power + off for off in (-1, 0, 1)):
        for text in (str(number), f"[[{number}]]", f'{{"a":{number},"b":0.1}}', f"[0.12345678901234567,{number}]"):
            assert repr(json_text.loads(text.encode())) == repr(json.loads(text))


def test_random_numbers_are_read_as_python_reads_them() -> None:
    """Fractions, exponents and whole numbers stand side by side at every offset."""
    chance = random.Random(7)  # noqa: S311 (a seed, not a secret)
    for _ in range(300):
        numbers: list[float] = [chance.gauss(0, 1), chance.randint(-(10**24), 10**24), chance.random() * 1e30]
        text = json.dumps(chance.choices(numbers, k=chance.randint(0, 8)))
        assert repr(json_text.loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("value", ["x\udcff", {"\ud800": 1}, 2**70, [[[]]]])
def test_values_that_only_pythons_json_supports_are_written_and_read(value: object) -> None:
    """The text is one line of UTF-8: lines of output and streams of answers rely on that."""
    text = json_text.dumps([value, 2**70])
    assert b"\n" not in text
    assert json_text.loads(text) == [value, 2**70]


@pytest.mark.parametrize("text", [b"", b"nan", b"[1,", b"\xff", b"01", b'"\x00"', b"9" * 5000, b"[" * 100_000])
def test_text_that_is_not_json_raises_the_documented_errors(text: bytes) -> None:
    """Callers catch these two errors, and no other one is raised."""
    with pytest.raises((ValueError, RecursionError)):
        json_text.loads(text)
