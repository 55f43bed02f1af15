"""Signatures: validation of what follows a task: callbacks, errbacks, the rest of a chain, a chord's body.

Celery builds its signature objects when the task has ended, outside of the code that catches a task's errors: an
invalid one would crash the worker, and every next worker that claims the message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_LISTS: Final = ("callbacks", "errbacks", "chain")
_CHORD: Final = "chord"
_PARTS: Final = (("task", str), ("args", list), ("kwargs", dict), ("options", dict))
_MEMBERS: Final[Mapping[str | None, tuple[str, ...]]] = {
    None: (),
    "group": ("tasks",),
    "chain": ("tasks",),
    "chord": ("header", "body"),
    "xmap": ("task",),
    "xstarmap": ("task",),
    "chunks": ("task",),
}
"""Celery's kinds of signatures, and the keyword arguments in which each holds other signatures."""


def why_refused(embed: Mapping[str, Any]) -> str | None:
    """Return which signature in the last part of a body is invalid; None if all are valid."""
    for name in _LISTS:
        links = embed.get(name)
        if links and not (isinstance(links, list) and all(map(is_signature, links))):
            return f"its {name} are not a list of signatures"
    chord = embed.get(_CHORD)
    return f"its {_CHORD} is not a signature" if chord and not is_signature(chord) else None


def is_signature(value: Any) -> bool:
    """Return True if Celery can build a signature from a value, and from each signature inside it."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), kind) for name, kind in _PARTS)
        and isinstance(value.get("subtask_type"), str | None)
        and value.get("subtask_type") in _MEMBERS
        and all(map(is_signature, _members(value)))
    )


def _members(signature: Mapping[str, Any]) -> Iterator[Any]:
    for name in _MEMBERS[signature.get("subtask_type")]:
        inner = signature["kwargs"].get(name)
        yield from inner if isinstance(inner, list) else (inner,)
