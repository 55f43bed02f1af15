"""The way in which a thread is stopped."""

from __future__ import annotations

import threading

from mlq.ipc.threads import StoppableThread

DEADLINE_S = 30


class Waiting(StoppableThread):
    """Waits for work, which never comes, instead of for its end."""

    def __init__(self) -> None:
        super().__init__("waiting")
        self.work = threading.Event()
        self.saw_the_end = False

    def run(self) -> None:
        self.work.wait()
        self.saw_the_end = self.is_ending

    def _interrupt_wait(self) -> None:
        self.work.set()


def test_a_thread_that_waits_for_work_is_woken_and_finds_that_it_is_to_end() -> None:
    """Woken before the end is noted, it would wait for work again and never end."""
    thread = Waiting()
    thread.start()
    thread.end(DEADLINE_S)
    assert not thread.is_alive()
    assert thread.saw_the_end


def test_a_thread_that_is_only_asked_to_end_is_not_waited_for() -> None:
    """A supervisor asks all of its threads first, so that they end at the same time."""

    class Busy(StoppableThread):
        free = threading.Event()

        def run(self) -> None:
            self.free.wait()

    thread = Busy("busy")
    thread.start()
    thread.ask_to_end()
    assert thread.is_ending
    assert thread.is_alive()
    thread.free.set()
    thread.end(DEADLINE_S)
    assert not thread.is_alive()


def test_a_thread_that_does_not_end_is_left_behind_after_the_timeout() -> None:
    """A server that does not answer must not keep a process from ending, so such a thread is a daemon, too."""
    thread = StoppableThread("stuck")
    released = threading.Event()
    thread.run = released.wait  # type: ignore[method-assign, assignment]  # a request without an answer
    thread.start()
    thread.end(0.01)
    assert thread.is_alive()
    assert thread.daemon
    released.set()
    thread.join(DEADLINE_S)


def test_a_thread_that_was_never_started_can_be_ended() -> None:
    """An error may come between the making of a thread and its start, and the clean-up must not hide it."""
    StoppableThread("new").end()
