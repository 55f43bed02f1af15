"""Sender: sends chunks while there is room for them, in pipelines, each once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from redis.exceptions import ResponseError

from mlq.broker.retries import Retry
from mlq.broker.script import is_full
from mlq.jobs.chunk import Chunk, placed, refuse
from mlq.jobs.row import RowError
from mlq.jobs.send.back_pressure import Pressure
from mlq.jobs.send.chunk_feed import Feeder
from mlq.jobs.send.chunk_message import body_of, call_of
from mlq.jobs.send.posting import ChunkMessage, ChunkSender, Early, parcel_of
from mlq.store.jobs.record import Job

HasRoom: TypeAlias = Callable[[int, int], bool]
"""Asked whether one more chunk may be made, beside so many, of so many bytes, that are not sent yet."""

_PIPELINE: Final = 16
_PIPELINE_BYTES: Final = 4 * 2**20


class Sender:
    """Sends a job. `answered` is True if its results will be collected."""

    def __init__(
        self,
        job: Job,
        feeder: Feeder,
        post: ChunkSender,
        pressure: Pressure,
        insist: Retry,
        *,
        priority: int | None,
        answered: bool,
    ) -> None:
        self._job = job
        self._feeder = feeder
        self._post = post
        self._pressure = pressure
        self._insist = insist
        self._priority = priority
        self._answered = answered
        self._outbox: list[ChunkMessage] = []
        #: Gives the time of sending; the server's, where somebody has asked for it.
        self.now: Callable[[], float] = time.time
        self.is_done = False
        self.has_read_all = False

    @property
    def taken(self) -> int:
        """Rows of the input that were read."""
        return self._feeder.taken

    def stop(self) -> None:
        """Send nothing more. Chunks that a full server has refused are dropped; they were never sent."""
        self.is_done = True

    def step(self, rows: int, has_room: HasRoom, sent: Callable[[Chunk, int], None]) -> bool:
        """Send what there is room for; tell whether anything was. `sent` is told each chunk that was, and its bytes.

        Raises JobTaken, NotJson where a pipe's array breaks.
        """
        if self.is_done or self._insist(self._pressure.is_high):
            return False
        if not self._outbox:
            self._fill(rows, has_room)
        if not self._outbox:
            return False
        try:
            self._insist(lambda: self._post.send(self._outbox))
        except Early:
            return False
        except ResponseError as exc:
            if not is_full(exc):
                raise
            self._pressure.refused()
            return False
        # Not sooner: what a full server refuses is never sent if somebody stops us, and nobody must wait for it.
        for parcel in self._outbox:
            sent(parcel.chunk, len(parcel.message))
        self._outbox = []
        self.is_done = self.has_read_all
        return True

    def _fill(self, rows: int, has_room: HasRoom) -> None:
        size = 0
        while has_room(len(self._outbox), size) and len(self._outbox) < _PIPELINE and size < _PIPELINE_BYTES:
            chunk = self._feeder.next(rows)
            if chunk is None:
                self.has_read_all = True
                self.is_done = not self._outbox
                return
            parcel = self._parcel(chunk)
            size += len(parcel.message)
            self._outbox.append(parcel)

    def _parcel(self, chunk: Chunk) -> ChunkMessage:
        try:
            return self._wrapped(chunk)
        except TypeError:
            return self._wrapped(refuse(chunk, dict(self._unwritable(chunk))))

    def _wrapped(self, chunk: Chunk) -> ChunkMessage:
        call = None
        if chunk.inputs:
            call = replace(call_of(self._job, chunk, self._priority), sent_at=self.now())
        parcel = parcel_of(chunk, call, self._feeder.taken, answered=self._answered)
        chunk.inputs = []
        return parcel

    @staticmethod
    def _unwritable(chunk: Chunk) -> list[tuple[int, RowError]]:
        """Find the rows that JSON cannot hold."""
        found = []
        for place, given in placed(chunk):
            try:
                body_of([[given]], {})  # as deep as the message holds it: the depth is limited, too
            except TypeError as exc:
                found.append((place, RowError("TypeError", str(exc))))
        return found
