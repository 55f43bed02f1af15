"""DeadLetter: a message that nobody will run, kept with the reason until somebody decides about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.claim import Claim, ClaimLost
from mlq.protocol.priorities import queue_of
from mlq.protocol.result import Answer
from mlq.store.claims import stored_results

if TYPE_CHECKING:
    from redis import Redis

_PAGE: Final = 100
_NAMES: Final = 5000
"""Letters, and names of letters, that are read at once."""

_dead_letter: Final = Script("messages/dead_letter")
_requeue: Final = Script("messages/requeue")
_drop: Final = Script("messages/drop_letter")
_answer_letter: Final = Script("messages/answer_letter")


@dataclass(frozen=True)
class DeadLettered:
    """The message is a dead letter, whose id is that of its last claim. So many older ones were dropped for it."""

    id: str
    dropped: int = 0


@dataclass(frozen=True)
class Answered:
    """Whoever waits for the dead message's task has been told."""


@dataclass(frozen=True)
class Requeued:
    """The message waits in its queue again."""


@dataclass(frozen=True)
class ResultKey:
    """Where a task's result is kept on the broker's server; `db` None is the broker's own database."""

    key: str
    db: int | None = None


@dataclass(frozen=True)
class DeadLetter:
    """A message as it was, and what is known of its end (reason, signal, exit code, host, device, task).

    `size` is that of a message which is not kept whole.
    """

    id: str
    queue_key: str
    raw: bytes
    crashes: int
    claimed_at_ms: int
    buried_at_ms: int
    circumstances: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the message is kept as it was; else `raw` is its beginning and its end."""
        return self.size is None

    @property
    def reason(self) -> str:
        """Why it is dead, in a word of docs/dead-letters.md."""
        return self.circumstances.get("reason", "unknown")

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        return queue_of(self.queue_key)

    @property
    def deliveries(self) -> int:
        """How many workers had it, as far as is known."""
        return max(1, self.crashes)


class DeadLetters:
    """All dead letters: permanent, within the bounds of letter.lua and dead_letter.lua, and never dropped silently."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def dead_letter(
        self, wid: str, claim: Claim, circumstances: Mapping[str, str], failure: Answer | None = None
    ) -> DeadLettered | ClaimLost:
        """Move a worker's claim to the dead letters; with `failure`, its task is answered in the same step."""
        told = {"answered": "1"} if failure else {}
        pairs = [word for pair in {**circumstances, **told}.items() for word in pair]
        buried = _dead_letter(
            self._redis,
            [keys.claims(wid), keys.CRASHES, keys.DEAD, keys.dead_letter(claim.id), keys.DEAD_BYTES],
            [claim.id, *stored_results.words(self._redis, failure), *pairs],
        )
        return DeadLettered(claim.id, buried - 1) if buried else ClaimLost()

    def answer(self, letter_id: str, failure: Answer) -> Answered | ClaimLost:
        """Answer the task of a letter that `Leases.reap` has buried, unless somebody has."""
        words = stored_results.words(self._redis, failure)
        return Answered() if _answer_letter(self._redis, [keys.dead_letter(letter_id)], words) else ClaimLost()

    def unanswered(self, most: int = _PAGE) -> list[str]:
        """Name letters that a reaper has buried, and whose tasks nobody may have answered: some, if there are more."""
        return [letter.decode() for letter in cast("list[bytes]", self._redis.srandmember(keys.UNANSWERED, most))]

    def settle(self, letter_id: str) -> None:
        """Say that a letter's task is answered, or never will be."""
        self._redis.srem(keys.UNANSWERED, letter_id)

    def read(self, letter_id: str) -> DeadLetter | None:
        """Read one letter."""
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(keys.dead_letter(letter_id)))
        return _letter(letter_id, fields) if fields else None

    def ids(self) -> list[str]:
        """Name all letters, the oldest first; read a page at a time, since the server does nothing else meanwhile."""
        found: dict[str, None] = {}
        since, most = "-inf", _NAMES
        while True:
            # From the time of the last one on, itself included: others of the same millisecond may follow.
            page = cast("list[tuple[bytes, float]]", self._page(since, most))
            before = len(found)
            found.update((letter.decode(), None) for letter, _ in page)
            if len(page) < most:
                return list(found)
            # A page of one millisecond alone would be read for ever: the next one is larger.
            since, most = repr(page[-1][1]), _NAMES if len(found) > before else 2 * most

    def _page(self, since: str, most: int) -> object:
        return self._redis.zrangebyscore(keys.DEAD, since, "+inf", start=0, num=most, withscores=True)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Read all letters, the oldest first, a page at a time: there may be more than fit into memory."""
        ids = self.ids()
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            with self._redis.pipeline(transaction=False) as pipe:
                for letter_id in page:
                    pipe.hgetall(keys.dead_letter(letter_id))
                found = pipe.execute()
            yield from (_letter(i, fields) for i, fields in zip(page, found, strict=True) if fields)

    def requeue(self, letter_id: str, result: ResultKey | None) -> Requeued | ClaimLost:
        """Put a letter back on its queue, and take its stored failure away; `ClaimLost` if somebody else was first."""
        here = stored_results.database(self._redis)
        there, key = (here, "") if result is None else (here if result.db is None else result.db, result.key)
        done = _requeue(self._redis, _keys_of(letter_id), [letter_id, here, there, key])
        return Requeued() if done else ClaimLost()

    def drop(self, letter_id: str) -> bool:
        """Forget a letter; False if it was gone."""
        return bool(_drop(self._redis, _keys_of(letter_id), [letter_id]))


def _keys_of(letter_id: str) -> list[str]:
    return [keys.DEAD, keys.dead_letter(letter_id), keys.DEAD_BYTES]


def _letter(letter_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    known = dict(fields)
    known.pop(b"kept", None)
    return DeadLetter(
        id=letter_id,
        queue_key=known.pop(b"queue_key").decode(),
        raw=known.pop(b"raw"),
        crashes=int(known.pop(b"crashes")),
        claimed_at_ms=int(known.pop(b"claimed_at_ms")),
        buried_at_ms=int(known.pop(b"buried_at_ms")),
        size=int(known.pop(b"bytes", 0)) or None,
        circumstances={name.decode(): value.decode() for name, value in known.items()},
    )
