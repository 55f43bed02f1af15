"""Messages of unknown tasks: when they prevent the start of a worker, and how they are logged otherwise."""

from __future__ import annotations

import logging
from collections import Counter

import orjson
import pytest

from mlq.engine.startup.unknown_tasks import OnceAMinute, UnknownTaskLog, mostly_unknown, shown

KNOWN = {"mlq.predict", "celery.chord"}


def message(task: object) -> bytes:
    """Make a message of a task."""
    return orjson.dumps({"headers": {"task": task, "id": "1"}, "body": "", "properties": {}})


@pytest.mark.parametrize(
    ("tasks", "unknown"),
    [
        ([], {}),
        (["mlq.predict"] * 3, {}),
        (["shop.pay"], {"shop.pay": 1}),
        (["shop.pay", "mlq.predict"], {}),
        (["shop.pay", "shop.mail", "mlq.predict"], {"shop.pay": 1, "shop.mail": 1}),
        (["celery.chord", "celery.chord", "shop.pay"], {}),
        ([None, 7, "", ["x"]], {}),
        ([None, None, None, "shop.pay"], {"shop.pay": 1}),
    ],
)
def test_more_than_half_of_the_readable_messages_must_be_unknown(tasks: list[object], unknown: dict[str, int]) -> None:
    """An unreadable message becomes a dead letter on any worker, so it does not count."""
    assert mostly_unknown([b"\xff", b"[]", b"", *map(message, tasks)], KNOWN) == unknown


def test_task_names_in_messages_cannot_control_a_terminal_or_fill_it() -> None:
    """Any client can write them."""
    text = shown(Counter({"\x1b[2J\n": 5, "a" * 10_000: 4, "c": 3, "d": 2, "e": 1}))
    assert text.isprintable()
    assert text.startswith(r"'\x1b[2J\n', 'aaa")
    assert text.endswith("'c' and 2 more")
    assert len(text) < 200


def test_dead_letters_of_unknown_tasks_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The line counts the messages; one line for each would fill the disk."""
    now = 0.0
    log = UnknownTaskLog(clock=lambda: now)
    with caplog.at_level(logging.WARNING):
        for second in range(120):
            now = float(second)
            log.add("shop.pay")
            log.add("shop.mail")
    assert [r.getMessage().partition("warning: ")[2].partition(" ")[0] for r in caplog.records] == ["1", "120"]
    assert "'shop.pay'" in caplog.text


def test_celerys_own_log_line_passes_once_a_minute() -> None:
    """This is for brokers where Celery's transport takes the messages; other lines always pass."""
    now = 0.0
    once = OnceAMinute("no task of type %s", clock=lambda: now)
    passed = []
    for second in range(120):
        now = float(second)
        passed += [once.filter(logging.makeLogRecord({"msg": "no task of type %s", "args": ("x",)}))]
        assert once.filter(logging.makeLogRecord({"msg": "something else"}))
    assert passed.count(True) == 2
