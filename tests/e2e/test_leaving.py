"""The end of a drained worker: no thread, hook or native code of its model can delay it."""

from __future__ import annotations

import pytest

from tests.conftest import Start, User

KEEPS = """
import asyncio, atexit, ctypes, multiprocessing, os, threading, time
from concurrent.futures import ThreadPoolExecutor

def forever():
    time.sleep(3600)

def hold_everything():
    ctypes.PyDLL(None).sleep(3600)  # a C call that keeps the GIL: no Python thread runs any more

class Model:
    def setup(self, device):
        getattr(self, os.environ["KEEPS"])()

    def thread(self):
        threading.Thread(target=forever, name="uploader").start()

    def pool(self):
        self.workers = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self.workers.submit(forever)

    def loop(self):
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="event-loop").start()

    def hook(self):
        atexit.register(forever)

    def process(self):
        multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,)).start()

    def native(self):
        atexit.register(hold_everything)

    def crash(self):
        atexit.register(os.abort)

    def predict(self, rows):
        return rows
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("keeps", "log_text"),
    [
        ("thread", "thread 'uploader' did not end and is left behind: it stands at "),
        ("pool", "thread 'decoder_0' did not end and is left behind: it stands at "),
        ("loop", "thread 'event-loop' did not end"),
        ("hook", "the main thread stands at "),
        ("process", "the main thread stands at "),
        ("native", ""),
        ("crash", "had ended its work with exit code 0, its process then ended with signal SIGABRT"),
    ],
)
def test_a_drained_worker_ends_though_its_model_left_threads_or_hooks_running(
    user: User, start: Start, keeps: str, log_text: str
) -> None:
    """It runs no task and holds no message.

    Its exit code is that of a completed drain, and the log names what is left.
    """
    user.write("keeps.py", KEEPS)
    workers = start("--cpus", "1", model="keeps.py:Model", KEEPS=keeps)
    assert workers.end() == 0, "\n".join(workers.lines)
    assert any(log_text in line for line in workers.lines), "\n".join(workers.lines)


@pytest.mark.timeout(120)
def test_such_a_worker_is_replaced_on_a_restart_order(user: User, start: Start) -> None:
    """No death is counted, because it ended on an order."""
    user.write("keeps.py", KEEPS)
    workers = start("--cpus", "1", model="keeps.py:Model", KEEPS="thread")
    done = user.run("worker", "restart", "cpu0")
    assert done.returncode == 0, done.stderr
    workers.wait_for("ready after", times=2)
    assert not any("ended with" in line for line in workers.lines)
