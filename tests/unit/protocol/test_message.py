"""The decoding of messages: any bytes in a queue give a message or a reason, and never raise an error."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import math
import pickle
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, Final

import pytest

from mlq.protocol.message import LARGEST_BYTES, Claim, Malformed, Message, decode, names_of

TASK_ID: Final = "6b0c2a4e-7f1d-4c5b-9a52-1f0e3c2b4d5a"
CASES: Final = 20_000


def stock_message(*arguments: Any, task: str = "mlq.predict") -> dict[str, Any]:
    """Return a message as a stock client writes it."""
    body = [list(arguments), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": TASK_ID,
            "root_id": TASK_ID,
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "ignore_result": False,
        },
        "properties": {
            "correlation_id": TASK_ID,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "0f2e1d3c",
        },
    }


def changed_message(path: str, value: Any) -> bytes:
    """Return a stock message in which one part is replaced."""
    message = part = stock_message([1.0, 2.0])
    *parents, last = path.split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    return json.dumps(message).encode()


def message_without(path: str) -> bytes:
    """Return a stock message in which one part is missing."""
    message = part = stock_message([1.0, 2.0])
    *parents, last = path.split(".")
    for name in parents:
        part = part[name]
    del part[last]
    return json.dumps(message).encode()


def encoded_body(body: bytes) -> str:
    """Return the encoded form of a body."""
    return base64.b64encode(body).decode()


def nested_list(levels: int) -> bytes:
    """Return a list nested this many levels deep."""
    return b"[" * levels + b"]" * levels


def compressed_message(body: bytes, method: str) -> bytes:
    """Return a stock message whose headers say that its body is compressed."""
    message = stock_message()
    message["body"], message["headers"]["compression"] = encoded_body(body), method
    return json.dumps(message).encode()


def protocol_1_message(headers: Any) -> bytes:
    """Return a message as clients of protocol 1 write it, with the whole task in the body."""
    message = stock_message()
    task = {"task": "mlq.predict", "id": TASK_ID, "args": [1], "kwargs": {}, "retries": 0, "eta": None}
    message["body"], message["headers"] = encoded_body(json.dumps(task).encode()), headers
    del message["properties"]["correlation_id"]
    return json.dumps(message).encode()


WHOLE: Final = json.dumps(stock_message([1.0, 2.0])).encode()

MALFORMED: Final[dict[str, tuple[bytes, str]]] = {
    "not JSON": (b"hello", "not JSON"),
    "not UTF-8": (b"\xff\xfe{}", "not JSON"),
    "a scalar": (b"42", "a number"),
    "null": (b"null", "null"),
    "a list": (b"[1, 2]", "a list"),
    "truncated": (WHOLE[:-40], "not JSON"),
    "deeply nested envelope": (nested_list(100_000), "not JSON"),
    "an empty object": (b"{}", "headers are null"),
    "headers null": (changed_message("headers", None), "headers are null"),
    "bad base64": (changed_message("body", "%%%"), "body"),
    "body that is no ASCII": (changed_message("body", "übel"), "body"),
    "unknown body_encoding": (changed_message("properties.body_encoding", "rot13"), "rot13"),
    "body of the wrong shape": (changed_message("body", encoded_body(b'{"row": 1}')), "not [arguments"),
    "body null": (changed_message("body", None), "the body is null"),
    "body without objects": (changed_message("body", encoded_body(b"[1, 2, 3]")), "the body's parts"),
    "task name a dict": (changed_message("headers.task", {"a": 1}), "the task's name is an object"),
    "missing id": (message_without("headers.id"), "the id is null"),
    "id a number": (changed_message("headers.id", 5), "the id is a number"),
    "empty id": (changed_message("headers.id", ""), "the id is empty"),
    "id that is too long": (changed_message("headers.id", "é" * 257), "the id has 514 bytes, the limit is 512"),
    "id with half a surrogate pair": (changed_message("headers.id", "a\udcff"), "half of a surrogate pair"),
    "missing properties": (message_without("properties"), "properties are null"),
    "missing tag": (message_without("properties.delivery_tag"), "delivery_tag"),
    "missing delivery_info": (message_without("properties.delivery_info"), "delivery_info"),
    "bad body JSON": (changed_message("body", encoded_body(b"[[1,")), "not JSON"),
    "body not UTF-8": (changed_message("body", encoded_body(b'[["\xff"], {}, {}]')), "not JSON"),
    "pickle": (changed_message("content-type", "application/x-python-serialize"), "content type"),
    "pickled body": (changed_message("body", encoded_body(pickle.dumps([[1], {}, {}]))), "not JSON"),
    "unknown content type": (changed_message("content-type", "application/x-unknown"), "content type"),
    "bad eta": (changed_message("headers.eta", "tomorrow"), "eta"),
    "eta a number": (changed_message("headers.eta", 5), "eta"),
    "eta beyond the calendar": (changed_message("headers.eta", "9999-99-99T00:00:00"), "eta"),
    "nested body": (changed_message("body", encoded_body(b"[[" + nested_list(100_000) + b"],{},{}]")), "nested deeper"),
    "retries a text": (changed_message("headers.retries", "x"), "retries"),
    "timelimit a number": (changed_message("headers.timelimit", 5), "timelimit"),
    "timelimit below nothing": (changed_message("headers.timelimit", [60, -1]), "timelimit"),
    "timelimit beyond time": (changed_message("headers.timelimit", [1e300, None]), "timelimit"),
    "compressed, says its header": (changed_message("headers.compression", "application/x-gzip"), "damaged"),
    "compressed by an unknown method": (
        changed_message("headers.compression", "rot13"),
        "the body is compressed ('rot13')",
    ),
    "compressed by a number": (changed_message("headers.compression", 5), "the body is compressed (5)"),
    "compressed and cut off": (compressed_message(zlib.compress(b"[[1], {}, {}]")[:-4], "zlib"), "the end is missing"),
    "content encoding a number": (changed_message("content-encoding", 5), "content encoding"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_dead_lettered_with_the_reason(name: str) -> None:
    """13 of these messages stop a stock worker, and 4 of them then stop each worker after it."""
    raw, why = MALFORMED[name]
    found = decode(claim_of(raw))
    assert isinstance(found, Malformed)
    assert found.reason == "malformed"
    assert why in found.why
    assert found.why.isprintable()


@pytest.mark.parametrize("name", ["bad base64", "body null", "task name a dict", "bad eta", "missing tag", "pickle"])
def test_the_id_of_a_malformed_message_is_read_to_answer_its_client(name: str) -> None:
    """Otherwise the client would wait without end."""
    found = decode(claim_of(MALFORMED[name][0]))
    assert isinstance(found, Malformed)
    assert found.task_id == TASK_ID


@pytest.mark.parametrize("name", ["missing id", "id a number", "empty id", "headers null"])
def test_an_id_is_also_read_from_the_correlation_id(name: str) -> None:
    """The correlation_id in the properties is the task's id, too, and the client waits for it."""
    found = decode(claim_of(MALFORMED[name][0]))
    assert isinstance(found, Malformed)
    assert found.task_id == TASK_ID


