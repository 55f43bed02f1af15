"""Which folders send commands to Redis."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from redis.commands import CoreCommands

import mlq

HOUSE: Final = Path(mlq.__file__).parent
FILES: Final = sorted(
    str(path)
    for path in (path.relative_to(HOUSE) for path in HOUSE.rglob("*.py"))
    if path.parts[0] not in {"store", "broker"}
)

COMMANDS: Final = ({name for name in dir(CoreCommands) if not name.startswith("_")} - {"append"}) | {
    *("pipeline", "pubsub", "execute_command", "default_channel")
}
"""Methods of a Redis client, without the one that a list has, too; and kombu's attribute that leads to a client."""

CLIENTS: Final = {"redis", "store", "results", "client", "pipe"}
"""Names of variables that hold a Redis client: every command is found there, and elsewhere those of a distinct name."""

DISTINCT: Final = re.compile(
    r"[hxz][a-z]+|[blr]+(push|pop|range|len)|s(add|rem|members)|execute_command|default_channel"
)
"""Names of commands that no method of another class has."""


def redis_commands(path: Path) -> Iterator[str]:
    """Find the places where a file sends a command to Redis. A subclass of a client may call its base class."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in COMMANDS:
            receiver = ast.unparse(node.value)
            holds_a_client = receiver.rpartition(".")[2].lstrip("_") in CLIENTS
            if receiver != "super()" and (holds_a_client or DISTINCT.fullmatch(node.attr)):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_redis_commands_are_sent_in_the_store_and_the_broker_only(path: str) -> None:
    """A reader finds everything that is in Redis in one folder; other folders call its functions with a client."""
    assert list(redis_commands(HOUSE / path)) == []
