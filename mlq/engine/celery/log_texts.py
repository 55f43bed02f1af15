"""Celery's log texts without the payloads that they contain: arguments, results, bodies and headers."""

from __future__ import annotations

from typing import Any, Final

from celery.app import trace
from celery.worker.consumer import consumer

UNKNOWN_TASK: Final = "no task of type %s is known here: its message is discarded%.0s%.0s%.0s"
"""The log line about a message of an unknown task. %.0s consumes a value of Celery's and writes nothing."""


def withhold_payloads() -> None:
    """Let Celery log no payloads in this process."""
    trace.LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
    stock: Any = consumer  # the stubs lack these names
    stock.UNKNOWN_TASK_ERROR = UNKNOWN_TASK
    stock.MESSAGE_REPORT = "type {1}, encoding {2}"
    stock.UNKNOWN_FORMAT = "a message is of no known form, and is discarded: %s"