@pytest.mark.parametrize("name", ["not JSON", "truncated", "a list", "an empty object"])
def test_a_message_without_an_id_cannot_be_answered(name: str) -> None:
    """No id is guessed from bytes that are no message."""
    found = decode(claim_of(MALFORMED[name][0]))
    assert isinstance(found, Malformed)
    assert found.task_id is None


@pytest.mark.parametrize(
    "task_id",
    ["a b", "a/b@c#d+e", "(){}[]", "a" * 512, "é" * 256, "*", "a:b:c", "\x00", "a\x1b[31m\nb", "[red]x[/red]"],
)
def test_any_id_of_up_to_512_bytes_is_accepted(task_id: str) -> None:
    """Clients choose ids freely (e-mail addresses, paths, sentences), and stock workers run such tasks."""
    found = decode(claim_of(changed_message("headers.id", task_id)))
    assert isinstance(found, Message)
    assert found.task_id == task_id


@pytest.mark.parametrize("task_id", ["a" * 513, "é" * 257, "x" * 100_000])
def test_the_client_of_an_id_that_is_too_long_is_answered(task_id: str) -> None:
    """The key of its result has the id unchanged."""
    found = decode(claim_of(changed_message("headers.id", task_id)))
    assert isinstance(found, Malformed)
    assert found.task_id == task_id
    assert len(found.why) < 200


