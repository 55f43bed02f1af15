"""`--max-memory`: a worker whose model grows is replaced, and all its rows are answered."""

from __future__ import annotations

import json
from collections import Counter

from tests.conftest import Start, User

GROWING = '''
import os, time

class Model:
    """Keeps 20 MiB of every row."""
    max_batch_size = 1

    def setup(self, device):
        self.kept = []

    def predict(self, rows):
        with open("computed.log", "a") as file:
            file.write(f"{rows[0]}\\n")
        self.kept.append(b"x" * (20 * 2**20))
        time.sleep(0.1)  # memory is looked at once a second
        return [os.getpid()]
'''
ROWS = 40


def test_a_model_that_grows_is_replaced_and_its_rows_are_answered(user: User, start: Start, broker: str) -> None:
    """It is replaced between two tasks, without backoff, and no crash is counted."""
    assert broker
    user.write("growing.py", GROWING)
    workers = start("--cpus", "1", "--max-memory", "250MiB", model="growing.py:Model")
    user.write("rows.json", list(range(ROWS)))
    done = user.run("submit", "rows.json", "--chunk", "1", "--wait")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line)["result"] for line in done.stdout.splitlines()]
    rows_of_each = Counter(answers)
    assert len(answers) == ROWS
    assert len(rows_of_each) >= 2, "several workers answered the rows"
    assert (user.directory / "computed.log").read_text().split() == [str(n) for n in range(ROWS)], "each once"
    workers.wait_for(f"bytes in memory, of {250 * 2**20}", times=len(rows_of_each) - 1)
    workers.wait_for("ready after", times=len(rows_of_each))
    assert not [line for line in workers.lines if "again in" in line]
    assert user.json("dead")["entries"] == []
