"""The STARTED state: it is stored for tasks that run for a while; short ones do without, which saves a request."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from mlq.engine.rejection import MakeAnswer
from mlq.protocol.message import Message
from mlq.store.claims.claims import Claims

AFTER_S: Final = 0.1
"""Seconds after which STARTED is stored."""

log = logging.getLogger("mlq.started_state")


class StartedStates(threading.Thread):
    """Stores STARTED once for each message that still runs after AFTER_S; `hostname` names the worker."""

    def __init__(self, claims: Claims, make_answer: MakeAnswer, hostname: str) -> None:
        super().__init__(name="mlq-started-state", daemon=True)
        self._claims = claims
        self._make_answer = make_answer
        self._hostname = hostname
        self._running: Sequence[Message] = ()
        self._began = threading.Event()

    def began(self, messages: Sequence[Message]) -> None:
        """Note the messages that run now. This is cheap, because it is called for each batch."""
        self._running = messages
        self._began.set()

    def ended(self) -> None:
        """Note that the batch has ended."""
        self._running = ()
        self._began.clear()

    def run(self) -> None:
        """Look at the running batch, and store STARTED if it still runs AFTER_S later."""
        announced: Sequence[Message] = ()
        pause = threading.Event()
        while True:
            self._began.wait()
            before = self._running
            pause.wait(AFTER_S)
            if before and before is self._running and before is not announced:
                announced = before
                for message in before:
                    self._announce(message)

    def _announce(self, message: Message) -> None:
        """Store STARTED while the claim is held; an error is only logged, because the task itself is not affected."""
        started = {"status": "STARTED", "result": {"pid": os.getpid(), "hostname": self._hostname}, "traceback": None}
        if message.place is not None or message.headers.get("ignore_result"):  # no client can read it
            return
        answer = self._make_answer(message.task_id, started, None)
        try:
            if answer is not None:
                self._claims.record(message.claim, answer)
        except (RedisError, OSError) as exc:
            log.debug("STARTED is not written: %s", exc, extra={"action": "started_not_stored"})
