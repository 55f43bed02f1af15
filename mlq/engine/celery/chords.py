"""Chords: a part is counted in the step that records its end, and the end of the last part publishes the body.

Celery counts a part, publishes the body and deletes the counts before it acknowledges the part. If the worker dies in
between, a part is counted twice or the body is lost, and a client may see a body whose parts have no result yet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery import _state, states
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult
from kombu.exceptions import OperationalError
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from mlq.store.claims.completion import (
    ChordAddition,
    ChordPart,
    Completion,
    Consequences,
    chord_values,
    count_part,
    forget_chord,
    indexed_chord_values,
)

if TYPE_CHECKING:
    from mlq.engine.ledger import Ledger

_UNPLACED: Final = "+inf"
"""Score of a part that has no index in its chord."""

_POLL_S: Final = 0.02
_GIVE_UP_AFTER: Final = 600
"""Attempts, one a second, while the server of the results is away: as long as results wait for the broker."""

log = logging.getLogger("mlq.chords")


class Chords:
    """The chords whose results are kept in a Redis backend of Celery."""

    def __init__(self, backend: Any, ledger: Ledger, db: int) -> None:
        self._backend = backend
        self._ledger = ledger
        self._db = db

    def addition(self, group_id: str) -> ChordAddition:
        """Return the growth of a chord by one part."""
        return ChordAddition(self._key(group_id), self._db)

    def part(self, request: Any, state: str, result: Any) -> ChordPart:
        """Return a task that has ended, as a part of its chord."""
        backend = self._backend
        value = backend.encode([1, request.id, state, backend.encode_result(result, state)])
        task = _stack().top
        ended = None if task is None else task.request_stack.top

        def compose(part: ChordPart, completion: Completion) -> Consequences:
            body = Consequences()
            with self._ledger.collecting(body, completion), _running(task, ended):
                body.has_failed = not self._publish_body(request, part, completion)
            return body

        return ChordPart(
            key=self._key(request.group),
            db=self._db,
            task_id=request.id,
            value=_bytes(value),
            known_by=_bytes(backend.encode([1, request.id])).removesuffix(b"]"),
            index=_UNPLACED if request.group_index is None else str(request.group_index),
            is_ordered=bool(backend._chord_zset),  # noqa: SLF001 (Celery has no public name for this option)
            keep_s=int(getattr(backend, "chord_expires", backend.expires) or 0),  # Celery 5.7 has a setting for it
            keep_group_s=int(getattr(backend, "_chord_result_expires", 0) or 0),
            compose=compose,
        )

    def count_away(self, request: Any, state: str, result: Any, completion: Completion) -> ChordPart | None:
        """Count a part whose result is on another server than its claim; return the part if it is the last one.

        The body is published with the end of the claim. Until then the chord must not change.
        """
        backend, part = self._backend, self.part(request, state, result)
        if not backend.ensure(count_part, (backend.client, part), max_retries=_GIVE_UP_AFTER):
            return None
        is_published = backend.ensure(self._publish_body, (request, part, completion), max_retries=_GIVE_UP_AFTER)
        part.body = Consequences(has_failed=not is_published)
        return part

    def forget(self, part: ChordPart) -> None:
        """Delete the counts and the group of a chord that has ended."""
        self._backend.ensure(forget_chord, (self._backend.client, part))

    def _key(self, group_id: str) -> str:
        return bytes_to_str(self._backend.get_key_for_group(group_id))

    def _publish_body(self, request: Any, part: ChordPart, completion: Completion) -> bool:
        """Publish the body with the results of the parts, or fail it as Celery does; return whether it is published.

        While a server is away, this raises redis.RedisError or OSError, and the caller retries.
        """
        backend = self._backend
        callback: Any = maybe_signature(request.chord, app=backend.app)
        try:
            results = self._results(request.group, part, completion)
            try:
                callback.delay(results)
                return True  # noqa: TRY300 (an else would follow four handlers)
            except (OperationalError, RedisError, OSError) as exc:
                raise RedisConnectionError(str(exc)) from exc
            except Exception as exc:  # noqa: BLE001 (Celery fails the chord for any exception)
                log.warning(
                    "the body of chord %s cannot be published: %s",
                    request.group,
                    type(exc).__name__,
                    extra={"action": "chord_failed"},
                )
                backend.chord_error_from_stack(callback, ChordError(f"Callback error: {exc!r}"))
        except (RedisError, OSError):
            raise
        except ChordError as exc:
            log.info("chord %s fails with one of its parts", request.group, extra={"action": "chord_failed"})
            backend.chord_error_from_stack(callback, exc)
        except Exception as exc:  # noqa: BLE001 (see above)
            log.warning(
                "the parts of chord %s cannot be joined: %s",
                request.group,
                type(exc).__name__,
                extra={"action": "chord_failed"},
            )
            backend.chord_error_from_stack(callback, ChordError(f"Join error: {exc!r}"))
        return False

    def _results(self, group_id: str, part: ChordPart, completion: Completion) -> list[Any]:
        """Return the results of the parts, nested like the chord if its structure was stored. Raises ChordError."""
        backend = self._backend
        structure = GroupResult.restore(group_id, backend=backend, app=backend.app)
        if structure is not None:
            return self._joined(structure)
        unpack, decode = backend._unpack_chord_result, backend.decode  # noqa: SLF001 (Celery's format of a part)
        return [unpack(value, decode) for value in self._values(part, completion)]

    def _values(self, part: ChordPart, completion: Completion) -> list[bytes]:
        """Return the stored value of each part, including parts that end now."""
        ending = [p for c in completion.consequences() for p in c.parts if (p.db, p.key) == (part.db, part.key)]
        known = tuple(p.known_by for p in ending)
        client = self._backend.client
        if not part.is_ordered:
            kept = [value for value in chord_values(client, part) if not value.startswith(known)]
            return [*kept, *(p.value for p in ending)]
        scored = indexed_chord_values(client, part)
        found = [(score, value) for score, value in scored if not _is_ending(score, value, ending)]
        return [value for _, value in sorted([*found, *((float(p.index), p.value) for p in ending)])]

    def _joined(self, structure: Any) -> list[Any]:
        """Read the results of a stored structure. Raises ChordError."""
        backend = self._backend
        leaves = list(_leaves(structure))
        # Stock workers may count a part before its result is stored.
        wait_s = backend.app.conf.result_chord_join_timeout
        metas = dict(backend.get_many(leaves, timeout=wait_s, interval=_POLL_S)) if leaves else {}

        def value_of(node: Any) -> Any:
            if isinstance(node, GroupResult):
                return [value_of(child) for child in node.results or ()]
            meta = metas[node.id]
            if meta["status"] in states.PROPAGATE_STATES:
                message = f"Join error: {meta['result']!r}"
                raise ChordError(message)  # not the error itself, which may look like that of a server that is away
            return meta["result"]

        joined: list[Any] = value_of(structure)
        return joined


def _is_ending(score: float, value: bytes, ending: list[ChordPart]) -> bool:
    return any(float(p.index) == score and value.startswith(p.known_by) for p in ending)


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, GroupResult):
        for child in node.results or ():
            yield from _leaves(child)
    else:
        yield node.id


@contextmanager
def _running(task: Any, request: Any) -> Iterator[None]:
    """Let Celery see this task as the running one: it becomes the parent of tasks that are published inside."""
    if task is None or request is None:
        yield
        return
    _stack().push(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _stack().pop()


def _stack() -> Any:
    """Return Celery's stack of the tasks that run in this thread."""
    state: Any = _state
    return state._task_stack  # noqa: SLF001 (get_current_task reads it, too)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
