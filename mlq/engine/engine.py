"""The engine: claimed batches through the model, their answers to Redis, everything else to Celery."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery.platforms import EX_FAILURE
from celery.worker import state
from redis.exceptions import RedisError

from mlq.engine import batchable, strategy
from mlq.engine.batchable import ModelRequest
from mlq.engine.cancelled_jobs import CancelledJobs
from mlq.engine.celery import backend, pool, server_clock, task_wrapping, transport
from mlq.engine.celery.delivery import Delivery
from mlq.engine.claimer import Batch, Claimer
from mlq.engine.doorbell import Doorbell
from mlq.engine.ledger import Ledger
from mlq.engine.rate_limits import RateLimits
from mlq.engine.recorder import Recorder
from mlq.engine.rejection import Rejection
from mlq.engine.scheduling import Shares, TurnStats, Urgency
from mlq.engine.started_state import StartedStates
from mlq.engine.startup import admission
from mlq.engine.strategy import BatchOutcome
from mlq.engine.time_limits import Timed, TimeLimits
from mlq.ipc.supervisor_notices import NoticeReader
from mlq.ipc.wakeup import Wakeup
from mlq.liveness.lease_renewer import LeaseThread
from mlq.model.failure import DeviceLost
from mlq.protocol.message import Message
from mlq.store.claims.claims import ClaimLimit, Claims
from mlq.store.claims.completion import Completion, Successor
from mlq.store.claims.leases import Leases
from mlq.store.memory import MemoryAllowance

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

    from mlq.engine.activity import Activity
    from mlq.model.model import Model
    from mlq.settings.config import WorkerSettings

_AT_ODD_VALUES: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code raises at a value of another type or size than it expects. Trouble of a server is of other types."""

FENCED: Final = 76
"""Exit code of a worker that was taken for dead: what it held runs elsewhere (sysexits' EX_PROTOCOL)."""

_FLUSH_BYTES: Final = 8 * 2**20
"""Messages and answers of a turn that are recorded together; more are recorded in several trips."""

_LAST_WORDS_S: Final = 10.0
"""How long a drain waits for answers to be recorded; what is not by then runs again elsewhere."""

log = logging.getLogger("mlq.engine")


