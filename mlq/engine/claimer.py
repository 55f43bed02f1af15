"""Intake: a thread that claims and decodes the next batch, also while the device computes the present one.

One batch is staged, no more. Whoever runs the batches says when another may be claimed (`allow`): a worker that is
busy for long would otherwise sit on messages that an idle one could answer at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis.exceptions import RedisError

from mlq.broker.key_types import Misplaced
from mlq.broker.reply_size import ReplySize
from mlq.engine.doorbell import Doorbell
from mlq.engine.ledger import Ledger
from mlq.engine.rejection import Rejection
from mlq.protocol.claim import Claim
from mlq.protocol.message import Malformed, Message, decode
from mlq.protocol.names import ROWS_HEADER
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, LeaseLost, QueueEmpty

_EVERY_S: Final = 60.0

log = logging.getLogger("mlq.intake")


class MisplacedKeys:
    """What the latest claim had to do without. `describe` looks at a key; None if it is as it ought to be."""

    def __init__(
        self, describe: Callable[[str], Misplaced | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._said_at: dict[str, float] = {}
        self.names: frozenset[str] = frozenset()

    def note(self, names: Sequence[str]) -> None:
        """Take what a claim named, and log what is new or was logged a minute ago."""
        if not names and not self.names:
            return
        for name in self.names.difference(names):
            log.info("the key %r is repaired", name)
            self._said_at.pop(name, None)
        self.names = frozenset(names)
        for name in sorted(self.names):
            if self._clock() - self._said_at.get(name, -_EVERY_S) >= _EVERY_S:
                self._say(name)

    def _say(self, name: str) -> None:
        try:
            found = self._describe(name)
        except (RedisError, OSError):  # said with a later claim
            return
        self._said_at[name] = self._clock()
        if found is not None:
            log.error("%s, and this worker goes on without it; %s", found.sentence, found.repair)


_AWAY_PAUSE_S: Final = 0.25
_FIRST_PUT_OFF_S: Final = 0.05
_LONGEST_PUT_OFF_S: Final = 2.0
_REST_S: Final = 0.005
_LONG_REST_S: Final = 0.1
_EARLY_S: Final = 0.05
"""A message whose time comes within this is run now: clocks of senders differ by more."""

log = logging.getLogger("mlq.intake")


@dataclass(frozen=True)
class Batch:
    """Messages claimed together, decoded, in the order in which they are to be served."""

    messages: tuple[Message, ...]

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died with this message: then nothing may be claimed while it runs."""
        return any(m.claim.is_suspect for m in self.messages)


