"""Kill a job's client, workers and broker at random moments with kill -9.  python -m chaos.job_kills --kills 50"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos import faultkit
from chaos.faultkit import World
from mlq.broker import embedded
from mlq.store.workers import heartbeats

ROWS_A_KILL: Final = 1500
_DEADLINE_S: Final = 120.0
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 1.0

MODEL: Final = '''
"""Answers that tell the rows apart, a millisecond each."""
import time

class Squares:
    max_batch_size = 16

    def predict(self, rows):
        time.sleep(0.001 * len(rows))
        return [[x * x for x in row] for row in rows]
'''


@dataclass(frozen=True)
class Account:
    """The outcome of the job. `same`: the output is that of an undisturbed run, byte for byte."""

    rows: int
    same: bool
    seconds: float
    kills: Counter[str]

    def __str__(self) -> str:
        """Return it as a line."""
        killed = ", ".join(f"{n} of the {who}" for who, n in sorted(self.kills.items()))
        return f"{self.rows} rows, {killed} in {self.seconds:.0f} s: output {'identical' if self.same else 'DIFFERENT'}"


class Run:
    """A job with its client, workers and broker, all of which are killed."""

    def __init__(self, directory: Path, server: embedded.Server, kills: int, seed: int) -> None:
        self._directory = directory
        self._server = server
        self._random = random.Random(seed)  # noqa: S311 (moments, not secrets)
        self._world = World(directory, server.url)
        self._left = kills
        self._rows = [[i / 8, float(i)] for i in range(ROWS_A_KILL * kills)]
        self.kills: Counter[str] = Counter()

    def go(self) -> Account:
        """Run the job to its end, with kills on the way."""
        (self._directory / "squares.py").write_text(MODEL)
        source = self._directory / "rows.jsonl"
        source.write_text("".join(f"[{a}, {b}]\n" for a, b in self._rows))
        model = f"{self._directory / 'squares.py'}:Squares"
        fleet = ["-m", "mlq", "worker", "start", "--cpus", "2", "--model", model]
        self._world.run([sys.executable, *fleet], "fleet")
        faultkit.until(lambda: len(self._workers()) == 2, "two workers are up")  # noqa: PLR2004 (the number of --cpus)
        began = time.monotonic()
        while self._client() != 0:
            if time.monotonic() - began > _DEADLINE_S:
                raise TimeoutError((self._directory / "client.log").read_text()[-2000:])
        seconds = time.monotonic() - began
        wanted = "".join(
            f'{{"id":{i},"index":{i},"status":"ok","result":[{a * a},{b * b}]}}\n'
            for i, (a, b) in enumerate(self._rows)
        )
        found = (self._directory / "out.jsonl").read_text()
        return Account(len(self._rows), found == wanted, seconds, self.kills)

    def close(self) -> None:
        """End all processes."""
        self._world.close()

    def _client(self) -> int:
        """Submit or resume the job, with kills while it runs. Return the client's exit code."""
        words = ["submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume", "-q"]
        with (self._directory / "client.log").open("ab") as log:
            client = subprocess.Popen(
                [sys.executable, "-m", "mlq", *words],
                env=self._world.environment,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        try:
            while self._left:
                try:
                    return client.wait(self._random.uniform(_SHORTEST_S, _LONGEST_S))
                except subprocess.TimeoutExpired:
                    self._kill(client)
            return client.wait(_DEADLINE_S)
        finally:
            client.kill()
            client.wait()

    def _kill(self, client: subprocess.Popen[bytes]) -> None:
        victim = self._random.choice(["client", "client", "workers", "broker"])
        with suppress(ProcessLookupError, IndexError):
            if victim == "client":
                client.kill()
            elif victim == "broker":
                if self._server.pid is None:
                    return
                os.kill(self._server.pid, signal.SIGKILL)
            else:
                os.kill(self._random.choice(self._workers()), signal.SIGKILL)
            self.kills[victim] += 1
            self._left -= 1

    def _workers(self) -> list[int]:
        with suppress(Exception):  # the broker may be dead at this moment
            found = heartbeats.read(self._world.redis)
            return [h.pid for h in found if h.pid is not None and h.state in ("idle", "busy")]
        return []


def run(directory: Path, kills: int, seed: int) -> Account:
    """Run a job with this number of kills; the broker writes everything to disk before it answers."""
    server = faultkit.serve(directory)
    try:
        running = Run(directory, server, kills, seed)
        try:
            return running.go()
        finally:
            running.close()
    finally:
        server.stop()


def main(argv: Sequence[str]) -> int:
    """Print the account; return 1 if the output differs."""
    parser = argparse.ArgumentParser(prog="python -m chaos.job_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many, of client, workers and broker")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims; 0 unless given")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mlq-jobs-") as directory:
        account = run(Path(directory), asked.kills, asked.seed)
    sys.stdout.write(f"{account}\n")
    return 0 if account.same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
