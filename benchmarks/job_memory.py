"""The memory of a job's client and of Redis while a large file runs.  python -m benchmarks.job_memory --rows 1000000"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import inputs
from chaos import faultkit
from chaos.faultkit import World
from mlq.store.workers import heartbeats

_MIB: Final = 2**20
_AT_ONCE: Final = 100_000
_LOOK_EVERY_S: Final = 0.02

MODEL: Final = '''
"""Nothing but the moving of rows."""
import numpy

class Sums:
    max_batch_size = 1024

    def predict(self, rows):
        return numpy.asarray(rows, numpy.float32).cumsum(axis=1)[:, -10:].tolist()
'''


@dataclass(frozen=True)
class Account:
    """The figures of a job. `in_order`: exactly one line per row, in the order of the input."""

    rows: int
    in_order: bool
    client_mib: float
    redis_mib: float
    rows_per_s: float

    def __str__(self) -> str:
        """Return it as a line."""
        return (
            f"{self.rows:,} rows, {self.rows_per_s:,.0f}/s: client at most {self.client_mib:.0f} MiB, "
            f"Redis at most {self.redis_mib:.0f} MiB, {'in order' if self.in_order else 'OUT OF ORDER'}"
        )


def run(directory: Path, rows: int, *options: str) -> Account:
    """Run a file of 16 floats per row through two workers, and record the maximum memory of each process."""
    directory.mkdir(exist_ok=True)
    server = faultkit.serve(directory)
    world = World(directory, server.url)
    try:
        return _run(world, directory, rows, options)
    finally:
        world.close()
        server.stop()


def _run(world: World, directory: Path, rows: int, options: Sequence[str]) -> Account:
    (directory / "sums.py").write_text(MODEL)
    random = np.random.default_rng(0)
    source, target = directory / "rows.jsonl", directory / "out.jsonl"
    with source.open("wb") as file:
        for first in range(0, rows, _AT_ONCE):
            part = inputs.write(directory / "part.jsonl", inputs.numbers(random, min(_AT_ONCE, rows - first)))
            file.write(part.read_bytes())
    fleet = ["worker", "start", "--cpus", "2", "--model", f"{directory / 'sums.py'}:Sums"]
    world.run([sys.executable, "-m", "mlq", *fleet], "fleet")
    faultkit.until(lambda: sum(h.state == "idle" for h in heartbeats.read(world.redis)) > 1, "two workers are up")
    argv = [sys.executable, "-m", "mlq", "submit", str(source), "--wait", "-o", str(target), *options]
    began = time.monotonic()
    client, most = subprocess.Popen(argv, env=world.environment), 0
    while client.poll() is None:
        most = max(most, _most_kib(client.pid))
        time.sleep(_LOOK_EVERY_S)
    seconds = time.monotonic() - began
    if client.returncode:
        raise RuntimeError(f"mlq submit ended with {client.returncode}")
    memory: Any = world.redis.info("memory")
    return Account(
        rows=rows,
        in_order=_is_in_order(target, rows),
        client_mib=most / 1024,
        redis_mib=memory["used_memory_peak"] / _MIB,
        rows_per_s=rows / seconds,
    )


def _most_kib(pid: int) -> int:
    """Return the peak memory of a process. wait4 would count the memory that its parent had at the fork."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _is_in_order(target: Path, rows: int) -> bool:
    count = 0
    with target.open("rb") as file:
        for index, line in enumerate(file):
            if not line.startswith(b'{"id":%d,"index":%d,"status":"ok"' % (index, index)):
                return False
            count += 1
    return count == rows


def main(argv: Sequence[str]) -> int:
    """Print the account; return 1 if rows are missing or out of order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job_memory", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of 16 floats (default 1,000,000)")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mlq-jobs-") as directory:
        account = run(Path(directory), asked.rows)
    sys.stdout.write(f"{account}\n")
    return 0 if account.in_order else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
