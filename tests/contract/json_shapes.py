"""JSON shapes: the paths of a document with the types of their values, without the values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

Shape = dict[str, str]

_MAPS: Final = {
    "by_priority": "<priority>",
    "rate_limits": "<task>",
    "done": "<queue>",
    "circumstances": "<fact>",
    "arguments": "<argument>",
}
"""Keys of objects whose own keys are data."""

_TYPES: Final[dict[type, str]] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


def shape_of(documents: Iterable[Any]) -> Shape:
    """Return the shape of documents of one kind: every path that is in one of them, with all its types."""
    types: dict[str, set[str]] = {}
    for document in documents:
        for path, kind in _walk(document, ""):
            types.setdefault(path, set()).add(kind)
    return {path: " | ".join(sorted(kinds)) for path, kinds in types.items()}


def documents_of(output: str) -> list[Any]:
    """Return the documents that a command wrote, one per line; answers of rows are not documents."""
    found = [json.loads(line) for line in output.splitlines()]
    return [document for document in found if "schema" in document]


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if path == ".schema":
        yield path[1:], f"string: {value}"
        return
    if path:
        yield path.removeprefix("."), _TYPES[type(value)]
    if isinstance(value, dict):
        key_of_data = _MAPS.get(path.rpartition(".")[2])
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key_of_data or key}")
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, f"{path}[]")