class Claimer(threading.Thread):
    """Fills the stage. `order` says how queues are to be served; `wake` is called when something is staged.

    Rows that are not a whole batch may wait for others, as long as the room says. By default they do not, since those
    that come while the device computes are the next batch anyway.
    """

    def __init__(
        self,
        claims: Claims,
        ledger: Ledger,
        doorbell: Doorbell,
        aside: Rejection,
        room: ClaimLimit,
        *,
        order: Callable[[], Sequence[str]],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(name="mlq-intake", daemon=True)
        self._claims = claims
        self._ledger = ledger
        self._doorbell = doorbell
        self._aside = aside
        self._room = room
        self._size = ReplySize(room.rows)
        self._batch_rows = 1
        self._misplaced = MisplacedKeys(claims.describe_key)
        self._order = order
        self._wake = wake
        # Serializes claims: what one call has taken must be in the ledger before the next says what is held, or
        # Redis would hand the same messages out twice, as a reply that got lost.
        self._claiming = threading.Lock()
        self._changed = threading.Condition()
        self._staged: Batch | None = None
        self._allowed = True
        self._rest_s = _REST_S
        self._not_before = 0.0
        self.put_off_s = 0.0
        self._ended = False
        self._away = False
        self.fenced = False
        self.broken = False

    def take(self) -> Batch | None:
        """Take what is staged; nothing more is claimed until `allow`."""
        with self._changed:
            batch, self._staged = self._staged, None
            if batch is not None:
                self._allowed = False
            return batch

    @property
    def waiting(self) -> bool:
        """Whether a batch is staged."""
        return self._staged is not None

    def allow(self) -> None:
        """Let the next batch be claimed."""
        with self._changed:
            self._allowed = True
            self._rest_s = _REST_S
            self._changed.notify()

    def put_off(self) -> None:
        """Claim nothing for a while, for longer with every call: what is handed out again would fail again."""
        with self._changed:
            self.put_off_s = min(max(_FIRST_PUT_OFF_S, 2 * self.put_off_s), _LONGEST_PUT_OFF_S)
            self._not_before = time.monotonic() + self.put_off_s

    def urgent(self, queues: Sequence[str]) -> tuple[Message, ...]:
        """Claim what waits on these queues now, for the caller's own thread, between two forwards of a long message.

        Raises redis.RedisError.
        """
        got = self._claim(queues)
        return self._sorted(got.claims) if isinstance(got, Claimed) else ()

    def end(self) -> None:
        """Claim nothing more. When this returns no claim is under way, and none will be."""
        with self._claiming, self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Claim whenever it is allowed and the stage is empty, until `end` or fenced."""
        try:
            while self._may_claim():
                self._step_or_wait()
        except Exception:
            if not self._ended:  # at the end connections are closed under our feet
                log.exception("the intake failed; this worker ends")
                self.broken = True
                self._wake()
        finally:
            self._doorbell.close()

    def _step_or_wait(self) -> None:
        try:
            self._step()
        except (RedisError, OSError) as exc:
            if self._ended:
                return
            # Redis is away, or starts: what is claimed stays claimed, and nothing is lost by waiting.
            if not self._away:
                log.warning("cannot take work, trying again until it can: %s", self._claims.explain(exc))
            self._away = True
            self._doorbell.close()
            time.sleep(_AWAY_PAUSE_S)
        else:
            if self._away:
                log.info("taking work again")
            self._away = False

    def _may_claim(self) -> bool:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._ended or (self._allowed and self._staged is None))
                left_s = self._not_before - time.monotonic()
                if self._ended or left_s <= 0:
                    break
                self._changed.wait(left_s)
            return not self._ended and not self.fenced

    def _step(self) -> None:
        self._aside.server_clock.refresh()
        self._aside.move_due()
        holding = self._ledger.holding
        match self._claim(self._order()):
            case Claimed(claims):
                self._stage(Batch(self._filled(self._sorted(claims))))
            case QueueEmpty(watch) if not holding:
                self._doorbell.wait(watch=watch, seconds=self._aside.next_due_s())
            case QueueEmpty():
                # Something is in our hands, so we are not idle and were not asked to watch: look again when it
                # is recorded. To wait at the bell now could mean that nobody watches.
                self._rest()
            case LeaseLost():
                self.fenced = True
                self._wake()
            case None:
                return

    def _filled(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Wait for rows that are still missing in a batch, but no longer than was said.

        Whatever ends the wait, what is here already is staged, or given back with all that this worker holds.
        """
        deadline = time.monotonic() + self._room.wait_s
        while (missing := self._missing(messages)) and not self._ended:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            try:
                left_bytes = self._room.bytes - sum(len(m.claim.raw) for m in messages)
                if left_bytes <= 0:
                    break
                got = self._claim(self._order(), replace(self._room, rows=missing, bytes=left_bytes))
                more = self._sorted(got.claims) if isinstance(got, Claimed) else ()
            except (RedisError, OSError) as exc:
                log.warning("no more rows can be waited for: %s", exc)
                break
            messages += more
            if not more:
                time.sleep(min(_REST_S, left_s))
        return messages

    def _missing(self, messages: Sequence[Message]) -> int:
        """Count the rows that would still fit; 0 where one of the messages runs by itself, and should not wait."""
        if not self._room.wait_s or not messages:
            return 0
        if any(m.claim.is_suspect or m.task not in self._claims.together for m in messages):
            return 0
        return max(0, self._room.rows - sum(map(_rows_in, messages)))

    def _claim(self, order: Sequence[str], room: ClaimLimit | None = None) -> Claimed | QueueEmpty | LeaseLost | None:
        with self._claiming:
            if self._ended:
                return None
            got = self._ask(room or self._room, order)
            if isinstance(got, Claimed):
                self._ledger.take(got.claims)
        if isinstance(got, Claimed | QueueEmpty):
            self._misplaced.note(got.misplaced)
            self._doorbell.misplaced = self._misplaced.names
        return got

    def _ask(self, room: ClaimLimit, order: Sequence[str]) -> Claimed | QueueEmpty | LeaseLost:
        """Claim, or raise; of what the server cannot send less is asked for, and one message too large is buried."""
        fitting = room
        if self._batch_rows > 1:
            fitting = replace(fitting, batch_rows=self._batch_rows)
        if self._size.is_reduced:
            fitting = replace(fitting, rows=self._size.of(fitting.rows), bytes=self._size.of(room.bytes))
        holding = self._ledger.holding
        try:
            got = self._claims.claim(fitting, holding=holding, order=order)
        except RedisError as exc:
            if self._size.failed(exc):
                self._aside.dead_letter_unsendable(holding)
            raise
        self._size.fitted()
        return got

    def _rest(self) -> None:
        """Wait until the running batch is done, which is when `allow` is called, or just a moment; ever longer ones.

        What is held may only wait, for its task's rate limit: nothing is running then, and no `allow` will come soon.
        """
        with self._changed:
            self._changed.wait(timeout=self._rest_s)
            self._rest_s = min(2 * self._rest_s, _LONG_REST_S)

    def _stage(self, batch: Batch) -> None:
        if not batch.messages:
            return
        with self._changed:
            self._staged = batch
        self._wake()

    def _sorted(self, claims: Sequence[Claim]) -> tuple[Message, ...]:
        """Give what is to be run; if Redis fails meanwhile, forget all of it.

        It is still filed under this worker, and handed out again as soon as nobody here claims to hold it.
        """
        try:
            return tuple(self._usable(claims))
        except BaseException:
            self._ledger.drop(claims)
            raise

    def _usable(self, claims: Sequence[Claim]) -> Iterator[Message]:
        """Decode; set aside what cannot or must not run now, and give back what is more than a batch."""
        rows = 0
        now = self._aside.server_clock.now()
        for index, claim in enumerate(claims):
            decoded = decode(claim)
            if isinstance(decoded, Malformed):
                self._aside.dead_letter(decoded)
                continue
            if decoded.place is not None and not self._aside.vouches(decoded.place):
                decoded = replace(decoded, place=None)
            if decoded.eta is not None and (wait_s := decoded.eta.timestamp() - now) > _EARLY_S:
                self._aside.delay(decoded, decoded.eta.timestamp(), wait_s)
                continue
            rows += _rows_in(decoded)
            yield decoded
            self._learn(decoded)
            # The script does not decode messages, so it can only guess how many rows a stock client's message has.
            if rows >= self._room.rows and index + 1 < len(claims):
                self._aside.give_back(claims[index + 1 :])
                return

    def _learn(self, message: Message) -> None:
        """Let the next claim count as many rows for a stock client's batch as this one has.

        Without it a backlog of such messages of 256 rows was claimed 64 at a time, and 63 of them were given back.
        """
        if _is_batch(message) and ROWS_HEADER not in message.headers:
            self._batch_rows = max(1, _rows_in(message))


def _is_batch(message: Message) -> bool:
    return message.task.endswith("batch_predict")


def _rows_in(message: Message) -> int:
    """Count the rows that a message seems to bring; a task of the user's own counts as one."""
    first = message.args[0] if message.args else next(iter(message.kwargs.values()), None)
    said = message.headers.get(ROWS_HEADER)
    if isinstance(said, int):
        return said
    return len(first) if _is_batch(message) and isinstance(first, list) else 1
