"""DeadLetter: a message that nobody will run, kept with the reason until somebody decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from mlq import keys
from mlq.broker import answer
from mlq.broker.answer import Answer
from mlq.broker.claim import Claim, Gone
from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

_bury: Final = Script("bury")
_answer_letter: Final = Script("answer_letter")


@dataclass(frozen=True)
class Buried:
    """The message is a dead letter, whose id is that of its last claim."""

    id: str


@dataclass(frozen=True)
class Answered:
    """Whoever waits for the dead message's task has been told."""


@dataclass(frozen=True)
class DeadLetter:
    """A message as it was, and what is known of its end (reason, signal, exit code, host, device, task)."""

    id: str
    queue_key: str
    raw: bytes
    crashes: int
    claimed_at_ms: int
    buried_at_ms: int
    circumstances: Mapping[str, str] = field(default_factory=dict)


class DeadLetters:
    """All dead letters: permanent, never dropped silently."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def bury(
        self, wid: str, claim: Claim, circumstances: Mapping[str, str], failure: Answer | None = None
    ) -> Buried | Gone:
        """Move a worker's claim to the dead letters; with `failure`, its task is answered in the same step."""
        told = {"answered": "1"} if failure else {}
        pairs = [word for pair in {**circumstances, **told}.items() for word in pair]
        buried = _bury(
            self._redis,
            [keys.claims(wid), keys.CRASHES, keys.DEAD, keys.dead_letter(claim.id)],
            [claim.id, *answer.words(self._redis, failure), *pairs],
        )
        return Buried(claim.id) if buried else Gone()

    def answer(self, letter_id: str, failure: Answer) -> Answered | Gone:
        """Answer the task of a letter that `Leases.reap` has buried, unless somebody has."""
        words = answer.words(self._redis, failure)
        return Answered() if _answer_letter(self._redis, [keys.dead_letter(letter_id)], words) else Gone()

    def read(self, letter_id: str) -> DeadLetter | None:
        """Read one letter."""
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(keys.dead_letter(letter_id)))
        return _letter(letter_id, fields) if fields else None

    def ids(self) -> list[str]:
        """Name all letters, the oldest first."""
        return [letter.decode() for letter in cast("list[bytes]", self._redis.zrange(keys.DEAD, 0, -1))]


def _letter(letter_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    known = dict(fields)
    return DeadLetter(
        id=letter_id,
        queue_key=known.pop(b"queue_key").decode(),
        raw=known.pop(b"raw"),
        crashes=int(known.pop(b"crashes")),
        claimed_at_ms=int(known.pop(b"claimed_at_ms")),
        buried_at_ms=int(known.pop(b"buried_at_ms")),
        circumstances={name.decode(): value.decode() for name, value in known.items()},
    )
