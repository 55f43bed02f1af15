"""Malformed messages: every kind that was ever seen in a queue, and that stops some worker."""

from __future__ import annotations

import base64
import json
import math
import pickle
import zlib
from collections.abc import Callable
from typing import Any, Final

Change = Callable[[dict[str, Any]], Any]
"""A function that changes a stock message in place, or returns the bytes to send instead."""


def put(path: str, value: Any) -> Change:
    """Return a change that replaces the value in one place."""

    def change(message: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            message = message[name]
        message[last] = value

    return change


def drop(path: str) -> Change:
    """Return a change that removes one place."""

    def change(message: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            message = message[name]
        del message[last]

    return change


def body(content: bytes) -> Change:
    """Return a change that replaces the body."""
    return put("body", base64.b64encode(content).decode())


def nested(levels: int) -> bytes:
    """Return a list nested this many levels deep."""
    return b"[" * levels + b"]" * levels


def to_protocol_1(message: dict[str, Any]) -> None:
    """Change a message to the form of gocelery and celery-php."""
    task = {"task": message["headers"]["task"], "id": message["headers"]["id"], "args": [1], "kwargs": {}}
    body(json.dumps(task).encode())(message)
    message["headers"] = {}


def to_compressed(content: bytes) -> Change:
    """Return a change that sends this content as a compressed body."""

    def change(message: dict[str, Any]) -> None:
        body(content)(message)
        message["headers"]["compression"] = "application/x-gzip"

    return change


NOTHING: Final = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'

ANSWERED: Final[dict[str, tuple[Change, str]]] = {
    "bad base64": (put("body", "%%%"), "malformed"),
    "body that is no ASCII": (put("body", "übel"), "malformed"),
    "unknown body_encoding": (put("properties.body_encoding", "rot13"), "malformed"),
    "body_encoding a list": (put("properties.body_encoding", []), "malformed"),
    "body of wrong shape": (body(b'{"row": 1}'), "malformed"),
    "body null": (put("body", None), "malformed"),
    "task name a dict": (put("headers.task", {"a": 1}), "malformed"),
    "missing properties": (drop("properties"), "malformed"),
    "missing tag": (drop("properties.delivery_tag"), "malformed"),
    "missing delivery_info": (drop("properties.delivery_info"), "malformed"),
    "bad body JSON": (body(b"[[1,"), "malformed"),
    "non-UTF-8 body": (body(b'[["\xff"], {}, {}]'), "malformed"),
    "pickle": (put("content-type", "application/x-python-serialize"), "malformed"),
    "pickled body": (body(pickle.dumps([[1], {}, {}])), "malformed"),
    "unknown content type": (put("content-type", "application/x-unknown"), "malformed"),
    "content encoding a number": (put("content-encoding", 5), "malformed"),
    "bad eta": (put("headers.eta", "tomorrow"), "malformed"),
    "retries a text": (put("headers.retries", "x"), "malformed"),
    "time limit a number": (put("headers.timelimit", 5), "malformed"),
    "nested body": (body(b"[[" + nested(100_000) + b"], {}, " + NOTHING + b"]"), "malformed"),
    "protocol 1": (to_protocol_1, "malformed"),
    "compressed and damaged": (to_compressed(zlib.compress(b"[[1], {}, {}]")[:-4]), "malformed"),
    "compressed and too large": (to_compressed(zlib.compress(b" " * 40 * 2**20)), "too-large"),
    "unknown task": (put("headers.task", "nobody.knows"), "unknown-task"),
}
"""Messages whose id can be read, so that the client is answered, and the reasons of their dead letters."""

UNREADABLE: Final[dict[str, tuple[Change, str]]] = {
    "not JSON": (lambda _: b"hello", "malformed"),
    "not UTF-8": (lambda _: b"\xff\xfe{}", "malformed"),
    "scalar": (lambda _: b"42", "malformed"),
    "null": (lambda _: b"null", "malformed"),
    "list": (lambda _: b"[1, 2]", "malformed"),
    "truncated": (lambda message: json.dumps(message).encode()[:-40], "malformed"),
    "deeply nested envelope": (lambda _: nested(100_000), "malformed"),
    "missing id": (drop("headers.id"), "malformed"),
    "an empty object": (lambda _: b"{}", "malformed"),
    "headers null": (put("headers", None), "malformed"),
    "50 MB payload": (lambda _: b'{"body": "' + b"x" * 50 * 2**20 + b'"}', "too-large"),
}

EXECUTED: Final[dict[str, Change]] = {
    "wrong arguments": body(b"[[1, 2, 3], {}, " + NOTHING + b"]"),
    "more levels than can be answered": body(b"[[" + nested(300) + b"], {}, " + NOTHING + b"]"),
    "expires that is no time": put("headers.expires", "tomorrow"),
    "a chain that is none": body(b'[[1], {}, {"chain": 5}]'),
    "a chord that is none": body(b'[[1], {}, {"chord": 5, "callbacks": 7}]'),
    "compressed": to_compressed(zlib.compress(b"[[1], {}, " + NOTHING + b"]")),
    "NaN in a header": put("headers.score", math.nan),
    "half a surrogate pair in a header": put("headers.argsrepr", "x\udcff"),
    "an integer of 70 bits": body(b"[[1180591620717411303424], {}, " + NOTHING + b"]"),
}
"""Messages with a valid envelope: Celery or the model decides about them."""


def spoiled(change: Change, task_id: str, task: str = "mlq.predict") -> bytes:
    """Return a stock message after a change."""
    message = {
        "body": base64.b64encode(b"[[1], {}, " + NOTHING + b"]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "retries": 0},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": task_id,
            "body_encoding": "base64",
            "priority": 0,
        },
    }
    instead = change(message)
    return instead if isinstance(instead, bytes) else json.dumps(message).encode()


def malformed(task: str) -> dict[str, bytes]:
    """Return all messages that no worker can run, as bytes for a queue, by name."""
    everything = {**ANSWERED, **UNREADABLE}
    return {
        name.replace(" ", "-"): spoiled(change, name.replace(" ", "-"), task)
        for name, (change, _) in everything.items()
    }
