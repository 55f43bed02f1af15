"""20,000 messages of any content to one worker and its supervisor: each message ends, and neither process does.

Hypothesis generates raw bytes, and messages of Celery that differ from a valid one in a few places, and control
messages beside them. A message has ended when its task has a result, when the model ran its row, when it is a dead
letter, or when it waits for its time.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import psutil
import pytest
from celery import Celery
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis import Redis

from mlq.protocol import keys
from mlq.protocol.message import names_of
from mlq.store.messages.dead_letters import DeadLetters

MESSAGES: Final = 20_000
DRAWN: Final = 20
"""Messages of one example: Hypothesis draws no larger examples."""

AT_ONCE: Final = 200
MORE_MEMORY: Final = 50 * 2**20
GET_S: Final = 60
QUEUE: Final = "celery"
COMMANDS: Final = (["queues"], ["worker"], ["dead"])

_TEXT: Final = st.text(max_size=20)
_NUMBER: Final = st.one_of(
    st.integers(-2, 3), st.sampled_from([2**31, 2**63, -(2**64), 10**40, 1e-6, 1e308, -0.5]), st.floats()
)
_LEAF: Final = st.one_of(st.none(), st.booleans(), _NUMBER, _TEXT)
_ANY: Final = st.one_of(
    st.recursive(
        _LEAF,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
        max_leaves=6,
    ),
    st.sampled_from(["x" * 100_000, "\x1b[2J", "a\nb", "\udcff", "mlq:paused", "2200-01-01T00:00:00", [0] * 5000]),
)
"""A value of any type and size."""

_HEADERS: Final = (
    *("id", "task", "lang", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id", "parent_id"),
    *("argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"),
    *("compression", "mlq_job", "mlq_urgent", "shadow", "meth", "redelivered", "reply_to", "exception", "method"),
)
_PROPERTIES: Final = (
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "delivery_info",
    "priority",
    "body_encoding",
    "delivery_tag",
)
_EMBEDDED: Final = ("callbacks", "errbacks", "chain", "chord")
_PATHS: Final = (
    *(("headers", name) for name in _HEADERS),
    *(("properties", name) for name in _PROPERTIES),
    *((name,) for name in ("body", "headers", "properties", "content-type", "content-encoding", "extra")),
    *(("parts", name) for name in ("args", "kwargs", "embed", "count")),
    *(("embed", name) for name in _EMBEDDED),
)
"""The places that may differ from a valid message: in its envelope, or in the parts of its body."""

_CONTROLS: Final = (
    *("ping", "stats", "report", "conf", "active", "scheduled", "reserved", "revoked", "registered", "active_queues"),
    *("revoke", "terminate", "rate_limit", "time_limit", "shutdown", "pool_grow", "pool_shrink", "pool_restart"),
    *(
        "autoscale",
        "add_consumer",
        "cancel_consumer",
        "revoke_by_stamped_headers",
        "election",
        "hello",
        "clock",
        "objgraph",
    ),
    *("memdump", "memsample", "enable_events", "disable_events", "heartbeat", "query_task", "dump_conf"),
)


def valid_message(n: int) -> dict[str, Any]:
    """Return a message as a stock client sends it; its row is its number."""
    return {
        "headers": {"id": f"fuzz-{n}", "task": "mlq.predict", "lang": "py", "retries": 0, "timelimit": [None, None]},
        "properties": {
            "correlation_id": f"fuzz-{n}",
            "delivery_mode": 2,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": f"tag-{n}",
        },
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "parts": {"args": [{"n": n}], "kwargs": {}, "embed": dict.fromkeys(_EMBEDDED)},
    }


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Return a message as kombu writes it; a replaced `body` is kept."""
    rest = dict(message)
    parts = rest.pop("parts")
    content = list(parts.values()) if isinstance(parts, dict) else parts
    rest.setdefault("body", base64.b64encode(json.dumps(content).encode()).decode())
    return json.dumps(rest).encode()


