"""The interface of every contender's producer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

PATIENCE_S: Final = 300.0


class Backlog(Protocol):
    """Published single-row messages that the worker cannot see yet."""

    def release(self) -> None:
        """Make all messages visible to the worker at once."""

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for the last answer; return whether it came."""


class Client(Protocol):
    """A producer as the contender's users write it."""

    def ask(self, row: Any) -> Any:
        """Submit one row and wait for its answer."""

    def fill(self, rows: Sequence[Any]) -> Backlog:
        """Publish single rows."""

    def close(self) -> None:
        """Close the connections while the server still runs."""
