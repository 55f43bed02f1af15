"""Dead letters: messages that are not run any more, kept with the reason until an operator requeues or drops them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script, Word
from mlq.protocol import keys
from mlq.protocol.keys import queue_of
from mlq.protocol.message import Claim, ClaimLost
from mlq.protocol.result import Answer
from mlq.store.claims.completion import answer_words, database

if TYPE_CHECKING:
    from redis import Redis

_PAGE: Final = 100
_NAMES: Final = 5000
"""Dead letters, and ids of dead letters, that are read in one step."""

_dead_letter: Final = Script("messages/dead_letter")
_requeue: Final = Script("messages/requeue")
_drop: Final = Script("messages/drop_letter")
_answer_letter: Final = Script("messages/answer_letter")


def _run_dead_letter(
    redis: Redis, *, claims: str, claim_id: str, answer: Sequence[Word], fields: Mapping[str, str]
) -> int:
    script_keys = [claims, keys.CRASHES, keys.DEAD, keys.dead_letter(claim_id), keys.DEAD_BYTES]
    pairs = [word for pair in fields.items() for word in pair]
    return int(_dead_letter(redis, script_keys, [claim_id, *answer, *pairs]))


def _run_requeue(redis: Redis, *, letter_id: str, database: int, result_database: int, result_key: str) -> bool:
    script_keys = [keys.DEAD, keys.dead_letter(letter_id), keys.DEAD_BYTES]
    return bool(_requeue(redis, script_keys, [letter_id, database, result_database, result_key]))


def _run_drop(redis: Redis, *, letter_id: str) -> bool:
    return bool(_drop(redis, [keys.DEAD, keys.dead_letter(letter_id), keys.DEAD_BYTES], [letter_id]))


def _run_answer_letter(redis: Redis, *, letter_id: str, answer: Sequence[Word]) -> bool:
    return bool(_answer_letter(redis, [keys.dead_letter(letter_id)], answer))


@dataclass(frozen=True)
class DeadLettered:
    """The message is a dead letter now."""

    id: str
    """The id of the message's last claim."""

    dropped: int = 0
    """Number of older dead letters that were dropped to make room."""


@dataclass(frozen=True)
class Answered:
    """The failure of the dead letter's task is stored for its client."""


@dataclass(frozen=True)
class Requeued:
    """The message waits in its queue again."""


@dataclass(frozen=True)
class ResultKey:
    """The key of a task's result on the broker's server; `db` None is the broker's own database."""

    key: str
    db: int | None = None


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter: the message, and why it is not run any more."""

    id: str
    queue_key: str
    """The Redis list from which the message came."""

    raw: bytes
    """The message as its sender wrote it, or its beginning and its end if it was too large to keep."""

    crashes: int
    """Crashes that the message is blamed for."""

    claimed_at_ms: int
    dead_lettered_at_ms: int
    """Time of dead-lettering."""

    circumstances: Mapping[str, str] = field(default_factory=dict)
    """The reason, and what is known of signal, exit code, host, device and task."""

    size: int | None = None
    """Bytes of the whole message, if it is not kept whole."""

    @property
    def is_whole(self) -> bool:
        """True if `raw` is the whole message."""
        return self.size is None

    @property
    def reason(self) -> str:
        """Why the message was dead-lettered: one of the reasons in docs/dead-letters.md."""
        return self.circumstances.get("reason", "unknown")

    @property
    def queue(self) -> str:
        """The queue from which the message came."""
        return queue_of(self.queue_key)

    @property
    def deliveries(self) -> int:
        """Number of workers that are known to have had the message."""
        return max(1, self.crashes)


class DeadLetters:
    """All dead letters: permanent within the limits of letter.lua and dead_letter.lua, and never dropped silently."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def dead_letter(
        self, wid: str, claim: Claim, circumstances: Mapping[str, str], failure: Answer | None = None
    ) -> DeadLettered | ClaimLost:
        """Move a worker's claim to the dead letters; with `failure`, store the task's failure in the same step."""
        reply = _run_dead_letter(
            self._redis,
            claims=keys.claims(wid),
            claim_id=claim.id,
            answer=answer_words(self._redis, failure),
            fields={**circumstances, "answered": "1"} if failure else circumstances,
        )
        return DeadLettered(claim.id, reply - 1) if reply else ClaimLost()

    def answer(self, letter_id: str, failure: Answer) -> Answered | ClaimLost:
        """Store the failure of a message that `Leases.reap` has dead-lettered, unless it is stored already."""
        answer = answer_words(self._redis, failure)
        return Answered() if _run_answer_letter(self._redis, letter_id=letter_id, answer=answer) else ClaimLost()

    def unanswered(self, most: int = _PAGE) -> list[str]:
        """Return ids of dead letters from a reaper whose tasks may have no result yet, up to `most`."""
        return [letter.decode() for letter in cast("list[bytes]", self._redis.srandmember(keys.UNANSWERED, most))]

    def settle(self, letter_id: str) -> None:
        """Record that the task of a dead letter has its result, or cannot get one."""
        self._redis.srem(keys.UNANSWERED, letter_id)

    def read(self, letter_id: str) -> DeadLetter | None:
        """Read one dead letter; None if there is none with this id."""
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(keys.dead_letter(letter_id)))
        return _letter(letter_id, fields) if fields else None

    def ids(self) -> list[str]:
        """Return the ids of all dead letters, the oldest first, read in pages that block the server only briefly."""
        found: dict[str, None] = {}
        since, most = "-inf", _NAMES
        while True:
            # The next page begins at the time of the last id, because others may have the same millisecond.
            page = cast("list[tuple[bytes, float]]", self._page(since, most))
            before = len(found)
            found.update((letter.decode(), None) for letter, _ in page)
            if len(page) < most:
                return list(found)
            # If a whole page has one millisecond, the next page must be larger, or the loop would not end.
            since, most = repr(page[-1][1]), _NAMES if len(found) > before else 2 * most

    def _page(self, since: str, most: int) -> object:
        return self._redis.zrangebyscore(keys.DEAD, since, "+inf", start=0, num=most, withscores=True)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield all dead letters, the oldest first, in pages, because all of them may not fit into memory."""
        ids = self.ids()
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            with self._redis.pipeline(transaction=False) as pipe:
                for letter_id in page:
                    pipe.hgetall(keys.dead_letter(letter_id))
                found = pipe.execute()
            yield from (_letter(i, fields) for i, fields in zip(page, found, strict=True) if fields)

    def requeue(self, letter_id: str, result: ResultKey | None) -> Requeued | ClaimLost:
        """Put a dead letter back on its queue and delete its stored failure; `ClaimLost` if the letter is gone."""
        here = database(self._redis)
        there, key = (here, "") if result is None else (here if result.db is None else result.db, result.key)
        done = _run_requeue(self._redis, letter_id=letter_id, database=here, result_database=there, result_key=key)
        return Requeued() if done else ClaimLost()

    def drop(self, letter_id: str) -> bool:
        """Delete a dead letter; False if it was gone."""
        return _run_drop(self._redis, letter_id=letter_id)


def _letter(letter_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    known = dict(fields)
    known.pop(b"kept", None)
    return DeadLetter(
        id=letter_id,
        queue_key=known.pop(b"queue_key").decode(),
        raw=known.pop(b"raw"),
        crashes=int(known.pop(b"crashes")),
        claimed_at_ms=int(known.pop(b"claimed_at_ms")),
        dead_lettered_at_ms=int(known.pop(b"buried_at_ms")),
        size=int(known.pop(b"bytes", 0)) or None,
        circumstances={name.decode(): value.decode() for name, value in known.items()},
    )
