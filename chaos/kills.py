"""Kill loaded workers at random moments and account for every message.  python -m chaos.kills --kills 1000"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from benchmarks import machine
from chaos import faultkit
from chaos.faultkit import DEADLINE_S, Worker, World

SLOTS: Final = ("a", "b", "c")
IN_FLIGHT: Final = 200
_LONGEST_ROW_S: Final = 0.02
_LONGEST_LIFE_S: Final = 4.0
"""Maximum life of a ready worker in seconds. After three seconds a worker reaps the leases of killed workers."""

_UNREADY: Final = 0.1
"""The share of kills during the start of a worker, before it is ready."""


@dataclass(frozen=True)
class Account:
    """The fate of all messages. `lost` have no result, `twice` more than one; none may be `left` anywhere."""

    kills: int
    submitted: int
    lost: int
    twice: int
    failed: int
    left: int
    extra_starts: int
    seconds: float
    seed: int

    @property
    def holds(self) -> bool:
        """True if every message ended in exactly one recorded success."""
        return not (self.lost or self.twice or self.failed or self.left)

    def __str__(self) -> str:
        """Return it as a table."""
        return "\n".join(f"{name.replace('_', ' '):14}{value:>10,.6g}" for name, value in vars(self).items())


class _Slot:
    """A sequence of workers, each with its own time of death."""

    def __init__(self, world: World, name: str, chance: random.Random) -> None:
        self._world = world
        self._name = name
        self._chance = chance
        self.worker: Worker
        self.start()

    def start(self) -> None:
        """Start the next worker, and draw the time of its death."""
        self.worker = self._world.start(self._name)
        self._dies_unready = self._chance.random() < _UNREADY
        self._life_s = self._chance.uniform(0, 1.0 if self._dies_unready else _LONGEST_LIFE_S)
        self._ready_at: float | None = None

    def is_due(self) -> bool:
        """Return whether the time of death has come. No worker may end before."""
        assert self.worker.lives, f"a worker ended unexpectedly: {self.worker.process.returncode}"  # noqa: S101
        if self._ready_at is None and self.worker.is_ready():
            self._ready_at = time.monotonic()
        began = self.worker.began if self._dies_unready else self._ready_at
        return began is not None and time.monotonic() - began >= self._life_s


def run(directory: Path, kills: int, seed: int) -> Account:
    """Kill this number of workers under load, let the others answer everything, and count."""
    chance = random.Random(seed)  # noqa: S311 (moments, not secrets)
    began = time.monotonic()
    server = faultkit.serve(directory)
    world = World(directory, server.url)
    try:
        slots = [_Slot(world, name, chance) for name in SLOTS]
        done = 0
        while done < kills:
            world.keep_in_flight(IN_FLIGHT, lambda: {"sleep": chance.uniform(0, _LONGEST_ROW_S)})
            for slot in slots:
                if done < kills and slot.is_due():
                    slot.worker.kill()
                    done += 1
                    slot.start()
            time.sleep(0.01)
        return _account(world, kills, seed, began)
    finally:
        world.close()
        server.stop()


def _account(world: World, kills: int, seed: int, began: float) -> Account:
    """Wait for the last answers, end the remaining workers, and count in the two sources."""
    deadline = time.monotonic() + DEADLINE_S
    while world.unanswered() and time.monotonic() < deadline:
        time.sleep(0.05)
    if world.unanswered():
        sys.stderr.write(world.whereabouts() + "\n")
    for worker in world.workers:
        if worker.lives:
            worker.wait_ready()
            worker.stop()
    times = dict.fromkeys(world.sent, 0)
    recorded = world.recorded()
    for (task_id, _), count in recorded.items():
        times[task_id] += count
    return Account(
        kills=kills,
        submitted=len(world.sent),
        lost=sum(count == 0 for count in times.values()),
        twice=sum(count > 1 for count in times.values()),
        failed=sum(count for (_, state), count in recorded.items() if state != "SUCCESS"),
        left=sum(world.left().values()),
        extra_starts=sum(world.starts().values()) - len(world.sent),
        seconds=time.monotonic() - began,
        seed=seed,
    )


def main(argv: Sequence[str]) -> int:
    """Print the account; return 1 if a message was lost, stuck, or answered twice."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="how many; 1,000 take about 20 minutes on two cores")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the load; 0 unless given")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write the account there, too")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mlq-kills-") as directory:
        account = run(Path(directory), asked.kills, asked.seed)
    sys.stdout.write(f"{account}\n")
    if asked.output is not None:
        before = asked.output.read_text() if asked.output.exists() else ""
        asked.output.write_text(_document(before, machine.server(), _section(account)))
    return 0 if account.holds else 1


def _document(before: str, server: str, section: str) -> str:
    """Return the document with the section of one server replaced; sections of other servers stay."""
    head = (
        "# Kills\n\n"
        "Three workers under load, killed with SIGKILL at random moments of their lives, one in ten before it is\n"
        "ready. Two independent records have the fate of each message: the model's own log, and the server's\n"
        "append-only file (`appendfsync always`).\n"
    )
    sections = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    sections[server] = section
    return head + "".join(f"\n## {name}\n{text.rstrip()}\n" for name, text in sections.items())


def _section(account: Account) -> str:
    """Return the account with the machine and the versions."""
    now = datetime.now(timezone.utc)
    head = [
        "",
        f"Written by `python -m chaos.kills --kills {account.kills} --seed {account.seed} -o FILE`",
        f"on {now:%Y-%m-%d %H:%M} UTC.",
        "",
        f"- Machine: {machine.description()}",
        f"- mlq at commit {machine.commit()}",
        "",
        "| | |",
        "|---|---|",
    ]
    rows = [f"| {name.replace('_', ' ')} | {value:,.6g} |" for name, value in vars(account).items()]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
