"""Packing: rows of numbers of one shape as one block inside the JSON message, three times faster than as lists."""

from __future__ import annotations

import base64
import binascii
import math
import reprlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from mlq.protocol.names import BATCH_PREDICT, PACKED_ROWS

if TYPE_CHECKING:
    import numpy as np

_DTYPES: Final = {"int64": int, "uint64": int, "float64": float}
"""What numpy makes of JSON's numbers, and of which Python type they must all have been for nothing to change."""

_LARGEST_BYTES: Final = 12 * 1024 * 1024
"""Small numbers are shorter as text: packed, a row that may be sent could become more than workers take."""

MOST_ROWS: Final = 65_536
"""In one message, packed or not."""

_ITEM_BYTES: Final = 8
"""Of every dtype above."""

_MOST_DIMENSIONS: Final = 32
"""As many as every version of numpy has."""

_MOST_ITEMS: Final = 2**32
"""More than any message has bytes. With this bound the product of a hostile shape stays a small number."""


def pack(rows: Sequence[Any]) -> Any:
    """Pack rows if they are numbers of one shape and one kind; else give them as they are.

    Where whole numbers, fractions or booleans are mixed, an array would make one kind of them: a large id would change,
    and an index become 3.0. numpy also makes fractions of whole numbers that fit neither int64 nor uint64 together.
    """
    import numpy as np

    try:
        array = np.asarray(rows)
    except ValueError:  # rows of different lengths
        return rows
    if array.dtype.name not in _DTYPES or not 0 < array.nbytes <= _LARGEST_BYTES:
        return rows
    leaves: Iterable[Any] = rows
    for _ in range(array.ndim - 1):
        leaves = chain.from_iterable(leaves)
    if set(map(type, leaves)) != {_DTYPES[array.dtype.name]}:
        return rows
    data = base64.b64encode(array.tobytes()).decode("ascii")
    return {PACKED_ROWS: {"dtype": array.dtype.name, "shape": array.shape, "data": data}}


def rows_in(value: Any, task: str = BATCH_PREDICT) -> Sequence[Any]:
    """Return the rows that the only argument of `task` holds: a list, or the array of packed rows.

    A client chooses every number in it. None of them sizes an allocation before it is known to fit the bytes that came
    with it, and the number of rows has a limit, because each row gets an answer: without a limit, 30 MB of empty rows
    would become gigabytes of answers.

    Raises:
        TypeError: It is neither a list nor packed rows.
        ValueError: The packed rows contradict themselves, or there are more than MOST_ROWS.
    """
    rows: Any
    if isinstance(value, list):
        rows = value
    elif isinstance(value, dict) and value.keys() == {PACKED_ROWS}:
        rows = unpack(value[PACKED_ROWS])
    else:
        message = f"{task} takes a list of rows, not {type(value).__name__}"
        raise TypeError(message)
    if len(rows) > MOST_ROWS:
        message = f"{task} takes at most {MOST_ROWS:,} rows in one message, not {len(rows):,}"
        raise ValueError(message)
    found: Sequence[Any] = rows
    return found


def unpack(block: Any) -> np.ndarray[Any, Any]:
    """Return the array of a block of packed rows. Raises ValueError that says what is wrong with the block."""
    import numpy as np

    if not isinstance(block, dict):
        raise _refused("it is not an object of dtype, shape and data")
    dtype, shape, text = block.get("dtype"), block.get("shape"), block.get("data")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _refused(f"dtype is {reprlib.repr(dtype)}, not one of {', '.join(_DTYPES)}")
    size = _size(shape) * _ITEM_BYTES
    # The text is measured before it is decoded. Python's decoder skips characters that are not base64, so a text of
    # this length that yields this many bytes holds nothing else.
    if not isinstance(text, str) or len(text) != _length_as_base64(size):
        found = f"{len(text):,} characters" if isinstance(text, str) else "no text"
        needed = f"{_length_as_base64(size):,} characters of data"
        raise _refused(f"shape {reprlib.repr(shape)} needs {needed}, the message has {found}")
    try:
        data = binascii.a2b_base64(text)
    except ValueError as exc:  # binascii.Error is one; text that is not ASCII is another
        raise _refused(f"data is not base64: {exc}") from None
    if len(data) != size:
        raise _refused("data holds characters that are not base64")
    array: np.ndarray[Any, Any] = np.frombuffer(data, dtype).reshape(shape)
    return array


def _size(shape: Any) -> int:
    """Return the product of a shape. Raises ValueError for what is no shape of rows.

    A shape of which one number is 0 needs no bytes at all, whatever its other numbers are: [10**15, 0] would be rows
    without end. Therefore only the number of rows may be 0.
    """
    if not isinstance(shape, (list, tuple)) or not 1 <= len(shape) <= _MOST_DIMENSIONS:
        raise _refused(f"shape is {reprlib.repr(shape)}, not a list of 1 to {_MOST_DIMENSIONS} whole numbers")
    for place, number in enumerate(shape):
        if type(number) is not int or not (0 if place == 0 else 1) <= number <= _MOST_ITEMS:
            raise _refused(f"shape holds {reprlib.repr(number)}, not a whole number from 1 to {_MOST_ITEMS:,}")
    return math.prod(shape)


def _length_as_base64(size: int) -> int:
    return (size + 2) // 3 * 4


def _refused(why: str) -> ValueError:
    return ValueError(f"{PACKED_ROWS}: {why}")
