"""One worker per device on the whole host, and no worker on a device at fault."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlq.autoscale.live import devices
from mlq.errors import SlotTaken, UsageError, WorkersFailed
from mlq.settings import config
from mlq.supervisor import event_loop, signals
from mlq.supervisor.child import Child
from mlq.supervisor.devices import device_locks, nvml
from mlq.supervisor.devices.cordon import FaultWatch
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.devices.plan import DeviceRequest, plan
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.errors import DeviceLockUnusable, DeviceTaken
from mlq.supervisor.event_loop import Fleet
from mlq.supervisor.news import GaveUp, News, Warned, in_words
from mlq.supervisor.spec import WorkerSpec

GPUS = [Gpu(0, "GPU-aaaa", "Some GPU", 0), Gpu(1, "GPU-bbbb", "Some GPU", 0, occupied="used by process 1")]
SETTINGS = config.load({"MLQ_WORKER_MODEL": "m.pt2"})

HOLD = """
import sys
from pathlib import Path
from mlq.supervisor.devices import device_locks
from mlq.supervisor.devices.gpus import Gpu
file = device_locks.lock_device(Path(sys.argv[1]), Gpu(0, "GPU-aaaa", "Some GPU", 0), "theirs-gpu0")
print("booked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory like /run/lock: every user may write, and may remove only own files."""
    path = tmp_path / "lock"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def other(shared: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another supervisor that has GPU 0; this one treats it as another user's."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(shared)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "booked\n"
        yield process
        process.kill()


@pytest.fixture
def slots(tmp_path: Path, shared: Path) -> Iterator[Slots]:
    """Return slots in a private state directory."""
    with closing(Slots(tmp_path / "state", shared)) as slots:
        yield slots


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver report two GPUs."""
    monkeypatch.setattr(nvml, "offered", lambda _library, _environ: GPUS)


def plan_names(devices: DeviceRequest, slots: Slots) -> list[str]:
    """Plan the workers, and return their names."""
    return [spec.name for spec in plan(SETTINGS, devices, slots, {})]


def test_a_device_of_another_supervisor_is_refused_with_its_name(other: subprocess.Popen[str], slots: Slots) -> None:
    """The other one may have another state directory or user: two workers on one GPU would compete for memory."""
    with pytest.raises(DeviceTaken) as raised:
        plan_names(DeviceRequest(gpus="0"), slots)
    holder = f"worker theirs-gpu0 of user {os.getuid()} uses it, under supervisor process {other.pid}"
    assert holder in raised.value.message


def test_a_device_is_free_after_any_end_of_its_supervisor(other: subprocess.Popen[str], slots: Slots) -> None:
    """The kernel releases the lock, so no cleanup is needed after a kill -9."""
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert plan_names(DeviceRequest(gpus="0"), slots) == ["gpu0"]


def test_auto_skips_a_device_that_was_booked_a_moment_ago(
    other: subprocess.Popen[str], slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is still loading uses no GPU memory yet. The lock shows what the driver cannot."""
    assert other.pid
    free = [GPUS[0], Gpu(1, "GPU-bbbb", "Some GPU", 0)]
    monkeypatch.setattr(nvml, "offered", lambda _library, _environ: free)
    assert plan_names(DeviceRequest(gpus="auto"), slots) == ["gpu1"]
    free.pop()
    with pytest.raises(DeviceTaken):
        plan_names(DeviceRequest(gpus="auto"), slots)


def test_two_workers_share_a_gpu_on_request(slots: Slots) -> None:
    """Each has its own name, and both have the same device mask."""
    specs = plan(SETTINGS, DeviceRequest(gpus="all", per_gpu=2), slots, {}, prefix="a")
    assert [(s.name, s.gpu) for s in specs] == [
        ("a-gpu0-0", GPUS[0]),
        ("a-gpu0-1", GPUS[0]),
        ("a-gpu1-0", GPUS[1]),
        ("a-gpu1-1", GPUS[1]),
    ]
    with pytest.raises(UsageError, match="goes with --gpus"):
        plan_names(DeviceRequest(cpus=2, per_gpu=2), slots)


def test_a_slot_of_one_user_is_taken_once(slots: Slots, tmp_path: Path) -> None:
    """CPU workers book no device, but their names are unique."""
    assert plan_names(DeviceRequest(cpus=1), slots) == ["cpu0"]
    with closing(Slots(tmp_path / "state")) as others, pytest.raises(SlotTaken, match="cpu0"):
        others.take(["cpu0"])


def test_another_user_can_lock_the_files_of_this_one(slots: Slots, shared: Path) -> None:
    """This holds for any umask: a file that only its creator may open would keep all other users off the device."""
    before = os.umask(0o077)
    try:
        assert plan_names(DeviceRequest(gpus="0"), slots) == ["gpu0"]
    finally:
        os.umask(before)
    (made,) = shared.iterdir()
    assert made.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("planted", ["link", "hard link", "pipe"])
def test_a_planted_link_is_not_written_to(slots: Slots, shared: Path, tmp_path: Path, planted: str) -> None:
    """Every user may write to that directory, and could create a link to a file of this user."""
    ours, there = tmp_path / "ours", shared / "mlq-GPU-aaaa.lock"
    ours.write_text("precious")
    if planted == "link":
        there.symlink_to(ours)
    elif planted == "hard link":
        there.hardlink_to(ours)
    else:
        os.mkfifo(there)
    with pytest.raises(DeviceLockUnusable):
        plan_names(DeviceRequest(gpus="0"), slots)
    assert ours.read_text() == "precious"


def test_the_text_of_a_lock_holder_cannot_control_the_terminal(shared: Path) -> None:
    """Any user may have written it."""
    gpu = GPUS[0]
    with device_locks.lock_device(shared, gpu, "gpu0"):
        (shared / "mlq-GPU-aaaa.lock").write_bytes(b"1 2 \x1b[31m\xff\n")
        with pytest.raises(DeviceTaken, match="another process holds its lock"):
            device_locks.lock_device(shared, gpu, "gpu0")


def test_all_users_use_the_same_lock_directory(tmp_path: Path, shared: Path) -> None:
    """Root may write to a directory that is closed to others, and must not lock there."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    assert device_locks.shared_directory([tmp_path / "missing", closed, shared]) == shared


class LosesItsDevice(WorkerSpec):
    """A worker that ends like one whose device no longer answers."""

    def argv(self) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit(70)"]


class AtFault(FaultWatch):
    """A driver that reports a fault as soon as a worker has died."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.followed: list[Gpu] = []

    def follow(self, gpu: Gpu) -> None:
        self.followed.append(gpu)

    def verdict(self, gpu: Gpu, since: float) -> str | None:
        assert gpu in self.followed
        assert since > 0
        return "Xid 79"


def test_no_worker_is_started_again_on_a_device_at_fault() -> None:
    """It would only meet the fault again. The log says what to do, and the operator does it: mlq resets no GPU."""
    news: list[News] = []
    fleet = Fleet([LosesItsDevice("gpu0", SETTINGS, gpu=GPUS[0])], news.append, lambda _: None, faults=AtFault())
    with signals.watched([]) as stops, pytest.raises(WorkersFailed):
        fleet.run(stops)
    (gave_up,) = [n for n in news if isinstance(n, GaveUp)]
    assert in_words(gave_up) == (
        "gpu0",
        "failed: its GPU has a fault and is not used again until it is reset: Xid 79 (exit code 70)",
    )
    assert fleet.handle.view().cordoned == {"gpu0"}


def test_an_autoscaler_keeps_the_lock_of_a_device_at_fault(slots: Slots, tmp_path: Path, shared: Path) -> None:
    """If it were free, the next worker would be started on it. A device whose worker ended normally is free."""
    healthy, at_fault = (WorkerSpec(gpu.slot, SETTINGS, gpu=gpu) for gpu in GPUS)
    pool = devices.DevicePool([healthy, at_fault], slots, pause_s=1.0, host="here")
    assert pool.take(healthy, at=0.0)
    assert pool.take(at_fault, at=0.0)
    pool.free({"gpu0": False, "gpu1": True}, frozenset({"gpu1"}), at=0.0)
    assert pool.available(at=1e9) == [healthy]
    with closing(Slots(tmp_path / "others", shared)) as others:
        assert plan_names(DeviceRequest(gpus="0"), others) == ["gpu0"]
        with pytest.raises(DeviceTaken):
            plan_names(DeviceRequest(gpus="1"), others)


def test_a_worker_whose_process_cannot_be_created_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other workers and the supervisor must not end because of it."""
    refusals = iter([OSError(errno.EAGAIN, "Resource temporarily unavailable")] * 2)

    class Refusing(Child):
        def __init__(self, *args: Any) -> None:
            for refusal in refusals:
                raise refusal
            super().__init__(*args)

    monkeypatch.setattr(event_loop, "Child", Refusing)
    news: list[News] = []
    faults = AtFault()
    fleet = Fleet([LosesItsDevice("gpu0", SETTINGS, gpu=GPUS[0])], news.append, lambda _: None, faults=faults)
    with signals.watched([]) as stops, pytest.raises(WorkersFailed):
        fleet.run(stops)
    warned = [n.what for n in news if isinstance(n, Warned)]
    assert warned == ["gpu0 cannot be started: Resource temporarily unavailable"] * 2
    assert len(faults.followed) == 1, "the third start was one"
