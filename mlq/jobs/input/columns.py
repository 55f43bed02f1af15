"""Columns: Arrow's arrays as values that JSON can hold, in the forms that docs/jobs.md lists.

Times and durations are written from their integers: Python's own types end at microseconds and the year 9999, and
need a database of time zones. So the form depends neither on pandas nor on what is installed.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (counted from, never shown as local time)
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SECOND: Final = 10**9
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Unfit:
    """A value that JSON cannot hold, or that contains one."""

    reason: str


_NAMELESS: Final = {
    written: Unfit(f"{name}, which JSON cannot hold")
    for written, name in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity"))
}

Decoded = tuple[list[Any], bool]
"""The values of an array, and whether any of them is Unfit."""


def decode(array: Any) -> Decoded:  # noqa: PLR0911 (a line for each kind of type)
    """Return the values of an array of any type that Parquet stores."""
    import pyarrow as pa
    from pyarrow import types

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        is_uuid = getattr(kind, "extension_name", "") == "arrow.uuid"
        return _each(array.storage, _uuid) if is_uuid else decode(array.storage)
    if types.is_dictionary(kind):
        return decode(array.dictionary_decode())
    if types.is_nested(kind):
        return _nested(array)
    if types.is_floating(kind):
        return _floats(array)
    if _is_text(kind):
        return _texts(array)
    if _is_binary(kind):
        return _each(array, lambda raw: base64.b64encode(raw).decode("ascii"))
    if types.is_decimal(kind):
        return _each(array, lambda number: format(number, "f"))
    if types.is_temporal(kind):
        return _temporal(array)
    return array.to_pylist(), False


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return any(
        is_kind(kind)
        for name in ("is_string", "is_large_string", "is_string_view")
        if (is_kind := getattr(types, name, None)) is not None  # views came with later versions of pyarrow
    )


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return any(
        is_kind(kind)
        for name in ("is_binary", "is_large_binary", "is_fixed_size_binary", "is_binary_view")
        if (is_kind := getattr(types, name, None)) is not None
    )


def _each(array: Any, write: Callable[[Any], Any]) -> Decoded:
    """Convert each value that is not null."""
    found = [None if value is None else write(value) for value in array.to_pylist()]
    return found, any(isinstance(value, Unfit) for value in found)


def _floats(array: Any) -> Decoded:
    found = array.to_pylist()
    if all(value is None or math.isfinite(value) for value in found):
        return found, False
    return [v if v is None or math.isfinite(v) else _NAMELESS[str(v)] for v in found], True


def _texts(array: Any) -> Decoded:
    try:
        return array.to_pylist(), False
    except UnicodeDecodeError:
        import pyarrow as pa

        return _each(array.cast(pa.large_binary()), _text)


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        return Unfit(f"byte {exc.start + 1} (0x{raw[exc.start]:02x}) is not UTF-8")


def _temporal(array: Any) -> Decoded:
    import pyarrow as pa
    from pyarrow import types

    kind = array.type
    if types.is_date(kind):
        per_day = _DAY_MS if types.is_date64(kind) else 1
        return _each(_integers(array), lambda number: _date(number // per_day))
    if types.is_interval(kind):
        return [Unfit(f"a {kind} has no form in JSON") if v.is_valid else None for v in array], True
    unit = _NANOSECONDS[kind.unit]
    if types.is_duration(kind):
        return _each(_integers(array), lambda number: _duration(number * unit))
    if types.is_time(kind):
        return _each(_integers(array), lambda number: _clock(number * unit))
    zone = "Z" if isinstance(kind, pa.TimestampType) and kind.tz is not None else ""
    return _each(_integers(array), lambda number: _timestamp(number * unit, zone))


def _integers(array: Any) -> Any:
    import pyarrow as pa

    return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())  # noqa: PLR2004 (bits)


def _date(days: int) -> Any:
    moment = _moment(days * 86_400)
    return moment if isinstance(moment, Unfit) else moment.date().isoformat()


def _timestamp(nanoseconds: int, zone: str) -> Any:
    seconds, fraction = divmod(nanoseconds, _SECOND)
    moment = _moment(seconds)
    return moment if isinstance(moment, Unfit) else f"{moment.isoformat()}{_fraction(fraction)}{zone}"


def _clock(nanoseconds: int) -> Any:
    moment = _timestamp(nanoseconds, "")
    return moment if isinstance(moment, Unfit) else moment.partition("T")[2]


def _duration(nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), _SECOND)
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{_fraction(fraction)}S"


def _moment(seconds: int) -> datetime | Unfit:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return Unfit(f"{seconds} s since 1970 is not within the years 1 to 9999")


def _fraction(nanoseconds: int) -> str:
    """Write a fraction of a second with 6 or 9 digits, and none where it is 0."""
    if not nanoseconds:
        return ""
    return f".{nanoseconds // 1000:06}" if nanoseconds % 1000 == 0 else f".{nanoseconds:09}"


def _nested(array: Any) -> Decoded:
    import pyarrow as pa
    from pyarrow import types

    kind = array.type
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        return _maps(array)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        import pyarrow.compute as pc

        lengths = [length or 0 for length in pc.list_value_length(array).to_pylist()]
        return _lists(array, decode(array.flatten()), [0, *accumulate(lengths)])
    raise pa.ArrowNotImplementedError(f"a column of type {kind} has no form in JSON")


def _structs(array: Any) -> Decoded:
    names = [array.type.field(place).name for place in range(array.type.num_fields)]
    if len(set(names)) < len(names):
        message = f"a struct has two fields of one name: {', '.join(names)}"
        raise ValueError(message)
    columns = [decode(column) for column in array.flatten()]
    rows: Iterator[tuple[Any, ...]] = zip(*(v for v, _ in columns), strict=True) if columns else iter([()] * len(array))
    valid = array.is_valid().to_pylist()
    found = [
        dict(zip(names, row, strict=True)) if is_there else None for row, is_there in zip(rows, valid, strict=True)
    ]
    return _settled((found, any(is_unfit for _, is_unfit in columns)))


def _maps(array: Any) -> Decoded:
    """Write a map as a list of [key, value]: its keys need not be texts, nor differ."""
    ends = array.offsets.to_pylist()
    keys, items = (decode(half.slice(ends[0], ends[-1] - ends[0])) for half in (array.keys, array.items))
    pairs = [list(pair) for pair in zip(keys[0], items[0], strict=True)]
    return _lists(array, _settled((pairs, keys[1] or items[1])), [end - ends[0] for end in ends])


def _lists(array: Any, flat: Decoded, ends: Sequence[int]) -> Decoded:
    """Cut the values of all lists into those of each."""
    valid = array.is_valid().to_pylist()
    found = [flat[0][a:b] if is_there else None for (a, b), is_there in zip(pairwise(ends), valid, strict=True)]
    return _settled((found, flat[1]))


def _settled(decoded: Decoded) -> Decoded:
    """Put an Unfit in the place of everything that holds one."""
    values, is_unfit = decoded
    return ([_unfit_in(value) or value for value in values], True) if is_unfit else decoded


def _unfit_in(value: Any) -> Unfit | None:
    held: Sequence[Any] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((v for v in held if isinstance(v, Unfit)), None)