@pytest.mark.parametrize("headers", [None, {}, [], {"lang": "go"}])
def test_protocol_1_is_named_and_its_client_answered(headers: Any) -> None:
    """gocelery, celery-php (whose empty table is a list) and task_protocol=1 put the id into the body."""
    found = decode(claim_of(protocol_1_message(headers)))
    assert isinstance(found, Malformed)
    assert "version 1 of Celery's message protocol" in found.why
    assert "task_protocol = 2" in found.why
    assert found.task_id == TASK_ID
    assert names_of(protocol_1_message(headers)) == ("mlq.predict", TASK_ID)


@pytest.mark.parametrize(
    ("method", "compress"), [("application/x-gzip", zlib.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_body_is_read(method: str, compress: Callable[[bytes], bytes]) -> None:
    """task_compression is a setting of clients; a stock worker reads such bodies without a setting."""
    found = decode(claim_of(compressed_message(compress(b"[[7], {}, {}]"), method)))
    assert isinstance(found, Message)
    assert found.args == [7]


@pytest.mark.parametrize(
    ("method", "compress"), [("gzip", zlib.compress), ("bzip2", bz2.compress), ("lzma", lzma.compress)]
)
def test_a_compressed_body_cannot_fill_the_memory(method: str, compress: Callable[[bytes], bytes]) -> None:
    """100 bytes of bzip2 can hold 64 MiB, so the size is limited during decompression."""
    raw = compressed_message(compress(b"[" + b" " * 64 * 2**20 + b"]"), method)
    tracemalloc.start()
    found = decode(claim_of(raw))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Malformed)
    assert (found.reason, found.task_id) == ("too-large", TASK_ID)
    assert peak < 3 * LARGEST_BYTES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1180591620717411303424", 2**70),
        ("-9223372036854775809", -(2**63) - 1),
        ("18446744073709551616", 2**64),
        ('["\\udcff"]', ["\udcff"]),
        ("[18446744073709551615, 0.1]", [2**64 - 1, 0.1]),
        ('{"a": 147573952589676412927}', {"a": 147573952589676412927}),
        ("Infinity", math.inf),
    ],
)
def test_a_body_is_read_as_celery_reads_it(text: str, value: Any) -> None:
    """A large number read as a float, or a refusal of a body that a stock worker runs, would change the message."""
    found = decode(claim_of(changed_message("body", encoded_body(f"[[{text}], {{}}, {{}}]".encode()))))
    assert isinstance(found, Message)
    assert found.args == [value]
    assert type(found.args[0]) is type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "x\udcff", 2**70])
def test_a_header_may_hold_any_value_of_pythons_json(value: Any) -> None:
    """Custom headers and argsrepr hold values of the client."""
    assert isinstance(decode(claim_of(changed_message("headers.score", value))), Message)


def test_a_message_that_is_too_large_is_not_decoded() -> None:
    """A json.loads of 80 MB stops the whole process for a second."""
    found = decode(claim_of(b"[" * (LARGEST_BYTES + 1)))
    assert isinstance(found, Malformed)
    assert (found.reason, found.task_id) == ("too-large", None)


def test_everything_except_the_body_of_a_too_large_message_is_read() -> None:
    """Its client waits for an answer, and its id is in the few bytes around the body."""
    found = decode(claim_of(changed_message("body", "x" * LARGEST_BYTES)))
    assert isinstance(found, Malformed)
    assert (found.reason, found.task_id) == ("too-large", TASK_ID)
    found = decode(claim_of(changed_message("headers.more", "x" * LARGEST_BYTES)))
    assert isinstance(found, Malformed)
    assert (found.reason, found.task_id) == ("too-large", None)


def test_the_reason_why_a_message_is_malformed_is_short() -> None:
    """The reason is logged and shown in a table: 1 MB of the message would explain nothing."""
    for path in ("content-type", "headers.eta", "properties.body_encoding"):
        found = decode(claim_of(changed_message(path, "x" * 2**20)))
        assert isinstance(found, Malformed)
        assert len(found.why) < 300


