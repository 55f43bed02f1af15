"""The engine: it runs claimed batches through the model, records the results in Redis, and lets Celery run the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from mlq.broker.script import MemoryAllowance
from mlq.engine import micro_batches
from mlq.engine.activity import StartedStates, TurnStats
from mlq.engine.celery import backend, pool, server_clock, task_wrapper, transport
from mlq.engine.celery.delivery import Delivery
from mlq.engine.claimer import Claimer
from mlq.engine.ledger import Ledger, Recorder
from mlq.engine.micro_batches import BatchOutcome, ModelRequest
from mlq.engine.rejection import CancelledJobs, RateLimits, Rejection
from mlq.engine.shares import Shares, Urgency
from mlq.engine.startup import admission
from mlq.engine.time_limits import TimedModel, TimeLimits
from mlq.exit_codes import ExitCode
from mlq.ipc.shared_pages import NoticeReader
from mlq.ipc.threads import Wakeup
from mlq.liveness.lease_renewer import LeaseThread
from mlq.model.failure import DeviceLost
from mlq.protocol.message import Message
from mlq.store.claims.claims import ClaimLimit, Claims
from mlq.store.claims.completion import Completion, Successor
from mlq.store.claims.leases import Leases
from mlq.store.queues.doorbell import Doorbell

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

    from mlq.engine.activity import Activity
    from mlq.model.model import Model
    from mlq.settings.config import WorkerSettings

_AT_ODD_VALUES: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code raises for a value of an unexpected type or size. Server and connection errors have other types."""

_FLUSH_BYTES: Final = 8 * 2**20
"""Bytes of messages and results of a turn that are recorded in one request; a larger turn takes several."""

_RECORD_AT_END_S: Final = 10.0
"""Seconds that a drain waits for results to be recorded; tasks whose result is not recorded by then run again."""

log = logging.getLogger("mlq.engine")


@dataclass(frozen=True)
class ServedTasks:
    """The tasks that an engine runs."""

    app: Celery
    names: Mapping[str, str]
    """Each name under which the model is served, with mlq.predict or mlq.batch_predict."""

    outcomes: dict[str, BatchOutcome[Any]]
    """Where the tasks of the model find results that are already computed, by task id."""

    limits: TimeLimits
    """The time limits of this process."""


