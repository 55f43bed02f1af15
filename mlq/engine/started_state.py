"""Announcing: STARTED is written of what has been running for a while, where it matters, and free elsewhere."""

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

log = logging.getLogger("mlq.announcing")


class StartedStates(threading.Thread):
    """Writes STARTED once for each message that is still running after AFTER_S; `hostname` is who runs it."""

    def __init__(self, claims: Claims, make_answer: MakeAnswer, hostname: str) -> None:
        super().__init__(name="mlq-announcing", daemon=True)
        self._claims = claims
        self._make_answer = make_answer
        self._hostname = hostname
        self._running: Sequence[Message] = ()
        self._began = threading.Event()

    def began(self, messages: Sequence[Message]) -> None:
        """Tell what runs now. Cheap: it is called for every batch."""
        self._running = messages
        self._began.set()

    def ended(self) -> None:
        """Nothing runs any more."""
        self._running = ()
        self._began.clear()

    def run(self) -> None:
        """Look at what runs, and again a while later whether it is still the same."""
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
        """Record it under the claim; nobody must learn that Redis is away by this."""
        started = {"status": "STARTED", "result": {"pid": os.getpid(), "hostname": self._hostname}, "traceback": None}
        if message.place is not None or message.headers.get("ignore_result"):  # nobody would see it
            return
        answer = self._make_answer(message.task_id, started, None)
        try:
            if answer is not None:
                self._claims.record(message.claim, answer)
        except (RedisError, OSError) as exc:
            log.debug("STARTED is not written: %s", exc)