def test_a_good_message_is_read_as_its_sender_wrote_it() -> None:
    """Arguments, headers, callbacks and errbacks are complete."""
    found = decode(claim_of(json.dumps(stock_message({"é": [1, 2.5, None]}, task="own.add")).encode()))
    assert isinstance(found, Message)
    assert (found.task, found.task_id, found.args, found.kwargs) == ("own.add", TASK_ID, [{"é": [1, 2.5, None]}], {})
    assert found.headers["retries"] == 0
    assert found.eta is None


@pytest.mark.parametrize("eta", ["2031-01-01T00:00:00", "2031-01-01T00:00:00Z", "2031-01-01T02:00:00+02:00"])
def test_a_time_without_a_zone_is_in_utc_as_in_celery(eta: str) -> None:
    """Clients of all versions write one of these forms."""
    found = decode(claim_of(changed_message("headers.eta", eta)))
    assert isinstance(found, Message)
    assert found.eta is not None
    assert found.eta.timestamp() == 1924992000


def test_no_mutation_of_a_message_makes_decoding_raise() -> None:
    """An error here would end the worker, then the next worker that claims the message."""
    chance = random.Random(20_000)  # noqa: S311 (a seed, not a secret)
    seen = {Message: 0, Malformed: 0}
    for number in range(CASES):
        raw = mutate(chance)
        try:
            seen[type(decode(claim_of(raw)))] += 1
        except Exception as exc:
            raise AssertionError(f"case {number}: {raw!r}") from exc
    assert all(count > CASES // 20 for count in seen.values()), "the mutations are neither all too mild nor too wild"


ODD: Final[list[Any]] = [
    *(None, True, -1, 0, 2**70, 1.5, "", "x", "é", "\x00\x1b[2J\n", "1e999", "2031-01-01", "utf-9", "base64"),
    *([], [[]], [None, None], [1], {}, {"id": 1}, {"": None}, "W10=", "=", "bnVsbA==", "0001-01-01T00:00:00+23:59"),
]


def mutate(chance: random.Random) -> bytes:
    """Return a stock message with a change in its parts, its body or its bytes."""
    message = stock_message([1.0], "two")
    kind = chance.choice([mutate_parts, mutate_parts, mutate_body])
    kind(message, chance)
    raw = bytearray(json.dumps(message).encode())
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        change: Callable[[bytearray, random.Random], None] = chance.choice([flip_byte, cut_bytes, repeat_bytes])
        change(raw, chance)
    return bytes(raw)


def mutate_parts(message: dict[str, Any], chance: random.Random) -> None:
    """Replace or remove some parts, at any depth."""
    for _ in range(chance.randint(1, 3)):
        places = [message, *(v for v in message.values() if isinstance(v, dict))]
        place = chance.choice([p for p in places if p] or [message])
        name = chance.choice(list(place) or ["body"])
        if chance.random() < 0.2:
            place.pop(name, None)
        else:
            place[name] = chance.choice(ODD)


def mutate_body(message: dict[str, Any], chance: random.Random) -> None:
    """Replace a part of the body."""
    body = [chance.choice([*ODD, [1]]), chance.choice([*ODD, {}]), chance.choice([*ODD, {"chain": 5}])]
    message["body"] = encoded_body(json.dumps(body if chance.random() < 0.8 else body[:2]).encode())


def flip_byte(raw: bytearray, chance: random.Random) -> None:
    """Change one byte."""
    if raw:
        raw[chance.randrange(len(raw))] = chance.randrange(256)


def cut_bytes(raw: bytearray, chance: random.Random) -> None:
    """Remove some bytes."""
    start = chance.randrange(len(raw) + 1)
    del raw[start : start + chance.randint(1, 20)]


def repeat_bytes(raw: bytearray, chance: random.Random) -> None:
    """Repeat some bytes."""
    start = chance.randrange(len(raw) + 1)
    raw[start:start] = raw[start : start + chance.randint(1, 20)]


def claim_of(raw: bytes) -> Claim:
    """Return a claim of a message."""
    return Claim("1-1", "celery", 0, raw)
