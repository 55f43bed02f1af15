"""The parsers of settings: each turns a value from a file, the environment or a flag into the setting's type.

A parser takes any value, and raises ValueError or TypeError with a text that ends the user's error message.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from mlq.protocol import reserved_names
from mlq.protocol.names import BATCH_PREDICT, PREDICT
from mlq.settings import server_url


def text(value: Any) -> str:
    """Accept a text that is not empty and holds no NUL, so that it can be an argument of a command."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected a text")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    """Make a parser that accepts these words only."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"expected {' or '.join(choices)}")
        return cast("str", value)

    return parse


def broker_url(value: Any) -> str:
    """Accept the URL of a broker: Redis, Valkey or RabbitMQ."""
    return _url(value, (*server_url.REDIS, "amqp", "amqps"))


def redis_url(value: Any) -> str:
    """Accept the URL of a Redis or Valkey server."""
    return _url(value, ("redis", "rediss", "redis+socket"))


def result_backend(value: Any) -> str:
    """Accept the URL of any store that Celery supports, or the word none."""
    if text(value).partition("://")[0] in server_url.REDIS:
        return _url(value, server_url.REDIS)
    urlsplit(value)  # raises ValueError for a malformed URL; the options of other stores are not checked
    return cast("str", value)


def _url(value: Any, schemes: tuple[str, ...]) -> str:
    if text(value).partition("://")[0] not in schemes or "://" not in value:
        raise ValueError(f"expected a URL that starts with {', '.join(s + '://' for s in schemes)}")
    server_url.read(value)
    return cast("str", value)


def names(value: Any) -> tuple[str, ...]:
    """Accept a list of different names, or a text in which commas separate them."""
    found = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(n, str) and n for n in found):
        raise ValueError("expected names, separated by commas")
    if not all(n.isprintable() for n in found):
        raise ValueError("a name holds control characters, or is not UTF-8")
    if len(set(found)) != len(found):
        raise ValueError("a name is given twice")
    return tuple(found)


def queue_names(value: Any) -> tuple[str, ...]:
    """Accept a list of queues: names that mlq, kombu and Celery do not use for keys of their own."""
    found = names(value)
    misfit = next(filter(reserved_names.is_reserved, found), None)
    if misfit is not None:
        raise ValueError(f"{misfit!r} cannot be the name of a queue: {reserved_names.why_not_a_queue(misfit)}")
    return found


_LONGEST_S: Final = 1e9
"""About 30 years. Clocks of the operating system overflow at times that are not much longer."""

_LARGEST_COUNT: Final = 10**9

_SPANS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(ms|[smhdw])\s*")


def duration(value: Any, least_s: float = 0.0) -> float:
    """Accept a duration: a number of seconds, or a number with a unit, such as 90s, 5m, 2h, 1d or 500ms.

    Args:
        value: The number or the text.
        least_s: The shortest duration that is accepted, in seconds.

    Returns:
        The duration in seconds.
    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    number = _number(value) if found is None else float(found[1]) * _SPANS[found[2]]
    if not least_s <= number <= _LONGEST_S:
        raise _not_a_duration(f"from {least_s:g} to {_LONGEST_S:g} seconds")
    return number


def positive_duration(value: Any) -> float:
    """Accept a duration above 0; return it in seconds."""
    number = duration(value)
    if number == 0:
        raise _not_a_duration("above 0")
    return number


def whole_seconds(value: Any) -> int:
    """Accept a duration of at least 1 second that is a whole number of seconds."""
    number = duration(value, 1.0)
    if not number.is_integer():
        raise _not_a_duration("in whole seconds")
    return int(number)


def _not_a_duration(bound: str) -> ValueError:
    return ValueError(f"expected a duration {bound}, such as 300, 90s, 5m, 2h or 1d")


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # an integer in TOML may have any size
        return math.nan


def count(value: Any) -> int:
    """Accept a whole number from 1 on."""
    try:
        number = 0 if isinstance(value, (bool, float)) else int(value)
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= _LARGEST_COUNT:
        raise ValueError(f"expected a whole number from 1 to {_LARGEST_COUNT:,}")
    return number


