"""Packed rows: rows of numbers with one shape as one block in the JSON message, three times faster than lists."""

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
"""The dtypes that numpy chooses for JSON numbers, and the Python type that all numbers must have to stay unchanged."""

_LARGEST_BYTES: Final = 12 * 1024 * 1024
"""Bytes of the array. Small numbers are shorter as text, so a message near the size limit could exceed it packed."""

MOST_ROWS: Final = 65_536
"""Rows in one message, packed or not."""

_ITEM_BYTES: Final = 8
"""Bytes of one number in each of these dtypes."""

_MOST_DIMENSIONS: Final = 32
"""Dimensions that every version of numpy supports."""

_MOST_ITEMS: Final = 2**32
"""More than any message has bytes. The limit keeps the product of a hostile shape a small number."""


def pack(rows: Sequence[Any]) -> Any:
    """Pack rows if they are numbers of one shape and one Python type; otherwise return them unchanged.

    An array would convert mixed integers, floats and booleans to one type: a large id would change, and an index would
    become 3.0. numpy also converts integers to floats if they fit neither int64 nor uint64 together.
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

    A client chooses every number in it. So no number determines an allocation before it is checked against the bytes of
    the message, and the number of rows has a limit, because each row gets a result: without a limit, 30 MB of empty
    rows would become gigabytes of results.

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
    # The length is checked before decoding. Python's decoder skips characters that are not base64, so a text of this
    # length that decodes to this many bytes contains nothing else.
    if not isinstance(text, str) or len(text) != _length_as_base64(size):
        found = f"{len(text):,} characters" if isinstance(text, str) else "no text"
        needed = f"{_length_as_base64(size):,} characters of data"
        raise _refused(f"shape {reprlib.repr(shape)} needs {needed}, the message has {found}")
    try:
        data = binascii.a2b_base64(text)
    except ValueError as exc:  # binascii.Error, or text that is not ASCII
        raise _refused(f"data is not base64: {exc}") from None
    if len(data) != size:
        raise _refused("data holds characters that are not base64")
    array: np.ndarray[Any, Any] = np.frombuffer(data, dtype).reshape(shape)
    return array


def _size(shape: Any) -> int:
    """Return the product of a shape. Raises ValueError if it is not a shape of rows.

    A shape with a 0 needs no bytes at all: [10**15, 0] would be 10**15 empty rows. Therefore only the number of rows
    may be 0.
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
