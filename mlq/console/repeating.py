"""Repeat an answer until the user has seen enough."""

from __future__ import annotations

import time
from collections.abc import Iterator


def every(seconds: float | None) -> Iterator[None]:
    """Yield once, or every `seconds` until Ctrl-C, which is how a watch ends as it should."""
    yield
    if seconds is None:
        return
    try:
        while True:
            time.sleep(seconds)
            yield
    except KeyboardInterrupt:
        return
