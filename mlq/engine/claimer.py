"""The claimer: a thread that claims and decodes the next batch while the device computes the current one.

At most one batch is staged. The engine says when another one may be claimed (`allow`): a worker that is busy for long
would otherwise hold messages that an idle worker could run at once. shares.py decides which queue comes first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from mlq.broker.key_types import Misplaced
from mlq.broker.retries import ReplySize
from mlq.engine.ledger import Ledger
from mlq.engine.rejection import Rejection
from mlq.ipc.threads import StoppableThread
from mlq.protocol.message import Claim, Malformed, Message, decode
from mlq.protocol.names import ROWS_HEADER
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, LeaseLost, QueueEmpty
from mlq.store.queues.doorbell import Doorbell

log = logging.getLogger("mlq.claimer")

_AWAY_PAUSE_S: Final = 0.25
_FIRST_PUT_OFF_S: Final = 0.05
_LONGEST_PUT_OFF_S: Final = 2.0
_REST_S: Final = 0.005
_LONG_REST_S: Final = 0.1
_EARLY_S: Final = 0.05
"""A delayed message that is due within this time is run now: the clocks of senders differ by more."""


class Claimer(StoppableThread):
    """Claims messages and stages them as a batch, in a thread of its own.

    Rows that do not fill a batch may wait for others, for up to `limit.wait_s` seconds. By default they do not wait:
    rows that arrive while the device computes are the next batch anyway.
    """

    def __init__(
        self,
        claims: Claims,
        ledger: Ledger,
        doorbell: Doorbell,
        rejection: Rejection,
        limit: ClaimLimit,
        *,
        order: Callable[[], Sequence[str]],
        wake: Callable[[], None],
    ) -> None:
        """Create the thread.

        Args:
            claims: The claims of this worker.
            ledger: Where claimed messages are noted.
            doorbell: Where this thread waits while the queues are empty.
            rejection: What becomes of messages that cannot or must not run now.
            limit: The size of a batch, and how long it may wait for more rows.
            order: Returns the queues in the order in which to serve them.
            wake: Called when a batch is staged, or when this thread cannot go on.
        """
        super().__init__("mlq-claimer")
        self._claims = claims
        self._ledger = ledger
        self._doorbell = doorbell
        self._rejection = rejection
        self._limit = limit
        self._size = ReplySize(limit.rows)
        self._batch_rows = 1
        self._misplaced = MisplacedKeys(claims.describe_key)
        self._order = order
        self._wake = wake
        # Serializes claims: messages of one call must be in the ledger before the next call says what is held.
        # Otherwise Redis would take the first reply for lost, and hand the same messages out twice.
        self._claiming = threading.Lock()
        self._changed = threading.Condition()
        self._staged: Sequence[Message] = ()
        self._allowed = True
        self._rest_s = _REST_S
        self._not_before = 0.0
        self.put_off_s = 0.0
        self._away = False
        self.fenced = False
        self.broken = False

    def take(self) -> Sequence[Message]:
        """Take the staged batch, which may be empty. After one that is not, nothing is claimed until `allow`.

        Its messages were claimed together, and are in the order in which they are to be served.
        """
        with self._changed:
            batch, self._staged = self._staged, ()
            if batch:
                self._allowed = False
            return batch

    @property
    def waiting(self) -> bool:
        """Whether a batch is staged."""
        return bool(self._staged)

    def allow(self) -> None:
        """Let the next batch be claimed."""
        with self._changed:
            self._allowed = True
            self._rest_s = _REST_S
            self._changed.notify()

    def put_off(self) -> None:
        """Claim nothing for a while, longer with each call: messages that are handed out again would fail again."""
        with self._changed:
            self.put_off_s = min(max(_FIRST_PUT_OFF_S, 2 * self.put_off_s), _LONGEST_PUT_OFF_S)
            self._not_before = time.monotonic() + self.put_off_s

    def claim_urgent(self, queues: Sequence[str]) -> tuple[Message, ...]:
        """Claim what waits on these queues now, in the caller's thread, between two forwards of a long message.

        Raises redis.RedisError.
        """
        got = self._claim(queues)
        return self._sorted(got.claims) if isinstance(got, Claimed) else ()

    def ask_to_end(self) -> None:
        """Stop claiming. When this returns, no claim is under way, and none follows."""
        with self._claiming:
            super().ask_to_end()

    def _interrupt_wait(self) -> None:
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Claim whenever it is allowed and no batch is staged, until the end is asked for or the lease is lost."""
        try:
            while self._may_claim():
                self._step_or_wait()
        except Exception:
            if not self.is_ending:  # at the end the engine closes the connections of this thread
                log.exception(
                    "messages cannot be claimed any more; this worker ends", extra={"action": "claimer_failed"}
                )
                self.broken = True
                self._wake()
        finally:
            self._doorbell.close()

    def _step_or_wait(self) -> None:
        try:
            self._step()
        except (RedisError, OSError) as exc:
            if self.is_ending:
                return
            # Redis is away or starting. Claims stay claimed, so waiting loses nothing.
            if not self._away:
                log.warning(
                    "messages cannot be claimed, trying again until they can: %s",
                    self._claims.explain(exc),
                    extra={"action": "claim_failed"},
                )
            self._away = True
            self._doorbell.close()
            time.sleep(_AWAY_PAUSE_S)
        else:
            if self._away:
                log.info("messages are claimed again", extra={"action": "claim_recovered"})
            self._away = False

    def _may_claim(self) -> bool:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self.is_ending or (self._allowed and not self._staged))
                left_s = self._not_before - time.monotonic()
                if self.is_ending or left_s <= 0:
                    break
                self._changed.wait(left_s)
            return not self.is_ending and not self.fenced

    def _step(self) -> None:
        self._rejection.server_clock.refresh()
        self._rejection.move_due()
        holding = self._ledger.holding
        match self._claim(self._order()):
            case Claimed(claims):
                self._stage(self._filled(self._sorted(claims)))
            case QueueEmpty(watch) if not holding:
                self._doorbell.wait(watch=watch, seconds=self._rejection.next_due_s())
            case QueueEmpty():
                # This worker still holds claims, so it is not idle, and Redis did not make it the watcher. It looks
                # again when they are recorded: if it waited at the bell now, there might be no watcher at all.
                self._rest()
            case LeaseLost():
                self.fenced = True
                self._wake()
            case None:
                return

    def _filled(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Claim the rows that are still missing in a batch, for up to `wait_s` seconds.

        However the wait ends, the messages claimed so far are staged, or given back with all claims of this worker.
        """
        deadline = time.monotonic() + self._limit.wait_s
        while (missing := self._missing(messages)) and not self.is_ending:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            try:
                left_bytes = self._limit.bytes - sum(len(m.claim.raw) for m in messages)
                if left_bytes <= 0:
                    break
                got = self._claim(self._order(), replace(self._limit, rows=missing, bytes=left_bytes))
                more = self._sorted(got.claims) if isinstance(got, Claimed) else ()
            except (RedisError, OSError) as exc:
                log.warning("the batch runs without more rows: %s", exc, extra={"action": "batch_fill_failed"})
                break
            messages += more
            if not more:
                time.sleep(min(_REST_S, left_s))
        return messages

    def _missing(self, messages: Sequence[Message]) -> int:
        """Count the rows that would still fit; 0 if one of the messages runs alone, and should not wait."""
        if not self._limit.wait_s or not messages:
            return 0
        if any(m.claim.is_suspect or m.task not in self._claims.together for m in messages):
            return 0
        return max(0, self._limit.rows - sum(map(_rows_in, messages)))

    def _claim(self, order: Sequence[str], limit: ClaimLimit | None = None) -> Claimed | QueueEmpty | LeaseLost | None:
        with self._claiming:
            if self.is_ending:
                return None
            got = self._ask(limit or self._limit, order)
            if isinstance(got, Claimed):
                self._ledger.take(got.claims)
        if isinstance(got, Claimed | QueueEmpty):
            self._misplaced.note(got.misplaced)
            self._doorbell.misplaced = self._misplaced.names
        return got

    def _ask(self, limit: ClaimLimit, order: Sequence[str]) -> Claimed | QueueEmpty | LeaseLost:
        """Claim, or raise: ask for less after a reply too large to send, dead-letter a message that is too large."""
        fitting = limit
        if self._batch_rows > 1:
            fitting = replace(fitting, batch_rows=self._batch_rows)
        if self._size.is_reduced:
            fitting = replace(fitting, rows=self._size.scaled(fitting.rows), bytes=self._size.scaled(limit.bytes))
        holding = self._ledger.holding
        try:
            got = self._claims.claim(fitting, holding=holding, order=order)
        except RedisError as exc:
            if self._size.failed(exc):
                self._rejection.dead_letter_unsendable(holding)
            raise
        self._size.fitted()
        return got

    def _rest(self) -> None:
        """Wait until the running batch is done and `allow` is called, or for a moment that grows with each call.

        The claims that this worker holds may only wait for the rate limit of their task. Then nothing is running, and
        no `allow` comes soon.
        """
        with self._changed:
            self._changed.wait(timeout=self._rest_s)
            self._rest_s = min(2 * self._rest_s, _LONG_REST_S)

    def _stage(self, batch: Sequence[Message]) -> None:
        if not batch:
            return
        with self._changed:
            self._staged = batch
        self._wake()

    def _sorted(self, claims: Sequence[Claim]) -> tuple[Message, ...]:
        """Return the messages to run; if Redis fails meanwhile, drop all of the claims from the ledger.

        Redis still files them under this worker, and hands them out again once the ledger does not hold them.
        """
        try:
            return tuple(self._usable(claims))
        except BaseException:
            self._ledger.drop(claims)
            raise

    def _usable(self, claims: Sequence[Claim]) -> Iterator[Message]:
        """Decode claims; reject those that cannot or must not run now, and give back what is more than a batch."""
        rows = 0
        now = self._rejection.server_clock.now()
        for index, claim in enumerate(claims):
            decoded = decode(claim)
            if isinstance(decoded, Malformed):
                self._rejection.dead_letter(decoded)
                continue
            if decoded.place is not None and not self._rejection.belongs_to_job(decoded.place):
                decoded = replace(decoded, place=None)
            if decoded.eta is not None and (wait_s := decoded.eta.timestamp() - now) > _EARLY_S:
                self._rejection.delay(decoded, decoded.eta.timestamp(), wait_s)
                continue
            rows += _rows_in(decoded)
            yield decoded
            self._learn(decoded)
            # The script does not decode messages, so it can only estimate the rows of a stock client's message.
            if rows >= self._limit.rows and index + 1 < len(claims):
                self._rejection.give_back(claims[index + 1 :])
                return

    def _learn(self, message: Message) -> None:
        """Let the next claim count as many rows for a stock client's batch as this one has.

        Otherwise a backlog of such messages of 256 rows is claimed 64 at a time, and 63 of them are given back.
        """
        if _is_batch(message) and ROWS_HEADER not in message.headers:
            self._batch_rows = max(1, _rows_in(message))


def _is_batch(message: Message) -> bool:
    return message.task.endswith("batch_predict")


def _rows_in(message: Message) -> int:
    """Count the rows of a message, as far as it says; a message of a user's own task counts as one."""
    first = message.args[0] if message.args else next(iter(message.kwargs.values()), None)
    count = message.headers.get(ROWS_HEADER)
    if isinstance(count, int):
        return count
    return len(first) if _is_batch(message) and isinstance(first, list) else 1


_WARN_EVERY_S: Final = 60.0
"""Seconds between two log lines about the same misplaced key."""


class MisplacedKeys:
    """The keys of a wrong type that the latest claim had to skip.

    `describe` looks at a key, and returns None if its type is right.
    """

    def __init__(
        self, describe: Callable[[str], Misplaced | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self.names: frozenset[str] = frozenset()

    def note(self, names: Sequence[str]) -> None:
        """Keep the keys that a claim named, and log those that are new or were logged a minute ago."""
        if not names and not self.names:
            return
        for name in self.names.difference(names):
            log.info("the key %r is repaired", name, extra={"action": "key_repaired"})
            self._logged_at.pop(name, None)
        self.names = frozenset(names)
        for name in sorted(self.names):
            if self._clock() - self._logged_at.get(name, -_WARN_EVERY_S) >= _WARN_EVERY_S:
                self._log(name)

    def _log(self, name: str) -> None:
        try:
            found = self._describe(name)
        except (RedisError, OSError):  # logged after a later claim
            return
        self._logged_at[name] = self._clock()
        if found is not None:
            log.error(
                "%s, and this worker goes on without it; %s",
                found.sentence,
                found.repair,
                extra={"action": "key_misplaced"},
            )