class Engine:
    """Claims, runs and ends the messages of one worker.

    Celery's main thread computes. Meanwhile the claimer thread claims and decodes the next batch, and the recorder
    thread records the results of the previous one.

    Args:
        redis: A client of the broker, on connections that kombu does not use.
        claims: The claims of this worker.
        leases: The leases of all workers.
        model: The loaded model.
        tasks: The tasks to run, those of the model and the user's.
        worker: The settings of the worker.
        activity: The report of this worker.
    """

    def __init__(
        self,
        redis: Redis,
        claims: Claims,
        leases: Leases,
        model: Model,
        tasks: ServedTasks,
        worker: WorkerSettings,
        activity: Activity,
    ) -> None:
        self.claims, self._wid = claims, claims.wid
        self._shares = Shares(claims.queues, worker.shares or {})
        self._urgency = Urgency(claims.queues, self._shares)
        self._model = TimedModel(model, tasks.limits)
        self._fingerprint = model.fingerprint
        self._tasks = tasks
        self._redis = redis
        self.ledger = Ledger()
        self._leases = leases
        # Before Delivery counts the receivers of Celery's signals: those that are connected later are the user's.
        task_wrapper.follow(self.ledger)
        self._delivery = Delivery(tasks.app, self.ledger, activity.count_task, model.fingerprint)
        self._cancelled_jobs = CancelledJobs(redis)
        make_answer, belongs_to_job = self._delivery.make_answer, self._delivery.belongs_to_job
        self._rejection = Rejection(redis, claims.wid, claims, self.ledger, make_answer, belongs_to_job)
        self._recorder = Recorder(
            claims,
            self.ledger,
            self._rejection.dead_letter_claim,
            MemoryAllowance(redis),
            unusable=activity.results_lost,
        )
        self._started_states = StartedStates(claims, make_answer, claims.wid)
        self._lease: LeaseThread | None = None
        self._wakeup = Wakeup()
        self._activity = activity
        self._notices = NoticeReader.inherited()
        doorbell = Doorbell(redis, claims.watched, claims.bell)
        limit = ClaimLimit(rows=model.max_batch_size, wait_s=worker.max_wait)
        self._clock = self._rejection.server_clock
        self._claimer = Claimer(
            claims, self.ledger, doorbell, self._rejection, limit, order=self._order, wake=self._wakeup.ring
        )
        self._done: list[Completion] = []
        self._done_bytes = 0
        self._computing = False
        self._turn_stats = TurnStats(self._shares, activity, model.max_batch_size)
        self._rate_limits = RateLimits(self._delivery.wait_s, self._resume, activity.report_look)
        self._is_fenced = False
        self.has_crashed = False

    # Start and end

    def start(self, *, answers_too: bool, renews: bool, rollout: bool) -> None:
        """Register a lease and start the threads; nothing is claimed before Celery has connected.

        From here on, apps of this process connect to Redis through the engine.

        Args:
            answers_too: Results are on the broker's server, so that they are recorded with the end of the claim.
            renews: Renew the lease from a thread of this process. Otherwise the supervisor renews it: it reads in
                the worker report that there is a lease.
            rollout: Accept that other workers serve the queues with another model.

        Raises:
            ModelDiffers: Another worker serves one of the queues with another model.
            redis.RedisError: The broker cannot be reached, or refuses.
        """
        transport.install(self)
        backend.install(self.claims, self.ledger, answers_too=answers_too)
        self._clock.refresh()
        server_clock.install(self._tasks.app, self._clock)
        admission.register(self._leases, self._wid, self.claims.queues, self._fingerprint, rollout=rollout)
        self._activity.report_lease()
        if renews:
            log.info("no supervisor: this worker renews its own lease", extra={"action": "lease_renewal_started"})
            self._lease = LeaseThread(self._redis, self._leases, lambda: [self._wid], lost=self._lost)
            self._lease.start()
        self._recorder.start()
        self._started_states.start()

    def wrap_tasks(self) -> None:
        """Time all tasks registered so far, and follow their ends. Celery builds its tracers from these tasks later."""
        task_wrapper.wrap(self._tasks.app, self.ledger, self._tasks.limits)

    def attach(self, connected: Any, hub: Any) -> None:
        """Deliver to this connection from now on. Claims, the staged batch and the threads outlive a connection."""
        self._delivery.transport = connected
        hub.add_reader(self._wakeup.fd, self._turn)
        self._rate_limits.use_timers(hub)
        ended, unrun = self.ledger.abandon()
        self._recorder.record(ended, behind=True)
        if unrun:
            self._rejection.give_back(unrun)
        if not self._claimer.is_alive():
            pool.let_go_on_sigquit(lambda: self._computing)
            self._claimer.start()
        self._wakeup.ring()

    def watch_events(self, consumer: Any) -> None:
        """Ask this consumer of Celery from now on whether a monitor listens to task events."""
        self._delivery.watch(consumer, self._notices)

    def close(self) -> None:
        """Stop claiming, let results be recorded, and give all other claims back to the head of their queues."""
        if self._claimer.is_alive():
            self._claimer.ask_to_end()
        self._recorder.end(_RECORD_AT_END_S)
        if self._lease is not None:
            self._lease.end()
        # The supervisor suspects the claims that a crashed worker still holds. A row that breaks the device (an index
        # out of range, for example) breaks the next worker's device, too: if this worker gave the row back, it would
        # end one worker after another.
        if self.has_crashed or self._activity.device_error is not None:
            return
        self._activity.report_lease_end()
        try:
            self._leases.reap(self._wid, to="head")
        except (RedisError, OSError) as exc:
            log.warning(
                "claims could not be given back; they return to their queues when the lease runs out: %s",
                exc,
                extra={"action": "give_back_failed"},
            )

    @property
    def fenced(self) -> bool:
        """Whether this worker lost its lease, so that its messages run on other workers."""
        return self._is_fenced or self._claimer.fenced

    # What the transport calls (transport.ClaimOwner)

    def acknowledge(self, claim_id: str) -> None:
        """Record the end of a message that Celery ran."""
        completion = self.ledger.close(claim_id)
        if completion is not None:
            self._recorder.record([completion], behind=False)

    def reject(self, claim_id: str, *, requeue: bool) -> None:
        """Give a message back to the end of its queue, record its failure if it has one, or dead-letter it."""
        completion = self.ledger.close(claim_id)
        if completion is None or self._activity.device_error is not None:
            return  # after a lost device the claim stays, so that the supervisor suspects it: see `close`
        if requeue:
            self._rejection.give_back([completion.claim], to="tail")
        elif completion.answer is not None or completion.successors:
            self._recorder.record([completion], behind=False)
        else:
            self._rejection.dead_letter_claim(
                completion.claim, "rejected", "its task rejected it, or Celery cannot decode it"
            )

    @property
    def skew_s(self) -> float:
        """How far this host's clock is ahead of the server's."""
        return self._clock.skew_s

    def keep_successor(self, successor: Successor) -> bool:
        """Keep a message that a task publishes at its end; it is queued in the step that records the end."""
        return self.ledger.keep_successor(successor)

    def _order(self) -> Sequence[str]:
        """Return the order in which to serve the queues. Each claim asks for it, so it is a sign of life, too."""
        self._activity.report_look()
        return self._shares.order()

    # A turn: one claimed batch, in the main thread

    def _turn(self) -> None:
        """Run the staged batch. The hub calls this, so control messages are served between two batches."""
        self._wakeup.clear()
        if self.fenced or self._claimer.broken:
            pool.stop_worker(ExitCode.FENCED if self.fenced else ExitCode.FAILED)
            return
        batch = self._claimer.take()
        if not batch:
            return
        self._delivery.apply_revocations(self._notices)
        with self._handling(batch):
            self._run(batch)

    def _resume(self, message: Message) -> None:
        """Run a message that waited for the rate limit of its task."""
        with self._handling([message]):
            self._run_now(message)

    @contextmanager
    def _handling(self, messages: Sequence[Message]) -> Iterator[None]:
        """Survive Redis errors while these messages run; then allow the next claim."""
        try:
            yield
        except (RedisError, OSError) as exc:
            # Messages that have not ended yet are handed out again after a growing pause, because the cause mostly
            # lasts for a while. Messages that have ended are not, though their end may not be recorded yet.
            log.warning("a batch was interrupted: %s", exc, extra={"action": "batch_interrupted"})
            ended = self._recorder.unrecorded
            self.ledger.drop([m.claim for m in messages if m.claim.id not in ended])
            self._claimer.put_off()
        else:
            self._claimer.put_off_s = 0.0
        finally:
            self._allow()

    def _allow(self) -> None:
        if not self._rate_limits.is_full:
            self._claimer.allow()

    def _run(self, batch: Sequence[Message]) -> None:
        together, alone = self._split(batch)
        if together:
            # A worker died while it held a suspect, so no other message is claimed while one runs.
            has_suspect = any(m.claim.is_suspect for m in batch)
            queues = () if has_suspect else map(self._delivery.queue_of, batch)
            self._compute(together, more_urgent=self._urgency.more_urgent_than(queues))
        for message in alone:
            if self._activity.is_ending:
                return
            self._run_alone(message)

    def _split(self, messages: Sequence[Message]) -> tuple[list[ModelRequest], list[Message]]:
        names = {n: task for n, task in self._tasks.names.items() if not self._delivery.is_limited(n)}
        return micro_batches.split(messages, names, self._delivery.revoked)

    def _compute(self, messages: Sequence[ModelRequest], more_urgent: Sequence[str]) -> None:
        """Run the rows of many messages through the model, and end each message when its rows are done."""
        began = time.monotonic()
        self._activity.batch_began([self._delivery.running(m.message) for m in messages])
        self._started_states.begin([m.message for m in messages])
        is_full = sum(len(m.rows) for m in messages) >= self._model.max_batch_size
        stages = is_full and self._turn_stats.turns_are_quick
        self._computing = True
        self._model.claims = [m.message.claim.id for m in messages]

        def before(left: int) -> Sequence[ModelRequest]:
            urgent = self._before(left, stages=stages, more_urgent=more_urgent)
            self._model.claims += [m.message.claim.id for m in urgent]
            return urgent

        unwanted, spent = self._cancelled_jobs.are_unwanted, self._turn_stats.add_forward
        try:
            for outcome in micro_batches.run(self._model, messages, before, unwanted, spent):
                self._end(outcome)
        except DeviceLost as exc:
            self._flush(behind=False)
            self._activity.device_lost(exc)
        finally:
            self._computing = False
            self._started_states.end()
            self._flush(behind=self._claimer.waiting)
            self._turn_stats.end_turn(time.monotonic() - began)
            self._activity.batch_ended()

    def _end(self, outcome: BatchOutcome[ModelRequest]) -> None:
        """End a message: record a plain result directly, and let Celery's tracer end every other message."""
        message = outcome.message.message
        self._turn_stats.count_rows(len(outcome.message.rows))
        completion = self._delivery.end_plainly(outcome)
        if completion is not None:
            self._done.append(completion)
            self._done_bytes += completion.size
            if self._done_bytes > _FLUSH_BYTES:  # else all results of a forward would be in memory twice
                self._flush(behind=True)
            return
        self._tasks.outcomes[message.task_id] = outcome
        self._deliver(message)

    def _before(self, left: int, *, stages: bool, more_urgent: Sequence[str]) -> Sequence[ModelRequest]:
        """Before a forward: record finished messages, and claim messages that must not wait for the `left` rows.

        With `stages`, the next batch is claimed during the last forward. An earlier one would wait for all rows that
        are left, and newer messages that are claimed here would overtake it. `stages` is false after a batch that was
        not full, because then the queues were empty.
        """
        self._flush(behind=True)
        together = self._urgent(more_urgent)
        if stages and left + sum(len(m.rows) for m in together) <= self._model.max_batch_size:
            self._allow()
        return together

    def _urgent(self, more_urgent: Sequence[str]) -> Sequence[ModelRequest]:
        """Claim what waits on more urgent queues, at most once every few milliseconds."""
        if not self._urgency.is_due(more_urgent):
            return ()
        found: Sequence[Message] = ()
        try:
            found = self._claimer.claim_urgent(more_urgent)
            together, alone = self._split(found)
            for message in alone:
                self._run_alone(message)
        except (RedisError, OSError) as exc:
            log.warning("messages of more urgent queues have to wait: %s", exc, extra={"action": "urgent_claim_failed"})
            self.ledger.drop([m.claim for m in found])
            return ()
        return together

    def _run_alone(self, message: Message) -> None:
        """Let Celery run a message, as soon as the rate limit of its task allows."""
        if not self._rate_limits.keep_if_limited(message):
            self._run_now(message)

    def _run_now(self, message: Message) -> None:
        if self._cancelled_jobs.has_job_of(message.place):
            self._recorder.record([self._delivery.revoke(message)], behind=False)
            return
        if not self._delivery.knows(message.task):
            self._rejection.dead_letter_unknown(message)
            return
        if self._delivery.acks_early(message) and not self._recorder.record_first(Completion(message.claim)):
            return
        began = time.monotonic()
        self._deliver(message)
        self._shares.used(self._delivery.queue_of(message), time.monotonic() - began)

    def _deliver(self, message: Message) -> None:
        """Let Celery run a message. Dead-letter one at which Celery itself raises: it would end worker after worker."""
        try:
            self._delivery.deliver(message)
        except _AT_ODD_VALUES as exc:
            why = f"Celery cannot end its task: {type(exc).__name__}: {exc}"
            self._rejection.dead_letter_claim(message.claim, "malformed", why)

    def _flush(self, *, behind: bool) -> None:
        done, self._done, self._done_bytes = self._done, [], 0
        self._recorder.record(done, behind=behind)

    def _lost(self, _: Collection[str]) -> None:
        self._is_fenced = True
        self._wakeup.ring()
