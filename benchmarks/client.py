"""What every contender's producer can do here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

PATIENCE_S: Final = 300.0


class Backlog(Protocol):
    """Single-row messages that are published, and that the worker cannot see yet."""

    def release(self) -> None:
        """Let the worker at them, all at once."""

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for the last answer; tell whether it came."""


class Client(Protocol):
    """A producer as its users write one."""

    def ask(self, row: Any) -> Any:
        """Submit one row and wait for its answer."""

    def fill(self, rows: Sequence[Any]) -> Backlog:
        """Publish single rows."""

    def close(self) -> None:
        """Give back its connections, while there is a server to give them back to."""
