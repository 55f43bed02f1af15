"""A random walk over every script, beside a model in plain Python: each message is always in exactly one place.

`MLQ_SEED=7 MLQ_STEPS=200000 pytest …` takes another walk, and a longer one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import cast

import pytest
from redis import Redis
from redis.client import PubSub

from mlq.broker import embedded
from mlq.protocol import keys
from mlq.protocol.keys import queue_key, queue_keys
from mlq.protocol.message import Claim, ClaimLost
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, LeaseLost, QueueEmpty, Recorded, Side
from mlq.store.claims.completion import Completed, Completion, Successor
from mlq.store.claims.leases import Alive, AlreadyReaped, Crash, ExpiryConfirmation, Leases, Reaped
from mlq.store.messages.dead_letters import Answered, DeadLettered, DeadLetters
from mlq.store.messages.delays import Delayed, Delays

SEED = int(os.environ.get("MLQ_SEED", "20251121"))
STEPS = int(os.environ.get("MLQ_STEPS", "20000"))
QUEUES = ("realtime", "default", "batch")
LISTS = [key for queue in QUEUES for key in queue_keys(queue)]
TOGETHER = ("mlq.predict", "mlq.batch_predict")
LIMIT = 3
LONG_AGO, NEVER_MS = 1, 10**15


@dataclass
class Worker:
    """One incarnation of a worker, with the claims that it believes to hold.

    After a lost reply or its death the server holds others.
    """

    wid: str
    claims: Claims
    held: dict[str, Claim] = field(default_factory=dict)

    @property
    def has_suspect(self) -> bool:
        return any(claim.is_suspect for claim in self.held.values())


@dataclass
class Truth:
    """The place of each message according to the promises. Redis serves a list from its right end."""

    lists: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    claims: defaultdict[str, dict[str, Claim]] = field(default_factory=lambda: defaultdict(dict))
    delayed: list[tuple[int, Claim]] = field(default_factory=list)
    dead: dict[str, bytes] = field(default_factory=dict)
    answered: set[bytes] = field(default_factory=set)
    submitted: set[bytes] = field(default_factory=set)
    crashes: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    stored: dict[tuple[int, str], bytes] = field(default_factory=dict)
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def give_back(self, claims: Iterable[Claim], side: Side) -> None:
        """Return claims to one end of their queues, in their old order: the oldest is served first."""
        oldest_first = sorted(claims, key=lambda claim: int(claim.id.split("-")[1]))
        for claim in reversed(oldest_first) if side == "head" else oldest_first:
            messages = self.lists[claim.queue_key]
            messages.insert(len(messages) if side == "head" else 0, claim.raw)

    def take(self, order: Iterable[str], room: ClaimLimit, *, holding: bool) -> list[tuple[str, bytes]]:
        """Choose what a claim must bring, from the decoded messages."""
        taken: list[tuple[str, bytes]] = []
        rows, size = room.rows, room.bytes
        for key in (key for queue in order if queue not in self.paused for key in queue_keys(queue)):
            while self.lists[key]:
                raw = self.lists[key][-1]
                needs, suspect = rows_of(raw), digest(raw) in self.crashes
                joins = needs is not None and not suspect and needs <= rows and len(raw) <= size
                if not (joins if taken else not (suspect and holding)):
                    return taken
                taken.append((key, self.lists[key].pop()))
                rows, size = rows - (rows if needs is None else needs), size - len(raw)
                if suspect or rows <= 0 or size <= 0:
                    return taken
        return taken

    def places(self) -> list[bytes]:
        """Return every message, once for each place that it is in."""
        return [
            *(raw for messages in self.lists.values() for raw in messages),
            *(claim.raw for held in self.claims.values() for claim in held.values()),
            *(claim.raw for _, claim in self.delayed),
            *self.dead.values(),
            *self.answered,
        ]


def digest(raw: bytes) -> str:
    """Return the name under which a message is suspected."""
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()


def rows_of(raw: bytes) -> int | None:
    """Return the number of rows of a message, or None if it runs alone. weigh.lua guesses it from the text."""
    headers = json.loads(raw)["headers"]
    return int(headers.get("mlq_rows", 1)) if headers["task"] in TOGETHER else None


class Walk:
    """A walk that does each step on the server and in the model, and compares the replies."""

    def __init__(self, redis: Redis, elsewhere: Redis, rng: random.Random) -> None:
        self.redis, self.elsewhere, self.rng = redis, elsewhere, rng
        self.truth = Truth()
        self.leases, self.letters, self.delays = Leases(redis, 3_600_000), DeadLetters(redis), Delays(redis)
        self.number = count(1)
        self.ids: set[str] = set()
        self.workers = [self.start_worker() for _ in range(5)]
        self.zombies: list[Worker] = []
        self.steps: dict[Callable[[], None], int] = {
            self.submit: 29,
            self.claim: 30,
            self.lose_a_reply: 3,
            self.complete: 25,
            self.complete_a_batch: 8,
            self.complete_twice: 2,
            self.record: 4,
            self.release: 4,
            self.delay: 4,
            self.due: 3,
            self.dead_letter: 1,
            self.crash: 2,
            self.drain: 1,
            self.fall_silent: 2,
            self.act_dead: 4,
            self.pause_or_resume: 1,
        }

    def step(self) -> None:
        (chosen,) = self.rng.choices(list(self.steps), weights=list(self.steps.values()))
        chosen()

    # Producers

    def message(self) -> bytes:
        n = next(self.number)
        task = self.rng.choice(["mlq.predict"] * 6 + ["mlq.batch_predict"] * 2 + ["somebody.elses"])
        rows = {"mlq_rows": self.rng.randint(1, 40)} if task == "mlq.batch_predict" else {}
        # This text looks like the header of the model's task, but it is another header's value.
        headers = {"lang": "py", "task": task, "id": f"t{n}", "argsrepr": '["task": "mlq.predict"]', **rows}
        raw = json.dumps({"body": "é" * self.rng.randint(0, 9), "headers": headers, "properties": {}}).encode()
        self.truth.submitted.add(raw)
        return raw

    def any_list(self) -> str:
        return queue_key(self.rng.choice(QUEUES), self.rng.randint(0, 9))

    def submit(self) -> None:
        key, raw = self.any_list(), self.message()
        self.redis.lpush(key, raw)
        self.truth.lists[key].insert(0, raw)

    def pause_or_resume(self) -> None:
        if self.truth.paused:
            self.redis.srem(keys.PAUSED, self.truth.paused.pop())
        else:
            queue = self.rng.choice(QUEUES)
            self.redis.sadd(keys.PAUSED, queue)
            self.truth.paused.add(queue)

    # Workers

    def start_worker(self) -> Worker:
        wid = f"host:gpu0:{self.rng.getrandbits(40):x}"
        self.leases.register(wid)
        return Worker(wid, Claims(self.redis, wid, QUEUES, TOGETHER))

    def claim(self) -> None:
        worker = self.rng.choice(self.workers)
        if not worker.has_suspect and len(worker.held) < 40:
            worker.held.update(self.claim_for(worker))

    def lose_a_reply(self) -> None:
        worker = self.rng.choice(self.workers)
        if not worker.has_suspect:
            self.claim_for(worker)

    def claim_for(self, worker: Worker) -> dict[str, Claim]:
        filed = self.truth.claims[worker.wid]
        lost = [claim for claim_id, claim in filed.items() if claim_id not in worker.held]
        room = ClaimLimit(self.rng.choice([1, 8, 64]), self.rng.choice([400, 10**6]))
        sizes = accumulate(len(claim.raw) for claim in lost[: room.rows])
        lost = [claim for n, (claim, size) in enumerate(zip(lost, sizes, strict=False)) if not n or size <= room.bytes]
        order = self.rng.sample(QUEUES, len(QUEUES))
        expected = [(c.queue_key, c.raw) for c in lost] or self.truth.take(order, room, holding=bool(worker.held))
        reply = worker.claims.claim(room, holding=worker.held, order=order)
        if not expected:
            assert isinstance(reply, QueueEmpty)
            return {}
        assert isinstance(reply, Claimed)
        assert [(c.queue_key, c.raw) for c in reply.claims] == expected
        assert [c.crashes for c in reply.claims] == [self.truth.crashes.get(c.digest) for c in reply.claims]
        if lost:
            assert [c.id for c in reply.claims] == [c.id for c in lost]
        else:
            assert not self.ids & {c.id for c in reply.claims}, "an id stood for two messages"
        self.ids |= {c.id for c in reply.claims}
        filed.update({c.id: c for c in reply.claims})
        return {c.id: c for c in reply.claims}

    def pick(self, worker: Worker) -> Claim | None:
        return self.rng.choice(list(worker.held.values())) if worker.held else None

    def answer_to(self, claim: Claim, state: str) -> Answer:
        db = self.rng.choice([None, None, 1])
        payload = f"{state} {next(self.number)}".encode()
        return Answer(f"celery-task-meta-{json.loads(claim.raw)['headers']['id']}", payload, 3600, db)

    def is_told(self, answer: Answer) -> None:
        self.truth.stored[answer.db or 0, answer.key] = answer.payload
        self.truth.published.append((answer.key, answer.payload))

    def completion(self, claim: Claim) -> Completion:
        follows = (Successor(self.any_list(), self.message()),) if self.rng.random() < 0.1 else ()
        return Completion(claim, self.answer_to(claim, "SUCCESS"), follows)

    def is_completed(self, worker: Worker, done: Completion) -> None:
        del worker.held[done.claim.id], self.truth.claims[worker.wid][done.claim.id]
        self.truth.answered.add(done.claim.raw)
        self.truth.crashes.pop(done.claim.digest, None)
        assert done.answer
        self.is_told(done.answer)
        for follower in done.successors:
            self.truth.lists[follower.queue_key].insert(0, follower.raw)

    def complete(self) -> None:
        worker = self.rng.choice(self.workers)
        if claim := self.pick(worker):
            done = self.completion(claim)
            assert worker.claims.complete(done) == Completed()
            self.is_completed(worker, done)

    def complete_a_batch(self) -> None:
        worker = self.rng.choice(self.workers)
        batch = [self.completion(claim) for claim in worker.held.values()]
        assert worker.claims.complete_all(batch) == [Completed()] * len(batch)
        for done in batch:
            self.is_completed(worker, done)

    def complete_twice(self) -> None:
        worker = self.rng.choice(self.workers)
        if claim := self.pick(worker):
            done = Completion(claim, self.answer_to(claim, "SUCCESS"))
            again = Completion(claim, self.answer_to(claim, "FAILURE"), (Successor("batch", b"never"),))
            assert worker.claims.complete_all([done, again]) == [Completed(), ClaimLost()]
            self.is_completed(worker, done)

    def record(self) -> None:
        worker = self.rng.choice(self.workers)
        if claim := self.pick(worker):
            state = self.answer_to(claim, "STARTED")
            assert worker.claims.record(claim, state) == Recorded()
            self.is_told(state)

    def release(self) -> None:
        worker = self.rng.choice(self.workers)
        side: Side = self.rng.choice(["head", "tail"])
        some = self.rng.sample(list(worker.held.values()), len(worker.held) // 2)
        assert worker.claims.release_many(some, side) == len(some)
        assert worker.claims.release_many(some, side) == 0
        for claim in some:
            del worker.held[claim.id], self.truth.claims[worker.wid][claim.id]
        self.truth.give_back(some, side)

    def delay(self) -> None:
        worker = self.rng.choice(self.workers)
        if claim := self.pick(worker):
            until = next(self.number) + (NEVER_MS if self.rng.random() < 0.1 else 0)
            assert self.delays.delay(worker.wid, claim, until) == Delayed()
            assert self.delays.delay(worker.wid, claim, until) == ClaimLost()
            self.truth.delayed.append((until, claim))
            del worker.held[claim.id], self.truth.claims[worker.wid][claim.id]

    def due(self) -> None:
        due = sorted((d for d in self.truth.delayed if d[0] < NEVER_MS), key=lambda d: d[0])
        assert self.delays.move_due().moved == len(due)
        for until, claim in reversed(due):
            self.truth.lists[claim.queue_key].append(claim.raw)
            self.truth.delayed.remove((until, claim))

    def dead_letter(self) -> None:
        worker = self.rng.choice(self.workers)
        if claim := self.pick(worker):
            failure = self.answer_to(claim, "FAILURE") if self.rng.random() < 0.5 else None
            assert self.letters.dead_letter(worker.wid, claim, {"reason": "malformed"}, failure) == DeadLettered(
                claim.id
            )
            if failure:
                self.is_told(failure)
                assert self.letters.answer(claim.id, failure) == ClaimLost()
            self.is_buried(claim)
            del worker.held[claim.id], self.truth.claims[worker.wid][claim.id]

    def is_buried(self, claim: Claim) -> None:
        self.truth.dead[claim.id] = claim.raw
        self.truth.crashes.pop(claim.digest, None)

    # Deaths

    def crash(self) -> None:
        pills = [worker for worker in self.workers if worker.has_suspect]
        worker = self.rng.choice(pills or self.workers)  # a suspect is likely to kill its next worker, too
        self.replace(worker)
        filed = self.truth.claims.pop(worker.wid, {})
        released, buried = len(filed), None
        for claim in filed.values():
            self.truth.crashes.setdefault(claim.digest, 0)
        if len(filed) == 1:  # it was alone, so the crash counts against it
            ((claim_id, claim),) = filed.items()
            self.truth.crashes[claim.digest] += 1
            if self.truth.crashes[claim.digest] == LIMIT:
                released, buried = 0, claim_id
                self.is_buried(filed.pop(claim_id))
        died = Crash(LIMIT, {"reason": "crash", "signal": "9"})
        assert self.leases.reap(worker.wid, to="tail", crash=died) == Reaped(released, buried)
        assert self.leases.reap(worker.wid, to="tail", crash=died) == AlreadyReaped()
        self.truth.give_back(filed.values(), "tail")
        if buried:
            failure = self.answer_to(claim, "FAILURE")
            assert self.letters.answer(buried, failure) == Answered()
            assert self.letters.answer(buried, failure) == ClaimLost()
            self.is_told(failure)

    def drain(self) -> None:
        worker = self.rng.choice(self.workers)
        self.replace(worker)
        filed = self.truth.claims.pop(worker.wid, {})
        assert self.leases.reap(worker.wid, to="head") == Reaped(len(filed), None)
        self.truth.give_back(filed.values(), "head")

    def fall_silent(self) -> None:
        """Let a host fall silent: it is looked at twice and reaped by two others, unless it renews in between."""
        worker = self.rng.choice(self.workers)
        self.redis.zadd(keys.LEASES, {worker.wid: LONG_AGO})
        confirmation = ExpiryConfirmation(patience_s=1.5)
        assert confirmation.confirm(self.leases.expired(), at=0.0) == []
        ((wid, deadline),) = confirmation.confirm(self.leases.expired(), at=1.5)
        if self.rng.random() < 0.5:
            assert self.leases.renew([wid, *(zombie.wid for zombie in self.zombies)]) == {
                zombie.wid for zombie in self.zombies
            }
            assert self.leases.reap_expired(wid, deadline) == Alive()
            return
        self.replace(worker)
        filed = self.truth.claims.pop(wid, {})
        assert self.leases.reap_expired(wid, deadline) == Reaped(len(filed), None)
        assert self.leases.reap_expired(wid, deadline) == AlreadyReaped()
        self.truth.give_back(filed.values(), "head")

    def act_dead(self) -> None:
        """Act as a worker that was reaped and does not know it: nothing that it does has an effect."""
        if not self.zombies:
            return
        zombie = self.rng.choice(self.zombies)
        assert zombie.claims.claim(ClaimLimit(8), holding=zombie.held) == LeaseLost()
        if claim := self.pick(zombie):
            done = Completion(claim, self.answer_to(claim, "SUCCESS"), (Successor("batch", b"never"),))
            assert zombie.claims.complete(done) == ClaimLost()
            assert zombie.claims.record(claim, self.answer_to(claim, "STARTED")) == ClaimLost()
            assert zombie.claims.release(claim, "head") == ClaimLost()
            assert self.delays.delay(zombie.wid, claim, 0) == ClaimLost()
            assert self.letters.dead_letter(zombie.wid, claim, {}, self.answer_to(claim, "FAILURE")) == ClaimLost()

    def replace(self, worker: Worker) -> None:
        self.workers[self.workers.index(worker)] = self.start_worker()
        self.zombies = [*self.zombies[-9:], worker]

    # Comparison with the server

    def compare(self) -> None:
        """Compare every place on the server with the model, and the model with the submitted messages."""
        truth, everywhere = self.truth, self.truth.places()
        assert len(everywhere) == len(truth.submitted)
        assert set(everywhere) == truth.submitted
        assert {key: self.redis.lrange(key, 0, -1) for key in LISTS} == {key: truth.lists[key] for key in LISTS}
        for wid in [worker.wid for worker in [*self.workers, *self.zombies]]:
            assert self.filed_under(wid) == {c.id: c.raw for c in truth.claims.get(wid, {}).values()}
        assert self.waiting() == sorted((until, claim.raw) for until, claim in truth.delayed)
        counted = cast("dict[bytes, bytes]", self.redis.hgetall(keys.DELAYED))
        assert {key.decode(): int(n) for key, n in counted.items()} == Counter(c.queue_key for _, c in truth.delayed)
        assert set(self.letters.ids()) == set(truth.dead)
        crashes = cast("dict[bytes, bytes]", self.redis.hgetall(keys.CRASHES))
        assert {key.decode(): int(n) for key, n in crashes.items()} == truth.crashes

    def compare_answers(self, heard: PubSub) -> None:
        """Compare what is stored in both databases, and what was published: each answer once, in order."""
        for (db, key), payload in self.truth.stored.items():
            assert (self.elsewhere if db else self.redis).get(key) == payload
        # Without a timeout None can also mean: nothing has arrived yet.
        published = iter(lambda: heard.get_message(ignore_subscribe_messages=True, timeout=1), None)
        assert [(m["channel"].decode(), m["data"]) for m in published] == self.truth.published
        for letter_id, raw in self.truth.dead.items():
            letter = self.letters.read(letter_id)
            assert letter
            assert letter.raw == raw

    def filed_under(self, wid: str) -> dict[str, bytes]:
        filed = cast("dict[bytes, bytes]", self.redis.hgetall(keys.claims(wid)))
        return {claim_id.decode(): record[record.index(b"{") :] for claim_id, record in filed.items()}

    def waiting(self) -> list[tuple[int, bytes]]:
        members = cast("list[tuple[bytes, float]]", self.redis.zrange(keys.DELAYS, 0, -1, withscores=True))
        return [(int(until), member[member.index(b"{") :]) for member, until in members]


@pytest.mark.parametrize("seed", [SEED])
def test_every_message_is_in_exactly_one_place_after_every_step(
    server: embedded.Server, redis: Redis, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists (with their order), claims, delays, dead letters and answers agree with the model throughout the walk."""
    monkeypatch.setattr(
        "mlq.store.claims.leases._MOST_AT_ONCE", 6
    )  # workers often hold more claims than one portion that is given back
    redis.config_set("appendfsync", "no")  # the walk tests scripts, not the disk
    socket = server.url.removeprefix("redis+socket://")
    with Redis(unix_socket_path=socket, db=1) as elsewhere, PubSub(redis.connection_pool) as heard:
        heard.psubscribe("celery-task-meta-*")
        heard.get_message(timeout=1)
        walk = Walk(redis, elsewhere, random.Random(seed))  # noqa: S311 (a walk, not a secret)
        for step in range(STEPS):
            walk.step()
            if step % 50 == 0:
                walk.compare()
        walk.compare()
        walk.compare_answers(heard)