class Engine:
    """Takes, runs and answers the messages of one worker.

    Two threads of its own surround Celery's main thread, which computes: the intake claims and decodes the next
    batch meanwhile, the answering records the one before. `names` maps each name under which the model is served
    to mlq.predict or mlq.batch_predict; `outcomes` is where the tasks look for answers that are there already.
    """

    def __init__(
        self,
        redis: Redis,
        claims: Claims,
        leases: Leases,
        model: Model,
        names: Mapping[str, str],
        worker: WorkerSettings,
        activity: Activity,
    ) -> None:
        self.claims, self._wid = claims, claims.wid
        self._shares = Shares(claims.queues, worker.shares or {})
        self._urgency = Urgency(claims.queues, self._shares)
        self._model = model
        self._names = names
        self._redis = redis
        self.ledger = Ledger()
        self._leases = leases
        self._delivery = Delivery(self.ledger, model.fingerprint)
        self._cancelling = CancelledJobs(redis)
        told = self._delivery
        self._aside = Rejection(redis, claims.wid, claims, self.ledger, told.make_answer, told.vouches)
        self._answering = Recorder(
            claims, self.ledger, self._aside.dead_letter_claim, MemoryAllowance(redis), unusable=activity.results_lost
        )
        self._announcing = StartedStates(claims, self._delivery.make_answer, claims.wid)
        self._lease: LeaseThread | None = None
        self._bell = Wakeup()
        self._activity = activity
        self._notices = NoticeReader.inherited()
        doorbell = Doorbell(redis, claims.watched, claims.bell)
        room = ClaimLimit(rows=model.max_batch_size, wait_s=worker.max_wait)
        self._clock = self._aside.server_clock
        self._intake = Claimer(
            claims, self.ledger, doorbell, self._aside, room, order=self._order, wake=self._bell.ring
        )
        self._outcomes: dict[str, BatchOutcome[Any]] = {}
        self._done: list[Completion] = []
        self._done_bytes = 0
        self._computing = False
        self._accounting = TurnStats(self._shares, activity, model.max_batch_size)
        self._pacing = RateLimits(self._delivery.wait_s, self._resume, activity.looked)
        self._is_fenced = False
        self.has_crashed = False

    # Life

    def install(self, *, answers_too: bool) -> None:
        """Take over kombu's Redis transports in this process, and with `answers_too` Celery's Redis results."""
        transport.install(self)
        backend.install(self.claims, self.ledger, answers_too=answers_too)

    def begin(self, app: Celery, outcomes: dict[str, BatchOutcome[Any]], *, renews: bool, rollout: bool) -> None:
        """Get a lease and start the threads; nothing is claimed before Celery has connected.

        With `renews` the lease is renewed here, from a thread; otherwise by the supervisor, which reads the board.

        Raises ModelDiffers, redis.RedisError.
        """
        self._outcomes = outcomes
        self._app = app
        self._clock.refresh()
        server_clock.install(app, self._clock)
        task_wrapping.follow(self.ledger)
        self._delivery.begin(app, self._activity.count_task)
        admission.register(self._leases, self._wid, self.claims.queues, self._model.fingerprint, rollout=rollout)
        self._activity.leased()
        if renews:
            log.info("no supervisor: this worker renews its own lease")
            self._lease = LeaseThread(self._redis, self._leases, lambda: [self._wid], lost=self._lost)
            self._lease.start()
        self._answering.start()
        self._announcing.start()

    def mark_tasks(self, limits: TimeLimits) -> None:
        """Time all tasks known by now, and follow their ends. Celery's tracers are built later, from these."""
        self._limits = limits
        task_wrapping.mark(self._app, self.ledger, limits)

    def attach(self, connected: Any, hub: Any) -> None:
        """Deliver to this connection from now on. A new connection finds claims, stage and threads as they are."""
        self._delivery.transport = connected
        hub.add_reader(self._bell.fd, self._turn)
        self._pacing.follow(hub)
        ended, unrun = self.ledger.abandon()
        self._answering.record(ended, behind=True)
        if unrun:
            self._aside.give_back(unrun)
        if not self._intake.is_alive():
            pool.let_go_on_sigquit(lambda: self._computing)
            self._intake.start()
        self._bell.ring()

    def watch_events(self, consumer: Any) -> None:
        """Ask this consumer of Celery's from now on whether anybody listens to task events."""
        self._delivery.watch(consumer, self._notices)

    def close(self) -> None:
        """Claim no more, let the answers be recorded, and give everything else back to the head of its queue."""
        if self._intake.is_alive():
            self._intake.end()
        self._answering.end(_LAST_WORDS_S)
        if self._lease is not None:
            self._lease.end()
        # The supervisor blames the claims that a crashed worker still holds. A row that breaks the device (an index out
        # of range, say) breaks the next worker's too: if this worker gave it back, it would end one after the other.
        if self.has_crashed or self._activity.device_error is not None:
            return
        self._activity.left()
        try:
            self._leases.reap(self._wid, to="head")
        except (RedisError, OSError) as exc:
            log.warning("what is still claimed is given back when the lease runs out: %s", exc)

    @property
    def fenced(self) -> bool:
        """Whether this worker was taken for dead."""
        return self._is_fenced or self._intake.fenced

    # What the transport asks (transport.Keeper)

    def acknowledge(self, claim_id: str) -> None:
        """Record the end of a message that Celery ran."""
        completion = self.ledger.close(claim_id)
        if completion is not None:
            self._answering.record([completion], behind=False)

    def reject(self, claim_id: str, *, requeue: bool) -> None:
        """Give a message back to its queue's end, or bury it; one that failed, its task not acking it, is recorded."""
        completion = self.ledger.close(claim_id)
        if completion is None or self._activity.device_error is not None:
            return  # after a lost device the claim stays, for the supervisor to blame: see `close`
        if requeue:
            self._aside.give_back([completion.claim], to="tail")
        elif completion.answer is not None or completion.successors:
            self._answering.record([completion], behind=False)
        else:
            self._aside.dead_letter_claim(
                completion.claim, "rejected", "its task rejected it, or Celery cannot decode it"
            )

    @property
    def skew_s(self) -> float:
        """How far this host's clock is ahead of the server's."""
        return self._clock.skew_s

    def keep_successor(self, successor: Successor) -> bool:
        """Keep what a task publishes at its end, to be queued in the same step."""
        return self.ledger.keep_successor(successor)

    def _order(self) -> Sequence[str]:
        """Say how the queues are to be served: asked whenever work is looked for, so it is a sign of life, too."""
        self._activity.looked()
        return self._shares.order()

    # A turn: one claimed batch, in the main thread

    def _turn(self) -> None:
        """Run what is staged. Called by the hub, so control messages are served between two batches."""
        self._bell.clear()
        if self.fenced or self._intake.broken:
            code = FENCED if self.fenced else EX_FAILURE
            # Not should_terminate: Celery would terminate, and then exit with 0.
            setattr(state, "should_stop", code)  # noqa: B010 (the stubs know None alone)
            return
        batch = self._intake.take()
        if batch is None:
            return
        self._delivery.heed(self._notices)
        with self._taking(batch.messages):
            self._run(batch)

    def _resume(self, message: Message) -> None:
        """Run a message that its task's rate limit held up."""
        with self._taking([message]):
            self._now(message)

    @contextmanager
    def _taking(self, messages: Sequence[Message]) -> Iterator[None]:
        """Run these inside, whatever becomes of Redis; afterwards the next may be claimed."""
        try:
            yield
        except (RedisError, OSError) as exc:
            # What has not ended yet is handed out again, after a pause that grows: the cause will mostly be there
            # still. What has ended is not, though it may not be recorded yet.
            log.warning("a batch was interrupted: %s", exc)
            ended = self._answering.unrecorded
            self.ledger.drop([m.claim for m in messages if m.claim.id not in ended])
            self._intake.put_off()
        else:
            self._intake.put_off_s = 0.0
        finally:
            self._allow()

    def _allow(self) -> None:
        if not self._pacing.is_full:
            self._intake.allow()

    def _run(self, batch: Batch) -> None:
        together, alone = self._split(batch.messages)
        if together:
            # Nothing goes before a suspect, which is alone in our hands.
            places = () if batch.is_suspect else map(self._delivery.queue_of, batch.messages)
            self._compute(together, more_urgent=self._urgency.before(places))
        for message in alone:
            if self._activity.is_ending:
                return
            self._alone(message)

    def _split(self, messages: Sequence[Message]) -> tuple[list[ModelRequest], list[Message]]:
        names = {n: task for n, task in self._names.items() if not self._delivery.is_limited(n)}
        return batchable.split(messages, names, self._delivery.revoked)

    def _compute(self, messages: Sequence[ModelRequest], more_urgent: Sequence[str]) -> None:
        """Put the rows of many messages through the model, and end each message as its rows are done."""
        began = time.monotonic()
        self._activity.batch_began([self._delivery.running(m.message) for m in messages])
        self._announcing.began([m.message for m in messages])
        is_full = sum(len(m.rows) for m in messages) >= self._model.max_batch_size
        stages = is_full and self._accounting.turns_are_quick
        self._computing = True
        model = Timed(self._model, self._limits, [m.message.claim.id for m in messages])

        def before(left: int) -> Sequence[ModelRequest]:
            urgent = self._before(left, stages=stages, more_urgent=more_urgent)
            model.claims += [m.message.claim.id for m in urgent]
            return urgent

        try:
            for outcome in strategy.run(model, messages, before, self._cancelling.took, self._accounting.spent):
                self._end(outcome)
        except DeviceLost as exc:
            self._flush(behind=False)
            self._activity.device_lost(exc)
        finally:
            self._computing = False
            self._announcing.ended()
            self._flush(behind=self._intake.waiting)
            self._accounting.book(time.monotonic() - began)
            self._activity.batch_ended()

    def _end(self, outcome: BatchOutcome[ModelRequest]) -> None:
        """End a message: with a plain result if that is all it is, else through Celery's own tracer."""
        message = outcome.message.message
        self._accounting.count_rows(len(outcome.message.rows))
        completion = self._delivery.end_plainly(outcome)
        if completion is not None:
            self._done.append(completion)
            self._done_bytes += completion.size
            if self._done_bytes > _FLUSH_BYTES:  # else all answers of a forward would be in memory a second time
                self._flush(behind=True)
            return
        self._outcomes[message.task_id] = outcome
        self._deliver(message)

    def _before(self, left: int, *, stages: bool, more_urgent: Sequence[str]) -> Sequence[ModelRequest]:
        """Before a forward: record what is done, and take what must not wait for the `left` rows.

        With `stages`, the next batch is claimed behind the last forward. Not sooner: it waits for all that is left,
        and what is staged would be passed by what came behind it and is taken here. And not where the batch was not
        full: then nothing was left behind it.
        """
        self._flush(behind=True)
        together = self._urgent(more_urgent)
        if stages and left + sum(len(m.rows) for m in together) <= self._model.max_batch_size:
            self._allow()
        return together

    def _urgent(self, more_urgent: Sequence[str]) -> Sequence[ModelRequest]:
        """Take what waits on more urgent queues, but do not ask all the time."""
        if not self._urgency.is_due(more_urgent):
            return ()
        found: Sequence[Message] = ()
        try:
            found = self._intake.urgent(more_urgent)
            together, alone = self._split(found)
            for message in alone:
                self._alone(message)
        except (RedisError, OSError) as exc:
            log.warning("urgent work has to wait: %s", exc)
            self.ledger.drop([m.claim for m in found])
            return ()
        return together

    def _alone(self, message: Message) -> None:
        """Run a message as Celery runs any, if its task's rate limit allows; else when it does."""
        if not self._pacing.puts_off(message):
            self._now(message)

    def _now(self, message: Message) -> None:
        if self._cancelling.holds(message.place):
            self._answering.record([self._delivery.revoke(message)], behind=False)
            return
        if not self._delivery.knows(message.task):
            self._aside.dead_letter_unknown(message)
            return
        if self._delivery.acks_early(message) and not self._answering.record_first(Completion(message.claim)):
            return
        began = time.monotonic()
        self._deliver(message)
        self._shares.used(self._delivery.queue_of(message), time.monotonic() - began)

    def _deliver(self, message: Message) -> None:
        """Let Celery run a message. Bury one at which Celery itself raises: it would end one worker after another."""
        try:
            self._delivery.deliver(message)
        except _AT_ODD_VALUES as exc:
            why = f"Celery cannot end its task: {type(exc).__name__}: {exc}"
            self._aside.dead_letter_claim(message.claim, "malformed", why)

    def _flush(self, *, behind: bool) -> None:
        done, self._done, self._done_bytes = self._done, [], 0
        self._answering.record(done, behind=behind)

    def _lost(self, _: Collection[str]) -> None:
        self._is_fenced = True
        self._bell.ring()