_UNITS: Final = {
    "": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "tb": 10**12,
}  # fmt: skip


def size(value: Any) -> int:
    """Accept a size above 0: a number of bytes, or a number with a unit, such as 512MiB, 4GiB or 4GB (decimal)."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS or float(found[1]) == 0:
        raise ValueError("expected a size above 0 bytes, such as 1048576, 512MiB, 4GiB or 4GB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


SPELLINGS: Final[Mapping[Callable[[Any], Any], str]] = {
    **dict.fromkeys((duration, positive_duration, whole_seconds), "or as 5m, 2h"),
    size: "or as 512MiB, 4GiB",
}
"""Parser → other ways to write a value, for the help of options."""


def moment(text: str, now: float) -> float:
    """Read a time in the past, and return it in seconds since 1970.

    Args:
        text: A duration before `now` (90s, 2h, 3d), or a time in ISO 8601, which is local time without an offset.
        now: The present time, in seconds since 1970.
    """
    found = _DURATION.fullmatch(text)
    if found is not None:
        return now - float(found[1]) * _SPANS[found[2]]
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise ValueError("expected how long ago, such as 2h, or a time, such as 2026-11-20T12:00Z") from None


def table(value: Any) -> Mapping[str, Any]:
    """Accept a table, or a text with a JSON object, which is how the environment writes a table."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TypeError("expected a table (in the environment: a JSON object)")
    return found


_OPTIONS_OF_A_QUEUE: Final = ("arguments",)
_MOST_PRIORITIES: Final = 255


def queue_options(value: Any) -> Mapping[str, Mapping[str, Any]]:
    """Accept a table of queues and their options: {"realtime": {"arguments": {"x-max-priority": 10}}}."""
    found = table(value)
    for queue, options in found.items():
        if not isinstance(options, dict):
            raise TypeError(f"expected a table of options for the queue {queue!r}")
        for option in options:
            if option not in _OPTIONS_OF_A_QUEUE:
                raise ValueError(f"a queue has no option {option!r}; did you mean 'arguments'?")
        _check_arguments(queue, table(options.get("arguments", {})))
    return found


def _check_arguments(queue: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments that RabbitMQ would refuse, or that make a queue that workers cannot serve."""
    for name, given in arguments.items():
        if not isinstance(given, (str, int, float)):
            raise TypeError(f"argument {name!r} of the queue {queue!r} is not a text, a number, true or false")
    kind, priorities = arguments.get("x-queue-type", "classic"), arguments.get("x-max-priority")
    if kind not in ("classic", "quorum"):
        raise ValueError(f"x-queue-type of the queue {queue!r} is {kind!r}; workers serve classic and quorum queues")
    if priorities is None:
        return
    if kind == "quorum":
        raise ValueError(f"the queue {queue!r} is a quorum queue, which takes no x-max-priority; leave one of them out")
    if isinstance(priorities, bool) or not isinstance(priorities, int) or not 1 <= priorities <= _MOST_PRIORITIES:
        raise ValueError(f"x-max-priority of the queue {queue!r} is not a whole number from 1 to {_MOST_PRIORITIES}")


def aliases(value: Any) -> Mapping[str, str]:
    """Accept a table of other task names and the task of mlq that each stands for."""
    found = table(value)
    for ours in found.values():
        one_of(PREDICT, BATCH_PREDICT)(ours)
    return found


def shares(value: Any) -> Mapping[str, float]:
    """Accept a table of queues and fractions, or a text such as batch=0.1,default=0.2."""
    if isinstance(value, str) and not value.startswith("{"):
        value = dict(part.partition("=")[::2] for part in names(value))
    found = {queue: _number(fraction) for queue, fraction in table(value).items()}
    if any(not 0 < fraction < 1 for fraction in found.values()) or sum(found.values()) >= 1:
        raise ValueError("expected fractions above 0 whose sum is below 1, such as batch=0.1")
    return found


def path(value: Any) -> Path:
    """Accept a path; ~ is the user's home."""
    try:
        return Path(text(value)).expanduser().absolute()
    except (RuntimeError, OSError):  # there is no home directory, or no working directory
        raise ValueError("expected an absolute path: there is no home directory, or no working directory") from None