def change_message(message: dict[str, Any], changes: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Put values into some places of a message."""
    message = copy.deepcopy(message)
    for path, value in changes.items():
        place: Any = message
        for name in ("parts", *path[:-1]) if path[0] == "embed" else path[:-1]:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
    return message


@dataclass(frozen=True, repr=False)
class Sent:
    """A message for the queue with the number of its row, or a control message."""

    raw: bytes
    n: int = 0
    control: bool = False


_numbers: Final = iter(range(1, 10 * MESSAGES))


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    """Draw a message for the queue or for the control mailbox."""
    n = next(_numbers)
    kind = draw(st.sampled_from(["changed"] * 7 + ["bytes", "control", "control"]))
    if kind == "bytes":
        return Sent(draw(st.binary(min_size=1, max_size=64)) + f" {n}".encode(), n)
    values = st.dictionaries(st.sampled_from(_PATHS), _ANY, min_size=1, max_size=3)
    if kind == "changed":
        return Sent(encode_message(change_message(valid_message(n), draw(values))), n)
    arguments = draw(
        st.dictionaries(st.sampled_from(["task_id", "task_name", "rate_limit", "n", "soft", "hard"]), _ANY, max_size=3)
    )
    body = {
        "method": draw(st.sampled_from(_CONTROLS) | _TEXT),
        "arguments": arguments,
        "destination": None,
        **draw(
            st.dictionaries(
                st.sampled_from(["arguments", "destination", "pattern", "matcher", "reply_to", "ticket"]),
                _ANY,
                max_size=1,
            )
        ),
    }
    control = {**valid_message(n), "parts": None, "body": base64.b64encode(json.dumps(body).encode()).decode()}
    control["headers"] = {"clock": n, "expires": None}
    return Sent(encode_message(change_message(control, draw(values | st.just({})))), control=True)


@dataclass
class Fuzzed:
    """A worker and its supervisor under test, with the end of each message and the errors found."""

    redis: Redis
    user: Any
    workers: Any
    client: Celery
    processes: list[psutil.Process]
    count: int = 0
    wrong: list[str] = field(default_factory=list)
    ran: set[int] = field(default_factory=set)
    read: int = 0

    def send(self, batch: list[Sent]) -> None:
        """Send messages at once, wait until the worker holds none of them, and look for the end of each."""
        with self.redis.pipeline(transaction=False) as pipe:
            for sent in batch:
                if sent.control:
                    pipe.publish("/0.celery.pidbox", sent.raw)
                else:
                    pipe.lpush(QUEUE, sent.raw)
            pipe.execute()
        self.count += len(batch)
        try:
            self.user.until(lambda: not self._waiting(), "the worker has ended every message")
        except AssertionError:
            self.wrong += [f"waits without end: {raw[:2000]!r}" for raw in self._waiting()]
        self._read_log()
        dead = self._take_dead_letters()
        delayed = b"".join(cast("list[bytes]", self.redis.zrange(keys.DELAYS, 0, -1)))
        for sent in batch:
            if not sent.control and not (
                sent.n in self.ran or sent.raw in dead or sent.raw in delayed or self._is_answered(sent.raw)
            ):
                self.wrong.append(f"has no end: {sent.raw[:2000]!r}")

    def look(self) -> None:
        """Check that both processes are the same, that commands work, and that a valid message is answered."""
        for command in COMMANDS:
            done = self.user.run(*command)
            if done.returncode != 0:
                self.wrong.append(f"{command} ends with {done.returncode}: {done.stderr}")
        answer = self.client.send_task("mlq.predict", [self.count]).get(timeout=GET_S)
        if answer["row"] != self.count:
            self.wrong.append(f"the good message {self.count} is answered with {answer}")
        if not all(process.is_running() for process in self.processes):
            self.wrong.append("a process has ended:\n" + "\n".join(self.workers.lines[-40:]))

    def memory(self) -> int:
        """Return the memory of both processes in bytes."""
        return sum(process.memory_info().rss for process in self.processes)

    def _waiting(self) -> list[bytes]:
        """Return the messages that the worker holds, or that are in a queue which it serves."""
        claimed = [raw for key in self.redis.scan_iter("mlq:claims:*") for raw in self.redis.hvals(key)]
        lists = self.redis.scan_iter(f"{QUEUE}*", _type="list")
        queued = [raw for key in lists for raw in self.redis.lrange(key, 0, -1)]
        return cast("list[bytes]", claimed + queued)

    def _is_answered(self, raw: bytes) -> bool:
        """Return whether a message's task has a result, or its client wants none."""
        if _asks_for_no_result(raw):
            return True
        task_id = names_of(raw)[1]
        return task_id is not None and bool(self.redis.exists(b"celery-task-meta-" + task_id.encode()))

    def _take_dead_letters(self) -> set[bytes]:
        """Read the dead letters, and drop them, because thousands would be left at the end."""
        letters = DeadLetters(self.redis)
        found = [letters.read(name) for name in letters.ids()]
        for letter in filter(None, found):
            letters.drop(letter.id)
        return {letter.raw for letter in found if letter is not None}

    def _read_log(self) -> None:
        """Read which rows the model has begun."""
        with (self.user.directory / "model.log").open("rb") as file:
            file.seek(self.read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        self.ran |= {int(n) for n in re.findall(rb"^start \{'n': (\d+)\} ", whole, re.MULTILINE)}


def _asks_for_no_result(raw: bytes) -> bool:
    """Return whether a failure of the message's task is not stored, but only in the worker's log."""
    try:
        headers = json.loads(raw)["headers"]
        return bool(headers["ignore_result"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


@pytest.fixture
def fuzzed(user: Any, client: Celery, start: Any, broker: str) -> Iterator[Fuzzed]:
    """Start one worker with a supervisor."""
    workers = start("--cpus", "1")
    user.write("model.log", "")
    processes = [psutil.Process(pid) for pid in (workers.process.pid, *workers.pids().values())]
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as redis:
        yield Fuzzed(redis, user, workers, client, processes)


@pytest.mark.timeout(900)
def test_no_message_ends_a_worker_or_its_supervisor(fuzzed: Fuzzed) -> None:
    """The processes and their memory stay the same, every message ends, and the next valid message is answered."""
    before, drawn = 0, list[Sent]()

    # The effect of a message depends on those before it, so an example cannot be replayed and shrunk.
    @settings(
        max_examples=MESSAGES // DRAWN,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(messages(), min_size=DRAWN, max_size=DRAWN))
    def fire(batch: list[Sent]) -> None:
        nonlocal before
        drawn.extend(batch)
        if fuzzed.wrong or len(drawn) < AT_ONCE:
            return
        fuzzed.send(drawn)
        drawn.clear()
        if fuzzed.count % (MESSAGES // 10) == 0:
            fuzzed.look()
            before = before or (0 if fuzzed.wrong else fuzzed.memory())  # after all imports

    fire()
    assert not fuzzed.wrong, f"after {fuzzed.count} messages: " + "\n".join(fuzzed.wrong)
    assert fuzzed.count >= MESSAGES
    assert abs(fuzzed.memory() - before) < MORE_MEMORY
